/** Single requests: what is kept, what is sent again, and what the worker answers itself. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { type Answer, Stand, configOf, tools } from "./stand.ts";
import { type Seen, Upstream } from "./upstream.ts";

async function targets(t: TestContext): Promise<[Upstream, Upstream]> {
  const [a, b] = [await Upstream.start("a"), await Upstream.start("b")];
  t.after(() => Promise.all([a.stop(), b.stop()]));
  return [a, b];
}

async function bare(t: TestContext, config: object): Promise<Stand> {
  const stand = await Stand.workerd(config);
  t.after(stand.end);
  return stand;
}

function header(seen: Seen, name: string): string[] {
  return seen.headers.filter((_, n) => n % 2 === 1 && seen.headers[n - 1]!.toLowerCase() === name);
}

test("path, query, method, headers and body reach the target as they were", async (t) => {
  const [a] = await targets(t);
  const stand = await bare(t, configOf([a]));
  const small = randomBytes(2_000);
  const large = randomBytes(300_000);
  const rows: [string, string, Buffer | undefined, boolean][] = [
    ["GET", "/a//b/%C3%BC;c=1?x=%20+&&y=1?&", undefined, false],
    ["HEAD", "/?", undefined, false],
    ["OPTIONS", "/o", undefined, false],
    ["DELETE", "/d", undefined, false],
    ["POST", "/empty", Buffer.alloc(0), false],
    ["POST", "/small?n=1", small, false],
    ["PUT", "/large", large, false],
    ["PATCH", "/chunked", large, true],
  ];
  for (const [method, path, body, chunked] of rows) {
    const headers = { "x-odd": 'a "b";c=%20', cookie: "a=1; b=2", authorization: "Bearer x", "content-type": "x/y" };
    const { status } = await stand.ask(path, { method, headers, chunked, ...(body && { body }) });
    assert.equal(status, 200, `${method} ${path}`);
    const seen = a.seen.at(-1)!;
    assert.deepEqual([seen.method, seen.url], [method, path]);
    for (const [name, value] of Object.entries(headers)) assert.deepEqual(header(seen, name), [value]);
    assert.equal(seen.hash, createHash("sha256").update(body ?? "").digest("hex"), `${method} ${path}: body`);
    if (body !== undefined && !chunked) assert.deepEqual(header(seen, "content-length"), [String(body.length)]);
    assert.deepEqual(header(seen, "x-forwarded-host"), ["shop.example"]);
    assert.deepEqual(header(seen, "x-forwarded-proto"), ["http"]);
    assert.match(header(seen, "x-request-id")[0]!, /^[0-9a-f]{32}$/);
  }
});

test("the client's address is added to those the request went through, and its id is kept", async (t) => {
  const [a] = await targets(t);
  const stand = await bare(t, configOf([a]));
  const headers = { "cf-connecting-ip": "203.0.113.7", "x-forwarded-for": "10.0.0.1", "x-request-id": "abc" };
  await stand.ask("/", { headers });
  assert.equal(header(a.seen[0]!, "x-forwarded-for").join(", "), "10.0.0.1, 203.0.113.7");
  assert.deepEqual(header(a.seen[0]!, "x-request-id"), ["abc"]);
});

test("an answer's status, headers and body come back as they were", async (t) => {
  const [a] = await targets(t);
  const stand = await bare(t, configOf([a]));
  const noise = randomBytes(200_000);
  const gzip = gzipSync("hello ".repeat(1_000), { level: 1 });
  const brotli = brotliCompressSync("hello ".repeat(1_000));
  const rows: [number, [string, string][], Buffer][] = [
    [200, [["set-cookie", "a=1"], ["set-cookie", "b=2; Path=/"], ["etag", '"x"']], noise],
    [200, [["content-encoding", "gzip"]], gzip],
    [200, [["content-encoding", "br"]], brotli],
    [404, [["x-odd", "y"]], Buffer.from("no")],
    [418, [], Buffer.from("tea")],
    [500, [["content-type", "text/html"]], Buffer.from("<p>no")],
  ];
  for (const [status, headers, body] of rows) {
    a.manner = { status, headers, body };
    const answer = await stand.ask("/x", { headers: { "accept-encoding": "gzip, br" } });
    assert.equal(answer.status, status);
    for (const name of new Set(headers.map(([name]) => name))) {
      const values = answer.rawHeaders.filter((_, n, all) => n % 2 === 1 && all[n - 1]!.toLowerCase() === name);
      assert.deepEqual(values, headers.filter(([other]) => other === name).map(([, value]) => value));
    }
    assert.ok(answer.body.equals(body), `${status} ${JSON.stringify(headers)}: body`);
  }
});

test("a redirect is passed on, and one to the target's own name leads to the name that was asked for", async (t) => {
  const [a] = await targets(t);
  const stand = await bare(t, configOf([a]));
  const rows = [
    [`${a.address}/login?a=1`, "http://shop.example/login?a=1"],
    [`${a.address}.evil/`, `${a.address}.evil/`],
    ["https://elsewhere.example/x", "https://elsewhere.example/x"],
    ["/login", "/login"],
  ] as const;
  for (const [to, expected] of rows) {
    a.manner = { status: 302, headers: [["location", to]] };
    const { status, headers } = await stand.ask("/");
    assert.deepEqual([status, headers.get("location")], [302, expected]);
  }
  assert.equal(a.seen.length, rows.length, "none was followed");
});

test("a WebSocket goes through the worker, to the target that works", async (t) => {
  const { WebSocketServer } = tools("ws");
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket: { on: Function; send: Function }) => {
    socket.on("message", (data: Buffer, binary: boolean) => socket.send(binary ? data : `re: ${data}`, { binary }));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const dead = await Upstream.start("dead");
  await dead.kill();
  const live = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const config = configOf([dead, live]);
  config.services[0]!.hosts.push({ host: "*", path: "/" });
  const stand = await bare(t, config);
  t.after(() => (sockets.close(), server.close()));
  const socket = new WebSocket(`ws://127.0.0.1:${stand.port}/chat`);
  const got = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      socket.onmessage = ({ data }) => resolve(data);
      socket.onerror = () => reject(new Error("the socket failed"));
    });
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("the socket does not open"));
  });
  socket.send("hello");
  assert.equal(await got(), "re: hello");
  socket.binaryType = "arraybuffer";
  socket.send(new Uint8Array([0, 255, 7]));
  assert.deepEqual(new Uint8Array((await got()) as ArrayBuffer), new Uint8Array([0, 255, 7]));
  const closed = new Promise((resolve) => (socket.onclose = resolve));
  socket.close();
  await closed;
});

test("what Cloudflare says of an origin decides what is sent again", async (t) => {
  // Cloudflare answers these statuses in place of an origin that it cannot speak to. workerd on its own only throws,
  // so here the target answers them.
  const rows: [number, string, string][] = [];
  for (const status of [520, 521, 522, 523, 524, 525, 526]) {
    const never = [521, 523, 525, 526].includes(status);
    rows.push([status, "GET", "200 b"], [status, "POST", never ? "200 b" : "502"]);
    rows.push([status, "PUT", "200 b"], [status, "KEYED", "200 b"]);
    rows.push([status, "LARGE", never ? "503" : "502"]);
  }
  for (const [status, what, expected] of rows) {
    const [a, b] = [await Upstream.start("a"), await Upstream.start("b")];
    const stand = await Stand.workerd(configOf([a, b], {}, { idempotency_key: true }));
    a.manner = { status };
    const method = what === "KEYED" || what === "LARGE" ? "POST" : what;
    const body = what === "GET" ? undefined : what === "LARGE" ? Buffer.alloc(70_000) : "x";
    const headers = what === "KEYED" ? { "idempotency-key": "1" } : {};
    const answer = await stand.ask("/", { method, headers, ...(body !== undefined && { body }) });
    const by = answer.headers.get("x-up");
    await Promise.all([stand.end(), a.stop(), b.stop()]);
    assert.equal(by === null ? String(answer.status) : `${answer.status} ${by}`, expected, `${status} ${what}`);
    assert.equal(b.pages().length, by === "b" ? 1 : 0, `${status} ${what}: the second target`);
  }
});

test("a POST with a key is not sent again where its route does not say so", async (t) => {
  const [a, b] = await targets(t);
  const stand = await bare(t, configOf([a, b]));
  a.manner = { status: 520 };
  const { status } = await stand.ask("/", { method: "POST", headers: { "idempotency-key": "1" }, body: "x" });
  assert.deepEqual([status, b.pages().length], [502, 0]);
});

test("a service with time limits of its own is waited for as long as it says", async (t) => {
  const [a] = await targets(t);
  a.manner = { after: 700 };
  const strict = { first_byte_once_ms: 300, first_byte_alone_ms: 300 };
  const own = { limits: { first_byte_once_ms: 5_000, first_byte_alone_ms: 5_000 } };
  for (const [more, expected] of [[{}, [504, 503]], [own, [200, 200]]] as const) {
    const stand = await bare(t, configOf([a], strict, more));
    const post = await stand.ask("/", { method: "POST", body: "x" });
    const get = await stand.ask("/");
    assert.deepEqual([post.status, get.status], expected);
  }
});

test("a target that leads back to the worker is refused", async (t) => {
  const place = createServer();
  await new Promise((resolve) => place.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = place.address() as AddressInfo;
  const config = configOf([`http://127.0.0.1:${port}`], {}, { hosts: [{ host: "*", path: "/" }] });
  const stand = await bare(t, config);
  place.on("request", async (request, response) => {
    const headers = { "x-linkflow-passed": String(request.headers["x-linkflow-passed"]) };
    const { status, text } = await stand.ask(request.url!, { headers });
    response.writeHead(status).end(text);
  });
  const { status, text } = await stand.ask("/");
  await new Promise((resolve) => (place.close(resolve), place.closeAllConnections()));
  assert.equal(status, 508);
  assert.match(text, /leads back to this worker/);
});

test("hosts and paths lead to services: the longest path wins, and a name over any name", async (t) => {
  const [a, b] = await targets(t);
  const config = configOf([a]);
  const target = (up: Upstream) => [{ provider: "fly", address: up.address }];
  config.services.push({
    ...config.services[0]!,
    service: "api",
    hosts: [{ host: "shop.example", path: "/api" }, { host: "*", path: "/" }],
    targets: target(b),
  });
  const stand = await bare(t, config);
  const rows = [
    ["/", "shop.example", "a"],
    ["/api", "shop.example", "b"],
    ["/api/v1", "Shop.Example:8080", "b"],
    ["/apiary", "shop.example", "a"],
    ["/", "other.example", "b"],
  ] as const;
  for (const [path, host, expected] of rows) {
    const { headers } = await stand.ask(path, { host });
    assert.equal(headers.get("x-up"), expected, `${host}${path}`);
  }
});

test("with everything dead, a page that was kept is shown as old, and what was not gets a friendly 503", async (t) => {
  const [a, b] = await targets(t);
  const stand = await Stand.miniflare(configOf([a, b], { stale_bytes: 10_000 }));
  t.after(stand.end);
  const page = (path: string, manner: Upstream["manner"]) => a.paths.set(path, manner);
  page("/kept", { headers: [["cache-control", "max-age=5"]], body: "kept" });
  page("/cookie", { headers: [["set-cookie", "a=1"]], body: "mine" });
  page("/private", { headers: [["cache-control", "private"]], body: "mine" });
  page("/vary", { headers: [["vary", "Cookie"]], body: "mine" });
  page("/large", { body: Buffer.alloc(10_001) });
  page("/missing", { status: 404 });
  const paths = ["/kept", "/any?q=1", "/any?q=2", "/cookie", "/private", "/vary", "/large", "/missing"];
  for (const path of paths) await stand.ask(path);
  await stand.ask("/with-key", { headers: { authorization: "Bearer x" } });
  await stand.ask("/with-cookie", { headers: { cookie: "session=1" } });
  await settled();
  await Promise.all([a.kill(), b.kill()]);
  const old = await stand.ask("/kept");
  assert.deepEqual([old.status, old.text, old.headers.get("cache-control")], [200, "kept", "no-store"]);
  assert.match(old.headers.get("x-linkflow-stale")!, /^\d+$/);
  const head = await stand.ask("/kept", { method: "HEAD" });
  assert.deepEqual([head.status, head.text], [200, ""]);
  assert.equal((await stand.ask("/any?q=1")).text, "a /any?q=1\n", "the query tells pages apart");
  for (const path of ["/cookie", "/private", "/vary", "/large", "/missing", "/with-key", "/with-cookie", "/new"]) {
    assert.equal((await stand.ask(path)).status, 503, path);
  }
  assert.equal((await stand.ask("/kept", { headers: { authorization: "Bearer x" } })).status, 503);
  assert.equal((await stand.ask("/kept", { method: "POST", body: "x" })).status, 502);
  const html = await stand.ask("/new", { headers: { accept: "text/html,*/*" } });
  assert.deepEqual([html.status, html.headers.get("retry-after")], [503, "5"]);
  assert.match(html.text, /<a href="https:\/\/status\.shop\.example\/\?a=1&#38;b=2">/);
  const json = JSON.parse((await stand.ask("/new", { headers: { accept: "application/json" } })).text);
  assert.deepEqual([json.status, json.service, json.status_page], [503, "web", "https://status.shop.example/?a=1&b=2"]);
});

