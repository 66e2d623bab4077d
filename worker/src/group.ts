/** What this isolate knows of the targets of one service. It lives as long as the isolate does. */
import type { Config, Limits, Picture, Service } from "./config.ts";
import type { Moment } from "./moment.ts";
import { type Effect, type Id, Steer } from "./steer.ts";

/** One target. */
export interface Lane {
  readonly id: Id;
  readonly provider: string;
  readonly address: string;
}

/** A wait that its request has not looked at for this long is nobody's: the client went, and the request with it. */
const FORGOTTEN = 1_000;
/** Between attempts at targets that nothing is hoped for. */
const HOPE_EVERY = 1_000;

/** A service's targets, and how they did. */
export class Group {
  readonly steer: Steer;
  lanes: Lane[] = [];
  /** Targets to be checked: whoever has a request under way does it. */
  due = new Set<Id>();
  #next = 1;
  #lastWait = 0;
  readonly #waiting = new Map<number, { id: Id; seen: Moment }>();
  #hopedAt = -HOPE_EVERY;

  constructor(limits: Limits) {
    this.steer = new Steer({
      suspect: limits.suspect_ms,
      silent: limits.silent_ms,
      first_byte: limits.first_byte_ms,
      hedge: limits.hedge,
      retry_burst: 100,
      forgiven: 60_000,
    });
  }

  /** Keeps the targets in step with the config. */
  follow(service: Service, now: Moment): void {
    const before = this.lanes;
    this.lanes = service.targets.map(
      ({ provider, address }) =>
        before.find((lane) => lane.provider === provider && lane.address === address) ?? {
          id: this.#next++,
          provider,
          address,
        },
    );
    this.steer.table(this.ids(), now);
  }

  ids(): Id[] {
    return this.lanes.map((lane) => lane.id);
  }

  lane(id: Id): Lane | undefined {
    return this.lanes.find((lane) => lane.id === id);
  }

  /** Takes notice of what follows from an event. */
  on(effects: Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === "check_now") this.due.add(effect.target);
      else console.log(`${this.lane(effect.target)?.provider} is ${effect.kind}: ${effect.why}`);
    }
  }

  /** Takes in what was published, `age` ago; a picture that is too old says nothing. */
  learn(service: string, picture: Picture | undefined, seen: Moment, now: Moment): void {
    for (const { id, provider } of this.lanes) {
      const health = picture?.services[service]?.[provider] ?? "unknown";
      this.on(this.steer.published(id, health, seen, now));
    }
  }

  beginWait(id: Id, now: Moment): number {
    const wait = ++this.#lastWait;
    this.#waiting.set(wait, { id, seen: now });
    this.steer.waits(id, wait, now);
    return wait;
  }

  endWait(wait: number | undefined): number | undefined {
    if (wait != null) this.#waiting.delete(wait);
    return wait;
  }

  /** Time passed for a request with these waits. */
  tick(waits: Iterable<number>, now: Moment): void {
    for (const wait of waits) {
      const held = this.#waiting.get(wait);
      if (held != null) held.seen = now;
    }
    for (const [wait, { id, seen }] of this.#waiting) {
      if (now - seen < FORGOTTEN) continue;
      this.#waiting.delete(wait);
      this.steer.left(id, wait);
    }
    this.on(this.steer.ticked(now));
  }

  /** Whether it is time to see if one of the targets that nothing is hoped for lives again. */
  mayHope(now: Moment): boolean {
    if (now - this.#hopedAt < HOPE_EVERY) return false;
    this.#hopedAt = now;
    return true;
  }
}

/** The groups of all services. */
export class Groups {
  readonly #groups = new Map<string, Group>();
  #config: Config | undefined;

  /** The group of `service`, as `config` has it. */
  of(config: Config, service: Service, now: Moment): Group {
    if (this.#config !== config) {
      const limits = (name: string, of = this.#config) =>
        JSON.stringify(of?.services.find((row) => row.service === name)?.limits);
      for (const name of [...this.#groups.keys()]) {
        if (limits(name) !== limits(name, config)) this.#groups.delete(name);
      }
      for (const row of config.services) {
        const group = this.#groups.get(row.service) ?? new Group(row.limits);
        group.follow(row, now);
        this.#groups.set(row.service, group);
      }
      this.#config = config;
    }
    return this.#groups.get(service.service)!;
  }
}
