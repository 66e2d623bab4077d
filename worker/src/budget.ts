/** Tokens that bound how much extra load retries and hedges make. The same as the edge's `steer/budget.rs`. */
import { type Moment, since } from "./moment.ts";

/** Thousandths of a token: earned by requests and by time, spent whole. */
export class Budget {
  #held: number;
  readonly #most: number;
  readonly #perRequest: number;
  readonly #perSecond: number;
  #earned: Moment = 0;

  /** Full at first: `burst` tokens. `perRequest` and `perSecond` are thousandths. */
  constructor(burst: number, perRequest: number, perSecond: number) {
    this.#perRequest = perRequest;
    this.#perSecond = perSecond;
    this.#most = burst * 1_000;
    this.#held = this.#most;
  }

  /** A request began. */
  earn(now: Moment): void {
    const byTime = Math.floor((since(now, this.#earned) * this.#perSecond) / 1_000);
    this.#earned = Math.max(this.#earned, now);
    this.#held = Math.min(this.#held + byTime + this.#perRequest, this.#most);
  }

  /** Takes one token, if there is one. */
  spend(): boolean {
    const enough = this.#held >= 1_000;
    if (enough) this.#held -= 1_000;
    return enough;
  }
}
