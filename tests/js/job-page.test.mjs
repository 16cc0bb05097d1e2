import assert from "node:assert/strict";
import { test } from "node:test";
import * as chart from "../../static/dashboard/chart.js";
import * as forms from "../../static/dashboard/forms.js";
import * as timeline from "../../static/dashboard/timeline.js";
import * as tree from "../../static/dashboard/tree.js";

const START = Date.parse("2026-02-19T10:00:00.000Z");
const BASE = "http://gateway.example/status/";

/** A document as the log has it: one second later with each version. @param {number} version @param {object} [changes] */
function job(version, changes = {}) {
  return /** @type {any} */ ({
    id: "a1",
    workspace: "default",
    name: "tiles",
    version,
    position: `k7f3q2ab-${version}`,
    updated: new Date(START + (version - 1) * 1000).toISOString(),
    reported: null,
    state: "running",
    stalled: false,
    attempt: 1,
    progress: null,
    step: null,
    message: null,
    error: null,
    ...changes,
  });
}

/** @param {number} version @param {object} [changes] */
const filed = (version, changes) => timeline.entryOf(job(version, changes), { by: "anonymous", filed: true });
/** @param {number} version @param {object} [changes] */
const heard = (version, changes) => timeline.entryOf(job(version, changes));
/** @param {readonly import("../../static/dashboard/timeline.js").Item[]} items */
const kinds = (items) => items.map((item) => (item.kind === "change" ? item.entry.state : item.kind));

// --- the timeline ---

test("records come out once and in order, however often and late they were told", () => {
  const history = new timeline.History();
  assert.equal(history.add([heard(3), heard(2)]), true);
  assert.equal(history.add([heard(3)]), false);
  assert.equal(history.add([filed(1), filed(2)]), true);
  assert.deepEqual(
    history.entries.map((entry) => entry.version),
    [1, 2, 3],
  );
  assert.deepEqual(
    history.entries.map((entry) => entry.by),
    ["anonymous", "anonymous", null],
  );
});

test("what was delivered late stands where its worker says that it happened, and time never runs backwards", () => {
  const history = new timeline.History();
  /** @param {number} seconds */
  const reported = (seconds) => ({ reported: new Date(START + seconds * 1000).toISOString() });
  history.add([filed(101, reported(5)), filed(102, reported(3)), filed(103), filed(104, reported(9999))]);
  assert.deepEqual(
    history.entries.map((entry) => (entry.at - START) / 1000),
    [5, 5, 102, 103],
  );
});

test("what the history said is not undone by the stream", () => {
  const history = new timeline.History();
  history.add([filed(1)]);
  assert.equal(history.add([heard(1)]), false);
  assert.equal(history.entries[0].filed, true);
});

test("a timeline shows each change by itself and folds the reports between", () => {
  const items = timeline.timelineOf([
    filed(1, { state: "pending" }),
    filed(2, { progress: 0 }),
    filed(3, { progress: 10 }),
    filed(4, { progress: 45.9 }),
    filed(5, { state: "succeeded", progress: 100 }),
  ]);
  assert.deepEqual(kinds(items), ["pending", "running", "reports", "succeeded"]);
  assert.deepEqual(
    items.map((item) => (item.kind === "change" ? item.stood : undefined)),
    [1000, 3000, undefined, null],
  );
  assert.equal(items[2].kind === "reports" && timeline.runText(items[2].entries), "2 reports, 10% → 45%");
});

test("silence and a new attempt are changes though the state stays", () => {
  const items = timeline.timelineOf([filed(1), filed(2, { stalled: true }), filed(3), filed(4, { attempt: 2 })]);
  assert.deepEqual(
    items.map((item) => item.kind),
    ["change", "change", "change", "change"],
  );
  const words = items.map((item) => (item.kind === "change" ? timeline.changeText(item) : ""));
  assert.deepEqual(words, ["running", "silent", "heard again", "running"]);
});

test("a hole in the history is told as compacted, before the first record too", () => {
  const items = timeline.timelineOf([filed(4), filed(9, { state: "failed" })]);
  const gaps = items.filter((item) => item.kind === "gap");
  assert.deepEqual(
    gaps.map(({ count, compacted, first }) => ({ count, compacted, first })),
    [
      { count: 3, compacted: true, first: true },
      { count: 4, compacted: true, first: false },
    ],
  );
});

test("a hole beside what only the stream told is not called compacted", () => {
  const [, gap] = timeline.timelineOf([filed(1), heard(5)]);
  assert.deepEqual(gap.kind === "gap" && [gap.count, gap.compacted], [3, false]);
});

