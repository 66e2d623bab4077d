/** Milliseconds since a beginning of the caller's choice. */
export type Moment = number;

/** How long `then` is ago; 0 for what is yet to come. */
export function since(now: Moment, then: Moment): number {
  return Math.max(0, now - then);
}
