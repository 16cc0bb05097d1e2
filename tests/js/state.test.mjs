import assert from "node:assert/strict";
import { test } from "node:test";
import { Follow, later, offsetOf } from "../../static/client/state.js";

/** @typedef {import("../../static/client/state.js").Frame} Frame */

const EPOCH = "k7f3q2ab";
const at = (/** @type {number} */ offset) => `${EPOCH}-${offset}`;

/** @param {string} id @param {number} offset @param {object} [more] */
function job(id, offset, more = {}) {
  return { id, workspace: "default", state: "running", terminal: false, position: at(offset), ...more };
}

/** A frame as a stream of many jobs has it. @param {string} event @param {any} data @returns {Frame} */
function frame(event, data) {
  const numbered = ["transition", "progress", "deleted"].includes(event);
  return { event, id: numbered ? data.position : null, data };
}

/** @param {number} head @param {object} [more] @returns {Frame} */
const sync = (head, more = {}) => ({ event: "sync", id: at(head), data: { head: at(head), time: "t", ...more } });
/** @param {string} reason @returns {Frame} */
const reset = (reason) => ({ event: "reset", id: null, data: { reason } });
/** @param {string} reason @returns {Frame} */
const end = (reason) => ({ event: "end", id: null, data: { reason } });

/** What was delivered, in short. @param {import("../../static/client/state.js").Delivery[]} deliveries */
function told(deliveries) {
  return deliveries.map((delivery) => {
    if (delivery.type === "status") return `${delivery.change.event} ${delivery.job.id} ${delivery.change.position}`;
    if (delivery.type === "sync") return `sync ${delivery.shown}`;
    if (delivery.type === "unseen") return `unseen ${delivery.keys.join()}`;
    return `${delivery.type} ${delivery.reason}`;
  });
}

/** @param {Follow} follow @param {Frame[]} frames */
const take = (follow, ...frames) => told(frames.flatMap((one) => follow.take(one)));

test("one job is followed to its end", () => {
  const follow = new Follow(["default/a"]);
  assert.deepEqual(
    take(
      follow,
      frame("snapshot", job("a", 3)),
      sync(9, { shown: 1, matched: 1 }),
      frame("progress", job("a", 10)),
      frame("transition", job("a", 12, { state: "succeeded", terminal: true })),
      frame("progress", job("a", 13)),
    ),
    ["snapshot a k7f3q2ab-3", "sync 1", "progress a k7f3q2ab-10", "transition a k7f3q2ab-12", "end terminal"],
  );
  assert.equal(follow.cursor, at(12));
  assert.ok(follow.ended);
});

test("jobs of the same stream that it does not follow move its cursor only", () => {
  const follow = new Follow(["default/a"]);
  assert.deepEqual(take(follow, frame("snapshot", job("b", 2)), frame("transition", job("b", 5))), []);
  assert.equal(follow.cursor, at(5));
});

test("what comes twice, or is older than what was shown, is not shown", () => {
  const follow = new Follow(null);
  const frames = [frame("transition", job("a", 4)), frame("transition", job("b", 5)), frame("progress", job("a", 6))];
  assert.equal(take(follow, ...frames).length, 3);
  assert.deepEqual(take(follow, ...frames, frame("snapshot", job("a", 4))), []);
});

test("a cursor promises that all before it was had, also of jobs that were never shown", () => {
  const follow = new Follow(null);
  take(follow, sync(9, { shown: 0, matched: 0 }));
  assert.deepEqual(take(follow, frame("transition", job("a", 8)), frame("transition", job("a", 10))), [
    "transition a k7f3q2ab-10",
  ]);
});

test("a line that goes back for another reader takes this one's cursor nowhere", () => {
  const follow = new Follow(null);
  take(follow, frame("transition", job("a", 8)), frame("transition", job("a", 3)), sync(4));
  assert.equal(follow.cursor, at(8));
});

test("after an expired cursor all there is is shown again, but nothing older than before", () => {
  const follow = new Follow(null);
  take(follow, frame("snapshot", job("a", 4)), frame("snapshot", job("b", 5)), sync(9, { shown: 2, matched: 2 }));
  assert.deepEqual(
    take(
      follow,
      reset("expired"),
      frame("snapshot", job("b", 20)),
      frame("snapshot", job("a", 4)),
      sync(30, { shown: 2, matched: 2 }),
      frame("transition", job("a", 31)),
    ),
    ["reset expired", "snapshot b k7f3q2ab-20", "snapshot a k7f3q2ab-4", "sync 2", "transition a k7f3q2ab-31"],
  );
});

test("after a foreign log its positions count, however low", () => {
  const follow = new Follow(["default/a"]);
  take(follow, frame("snapshot", job("a", 400)), sync(500, { shown: 1, matched: 1 }));
  const restored = { ...job("a", 4), position: "aaaaaaaa-4" };
  assert.deepEqual(take(follow, reset("foreign"), frame("snapshot", restored)), ["reset foreign", "snapshot a aaaaaaaa-4"]);
  assert.equal(follow.cursor, "aaaaaaaa-4");
});

test("jobs that are not there are named once all that is there was shown", () => {
  const follow = new Follow(["default/a", "w/b"]);
  assert.deepEqual(take(follow, frame("snapshot", job("a", 4)), sync(9, { shown: 1, matched: 1 })), [
    "snapshot a k7f3q2ab-4",
    "sync 1",
    "unseen w/b",
  ]);
  assert.deepEqual(take(follow, sync(10)), ["sync null"]);
});

