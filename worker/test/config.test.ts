/** What LinkFlow writes is read, and what is wrong is refused with its place. The rows are the same as in `linkflow_model::worker`. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { LIMITS, find, readConfig, readPicture } from "../src/config.ts";

const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");
const example = () => JSON.parse(read("example.json"));

test("the example of a config, which LinkFlow made, is read whole", () => {
  const { limits, ...rest } = readConfig(example().config);
  assert.deepEqual(limits, LIMITS);
  const { limits: _, ...written } = example().config;
  assert.deepEqual(JSON.parse(JSON.stringify(rest)), written);
  assert.deepEqual(readPicture(example().picture), example().picture);
});

test("what a later LinkFlow says in addition is no obstacle", () => {
  const config = example().config;
  Object.assign(config, { later: 1 });
  Object.assign(config.services[0].targets[0], { sleeps: { after_ms: 1 } });
  assert.equal(readConfig(config).services.length, config.services.length);
});

test("each mistake is refused with its place", () => {
  const rows = read("mistakes.json")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { at: string; value: unknown; says: string });
  assert.ok(rows.length >= 10);
  for (const { at, value, says } of rows) {
    const config = example().config;
    const steps = at.split(".");
    let place = config;
    for (const step of steps.slice(0, -1)) place = place[step];
    place[steps.at(-1)!] = value;
    assert.throws(() => readConfig(config), (error: Error) => error.message.startsWith(says), `${at}: ${says}`);
  }
});

test("a picture with an unknown word is refused", () => {
  const picture = example().picture;
  picture.services.web.fly = "fine";
  assert.throws(() => readPicture(picture), /services\.web\.fly is not up, down or unknown/);
});

test("a prefix leads whole segments", () => {
  const rows: [string, string, boolean][] = [
    ["/", "/a/b", true],
    ["/api/", "/api", true],
    ["/api", "/api/v1", true],
    ["/api", "/apiary", false],
    ["/api/v1", "/api", false],
  ];
  for (const [prefix, path, expected] of rows) {
    const config = readConfig(example().config);
    config.services = [{ ...config.services[0]!, hosts: [{ host: "*", path: prefix }] }];
    assert.equal(find(config, "any.example", path) !== undefined, expected, `${prefix} ${path}`);
  }
});