test("while all targets are dead or hang, old pages come at once, and fresh ones when one is back", async (t) => {
  const [a, b] = await targets(t);
  const stand = await Stand.miniflare(configOf([a, b]));
  t.after(stand.end);
  await stand.ask("/page");
  await settled();
  for (const up of [a, b]) {
    up.manner = { never: true };
    up.paths.set("/health", { never: true });
  }
  const first = await stand.ask("/page");
  assert.ok(first.headers.has("x-linkflow-stale"));
  const before = a.seen.length + b.seen.length;
  for (let n = 0; n < 20; n++) assert.ok((await stand.ask("/page")).headers.has("x-linkflow-stale"));
  // One attempt beside the visitors, with its second try and their checks, and none for each visitor.
  const attempts = a.seen.length + b.seen.length - before;
  assert.ok(attempts <= 4, `${attempts} requests reached targets`);
  for (const up of [a, b]) {
    up.manner = {};
    up.paths.clear();
  }
  const fresh = await until(
    () => stand.ask("/page"),
    ({ headers }) => !headers.has("x-linkflow-stale"),
  );
  assert.equal(fresh.status, 200);
});

test("without a usable config, and for hosts of which none is known, requests go where the DNS record leads", async (t) => {
  const [a] = await targets(t);
  const record = () => new Response("the edge");
  const text = async (config: unknown, published: Record<string, unknown>, host?: string) => {
    const stand = await Stand.miniflare(config, published, record);
    const answer = await stand.ask("/x", host === undefined ? {} : { host });
    await stand.end();
    return answer.text;
  };
  assert.equal(await text(undefined, {}), "the edge");
  assert.equal(await text({ version: 2 }, {}), "the edge");
  assert.equal(await text("no JSON", {}), "the edge");
  assert.equal(await text(configOf([a]), {}, "other.example"), "the edge");
});

