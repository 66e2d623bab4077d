/** What LinkFlow tells the worker: its config and what is known of the targets. The same shapes as `linkflow_model::worker`. */
import type { Health } from "./steer.ts";

/** The form of the config that this worker reads. */
export const VERSION = 1;

/** Everything the worker needs to know, as one JSON value. */
export interface Config {
  version: typeof VERSION;
  /** Grows with each change; of two configs the later one counts. */
  generation: number;
  /** The stack's name: it marks requests, so that none goes round in circles. */
  stack: string;
  /** Where people read how the product is. */
  status_page: string | undefined;
  limits: Limits;
  services: Service[];
}

/** Sizes in bytes, times in milliseconds. */
export interface Limits {
  /** How much of a request's body is held so that it can be sent again. */
  replay_bytes: number;
  /** How long a repeatable request waits for an answer before another target is asked too. */
  first_byte_ms: number;
  /** How long it waits when there is no other target. */
  first_byte_alone_ms: number;
  /** How long a request waits that must not be repeated. */
  first_byte_once_ms: number;
  /** Requests wait at a target and none is answered for this long: it is suspected to hang, and checked. */
  suspect_ms: number;
  /** The same: it is not used for now. */
  silent_ms: number;
  /** Whether a slow GET is tried on a second target before the first one failed. */
  hedge: boolean;
  /** The largest page that is kept for when nothing answers; 0 keeps none. */
  stale_bytes: number;
  /** How long such a page is kept. */
  stale_ms: number;
  /** A published picture of the targets that is older is not believed. */
  picture_ms: number;
  /** Whether answers name the provider they come from. */
  name_target: boolean;
}

/** How one service is reached. */
export interface Service {
  service: string;
  /** The public names that lead to it. `*` is any host; the longest path wins. */
  hosts: { host: string; path: string }[];
  /** The path that is asked to see whether a silent target lives. */
  health: string | undefined;
  /** Whether a POST or PATCH with an `Idempotency-Key` may be sent again. */
  idempotency_key: boolean;
  /** Its own ones, or those of all. */
  limits: Limits;
  /** Where it runs, the one to use first in front. */
  targets: { provider: string; address: string }[];
}

/** What is known of the targets, published now and then. */
export interface Picture {
  version: typeof VERSION;
  /** When it was seen, in milliseconds since 1970. */
  at: number;
  /** By service, then by provider. What is not named is unknown. */
  services: Record<string, Record<string, Health>>;
}

export const LIMITS: Limits = {
  replay_bytes: 65_536,
  first_byte_ms: 2_000,
  first_byte_alone_ms: 10_000,
  first_byte_once_ms: 60_000,
  suspect_ms: 600,
  silent_ms: 1_500,
  hedge: true,
  stale_bytes: 1_048_576,
  stale_ms: 86_400_000,
  picture_ms: 300_000,
  name_target: false,
};

type Fields = Record<string, unknown>;
/** Reads one value; `at` is its place. Throws what is wrong. */
type Reader<T> = (value: unknown, at: string) => T;

function value<T>(is: (value: never) => boolean, wanted: string): Reader<T> {
  return (value, at) => {
    if (!is(value as never)) throw new Error(`${at} is not ${wanted}`);
    return value as T;
  };
}

const fields = value<Fields>((v: unknown) => typeof v === "object" && v !== null && !Array.isArray(v), "an object");
const items = value<unknown[]>((v: unknown) => Array.isArray(v) && v.length > 0, "a list of something");
const text = value<string>((v: unknown) => typeof v === "string" && v !== "", "a text");
const path = value<string>((v: unknown) => typeof v === "string" && v.startsWith("/"), "a path");
const count = value<number>((v: number) => Number.isSafeInteger(v) && v >= 0, "a whole number");
const truth = value<boolean>((v: unknown) => typeof v === "boolean", "true or false");
const health = value<Health>((v: string) => ["up", "down", "unknown"].includes(v), "up, down or unknown");
const version = value<typeof VERSION>((v: unknown) => v === VERSION, String(VERSION));
const web = value<string>((v: string) => /^https?:\/\//.test(v) && URL.canParse(v), "a web address");
const base = value<string>(
  (v: string) => /^https?:\/\/[^/?#@\s]+$/.test(v) && URL.canParse(v),
  "a base address",
);

/** A list of objects that are not none. */
function rows<T>(of: (given: Fields, at: string) => T): Reader<T[]> {
  return (value, at) => items(value, at).map((item, n) => of(fields(item, `${at}[${n}]`), `${at}[${n}].`));
}

/** Limits, where those that are not given are as `usual`. */
function limits(value: unknown, at: string, all: Limits): Limits {
  const given = fields(value ?? {}, at);
  const read: Fields = {};
  for (const [key, usual] of Object.entries(all)) {
    const reader: Reader<unknown> = typeof usual === "boolean" ? truth : count;
    read[key] = reader(given[key] ?? usual, `${at}.${key}`);
  }
  return read as unknown as Limits;
}

const services = (all: Limits) => rows<Service>((given, at) => ({
  service: text(given.service, `${at}service`),
  hosts: rows((row, at) => ({ host: text(row.host, `${at}host`), path: path(row.path, `${at}path`) }))(
    given.hosts,
    `${at}hosts`,
  ),
  health: given.health == null ? undefined : path(given.health, `${at}health`),
  idempotency_key: truth(given.idempotency_key ?? false, `${at}idempotency_key`),
  limits: limits(given.limits, `${at}limits`, all),
  targets: rows((row, at) => ({ provider: text(row.provider, `${at}provider`), address: base(row.address, `${at}address`) }))(
    given.targets,
    `${at}targets`,
  ),
}));

/** Reads a config. Throws what is wrong with it, and where. What it does not know is left out: a later LinkFlow may say more. */
export function readConfig(value: unknown): Config {
  const given = fields(value, "config");
  const all = limits(given.limits, "limits", LIMITS);
  return {
    version: version(given.version, "version"),
    generation: count(given.generation, "generation"),
    stack: text(given.stack, "stack"),
    status_page: given.status_page == null ? undefined : web(given.status_page, "status_page"),
    limits: all,
    services: services(all)(given.services, "services"),
  };
}

/** Reads a picture, like {@link readConfig}. */
export function readPicture(value: unknown): Picture {
  const given = fields(value, "picture");
  for (const [service, known] of Object.entries(fields(given.services, "services"))) {
    for (const [provider, is] of Object.entries(fields(known, `services.${service}`))) {
      health(is, `services.${service}.${provider}`);
    }
  }
  version(given.version, "version");
  count(given.at, "at");
  return given as unknown as Picture;
}

/** The service that the host and the longest path prefix lead to. A host by name wins over `*`. */
export function find(config: Config, host: string, path: string): Service | undefined {
  let best: { service: Service; weight: number } | undefined;
  for (const service of config.services) {
    for (const route of service.hosts) {
      const prefix = route.path.replace(/\/+$/, "");
      const leads = path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === "/");
      if (!leads || (route.host !== host && route.host !== "*")) continue;
      const weight = prefix.length + (route.host === host ? 65_536 : 0);
      if (best == null || weight > best.weight) best = { service, weight };
    }
  }
  return best?.service;
}
