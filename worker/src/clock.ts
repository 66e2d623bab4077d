/** The isolate's clock. */
import { type Moment, since } from "./moment.ts";

// A Worker's clock stands still until a request comes, so its beginning is the first request.
let began: number | undefined;

/** Milliseconds since the first request of this isolate. */
export function now(): Moment {
  const wall = Date.now();
  began ??= wall;
  return since(wall, began);
}

/** The moment at which the wall clock showed `at`. */
export function momentOf(at: number): Moment {
  return at - Date.now() + now();
}

/** What the first of `works` comes to; nothing, when none ends within `ms`. */
export async function firstWithin<T>(ms: number, works: Promise<T>[]): Promise<T | undefined> {
  let timer = 0;
  const later = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  const first = await Promise.race([...works, later]);
  clearTimeout(timer);
  return first;
}