test("of the config that is bound and the one that is published the later one counts", async (t) => {
  const [a, b] = await targets(t);
  const with_ = (up: Upstream, generation: number) => ({ ...configOf([up]), generation });
  const rows: [object | undefined, object | undefined, string][] = [
    [with_(a, 1), undefined, "a"],
    [undefined, with_(b, 1), "b"],
    [with_(a, 2), with_(b, 1), "a"],
    [with_(a, 1), with_(b, 2), "b"],
    [with_(a, 1), { version: 1, generation: 9 }, "a"],
  ];
  for (const [bound, published, expected] of rows) {
    const stand = await Stand.miniflare(bound, published === undefined ? {} : { config: published });
    const { headers } = await stand.ask("/");
    await stand.end();
    assert.equal(headers.get("x-up"), expected);
  }
});

test("what is published is read when an isolate begins and now and then, not with each request", async (t) => {
  const [a, b] = await targets(t);
  const stand = await Stand.miniflare(configOf([a, b]));
  t.after(stand.end);
  const by = async () => (await stand.ask("/")).headers.get("x-up");
  assert.equal(await by(), "a");
  await stand.publish("picture", { version: 1, at: Date.now(), services: { web: { fly: "down" } } });
  for (let n = 0; n < 10; n++) assert.equal(await by(), "a");
});

/** What goes on beside an answer, a page that is kept, has had its time. */
function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 500));
}

async function until(ask: () => Promise<Answer>, is: (answer: Answer) => boolean): Promise<Answer> {
  for (let n = 0; n < 100; n++) {
    const answer = await ask();
    if (is(answer)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("it never came");
}