test("named jobs end when all have", () => {
  const follow = new Follow(["default/a", "default/b"]);
  const over = { state: "failed", terminal: true };
  assert.deepEqual(take(follow, frame("transition", job("a", 4, over))), ["transition a k7f3q2ab-4"]);
  assert.deepEqual(follow.keys, ["default/b"]);
  assert.deepEqual(take(follow, frame("deleted", job("b", 5))), ["deleted b k7f3q2ab-5", "end terminal"]);
});

test("a deletion ends the watch of one job, even one that was noticed without a position", () => {
  const follow = new Follow(["default/a"]);
  take(follow, frame("snapshot", job("a", 4)));
  const gone = { id: "a", workspace: "default", position: null };
  assert.deepEqual(take(follow, { event: "deleted", id: null, data: gone }), ["deleted a null", "end deleted"]);
});

test("an end that it did not see for itself is to be looked into; a refusal counts as it is", () => {
  assert.deepEqual(take(new Follow(["default/a"]), end("terminal")), ["unseen default/a"]);
  assert.deepEqual(take(new Follow(["default/a"]), end("unauthorized")), ["end unauthorized"]);
  assert.deepEqual(take(new Follow(null), end("unauthorized")), ["end unauthorized"]);
});

test("one that joins a line under way starts with what it read aside, then with what came meanwhile", () => {
  const follow = new Follow(null);
  follow.hold();
  const meanwhile = [frame("transition", job("a", 11)), frame("transition", job("b", 12)), frame("transition", job("a", 14))];
  assert.deepEqual(take(follow, ...meanwhile), []);
  const read = [frame("snapshot", job("b", 12)), frame("snapshot", job("a", 11)), sync(13, { shown: 2, matched: 2 })];
  assert.deepEqual(told(follow.release(read, at(10))), [
    "snapshot b k7f3q2ab-12",
    "snapshot a k7f3q2ab-11",
    "sync 2",
    "transition a k7f3q2ab-14",
  ]);
});

test("a reset while it waits makes the line show everything, so it waits no longer", () => {
  const follow = new Follow(["default/a"]);
  follow.hold();
  assert.deepEqual(take(follow, reset("expired"), frame("snapshot", job("a", 20))), ["reset expired", "snapshot a k7f3q2ab-20"]);
  assert.equal(follow.holding, false);
});

test("an alias is followed under the id that it stands for", () => {
  const follow = new Follow(["default/alias"]);
  follow.rename("default/alias", "default/a");
  assert.deepEqual(take(follow, frame("snapshot", job("a", 4))), ["snapshot a k7f3q2ab-4"]);
  assert.deepEqual(follow.keys, ["default/a"]);
});

test("the memory of a filter that millions of jobs pass is bounded, and they are shown once all the same", () => {
  const follow = new Follow(null);
  let shown = 0;
  for (let offset = 1; offset <= 150_000; offset += 1) {
    shown += follow.take(frame("transition", job(`j${offset}`, offset))).length;
  }
  assert.equal(shown, 150_000);
  assert.deepEqual(take(follow, frame("transition", job("j1", 1))), []);
});

test("of two cursors the later counts, by offset and not as text", () => {
  assert.equal(later(at(9), at(10)), at(10));
  assert.equal(later(null, at(1)), at(1));
  assert.equal(later("zzzzzzzz-5", "aaaaaaaa-6"), "aaaaaaaa-6");
  assert.equal(offsetOf("a-b-7"), 7);
});

// Whatever way frames come: a log, streams of it that begin anywhere at or before the cursor, and requests beside them.

/** A generator of numbers from a seed (mulberry32). @param {number} seed */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

for (let seed = 0; seed < 300; seed += 1) {
  test(`each record comes once, and in order, through cuts, rewinds and two ways at once (seed ${seed})`, () => {
    const next = random(seed);
    const pick = (/** @type {number} */ n) => Math.floor(next() * n);
    const jobs = [..."abcd"].slice(0, 1 + pick(4));
    const log = Array.from({ length: 60 }, (_, n) => ({
      event: next() < 0.5 ? "transition" : "progress",
      job: job(jobs[pick(jobs.length)], n + 1),
    }));
    const named = [null, ["default/a"], jobs.map((id) => `default/${id}`)][pick(3)];
    const follow = new Follow(named);
    follow.take(sync(0, { shown: 0, matched: 0 }));
    /** @type {Record<string, string[]>} */
    const shown = Object.fromEntries(jobs.map((id) => [id, []]));
    /** @type {Record<string, number>} */
    const reached = Object.fromEntries(jobs.map((id) => [id, 0]));
    const show = (/** @type {Frame} */ one) => {
      shown[one.data.id].push(...take(follow, one));
      reached[one.data.id] = Math.max(reached[one.data.id], offsetOf(one.data.position));
    };
    let streams = [0]; // where in the log each goes on
    for (let step = 0; step < 5000 && Math.max(...streams) < log.length; step += 1) {
      const chance = next();
      const cursor = follow.cursor === null ? 0 : offsetOf(follow.cursor);
      if (chance < 0.05) streams = [pick(cursor + 1)];
      else if (chance < 0.1 && streams.length < 2) streams.push(pick(cursor + 1));
      else if (chance < 0.2) {
        const id = jobs[pick(jobs.length)]; // a look at one job, and the history since it was last heard of
        const now = Math.max(...streams) + pick(5);
        const since = log.filter((one, n) => one.job.id === id && n + 1 > reached[id] && n < now);
        for (const one of since) show({ ...frame(one.event, one.job), id: null });
      } else {
        const index = pick(streams.length);
        const record = log[streams[index]++];
        if (record) show(frame(record.event, record.job));
      }
    }
    for (const id of jobs) {
      const owed = named === null || named.includes(`default/${id}`) ? log.filter((one) => one.job.id === id) : [];
      assert.deepEqual(shown[id], owed.map((one) => `${one.event} ${id} ${one.job.position}`));
    }
  });
}
