/** The bundle at work: on bare workerd, and on Miniflare, which adds KV and the Cache API. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request as httpRequest } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { Limits } from "../src/config.ts";
import type { Upstream } from "./upstream.ts";

export const tools = createRequire(new URL("../../target/worker-tools/x.js", import.meta.url));
const BUNDLE = readFileSync(new URL("../dist/worker.js", import.meta.url), "utf8");
const DATE = "2026-07-01";
/** The host of the tests' service, and its stack. */
export const HOST = "shop.example";

/** What answers a test's request. */
export interface Answer {
  status: number;
  headers: Headers;
  rawHeaders: string[];
  body: Buffer;
  text: string;
}

export interface Asked {
  method?: string;
  headers?: Record<string, string | string[]>;
  body?: Buffer | string;
  /** Sends the body without its length. */
  chunked?: boolean;
  host?: string;
}

/** A config for these targets, most preferred first. */
export function configOf(targets: (Upstream | string)[], limits: Partial<Limits> = {}, more: object = {}) {
  return {
    version: 1,
    generation: 1,
    stack: "shop",
    status_page: "https://status.shop.example/?a=1&b=2",
    limits,
    services: [
      {
        service: "web",
        hosts: [{ host: HOST, path: "/" }],
        health: "/health",
        targets: targets.map((target, n) => ({
          provider: ["fly", "railway", "koyeb"][n],
          address: typeof target === "string" ? target : target.address,
        })),
        ...more,
      },
    ],
  };
}

/** A worker that listens. */
export class Stand {
  readonly port: number;
  readonly end: () => Promise<void>;
  private readonly agent = new Agent({ keepAlive: true, maxSockets: 256 });

  private constructor(port: number, end: () => Promise<void>) {
    this.port = port;
    this.end = async () => {
      this.agent.destroy();
      await end();
    };
  }

  /** On bare workerd, with the config as a binding. */
  static async workerd(config: object): Promise<Stand> {
    const folder = mkdtempSync(join(tmpdir(), "linkflow-worker-"));
    writeFileSync(join(folder, "worker.js"), BUNDLE);
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    writeFileSync(join(folder, "config.capnp"), CAPNP);
    const program = tools("workerd").default as string;
    const child = spawn(program, ["serve", join(folder, "config.capnp"), "--control-fd=3"], {
      stdio: ["ignore", "ignore", "inherit", "pipe"],
    });
    const port = await listening(child);
    return new Stand(port, async () => {
      const gone = new Promise((resolve) => child.once("close", resolve));
      child.kill("SIGKILL");
      await gone;
      rmSync(folder, { recursive: true });
    });
  }

  /** On Miniflare. `published` is what KV holds; `record` answers what goes where the DNS record leads. */
  static async miniflare(
    config: unknown,
    published: Record<string, unknown> = {},
    record?: (request: Request) => Response | Promise<Response>,
  ): Promise<Stand & { publish: (key: string, value: unknown) => Promise<void> }> {
    const { Miniflare, Log, LogLevel } = tools("miniflare");
    const miniflare = new Miniflare({
      modules: true,
      script: BUNDLE,
      compatibilityDate: DATE,
      bindings: config === undefined ? {} : { CONFIG: config },
      kvNamespaces: ["LINKFLOW"],
      log: new Log(LogLevel.NONE),
      handleRuntimeStdio: (out: Readable, err: Readable) => (out.resume(), err.resume()),
      ...(record === undefined ? {} : { outboundService: record }),
    });
    const url: URL = await miniflare.ready;
    const kv = await miniflare.getKVNamespace("LINKFLOW");
    const publish = (key: string, value: unknown) => kv.put(key, JSON.stringify(value));
    for (const [key, value] of Object.entries(published)) await publish(key, value);
    const stand = new Stand(Number(url.port), () => miniflare.dispose());
    return Object.assign(stand, { publish });
  }

