/** Carries one request to a target, and to the next one when the first fails, hangs or is slow. See the edge's `errand.rs`. */
import type { Body } from "./body.ts";
import { firstWithin, now } from "./clock.ts";
import type { Group, Lane } from "./group.ts";
import type { Moment } from "./moment.ts";
import { CUT, type Failure, type Id, REFUSED, SILENT } from "./steer.ts";
import { type End, type Next, type Repeat, Trip } from "./trip.ts";

/** What an errand is about. */
export interface Order {
  group: Group;
  method: string;
  /** The path with the query, as it was asked for. */
  path: string;
  headers: Headers;
  body: Body;
  repeat: Repeat;
  /** When to give up on the last target. */
  limit: number;
  /** The path that tells whether a target lives. */
  health: string | undefined;
  /** An old page, once nothing can be hoped for. */
  stale: (() => Promise<Response | undefined>) | undefined;
  /** Keeps the isolate awake for what goes on beside the request. */
  beside: (work: Promise<unknown>) => void;
}

/** How an errand came out. */
export type Outcome =
  | { kind: "answered"; lane: Lane; reply: Response }
  | { kind: "stale"; page: Response }
  | { kind: "failed"; status: number; why: string };

/** A try under way. */
interface Running {
  lane: Lane;
  began: Moment;
  /** Since when the request has been wholly sent, and the number it waits under. */
  since: Moment | undefined;
  wait: number | undefined;
  stop: AbortController;
  ended: Promise<Ended>;
}

interface Ended {
  run: Running;
  reply: Response | undefined;
}

/** Cloudflare's word that the origin was never reached: no connection (521, 523), no handshake (525, 526). */
const NEVER_DELIVERED: Record<number, Failure> = {
  521: REFUSED,
  523: "unreachable (523)",
  525: "no TLS handshake (525)",
  526: "no valid certificate (526)",
};
/** Cloudflare's word that the origin gave no answer; the request may have been carried out. */
const UNKNOWN: Record<number, Failure> = { 520: CUT, 522: SILENT, 524: SILENT };

export class Errand {
  readonly #order: Order;
  readonly #trip: Trip;
  readonly #trial: Id | undefined;
  #running: Running[] = [];
  /** An answer of 502, 503 or 504, for want of a better one. */
  #held: Ended | undefined;
  #askedStale = false;

  constructor(order: Order) {
    this.#order = order;
    const { group, repeat, limit } = order;
    const at = now();
    const ids = group.ids();
    this.#trial = repeat === "safe" ? group.steer.trial(ids, at) : undefined;
    this.#trip = new Trip(group.steer, ids, repeat, limit, at, this.#trial);
  }

  async run(): Promise<Outcome> {
    const { first } = this.#trip;
    if (first == null) return { kind: "failed", status: 503, why: "it has no target" };
    this.#begin(first);
    for (;;) {
      const endings = this.#running.map((run) => run.ended);
      const ended = await firstWithin(this.#trip.lookAfter(now()), endings);
      const outcome = ended == null ? await this.#look() : this.#ended(ended);
      this.#check();
      if (outcome != null) return outcome;
    }
  }

  #begin(target: Id): void {
    const { group, body, method, headers, path } = this.#order;
    const lane = group.lane(target);
    // The targets changed meanwhile: those of this request are gone.
    if (lane == null) return;
    const stop = new AbortController();
    const init: RequestInit = { method, headers, redirect: "manual", signal: stop.signal };
    const sending = body.take();
    if (sending != null) init.body = sending;
    const run = { lane, began: now(), stop } as Running;
    const sent = () => {
      run.since = now();
      run.wait = group.beginWait(target, run.since);
    };
    if (body.sent == null) sent();
    else void body.sent.then(sent, () => {});
    run.ended = fetch(lane.address + path, init).then(
      (reply) => ({ run, reply }),
      () => ({ run, reply: undefined }),
    );
    this.#running.push(run);
  }

