/** Values that LinkFlow publishes into KV, kept by the isolate and read anew now and then, beside the requests. */
import { firstWithin } from "./clock.ts";
import { type Config, type Picture, readConfig, readPicture } from "./config.ts";
import type { Moment } from "./moment.ts";

/** What is bound to the worker. */
export interface Env {
  /** The config, as JSON or as text. */
  CONFIG?: unknown;
  /** The namespace with the keys `config` and `picture`. */
  LINKFLOW?: KVNamespace;
}

/** A value is read anew after this long. KV itself may be a minute late. */
const EVERY = 30_000;
/** How long the first request of an isolate waits for what is published. */
const PATIENCE = 500;

class Kept<T> {
  value: T | undefined;
  #asked: Moment | undefined;
  #loaded = false;
  readonly #key: string;
  readonly #read: (value: unknown) => T;

  constructor(key: string, read: (value: unknown) => T) {
    this.#key = key;
    this.#read = read;
  }

  async #load(kv: KVNamespace): Promise<void> {
    try {
      const value = await kv.get<unknown>(this.#key, { type: "json", cacheTtl: 30 });
      if (value !== null) this.value = this.#read(value);
    } catch (error) {
      // The last good value stays in use.
      console.error(`${this.#key} of KV cannot be read: ${String(error)}`);
    }
    this.#loaded = true;
  }

  /** Reads the value if it is time. A promise of one request must not be awaited by another: each loads for itself. */
  refresh(kv: KVNamespace, ctx: ExecutionContext, now: Moment): Promise<void> | undefined {
    const age = this.#asked == null ? EVERY : now - this.#asked;
    const due = age >= EVERY;
    const first = !this.#loaded && (due || age < PATIENCE);
    if (due) this.#asked = now;
    if (!due && !first) return undefined;
    const loading = this.#load(kv);
    ctx.waitUntil(loading);
    return first ? loading : undefined;
  }
}

const config = new Kept<Config>("config", readConfig);
const picture = new Kept<Picture>("picture", readPicture);
let bound: { from: unknown; config: Config | undefined } | undefined;

function boundConfig(from: unknown): Config | undefined {
  if (bound == null || bound.from !== from) {
    bound = { from, config: undefined };
    try {
      if (from != null) bound.config = readConfig(typeof from === "string" ? JSON.parse(from) : from);
    } catch (error) {
      console.error(`the binding CONFIG cannot be read: ${String(error)}`);
    }
  }
  return bound.config;
}

/** The config, the later of what is bound and what is published, and the published picture. */
export async function known(
  env: Env,
  ctx: ExecutionContext,
  now: Moment,
): Promise<{ config: Config | undefined; picture: Picture | undefined }> {
  const kv = env.LINKFLOW;
  if (kv != null) {
    const loading = [config.refresh(kv, ctx, now), picture.refresh(kv, ctx, now)].filter((l) => l != null);
    if (loading.length > 0) await firstWithin(PATIENCE, [Promise.all(loading)]);
  }
  const one = boundConfig(env.CONFIG);
  const other = config.value;
  const later = one != null && (other == null || one.generation >= other.generation) ? one : other;
  return { config: later, picture: picture.value };
}
