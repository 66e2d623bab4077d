/** What only the worker decides: trials, published pictures, and when nothing can be hoped for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { REFUSED, SILENT, Steer, type Tuning } from "../src/steer.ts";
import { Trip } from "../src/trip.ts";
import { say } from "./scene.ts";

const [A, B] = [1, 2];
const TABLE = [A, B];
const TUNING: Tuning = {
  suspect: 600,
  silent: 1_500,
  first_byte: 2_000,
  hedge: true,
  retry_burst: 100,
  forgiven: 60_000,
};

function steer(): Steer {
  const made = new Steer(TUNING);
  made.table(TABLE, 0);
  return made;
}

/** A steer whose first target was ejected at 0, for 2 s. */
function ejected(): Steer {
  const made = steer();
  assert.deepEqual(made.failed(A, undefined, REFUSED, 0).map(say), ["1 ejected for 2000: connection refused"]);
  return made;
}

test("an ejected target is tried again by one request, once its time is over", () => {
  const made = ejected();
  assert.equal(made.trial(TABLE, 1_999), undefined);
  assert.equal(made.trial(TABLE, 2_000), A);
  assert.equal(made.trial(TABLE, 2_001), undefined, "one is under way");
  assert.deepEqual(made.plan(TABLE, 2_001).order, [B, A], "others do not go there meanwhile");
  assert.deepEqual(made.answered(A, undefined, 2_000, 200, true, 2_050).map(say), ["1 readmitted: it answered a request"]);
  assert.deepEqual(made.plan(TABLE, 2_051).order, [A, B]);
});

test("a trial that is lost keeps the target away for twice as long", () => {
  const made = ejected();
  const lasted = [];
  for (let now = 2_000, n = 0; n < 6; n++) {
    assert.equal(made.trial(TABLE, now), A);
    const [effect] = made.trialFailed(A, REFUSED, now);
    assert.ok(effect?.kind === "ejected");
    assert.equal(effect.why, "it is not back: connection refused");
    lasted.push(effect.for_ms);
    now += effect.for_ms;
  }
  assert.deepEqual(lasted, [4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
});

test("a trial of which nothing is heard is no obstacle for ever", () => {
  const made = ejected();
  assert.equal(made.trial(TABLE, 2_000), A);
  assert.equal(made.trial(TABLE, 11_999), undefined);
  assert.equal(made.trial(TABLE, 12_000), A);
});

test("a trial is raced soon, and left to go on beside the other", () => {
  const made = ejected();
  const trip = new Trip(made, TABLE, "safe", 10_000, 2_000, made.trial(TABLE, 2_000));
  assert.equal(trip.first, A);
  assert.equal(trip.lookAfter(2_000), 100);
  const going = [{ target: A, since: 2_000 }];
  assert.deepEqual(trip.look(made, going, true, 2_050), { kind: "nothing" });
  assert.deepEqual(trip.look(made, going, true, 2_100), { kind: "beside", target: B });
});

test("what is published as down stands last and gets no trial, until the picture is too old", () => {
  const made = ejected();
  made.published(A, "down", 1_000, 2_500);
  assert.equal(made.trial(TABLE, 2_500), undefined);
  assert.deepEqual(made.plan(TABLE, 2_500).order, [B, A]);
  made.published(A, "unknown", 1_000, 400_000);
  assert.equal(made.trial(TABLE, 400_000), A);
});

test("what is published as well is used again, if that was seen after its time", () => {
  const made = ejected();
  assert.deepEqual(made.published(A, "up", 1_999, 2_500), []);
  assert.deepEqual(made.published(A, "up", 2_000, 2_500).map(say), [
    "1 readmitted: it is published as well, and its time is over",
  ]);
});

test("with all published as down the order is that of the table, and the first is tried", () => {
  const made = steer();
  made.published(A, "down", 0, 1);
  made.published(B, "down", 0, 1);
  assert.deepEqual(made.plan(TABLE, 1).order, [A, B]);
  assert.ok(made.hopeless(TABLE, 1));
});

test("nothing is hoped for when one is away and the other failed three times, until it answers", () => {
  const made = ejected();
  assert.ok(!made.hopeless(TABLE, 1));
  for (let n = 0; n < 3; n++) made.failed(B, undefined, REFUSED, 2 + n);
  assert.ok(made.hopeless(TABLE, 5));
  made.answered(B, undefined, 6, 200, true, 7);
  assert.ok(!made.hopeless(TABLE, 7));
});

test("targets that are silent count as failing after nobody waits for them any more", () => {
  const made = steer();
  made.waits(A, 1, 0);
  made.waits(B, 2, 0);
  made.ticked(1_500);
  assert.ok(made.hopeless(TABLE, 1_500));
  made.despair(TABLE, 1_500);
  made.failed(A, 1, SILENT, 1_500);
  made.left(B, 2);
  assert.ok(made.hopeless(TABLE, 1_501));
});

test("a check that is good excuses what waits", () => {
  const made = steer();
  made.waits(A, 1, 0);
  assert.deepEqual(made.ticked(600).map(say), ["check 1"]);
  made.lives(A, 700);
  assert.deepEqual(made.ticked(9_000), []);
  assert.deepEqual(made.plan(TABLE, 9_000).order, [A, B]);
});
