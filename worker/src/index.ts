/** LinkFlow's worker: it stands in front of the edge and leads each request to the target that works. */
import { Body } from "./body.ts";
import { momentOf, now } from "./clock.ts";
import { type Config, type Picture, type Service, find } from "./config.ts";
import { Errand, type Order } from "./errand.ts";
import { type Group, Groups } from "./group.ts";
import { answer, hasPassed, requestHeaders } from "./head.ts";
import { type Env, known } from "./kept.ts";
import { say } from "./page.ts";
import { isDue, keep, mayBeKept, mayBeStale, recall } from "./stale.ts";
import type { Repeat } from "./trip.ts";

const groups = new Groups();

/** How far the clocks of LinkFlow and of Cloudflare may differ. */
const SKEW = 60_000;

export default {
  async fetch(request, env, ctx): Promise<Response> {
    // Whatever goes wrong here, the request goes where the DNS record leads: to the edge.
    ctx.passThroughOnException();
    const { config, picture } = await known(env, ctx, now());
    if (config == null) return fetch(request);
    if (hasPassed(request.headers, config.stack)) {
      return say(request, 508, config.stack, "a target leads back to this worker", config.status_page);
    }
    const url = new URL(request.url);
    const service = find(config, url.hostname, url.pathname);
    if (service == null) return fetch(request);
    const group = groups.of(config, service, now());
    learn(group, service, config, picture);
    return serve(request, url, config, service, group, ctx);
  },
} satisfies ExportedHandler<Env>;

/** Takes in what is published of the targets, as long as it is new enough to be believed. */
function learn(group: Group, service: Service, config: Config, picture: Picture | undefined): void {
  const age = picture == null ? undefined : Date.now() - picture.at;
  const believed = age != null && age >= -SKEW && age <= config.limits.picture_ms;
  group.learn(service.service, believed ? picture : undefined, momentOf(picture?.at ?? 0), now());
}

async function serve(
  request: Request,
  url: URL,
  config: Config,
  service: Service,
  group: Group,
  ctx: ExecutionContext,
): Promise<Response> {
  const { limits } = service;
  const stale = mayBeStale(request, limits) ? () => recall(request) : undefined;
  if (stale != null && group.steer.hopeless(group.ids(), now())) {
    const page = await stale();
    if (page != null) {
      const hope = () => attempt(new Request(request), url, config, service, group, ctx, undefined);
      if (group.mayHope(now())) ctx.waitUntil(hope().then(dropped));
      return page;
    }
  }
  const outcome = await attempt(request, url, config, service, group, ctx, stale);
  if (outcome.kind === "stale") return outcome.page;
  if (outcome.kind === "failed") {
    const page = outcome.status === 503 ? await stale?.() : undefined;
    return page ?? say(request, outcome.status, service.service, outcome.why, config.status_page);
  }
  const { lane, reply } = outcome;
  const response = answer(reply, lane.address, url, limits.name_target ? lane.provider : undefined);
  if (mayBeKept(request, reply, limits) && isDue(request.url, now())) {
    ctx.waitUntil(keep(request.url, response.clone(), limits));
  }
  return response;
}

async function attempt(
  request: Request,
  url: URL,
  config: Config,
  service: Service,
  group: Group,
  ctx: ExecutionContext,
  stale: Order["stale"],
) {
  const { limits } = service;
  const body = await Body.of(request, limits.replay_bytes);
  const repeat = repeatOf(request, body, service);
  return new Errand({
    group,
    method: request.method,
    path: request.url.slice(request.url.indexOf("/", request.url.indexOf("://") + 3)),
    headers: requestHeaders(request, url, config.stack),
    body,
    repeat,
    limit: repeat === "once" ? limits.first_byte_once_ms : limits.first_byte_alone_ms,
    health: service.health,
    stale,
    beside: (work) => ctx.waitUntil(work),
  }).run();
}

/** How often a request may be carried out. */
function repeatOf(request: Request, body: Body, service: Service): Repeat {
  const alone = body.isEmpty && !request.headers.has("upgrade");
  switch (request.method) {
    case "GET":
    case "HEAD":
    case "OPTIONS":
      return alone ? "safe" : "idempotent";
    case "PUT":
    case "DELETE":
      return "idempotent";
    default:
      return service.idempotency_key && request.headers.has("idempotency-key") ? "idempotent" : "once";
  }
}

function dropped(outcome: Awaited<ReturnType<Errand["run"]>>): void {
  if (outcome.kind === "answered") outcome.reply.body?.cancel().catch(() => {});
}
