/** Plays the stories of `vectors.json` against the worker's decisions, like the edge's `steer/vectors.rs`. */
import { BROKEN, CUT, type Effect, type Id, REFUSED, SILENT, Steer, type Tuning } from "../src/steer.ts";
import { type Do, type End, type Going, type Next, type Repeat, Trip } from "../src/trip.ts";

export interface Story {
  name: string;
  kind: "request" | "probe";
  tuning: Tuning;
  steps: Step[];
}

type Told =
  | { on: "table"; targets: Id[] }
  | { on: "waits" | "left"; target: Id; wait: number }
  | { on: "answered"; target: Id; wait: number | null; began: number; status: number; sample: boolean }
  | { on: "failed"; target: Id; wait: number | null; failure: string; why: string | null }
  | { on: "late"; target: Id }
  | { on: "ticked" }
  | { on: "plan"; table: Id[] }
  | { on: "start"; trip: number; table: Id[]; repeat: Repeat; limit: number | null }
  | { on: "look_after"; trip: number }
  | { on: "look"; trip: number; going: { target: Id; since: number | null }[]; whole: boolean }
  | { on: "ended"; trip: number; target: Id; end: End; running: number; whole: boolean };

export type Step = Told & { at: number; then?: string[] };

const FAILURES: Record<string, string> = { refused: REFUSED, cut: CUT, broken: BROKEN, silent: SILENT };

export function say(effect: Effect): string {
  switch (effect.kind) {
    case "ejected":
      return `${effect.target} ejected for ${effect.for_ms}: ${effect.why}`;
    case "readmitted":
      return `${effect.target} readmitted: ${effect.why}`;
    case "check_now":
      return `check ${effect.target}`;
  }
}

function decided(what: Do | Next): string[] {
  if (what.kind === "nothing") return [];
  return ["target" in what ? `${what.kind} ${what.target}` : what.kind.replace("_", " ")];
}

/** Where a story is played. */
export class Scene {
  readonly steer: Steer;
  readonly trips = new Map<number, Trip>();

  constructor(tuning: Tuning) {
    this.steer = new Steer(tuning);
  }

  /** Plays one step. The answer is what follows, in words. */
  play(step: Step): string[] {
    const { steer } = this;
    const now = step.at;
    switch (step.on) {
      case "table":
        steer.table(step.targets, now);
        return [];
      case "waits":
        steer.waits(step.target, step.wait, now);
        return [];
      case "left":
        steer.left(step.target, step.wait);
        return [];
      case "answered":
        return steer
          .answered(step.target, step.wait ?? undefined, step.began, step.status, step.sample, now)
          .map(say);
      case "failed": {
        const failure = FAILURES[step.failure] ?? step.why ?? "no route";
        return steer.failed(step.target, step.wait ?? undefined, failure, now).map(say);
      }
      case "late":
        return steer.late(step.target, now).map(say);
      case "ticked":
        return steer.ticked(now).map(say);
      case "plan": {
        const { order, hedgeAfter } = steer.plan(step.table, now);
        return [order.join(" "), ...(hedgeAfter === undefined ? [] : [`hedge ${hedgeAfter}`])];
      }
      case "start": {
        const trip = new Trip(steer, step.table, step.repeat, step.limit ?? undefined, now);
        this.trips.set(step.trip, trip);
        return trip.first === undefined ? [] : [`try ${trip.first}`];
      }
      case "look_after":
        return [String(this.trips.get(step.trip)!.lookAfter(now))];
      case "look": {
        const going: Going[] = step.going.map(({ target, since }) => ({ target, since: since ?? undefined }));
        return decided(this.trips.get(step.trip)!.look(steer, going, step.whole, now));
      }
      case "ended": {
        const { target, end, running, whole } = step;
        return decided(this.trips.get(step.trip)!.ended(steer, target, end, running, whole));
      }
      default:
        throw new Error(`nothing is known of ${JSON.stringify(step)}`);
    }
  }
}