  #ended({ run, reply }: Ended): Outcome | undefined {
    const at = this.#running.indexOf(run);
    this.#running.splice(at, 1);
    if (reply == null) return this.#troubled(run, CUT, true);
    const never = NEVER_DELIVERED[reply.status];
    const failure = never ?? UNKNOWN[reply.status];
    if (failure == null) return this.#answered(at, run, reply);
    drop(reply);
    return this.#troubled(run, failure, never == null);
  }

  #answered(at: number, run: Running, reply: Response): Outcome | undefined {
    const { group, repeat } = this.#order;
    const { id } = run.lane;
    const { status } = reply;
    const wait = this.#over(run);
    group.on(group.steer.answered(id, wait, run.began, status, repeat === "safe", now()));
    if (status >= 500) this.#trialLost(id, `answered ${status}`);
    if (status < 502 || status > 504) {
      this.#outrun(at);
      this.#release();
      return { kind: "answered", lane: run.lane, reply };
    }
    const next = this.#next(id, "refusal");
    if (next.kind === "stop") return { kind: "answered", lane: run.lane, reply };
    if (next.kind === "try" || next.kind === "again") this.#begin(next.target);
    this.#release();
    this.#held = { run, reply };
    return undefined;
  }

  /** The try that was at `at` has won: those begun before it were slower. */
  #outrun(at: number): void {
    const { group } = this.#order;
    const when = now();
    for (const [n, loser] of this.#running.splice(0).entries()) {
      loser.stop.abort();
      const { id } = loser.lane;
      const wait = this.#over(loser);
      const silent = n < at && when - loser.began >= group.steer.tuning.first_byte;
      if (silent) {
        group.on(group.steer.failed(id, wait, SILENT, when));
      } else {
        if (wait != null) group.steer.left(id, wait);
        if (n < at) group.on(group.steer.late(id, when));
      }
      if (n < at) this.#trialLost(id, "another target was faster");
    }
  }

  #next(target: Id, end: End): Next {
    const { group, body } = this.#order;
    return this.#trip.ended(group.steer, target, end, this.#running.length, body.isWhole);
  }

  #troubled(run: Running, failure: Failure, sent: boolean): Outcome | undefined {
    const { group, repeat } = this.#order;
    const { id } = run.lane;
    const next = this.#next(id, sent ? "cut" : "never_sent");
    group.on(group.steer.failed(id, this.#over(run), failure, now()));
    this.#trialLost(id, failure);
    if (next.kind === "try" || next.kind === "again") {
      this.#begin(next.target);
      return undefined;
    }
    if (next.kind === "wait") return undefined;
    const why = sent ? "it broke off; it may have been carried out" : "it cannot be reached";
    return this.#orHeld(sent && repeat === "once" ? 502 : 503, why);
  }

  #orHeld(status: number, why: string): Outcome {
    if (this.#held?.reply == null) return { kind: "failed", status, why };
    return { kind: "answered", lane: this.#held.run.lane, reply: this.#held.reply };
  }

  /** Looks at a request that waits. */
  async #look(): Promise<Outcome | undefined> {
    const { group, body, repeat, limit } = this.#order;
    const at = now();
    const waits = this.#running.flatMap((run) => (run.wait == null ? [] : [run.wait]));
    group.tick(waits, at);
    const going = this.#running.map((run) => ({ target: run.lane.id, since: run.since }));
    const decided = this.#trip.look(group.steer, going, body.isWhole, at);
    switch (decided.kind) {
      case "nothing":
        return this.#despair(at);
      case "beside":
        this.#begin(decided.target);
        return undefined;
      case "instead":
        this.#abandon(at);
        this.#begin(decided.target);
        return undefined;
      case "give_up":
        this.#abandon(at);
        return this.#orHeld(repeat === "safe" ? 503 : 504, `no answer in ${limit} ms`);
    }
  }

  /** An old page is better than waiting for what nothing is hoped for. */
  async #despair(at: Moment): Promise<Outcome | undefined> {
    const { group, stale } = this.#order;
    const ids = group.ids();
    if (stale == null || this.#askedStale || !group.steer.hopeless(ids, at)) return undefined;
    this.#askedStale = true;
    const page = await stale();
    if (page == null) return undefined;
    group.steer.despair(ids, at);
    this.#abandon(at);
    this.#release();
    return { kind: "stale", page };
  }

  /** Leaves all tries under way. Those that waited too long have failed. */
  #abandon(at: Moment): void {
    const { group } = this.#order;
    for (const run of this.#running.splice(0)) {
      run.stop.abort();
      const { id } = run.lane;
      const wait = this.#over(run);
      if (run.since != null && at - run.since >= group.steer.tuning.first_byte) {
        group.on(group.steer.failed(id, wait, SILENT, at));
        this.#trialLost(id, SILENT);
      } else if (wait != null) {
        group.steer.left(id, wait);
      }
    }
  }

  #over(run: Running): number | undefined {
    return this.#order.group.endWait(run.wait);
  }

  #trialLost(id: Id, why: string): void {
    const { group } = this.#order;
    if (id === this.#trial) group.on(group.steer.trialFailed(id, why, now()));
  }

  #release(): void {
    if (this.#held?.reply != null) drop(this.#held.reply);
    this.#held = undefined;
  }

  /** Checks the targets that are to be checked, beside the request. */
  #check(): void {
    const { group, health, beside } = this.#order;
    if (health == null) return;
    for (const id of group.due) {
      const lane = group.lane(id);
      if (lane != null) beside(check(group, lane, health));
    }
    group.due.clear();
  }
}

/** Asks a target for its health path: one that answers there is not hung. */
async function check(group: Group, lane: Lane, path: string): Promise<void> {
  const { suspect, silent } = group.steer.tuning;
  try {
    const reply = await fetch(lane.address + path, {
      headers: { "user-agent": "linkflow" },
      redirect: "manual",
      signal: AbortSignal.timeout(Math.max(silent - suspect, 250)),
    });
    drop(reply);
    if (reply.ok) group.steer.lives(lane.id, now());
  } catch {
    // It is silent there, too: the requests that wait tell the rest.
  }
}

/** Nobody reads the body of `reply`. */
function drop(reply: Response): void {
  reply.body?.cancel().catch(() => {});
}
