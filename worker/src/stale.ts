/** The last good pages, for when nothing answers. They are kept in the data centre that saw them, by the Cache API. */
import type { Limits } from "./config.ts";
import { type Moment, since } from "./moment.ts";

const NAME = "linkflow-stale";
/** When the page was kept, in milliseconds since 1970. */
const KEPT = "x-linkflow-kept";
/** How old the page is, in seconds: it marks a page that is not fresh. */
export const STALE = "x-linkflow-stale";
/** A page is kept anew at most so often by one isolate, so that a page in demand is not written all the time. */
const KEEP_EVERY = 60_000;
/** How many pages an isolate remembers having kept. */
const REMEMBERED = 1_000;

const keptAt = new Map<string, Moment>();

/** Whether an old page is any use for the request: no page of one visitor is shown to another. */
export function mayBeStale(request: Request, limits: Limits): boolean {
  const reads = request.method === "GET" || request.method === "HEAD";
  return reads && limits.stale_bytes > 0 && !request.headers.has("authorization") && !request.headers.has("upgrade");
}

/** Whether the answer may be kept, and shown to anybody. */
export function mayBeKept(request: Request, reply: Response, limits: Limits): boolean {
  if (request.method !== "GET" || reply.status !== 200 || !mayBeStale(request, limits)) return false;
  const { headers } = reply;
  const control = (headers.get("cache-control") ?? "").toLowerCase();
  if (headers.has("set-cookie") || /\b(private|no-store)\b/.test(control)) return false;
  // What differs by a header other than the encoding would be shown to those it was not made for.
  const vary = (headers.get("vary") ?? "").toLowerCase().split(",");
  if (vary.some((name) => !["", "accept-encoding"].includes(name.trim()))) return false;
  if (request.headers.has("cookie") && !/\bpublic\b/.test(control)) return false;
  if (request.headers.has("range") || (headers.get("content-type") ?? "").startsWith("text/event-stream")) return false;
  return Number(headers.get("content-length") ?? 0) <= limits.stale_bytes;
}

/** Whether it is time to keep the page of `url` anew. */
export function isDue(url: string, now: Moment): boolean {
  const last = keptAt.get(url);
  if (last != null && now - last < KEEP_EVERY) return false;
  if (keptAt.size >= REMEMBERED) keptAt.delete(keptAt.keys().next().value!);
  keptAt.set(url, now);
  return true;
}

/** Keeps `page`, unless it turns out to be too large. */
export async function keep(url: string, page: Response, limits: Limits): Promise<void> {
  let size = 0;
  const bounded = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      size += chunk.byteLength;
      if (size > limits.stale_bytes) throw new Error("too large");
      controller.enqueue(chunk);
    },
  });
  const headers = new Headers(page.headers);
  for (const name of ["expires", "age", "vary", "alt-svc"]) headers.delete(name);
  headers.set("cache-control", `public, max-age=${Math.floor(limits.stale_ms / 1_000)}`);
  headers.set(KEPT, String(Date.now()));
  try {
    const cache = await caches.open(NAME);
    await cache.put(url, new Response(page.body?.pipeThrough(bounded), { headers }));
  } catch {
    // Too large, or the cache is away: then there is no old page.
    keptAt.delete(url);
  }
}

/** The page that was kept for `request`, marked as old. */
export async function recall(request: Request): Promise<Response | undefined> {
  try {
    const cache = await caches.open(NAME);
    const held = await cache.match(request.url);
    if (held == null) return undefined;
    const page = new Response(request.method === "HEAD" ? null : held.body, held);
    const age = since(Date.now(), Number(page.headers.get(KEPT) ?? Date.now()));
    page.headers.delete(KEPT);
    page.headers.delete("age");
    page.headers.set("cache-control", "no-store");
    page.headers.set(STALE, String(Math.floor(age / 1_000)));
    return page;
  } catch {
    return undefined;
  }
}