test("a job that reports for days stays in memory, and no hole is told where reports were let go", () => {
  const history = new timeline.History();
  for (let version = 1; version <= 60_000; version += 1) {
    history.add([filed(version, { progress: version / 600, state: version === 10_001 ? "paused" : "running" })]);
  }
  assert.ok(history.size <= 20_000, String(history.size));
  const items = timeline.timelineOf(history.entries);
  assert.deepEqual(kinds(items), ["running", "reports", "paused", "running", "reports"]);
  assert.match(items[1].kind === "reports" ? timeline.runText(items[1].entries) : "", /^9,999 reports/);
  assert.match(items[4].kind === "reports" ? timeline.runText(items[4].entries) : "", /^49,998 reports/);
});

test("the reason of a change is its error, else what is new of step and message", () => {
  const [first, second, third] = timeline.timelineOf([
    filed(1, { state: "pending", message: "queued" }),
    filed(2, { step: "fetch", message: "queued" }),
    filed(3, { state: "failed", error: { message: "disk full" } }),
  ]);
  assert.equal(first.kind === "change" && timeline.reasonText(first), "queued");
  assert.equal(second.kind === "change" && timeline.reasonText(second), "fetch");
  assert.equal(third.kind === "change" && timeline.reasonText(third), "disk full");
});

test("short times are told in short units", () => {
  assert.deepEqual([0, 310.4, 2449, 9999, 10_000, 65_000].map(timeline.lengthText), [
    "0 ms",
    "310 ms",
    "2.4 s",
    "9.9 s",
    "10 s",
    "1 min 05 s",
  ]);
});

// --- the chart ---

/** A course of twenty seconds with a pause and a silence. */
const PAUSED = [
  filed(1, { state: "pending" }),
  filed(2, { progress: 0 }),
  filed(6, { progress: 40 }),
  filed(7, { state: "paused", progress: 40 }),
  filed(11, { progress: 40 }),
  filed(13, { progress: 40, stalled: true }),
  filed(15, { progress: 60 }),
  filed(21, { state: "succeeded", progress: 100 }),
];

test("nothing is drawn of a job that nothing is known of", () => {
  assert.equal(chart.courseOf([], START, false), null);
});

test("states follow each other without a hole, from the first record to the last", () => {
  const course = /** @type {import("../../static/dashboard/chart.js").Course} */ (
    chart.courseOf(PAUSED, START + 99_000, true)
  );
  assert.deepEqual(
    course.spans.map((span) => span.state),
    ["pending", "running", "paused", "running", "succeeded"],
  );
  for (const [index, span] of course.spans.entries()) assert.equal(span.to, course.spans[index + 1]?.from ?? course.to);
  assert.deepEqual([course.from, course.to], [START, START + 20_000]);
  assert.deepEqual(
    course.silences.map(({ from, to }) => [from - START, to - START]),
    [[12_000, 14_000]],
  );
  assert.deepEqual(
    chart.totalsOf(course).map(({ state, length }) => [state, length]),
    [
      ["pending", 1000],
      ["running", 15_000],
      ["paused", 4000],
      ["stalled", 2000],
    ],
  );
});

test("what has not ended lasts until now", () => {
  const course = chart.courseOf([filed(1, { progress: 5 })], START + 60_000, false);
  assert.equal(course?.to, START + 60_000);
  assert.deepEqual(course?.runs[0].at(-1), { at: START + 60_000, progress: 5 });
});

test("a stair stays in its box, goes right and, within an attempt, never down", () => {
  const course = /** @type {import("../../static/dashboard/chart.js").Course} */ (chart.courseOf(PAUSED, START, true));
  const { lines, areas, tip, strip, bands } = chart.drawingOf(course, { width: 400, height: 100 });
  assert.deepEqual(lines, ["M20 100H100V60H120V60H200V60H240V60H280V40H400V0"]);
  assert.deepEqual(areas, [`${lines[0]}V100H20Z`]);
  assert.deepEqual(tip, { x: 400, y: 0 });
  assert.deepEqual(
    strip.map(({ x, width }) => [x, width]),
    [
      [0, 20],
      [20, 100],
      [120, 80],
      [200, 200],
      [400, 1],
    ],
  );
  assert.deepEqual(
    bands.map((band) => band.state),
    ["paused", "stalled"],
  );
});

test("each attempt has a line of its own, which ends where the retry began", () => {
  const entries = [
    filed(1, { progress: 30 }),
    filed(5, { state: "retrying", attempt: 2 }),
    filed(7, { attempt: 2, progress: 10 }),
    filed(11, { attempt: 2, progress: 20 }),
  ];
  const course = /** @type {import("../../static/dashboard/chart.js").Course} */ (chart.courseOf(entries, START, true));
  assert.deepEqual(
    course.runs.map((run) => run.map(({ at, progress }) => [(at - START) / 1000, progress])),
    [
      [
        [0, 30],
        [4, 30],
      ],
      [
        [6, 10],
        [10, 20],
      ],
    ],
  );
  assert.equal(chart.drawingOf(course, { width: 100, height: 100 }).lines.length, 2);
});

