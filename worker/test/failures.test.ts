/** Targets that die, hang, are sick and slow, under load. Each test tells what the load met. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { type Socket, connect } from "node:net";
import { type TestContext, test } from "node:test";
import { type Met, Stand, configOf, load } from "./stand.ts";
import { Upstream } from "./upstream.ts";

const RATE = 150;
const LONG = 4_000;

async function targets(t: TestContext): Promise<[Upstream, Upstream]> {
  const [a, b] = [await Upstream.start("a"), await Upstream.start("b")];
  t.after(() => Promise.all([a.stop(), b.stop()]));
  return [a, b];
}

function tell(t: TestContext, met: Met): void {
  const by = (name: string) => met.answeredBy.filter((up) => up === name).length;
  t.diagnostic(
    `${met.failedGets.length} of ${met.gets} GETs failed, ${met.failedPosts} of ${met.posts} POSTs failed, ` +
      `${met.doubledPosts} doubled; a answered ${by("a")}, b ${by("b")}`,
  );
}

/** No GET fails and no POST is carried out twice, whatever happens to the first target. */
async function survives(t: TestContext, happens: (a: Upstream) => unknown): Promise<Met> {
  const [a, b] = await targets(t);
  const stand = await Stand.workerd(configOf([a, b], { first_byte_once_ms: 3_000 }));
  t.after(stand.end);
  const met = await load(stand, [a, b], RATE, LONG, [[1_000, () => happens(a)]]);
  tell(t, met);
  assert.deepEqual(met.failedGets, []);
  assert.equal(met.doubledPosts, 0);
  assert.ok(met.answeredBy.includes("a") && met.answeredBy.at(-1) === "b", "visitors went from a to b");
  return met;
}

test("a killed target fails no GET, and no POST is carried out twice", async (t) => {
  const met = await survives(t, (a) => a.kill());
  assert.ok(met.failedPosts <= 3, `${met.failedPosts} POSTs were lost until the target was left`);
});

test("a hung target fails no GET", async (t) => {
  await survives(t, (a) => {
    a.manner = { never: true };
    a.paths.set("/health", { never: true });
  });
});

test("a sick target fails no GET, and is left although its health path is well", async (t) => {
  const met = await survives(t, (a) => {
    a.paths.set("/health", { status: 200 });
    a.manner = { status: 503 };
  });
  assert.ok(met.failedPosts <= 3, `${met.failedPosts} POSTs were answered 503`);
});

test("a slow target fails no GET, and is left for one that is faster", async (t) => {
  await survives(t, (a) => {
    a.paths.set("/health", { status: 200 });
    a.manner = { after: 800 };
  });
});

test("a target that takes no connection fails no GET", async (t) => {
  const b = await Upstream.start("b");
  const hole = await Hole.open();
  const stand = await Stand.workerd(configOf([hole.address, b], { first_byte_once_ms: 3_000 }));
  t.after(() => Promise.all([stand.end(), b.stop(), hole.close()]));
  const met = await load(stand, [b], RATE, LONG, []);
  tell(t, met);
  assert.deepEqual(met.failedGets, []);
  assert.equal(met.doubledPosts, 0);
});

test("a target that comes back is used again, and no request fails on the way", async (t) => {
  const [a, b] = await targets(t);
  const stand = await Stand.workerd(configOf([a, b]));
  t.after(stand.end);
  const met = await load(stand, [a, b], RATE, 9_000, [
    [500, () => a.kill()],
    [3_500, () => a.listen()],
  ]);
  tell(t, met);
  assert.deepEqual(met.failedGets, []);
  assert.equal(met.doubledPosts, 0);
  assert.equal(met.answeredBy.at(-1), "a");
});

test("when it is published that a target is down, no request fails at all", async (t) => {
  const [a, b] = await targets(t);
  await a.kill();
  const picture = { version: 1, at: Date.now(), services: { web: { fly: "down", railway: "up" } } };
  const stand = await Stand.miniflare(configOf([a, b]), { picture });
  t.after(stand.end);
  const met = await load(stand, [a, b], RATE, 2_000, []);
  tell(t, met);
  assert.deepEqual([met.failedGets, met.failedPosts, met.doubledPosts], [[], 0, 0]);
});

test("a picture that is too old is not believed", async (t) => {
  const [a, b] = await targets(t);
  const services = { web: { fly: "down", railway: "up" } };
  const answeredBy = async (at: number) => {
    const stand = await Stand.miniflare(configOf([a, b]), { picture: { version: 1, at, services } });
    const { headers } = await stand.ask("/");
    await stand.end();
    return headers.get("x-up");
  };
  assert.equal(await answeredBy(Date.now() - 200_000), "b");
  assert.equal(await answeredBy(Date.now() - 400_000), "a");
  assert.equal(await answeredBy(Date.now() + 3_600_000), "a", "nor one from the future");
});

test("a slow page alone does not make its target suspect for long", async (t) => {
  const [a, b] = await targets(t);
  a.paths.set("/report", { after: 1_800 });
  b.paths.set("/report", { after: 2_500 });
  const stand = await Stand.workerd(configOf([a, b]));
  t.after(stand.end);
  assert.equal((await stand.ask("/report")).headers.get("x-up"), "a");
  assert.equal((await stand.ask("/")).headers.get("x-up"), "a");
});

/** An address that accepts no connection: its process stands still and its queue is full. */
class Hole {
  readonly address: string;
  readonly close: () => Promise<void>;

  private constructor(address: string, close: () => Promise<void>) {
    this.address = address;
    this.close = close;
  }

  static async open(): Promise<Hole> {
    const code = `const s = require("net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 },
      () => console.log(s.address().port))`;
    const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
    const port = Number(await new Promise((resolve) => child.stdout.once("data", resolve)));
    child.kill("SIGSTOP");
    const waiting: Socket[] = [];
    for (let n = 0; n < 4; n++) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {});
      waiting.push(socket);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    return new Hole(`http://127.0.0.1:${port}`, async () => {
      for (const socket of waiting) socket.destroy();
      const gone = new Promise((resolve) => child.once("close", resolve));
      child.kill("SIGKILL");
      await gone;
    });
  }
}
