/**
 * Decides which target takes a request, and what each answer and failure means for the next one.
 *
 * The same decisions as the edge's `steer.rs`, without its checks: `vectors.json` holds both together. Pure: the time is an
 * argument, all numbers are integers (milliseconds), nothing here does I/O. What only a worker has, because nothing in it
 * runs between requests, is at the end: trials, the published picture, and when to stop hoping.
 */
import { Budget } from "./budget.ts";
import { type Moment, since } from "./moment.ts";

/** A target, as long as its service, provider and address stay the same. */
export type Id = number;
export type Health = "unknown" | "up" | "down";

/** The numbers decisions are made with. Milliseconds unless named otherwise. */
export interface Tuning {
  /** Requests wait, nothing is answered: the target is suspect. */
  suspect: number;
  /** Requests wait, nothing is answered: the target is ejected. */
  silent: number;
  /** A second try begins when there is another target. */
  first_byte: number;
  /** Whether a slow GET is tried on a second target before the first one failed. */
  hedge: boolean;
  /** Retries that may be made at once. */
  retry_burst: number;
  /** After this long in use without another one, the next ejection is a first one again. */
  forgiven: number;
}

/** Failures in a row until a target is ejected. */
export const STREAK = 3;
/** The first ejection lasts this long; each one in a row twice as long as the one before. */
const EJECT_FIRST = 2_000;
/** No ejection lasts longer. */
const EJECT_MOST = 30_000;
/** A hedge is sent no sooner and no later than this. */
const HEDGE_SOONEST = 50;
const HEDGE_LATEST = 500;
/** Races lost in a row, over at least {@link LATE_FOR}, until a target is ejected for being slow. */
const LATE = 5;
const LATE_FOR = 1_000;
/** A request that fails, or whose answer breaks off, counts this much; each good one takes one away. */
const FAIL = 10;
/** So much ejects, and more is not counted: more than one in ten requests fails. */
const FAILS = 45;
/** So much ejects when answers break off, which no other sign tells. */
const BREAKS = 25;
/** How long a trial may take before another one may begin: whoever made it may be gone without a word. */
const TRIAL = 10_000;

/** How a try failed, in words: one of these, or why no connection could be made. */
export type Failure = string;
export const REFUSED = "connection refused";
export const CUT = "connection cut before the answer";
export const BROKEN = "its answers break off";
export const SILENT = "no answer within the limit";

/** What to do about what happened. */
export type Effect =
  | { kind: "ejected"; target: Id; for_ms: number; why: string }
  | { kind: "readmitted"; target: Id; why: string }
  | { kind: "check_now"; target: Id };

/** Which targets to try for one request. */
export interface Plan {
  /** All targets, the best first. */
  order: Id[];
  /** When to try a second one although the first has not failed; none: there is no good second one. */
  hedgeAfter: number | undefined;
}

/** How often it failed, where `streak` failures were in a row. */
const often = (streak: number): string => (streak < STREAK ? "one of many" : `${streak} failures in a row`);

/** One target, as the requests so far show it. */
class Standing {
  verdict: Health = "unknown";
  doubt = false;
  suspect = false;
  /** The last answer, or good check. */
  life: Moment;
  /** When each unanswered request began to wait. */
  readonly waits = new Map<number, Moment>();
  streak = 0;
  /** Answers of 500 and the like in a row: the app's own failures. */
  appStreak = 0;
  fails = 0;
  lateSince: Moment | undefined;
  late = 0;
  ejection: { at: Moment; until: Moment } | undefined;
  ejections = 0;
  readmitted: Moment | undefined;
  /** The time within which 19 of 20 ordinary reads are answered, in microseconds; 0: none yet. */
  p95 = 0;
  /** When the last trial began. */
  trial: Moment | undefined;

  constructor(now: Moment) {
    this.life = now;
  }

  usable(): boolean {
    return this.ejection == null && this.verdict !== "down";
  }