  /** Asks for `path`. A connection that breaks off is an error. */
  ask(path: string, { method = "GET", headers = {}, body, chunked, host = HOST }: Asked = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const length = body === undefined || chunked ? {} : { "content-length": String(Buffer.byteLength(body)) };
      const options = { port: this.port, host: "127.0.0.1", path, method, agent: this.agent };
      const request = httpRequest({ ...options, headers: { host, ...headers, ...length } }, (reply) => {
        const chunks: Buffer[] = [];
        reply.on("data", (chunk: Buffer) => chunks.push(chunk));
        reply.on("error", reject);
        reply.on("end", () => {
          const all = Buffer.concat(chunks);
          const pairs = Object.entries(reply.headersDistinct).flatMap(([name, values]) =>
            values!.map((value): [string, string] => [name, value]),
          );
          resolve({
            status: reply.statusCode!,
            headers: new Headers(pairs),
            rawHeaders: reply.rawHeaders,
            body: all,
            text: all.toString(),
          });
        });
      });
      request.on("error", reject);
      request.end(body);
    });
  }
}

const CAPNP = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "internet", network = (allow = ["private", "public"])),
  ],
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "worker") ],
);
const worker :Workerd.Worker = (
  modules = [ (name = "worker.js", esModule = embed "worker.js") ],
  compatibilityDate = "${DATE}",
  bindings = [ (name = "CONFIG", json = embed "config.json") ],
  globalOutbound = "internet",
);
`;

/** The port that workerd tells on its control pipe. */
function listening(child: ChildProcess): Promise<number> {
  const control = child.stdio[3] as Readable;
  return new Promise((resolve, reject) => {
    let told = "";
    control.on("data", (chunk: Buffer) => {
      told += chunk.toString();
      for (const line of told.split("\n").slice(0, -1)) {
        const { event, port } = JSON.parse(line) as { event: string; port: number };
        if (event === "listen") resolve(port);
      }
    });
    child.once("exit", (code) => {
      control.destroy();
      reject(new Error(`workerd ended with ${code}`));
    });
  });
}

/** What a load met. */
export interface Met {
  gets: number;
  failedGets: string[];
  posts: number;
  failedPosts: number;
  /** Posts that were carried out more than once, over all targets. */
  doubledPosts: number;
  /** Which target answered each good GET, in order. */
  answeredBy: string[];
}

/** Asks `rate` times a second for `ms` milliseconds, one in ten a POST; `events` happen at their moments. */
export async function load(
  stand: Stand,
  upstreams: Upstream[],
  rate: number,
  ms: number,
  events: [number, () => unknown][],
): Promise<Met> {
  const met: Met = { gets: 0, failedGets: [], posts: 0, failedPosts: 0, doubledPosts: 0, answeredBy: [] };
  const asked: Promise<void>[] = [];
  const started = performance.now();
  const due = [...events];
  for (let n = 0; (n * 1_000) / rate < ms; n++) {
    const wait = (n * 1_000) / rate - (performance.now() - started);
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    while (due.length > 0 && performance.now() - started >= due[0]![0]) await due.shift()![1]();
    asked.push(n % 10 === 9 ? post(n) : get(n));
  }
  await Promise.all(asked);
  const done = upstreams.flatMap((up) => up.seen.filter(({ method }) => method === "POST").map(({ url }) => url));
  met.doubledPosts = done.length - new Set(done).size;
  return met;

  async function get(n: number): Promise<void> {
    met.gets += 1;
    try {
      const { status, headers } = await stand.ask(`/page/${n}`);
      if (status === 200) met.answeredBy.push(headers.get("x-up")!);
      else met.failedGets.push(`${n}: ${status}`);
    } catch (error) {
      met.failedGets.push(`${n}: ${String(error)}`);
    }
  }

  async function post(n: number): Promise<void> {
    met.posts += 1;
    const good = await stand.ask(`/post/${n}`, { method: "POST", body: "x" }).then(
      ({ status }) => status === 200,
      () => false,
    );
    if (!good) met.failedPosts += 1;
  }
}
