/** The bundle that is kept, and embedded into LinkFlow, is what the source makes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
// @ts-expect-error: the build is plain JavaScript.
import { build } from "../build.mjs";

const kept = readFileSync(new URL("../dist/worker.js", import.meta.url), "utf8");

test("the kept bundle is what `node worker/build.mjs` makes", async () => {
  assert.ok((await build(undefined)) === kept, "dist/worker.js is not in step with src: run `node worker/build.mjs`");
});

test("the bundle is smaller than 20 kB, and one module without imports", () => {
  assert.ok(Buffer.byteLength(kept) < 20_000, `it has ${Buffer.byteLength(kept)} bytes`);
  assert.doesNotMatch(kept, /\bimport\b/);
});