  /** How long requests have waited without any sign of life. A wait older than the last sign of life is excused. */
  silence(now: Moment): number {
    let first: Moment | undefined;
    for (const began of this.waits.values()) {
      if (began >= this.life && (first == null || began < first)) first = began;
    }
    return first == null ? 0 : since(now, first);
  }

  stopWaiting(wait: number | undefined): void {
    if (wait != null) this.waits.delete(wait);
  }

  /** Counts a failure. Says how many there are, with good answers between them or without: see `FAIL`. */
  failedOfLate(): number {
    return (this.fails = Math.min(this.fails + FAIL, FAILS));
  }

  showsLife(now: Moment): void {
    this.life = now;
    this.suspect = false;
  }

  /** Moves the estimate of the 95th percentile towards `took`, 19 times faster up than down. */
  sample(tookMs: number): void {
    const took = tookMs * 1_000;
    if (this.p95 === 0) {
      this.p95 = Math.max(took, 1);
      return;
    }
    const step = Math.floor(this.p95 / 8) + 200;
    this.p95 =
      took > this.p95
        ? Math.min(this.p95 + Math.floor((step * 19) / 20), took)
        : Math.max(1, this.p95 - Math.floor(step / 20));
  }

  hedgeAfter(): number {
    const thrice = this.p95 === 0 ? HEDGE_LATEST : Math.floor((this.p95 * 3) / 1_000);
    return Math.min(Math.max(thrice, HEDGE_SOONEST), HEDGE_LATEST);
  }

  readmit(target: Id, why: string, now: Moment): Effect {
    this.ejection = undefined;
    this.readmitted = now;
    return { kind: "readmitted", target, why };
  }
}

/** What is known of the targets of one service. */
export class Steer {
  readonly #targets = new Map<Id, Standing>();
  readonly tuning: Tuning;
  readonly retries: Budget;
  readonly hedges: Budget;

  constructor(tuning: Tuning) {
    this.tuning = tuning;
    // One retry for five requests, and never fewer than ten a second.
    this.retries = new Budget(tuning.retry_burst, 200, 10_000);
    // One hedge for twenty requests.
    this.hedges = new Budget(100, 50, 1_000);
  }

