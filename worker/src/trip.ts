/** One request's way: which target next, when beside the first, when to give up. The same as the edge's `steer/trip.rs`. */
import { type Moment, since } from "./moment.ts";
import type { Id, Steer } from "./steer.ts";

/** Between looks at a request that waits. */
const LOOK = 100;

/** How often a request may be carried out: at the same time on two targets, one after the other, or at most once. */
export type Repeat = "safe" | "idempotent" | "once";
/** How a try ended that did not give the answer to pass on. `stale`: cut on a connection that had been idle before. */
export type End = "never_sent" | "cut" | "stale" | "refusal";
/** What to do when a try has ended. */
export type Next = { kind: "try" | "again"; target: Id } | { kind: "wait" | "stop" };
/** What to do while tries are under way. */
export type Do = { kind: "beside" | "instead"; target: Id } | { kind: "nothing" | "give_up" };

/** A try under way, and since when the request has been wholly sent. */
export interface Going {
  target: Id;
  since: Moment | undefined;
}

/** What one request has tried so far. */
export class Trip {
  readonly first: Id | undefined;
  readonly #table: readonly Id[];
  readonly #repeat: Repeat;
  readonly #limit: number | undefined;
  readonly #began: Moment;
  readonly #trial: Id | undefined;
  readonly #tried: Id[];
  #again = false;
  #hedged = false;
  readonly #hedgeAfter: number | undefined;

  /**
   * A request for the targets in `table`. `limit`: when to give up on the last target. `trial`: the target to try
   * first, in place of the best one.
   */
  constructor(
    steer: Steer,
    table: readonly Id[],
    repeat: Repeat,
    limit: number | undefined,
    began: Moment,
    trial?: Id,
  ) {
    this.#table = table;
    this.#repeat = repeat;
    this.#limit = limit;
    this.#began = began;
    this.#trial = trial;
    const plan = steer.plan(table, began);
    this.first = trial ?? plan.order[0];
    this.#tried = this.first == null ? [] : [this.first];
    this.#hedgeAfter = trial == null ? plan.hedgeAfter : (plan.hedgeAfter ?? LOOK);
    if (repeat !== "safe") this.#hedgeAfter = undefined;
  }

  /** How long to wait for an ending before the next look. */
  lookAfter(now: Moment): number {
    const waited = since(now, this.#began);
    const hedge = Math.max(0, (this.#hedgeAfter ?? 0) - waited);
    // One more than is left: a moment is a whole number of milliseconds.
    return hedge > 0 ? Math.min(hedge + 1, LOOK) : LOOK;
  }

  #untried(steer: Steer): Id | undefined {
    const left = this.#table.filter((id) => !this.#tried.includes(id));
    return left.sort((a, b) => steer.compare(a, b))[0];
  }

  /** What is tried is away, as far as is known; a trial is to find that out. */
  #away(steer: Steer, target: Id): boolean {
    return target !== this.#trial && !steer.usable(target);
  }

  /**
   * Decides what follows a try that ended without an answer to pass on. `running`: tries still under way.
   * `whole`: the request's body can still be sent from its beginning.
   */
  ended(steer: Steer, target: Id, end: End, running: number, whole: boolean): Next {
    const over: Next = { kind: running > 0 ? "wait" : "stop" };
    const free = end === "never_sent";
    if (running > 0 || !whole || !(free || this.#repeat !== "once")) return over;
    if (end === "stale" && !this.#again && steer.usable(target)) {
      this.#again = true;
      return { kind: "again", target };
    }
    const next = this.#untried(steer);
    if (next == null) return over;
    // A target that is away refuses too: its word is no better than the one at hand.
    if (end === "refusal" && !steer.usable(next)) return over;
    if (!free && !steer.retries.spend()) return over;
    this.#tried.push(next);
    return { kind: "try", target: next };
  }

  /** Decides whether to go on waiting for the tries under way. */
  look(steer: Steer, going: readonly Going[], whole: boolean, now: Moment): Do {
    const waited = (g: Going) => (g.since == null ? 0 : since(now, g.since));
    const limit = this.#limit;
    if (limit != null && going.every((g) => waited(g) >= limit)) return { kind: "give_up" };
    const next = this.#untried(steer);
    const last = going.at(-1);
    if (next == null || !steer.usable(next) || last == null || !whole) return { kind: "nothing" };
    if (this.#repeat === "once") return { kind: "nothing" };
    let kind: "beside" | "instead";
    if (going.every((g) => this.#away(steer, g.target))) {
      kind = "instead";
    } else if (waited(last) >= steer.tuning.first_byte) {
      kind = this.#repeat === "safe" ? "beside" : "instead";
    } else if (this.#repeat === "safe" && steer.isSuspect(last.target)) {
      kind = "beside";
    } else {
      return this.#hedge(steer, next, now);
    }
    if (!steer.retries.spend()) return { kind: "nothing" };
    this.#tried.push(next);
    return { kind, target: next };
  }

  #hedge(steer: Steer, next: Id, now: Moment): Do {
    const due = this.#hedgeAfter != null && now - this.#began >= this.#hedgeAfter;
    if (!due || this.#hedged || this.#tried.length > 1) return { kind: "nothing" };
    // Against a target that loses its races, a second try is no extra load but the move to another target.
    const losing = this.#trial != null || this.#tried.every((id) => steer.isLosing(id));
    if (!((losing && steer.retries.spend()) || steer.hedges.spend())) return { kind: "nothing" };
    this.#hedged = true;
    this.#tried.push(next);
    return { kind: "beside", target: next };
  }
}