test("ten thousand reports draw no more than the width has room for", () => {
  const entries = Array.from({ length: 10_000 }, (_, index) => filed(index + 1, { progress: index / 100 }));
  const course = /** @type {import("../../static/dashboard/chart.js").Course} */ (chart.courseOf(entries, START, true));
  const [line] = chart.drawingOf(course, { width: 600, height: 100 }).lines;
  const steps = line.split("H").length;
  assert.ok(steps > 500 && steps <= 1202, `${steps} steps`);
  assert.match(line, /H600V0$/);
});

test("marks of time never stand closer than their texts are wide", () => {
  for (const span of [1, 999, 1000, 59_000, 60_000, 3_599_000, 90_000_000, 9e9, 9e11]) {
    const ticks = chart.ticksOf(span, 600);
    assert.ok(ticks.length >= 1 && ticks.length <= 8, `${span}: ${ticks.length}`);
    for (const [index, tick] of ticks.entries())
      if (index) assert.ok(tick.x - ticks[index - 1].x >= 84, `${span}: ${tick.x}`);
  }
  assert.deepEqual(
    chart.ticksOf(120_000, 400).map((tick) => tick.text),
    ["0", "30 s", "1 min", "1:30 min", "2 min"],
  );
});

test("the chart is told in words", () => {
  const course = /** @type {import("../../static/dashboard/chart.js").Course} */ (chart.courseOf(PAUSED, START, true));
  const text = chart.summaryOf(course, timeline.lengthText);
  assert.equal(text, "Progress went from 0% to 100% over 20 s. Paused once, for 4.0 s. Silent once, for 2.0 s.");
  const none = /** @type {import("../../static/dashboard/chart.js").Course} */ (
    chart.courseOf([filed(1)], START + 2000, false)
  );
  assert.equal(chart.summaryOf(none, timeline.lengthText), "No progress was reported over 2.0 s.");
});

test("the table holds few rows, and always the last", () => {
  const entries = Array.from({ length: 1000 }, (_, index) =>
    filed(index + 1, { state: index === 501 ? "paused" : "running" }),
  );
  const rows = chart.rowsOf(entries, 50);
  assert.ok(rows.length <= 55, String(rows.length));
  assert.equal(rows.at(-1)?.version, 1000);
  assert.ok(rows.some((row) => row.state === "paused"));
});

// --- the tree ---

const TASK = {
  state: "succeeded",
  details: {},
  error: null,
  created: "2026-02-19T10:00:00.000Z",
  updated: "2026-02-19T10:00:05.000Z",
};
const STEPS = /** @type {any[]} */ ([
  {
    ...TASK,
    name: "extract",
    tasks: [
      { ...TASK, name: "one" },
      { ...TASK, name: "two", state: "failed", error: { message: "gone" } },
    ],
  },
  { ...TASK, name: "validate", state: "running", tasks: [{ ...TASK, name: "one", state: "pending" }] },
  { ...TASK, name: "publish", state: "pending", tasks: [] },
]);
const NODES = tree.treeOf(STEPS, "validate");
const [EXTRACT, VALIDATE, PUBLISH] = NODES;

test("a tree has steps with their tasks, which are told apart though their names are the same", () => {
  assert.deepEqual(
    NODES.map((node) => [node.name, node.children.length, node.current]),
    [
      ["extract", 2, false],
      ["validate", 1, true],
      ["publish", 0, false],
    ],
  );
  const keys = NODES.flatMap((node) => [node.key, ...node.children.map((child) => child.key)]);
  assert.equal(new Set(keys).size, keys.length);
  assert.deepEqual(
    NODES.map((node) => node.note),
    ["1 of 2 tasks done, 1 failed", "0 of 1 task done", ""],
  );
  assert.equal(EXTRACT.children[1].error, "gone");
});

test("a job says at which step it is, or the running one is", () => {
  assert.deepEqual(tree.placeOf(STEPS, "publish"), { index: 3, count: 3, name: "publish" });
  assert.deepEqual(tree.placeOf(STEPS, "in between"), { index: 2, count: 3, name: "validate" });
  assert.equal(tree.placeOf([], "x"), null);
  assert.equal(tree.doneOf(STEPS), 1);
});