  /** Orders `table` (most preferred first) for a new request: the usable, then the suspect, then the least bad. */
  plan(table: readonly Id[], now: Moment): Plan {
    this.retries.earn(now);
    this.hedges.earn(now);
    const order = [...table].sort((a, b) => this.compare(a, b));
    const [first, second] = order;
    const good = first != null && second != null && this.usable(second);
    const hedgeAfter =
      good && this.tuning.hedge
        ? (this.#targets.get(first)?.hedgeAfter() ?? HEDGE_LATEST)
        : undefined;
    return { order, hedgeAfter };
  }

  /** Negative where `a` is better than `b`: usable, suspect, ejected, down; of the ejected, the one that ends first. */
  compare(a: Id, b: Id): number {
    const [left, right] = [this.#rank(a), this.#rank(b)];
    return left[0] - right[0] || left[1] - right[1];
  }

  #rank(id: Id): [number, Moment] {
    const target = this.#targets.get(id);
    if (target == null) return [0, 0];
    const until = target.ejection?.until;
    if (target.verdict === "down") return [3, until ?? 0];
    if (until != null) return [2, until];
    return [target.suspect ? 1 : 0, 0];
  }

  /** Whether requests go to the target: not ejected, not down. */
  usable(id: Id): boolean {
    return this.#targets.get(id)?.usable() ?? true;
  }

  isSuspect(id: Id): boolean {
    return this.#targets.get(id)?.suspect ?? false;
  }

  /** Whether it lost its last race, and has not been in time since. */
  isLosing(id: Id): boolean {
    return (this.#targets.get(id)?.late ?? 0) > 0;
  }

  /** These are the targets now; others are forgotten. */
  table(targets: readonly Id[], now: Moment): void {
    for (const id of [...this.#targets.keys()]) {
      if (!targets.includes(id)) this.#targets.delete(id);
    }
    for (const id of targets) {
      if (!this.#targets.has(id)) this.#targets.set(id, new Standing(now));
    }
  }

  /** A request was wholly sent and waits for its answer, under a number of its own. */
  waits(id: Id, wait: number, now: Moment): void {
    this.#targets.get(id)?.waits.set(wait, now);
  }

  /** Nobody wants the answer any more. */
  left(id: Id, wait: number): void {
    this.#targets.get(id)?.waits.delete(wait);
  }

  /** An answer began. `sample`: an ordinary read, whose time says how fast the target is. */
  answered(
    id: Id,
    wait: number | undefined,
    began: Moment,
    status: number,
    sample: boolean,
    now: Moment,
  ): Effect[] {
    const t = this.#targets.get(id);
    if (t == null) return [];
    t.stopWaiting(wait);
    t.showsLife(now);
    if (status >= 502 && status <= 504) return this.#strike(id, `answered ${status}`, now);
    if (status >= 500) {
      t.appStreak += 1;
      if (t.appStreak >= STREAK && this.#anotherIsHealthy(id)) {
        return this.#eject(id, `answered ${status}, ${often(STREAK)}`, now);
      }
      return [];
    }
    t.streak = 0;
    t.appStreak = 0;
    t.fails = Math.max(0, t.fails - 1);
    const took = since(now, began);
    if (took <= t.hedgeAfter()) {
      t.late = 0;
      t.lateSince = undefined;
    }
    if (sample) t.sample(took);
    // Only requests that no better target could take come here, and trials; such a one proves more than a check.
    return t.ejection != null && began > t.ejection.at
      ? [t.readmit(id, "it answered a request", now)]
      : [];
  }

  /** A try failed. */
  failed(id: Id, wait: number | undefined, failure: Failure, now: Moment): Effect[] {
    const t = this.#targets.get(id);
    if (t == null) return [];
    t.stopWaiting(wait);
    if (failure === REFUSED && t.ejection == null) {
      const effects = this.#eject(id, failure, now);
      if (effects.length > 0) return effects;
    }
    if (failure !== BROKEN) return this.#strike(id, failure, now);
    // An answer that begins well and breaks off is good first: failures in a row would never be found.
    return t.failedOfLate() < BREAKS ? [] : this.#eject(id, failure, now);
  }

  /** Counts a failure, and ejects at the third in a row, or when more than one in ten requests fails. */
  #strike(id: Id, why: string, now: Moment): Effect[] {
    const t = this.#targets.get(id);
    if (t == null) return [];
    t.streak += 1;
    const newly = !t.doubt;
    t.doubt = true;
    if (t.failedOfLate() >= FAILS || t.streak >= STREAK) {
      const effects = this.#eject(id, `${why}, ${often(t.streak)}`, now);
      if (effects.length > 0) return effects;
    }
    return newly ? [{ kind: "check_now", target: id }] : [];
  }

  /** Another target, asked later, answered first. */
  late(id: Id, now: Moment): Effect[] {
    const t = this.#targets.get(id);
    if (t == null) return [];
    t.late += 1;
    t.lateSince ??= now;
    if (t.late >= LATE && since(now, t.lateSince) >= LATE_FOR) {
      return this.#eject(id, `slower than another, ${t.late} times in a row`, now);
    }
    return [];
  }

  /** Time passed while requests wait. */
  ticked(now: Moment): Effect[] {
    const { suspect, silent } = this.tuning;
    const effects: Effect[] = [];
    const hung: [Id, number][] = [];
    for (const id of [...this.#targets.keys()].sort((a, b) => a - b)) {
      const t = this.#targets.get(id)!;
      const silence = t.silence(now);
      if (silence >= suspect && !t.suspect) {
        t.suspect = true;
        t.doubt = true;
        effects.push({ kind: "check_now", target: id });
      }
      if (silence >= silent && t.ejection == null) hung.push([id, silence]);
    }
    for (const [id, silence] of hung) {
      effects.push(...this.#eject(id, `requests wait, no answer in ${silence} ms`, now));
    }
    return effects;
  }

  #another(id: Id, is: (t: Standing) => boolean): boolean {
    for (const [other, t] of this.#targets) {
      if (other !== id && is(t)) return true;
    }
    return false;
  }

  /** Whether another target is known to be better off. Otherwise the app is at fault, wherever it runs. */
  #anotherIsHealthy(id: Id): boolean {
    return this.#another(id, (t) => t.usable() && t.verdict === "up" && t.appStreak === 0);
  }

  /** Takes the target out of use, unless it is the last one usable. */
  #eject(id: Id, why: string, now: Moment): Effect[] {
    const t = this.#targets.get(id);
    if (!this.#another(id, (other) => other.usable()) || t == null || t.ejection != null) {
      return [];
    }
    if (t.readmitted != null && now - t.readmitted >= this.tuning.forgiven) t.ejections = 0;
    t.readmitted = undefined;
    t.doubt = true;
    t.streak = t.appStreak = t.fails = t.late = 0;
    t.lateSince = undefined;
    return [this.#sendAway(id, t, why, now)];
  }

  #sendAway(target: Id, t: Standing, why: string, now: Moment): Effect {
    const for_ms = Math.min(EJECT_FIRST * 2 ** Math.min(t.ejections, 4), EJECT_MOST);
    t.ejection = { at: now, until: now + for_ms };
    t.ejections += 1;
    return { kind: "ejected", target, for_ms, why };
  }

  // What follows has no counterpart in the edge, which checks its targets all the time.

  /**
   * A target whose ejection is over, for a request that may be asked elsewhere too: its answer proves that the target
   * works again. One request at a time; the target is not in use meanwhile.
   */
  trial(table: readonly Id[], now: Moment): Id | undefined {
    const due = (id: Id) => {
      const t = this.#targets.get(id);
      if (t?.ejection == null || t.verdict === "down" || now < t.ejection.until) return false;
      return t.trial == null || now - t.trial >= TRIAL;
    };
    const id = table.find(due);
    if (id != null) this.#targets.get(id)!.trial = now;
    return id;
  }

  /** A trial was not won: the target stays away, for longer than before. */
  trialFailed(id: Id, why: string, now: Moment): Effect[] {
    const t = this.#targets.get(id);
    if (t == null || t.ejection == null) return [];
    t.trial = undefined;
    return [this.#sendAway(id, t, `it is not back: ${why}`, now)];
  }

  /**
   * What was published of a target, and when that was seen. `unknown`: nothing, or too old to be believed.
   * An ejection that was over by then is ended by a good word; a bad one puts the target last.
   */
  published(id: Id, verdict: Health, seen: Moment, now: Moment): Effect[] {
    const t = this.#targets.get(id);
    if (t == null) return [];
    t.verdict = verdict;
    return verdict === "up" && t.ejection != null && seen >= t.ejection.until
      ? [t.readmit(id, "it is published as well, and its time is over", now)]
      : [];
  }

  /** A check was good: what waits there is slow, and the target is not hung. */
  lives(id: Id, now: Moment): void {
    const t = this.#targets.get(id);
    if (t == null) return;
    t.showsLife(now);
    t.doubt = false;
  }

  /** Whether nothing of `table` can be hoped for: each is away, failed its last tries, or is silent. */
  hopeless(table: readonly Id[], now: Moment): boolean {
    return table.every((id) => {
      const t = this.#targets.get(id);
      if (t == null) return false;
      return !t.usable() || t.streak >= STREAK || t.silence(now) >= this.tuning.silent;
    });
  }

  /** Nobody waits any more for those that are silent: they count as failing until one answers. */
  despair(table: readonly Id[], now: Moment): void {
    for (const id of table) {
      const t = this.#targets.get(id);
      if (t != null && t.silence(now) >= this.tuning.silent) t.streak = Math.max(t.streak, STREAK);
    }
  }
}
