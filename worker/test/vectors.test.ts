/** The worker decides as the edge does: the kept stories, and those the edge made up from seeds. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Scene, type Story } from "./scene.ts";

const KEPT = new URL("../vectors.json", import.meta.url);
/** Where `cargo test -p linkflow-edge steer::vectors` puts them; `cargo xtask test worker` does that first. */
const MADE = new URL("../../target/worker-vectors/made.json", import.meta.url);

function stories(file: URL): Story[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Story);
}

function replay(story: Story): void {
  const scene = new Scene(story.tuning);
  for (const [n, step] of story.steps.entries()) {
    assert.deepEqual(scene.play(step), step.then ?? [], `${story.name}, step ${n}: ${JSON.stringify(step)}`);
  }
}

for (const story of stories(KEPT).filter(({ kind }) => kind === "request")) {
  test(story.name, () => replay(story));
}

test("the stories that the edge made up go the same way here", () => {
  const made = stories(MADE);
  assert.ok(made.length >= 300, `there are ${made.length} only`);
  made.forEach(replay);
});