test("a small tree opens whole; of a large one what runs or failed, unless that alone is too much", () => {
  assert.equal(tree.opensAtFirst(EXTRACT, 6, 40), true);
  assert.equal(tree.opensAtFirst(EXTRACT, 400, 40), false);
  assert.equal(tree.opensAtFirst(VALIDATE, 400, 40), true);
  assert.equal(tree.opensAtFirst(VALIDATE, 400, 0), false);
});

test("keys lead through a tree", () => {
  const open = new Set([EXTRACT.key]);
  const isOpen = (/** @type {{key: string}} */ node) => open.has(node.key);
  const rows = tree.rowsSeen(NODES, isOpen);
  const [one, two] = EXTRACT.children;
  assert.deepEqual(
    rows.map((row) => row.key),
    [EXTRACT.key, one.key, two.key, VALIDATE.key, PUBLISH.key],
  );
  /** @param {string} pressed @param {{key: string}} at */
  const press = (pressed, at) => tree.keyed(pressed, rows, at.key, isOpen);
  assert.deepEqual(press("ArrowDown", EXTRACT), { go: one.key });
  assert.equal(press("ArrowUp", EXTRACT), null);
  assert.deepEqual(press("ArrowRight", EXTRACT), { go: one.key });
  assert.deepEqual(press("ArrowRight", VALIDATE), { open: VALIDATE.key });
  assert.equal(press("ArrowRight", PUBLISH), null);
  assert.deepEqual(press("ArrowLeft", two), { go: EXTRACT.key });
  assert.deepEqual(press("ArrowLeft", EXTRACT), { close: EXTRACT.key });
  assert.equal(press("ArrowLeft", VALIDATE), null);
  assert.deepEqual(press("End", EXTRACT), { go: PUBLISH.key });
  assert.deepEqual(press("Home", PUBLISH), { go: EXTRACT.key });
  assert.deepEqual(press("p", EXTRACT), { go: PUBLISH.key });
  assert.deepEqual(press("T", PUBLISH), { go: two.key });
  assert.equal(press("Tab", EXTRACT), null);
  assert.equal(tree.keyed("End", rows, "no such row", isOpen), null);
});

// --- the forms ---

test("each dialect has its own address, with the workspace where it is not the default", () => {
  const addresses = (/** @type {any} */ named) =>
    forms.formsOf(named, BASE).map((form) => form.address?.slice(BASE.length) ?? null);
  assert.deepEqual(addresses({ id: "a~1", workspace: "default", name: "tiles" }), [
    "v1/jobs/a~1",
    "weaver/jobs/a~1",
    "julep/jobs/a~1",
    "praisonai/api/v1/runs/a~1",
    "nemo/apis/jobs/v2/workspaces/default/jobs/tiles/status",
    null,
  ]);
  assert.deepEqual(addresses({ id: "a:1", workspace: "w", name: "a/b" }), [
    "v1/jobs/a%3A1?workspace=w",
    "weaver/jobs/a%3A1?workspace=w",
    "julep/jobs/a%3A1?workspace=w",
    "praisonai/api/v1/runs/a%3A1?workspace=w",
    "nemo/v1/jobs/a%3A1/status?workspace=w",
    null,
  ]);
});

test("a word for the shell is one word, whatever is in it", () => {
  assert.equal(forms.shellWord("http://h/v1/jobs/a1"), "http://h/v1/jobs/a1");
  assert.equal(forms.shellWord("a?b=c&d"), "'a?b=c&d'");
  assert.equal(forms.shellWord("it's; rm -rf $HOME"), "'it'\\''s; rm -rf $HOME'");
});

test("the lines to copy name the gateway, the job and, where needed, its workspace", () => {
  const lines = (/** @type {any} */ named, base = BASE) =>
    Object.fromEntries(forms.snippetsOf(named, base).map(({ key, text }) => [key, text]));
  const plain = lines({ id: "a1", workspace: "default", name: "x" });
  assert.equal(plain.curl, "curl http://gateway.example/status/v1/jobs/a1");
  assert.equal(plain.watch, "status-gateway watch --url http://gateway.example/status a1");
  assert.match(plain.eventsource, /new EventSource\("http:\/\/gateway.example\/status\/v1\/jobs\/a1\/events"\)/);
  assert.match(plain.element, /<job-status src="http:\/\/gateway.example\/status\/v1\/jobs\/a1"><\/job-status>/);
  const other = lines({ id: "-a", workspace: "w", name: "x" }, "http://127.0.0.1:8000/");
  assert.equal(other.watch, "status-gateway watch --workspace w -- -a");
  assert.equal(other.curl, "curl 'http://127.0.0.1:8000/v1/jobs/-a?workspace=w'");
});
