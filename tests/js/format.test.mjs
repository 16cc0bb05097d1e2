import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../../static/format.js";

const NOW = Date.parse("2026-02-19T10:00:30.000Z");

/** @param {object} [changes] */
function job(changes = {}) {
  return {
    id: "a1",
    workspace: "default",
    name: "tiles",
    state: "running",
    terminal: false,
    stalled: false,
    attempt: 1,
    progress: 45.9,
    step: "validating",
    message: "step 2 of 4",
    error: null,
    created: "2026-02-19T10:00:00.000Z",
    started: "2026-02-19T10:00:05.000Z",
    finished: null,
    updated: "2026-02-19T10:00:09.120Z",
    ...changes,
  };
}

test("every state has a label and a family, and three states are the end", () => {
  assert.equal(format.STATES.length, 12);
  for (const state of format.STATES) {
    assert.equal(format.stateLabel(state).toLowerCase(), state);
    assert.notEqual(format.stateTone(state), undefined);
  }
  assert.deepEqual(format.STATES.filter(format.isTerminal), ["succeeded", "failed", "cancelled"]);
  assert.deepEqual([...new Set(format.STATES.map(format.stateTone))].sort(), [
    "active",
    "bad",
    "good",
    "idle",
    "stopped",
    "unknown",
    "wish",
  ]);
});

test("a state of a later release is shown as it came, not as the name of something inherited", () => {
  for (const state of ["dreaming", "constructor", "__proto__"]) {
    assert.equal(format.stateLabel(state), state);
    assert.equal(format.stateTone(state), "unknown");
    assert.equal(format.isTerminal(state), false);
  }
});

test("what a job says becomes one line without characters that control or turn the writing", () => {
  assert.equal(format.plainText("a\u0000b\u001b[31m\r\n\tc\u2028d"), "a b [31m c d");
  assert.equal(format.plainText("user\u202egnp.exe"), "user gnp.exe");
  assert.equal(format.plainText("\ufeff \u200b "), "");
  assert.equal(format.plainText(null), "");
  assert.equal(format.plainText(undefined), "");
  assert.equal(format.plainText("<b>&amp;"), "<b>&amp;"); // markup stays text: who shows it uses textContent
  assert.equal(format.plainText("שלום 👩‍👩‍👧"), "שלום 👩‍👩‍👧"); // what joins an emoji stays
});

test("a text is cut to what it may take, with an ellipsis and no half character", () => {
  assert.equal(format.plainText("abcdef", 6), "abcdef");
  assert.equal(format.plainText("abcdefg", 6), "abcde…");
  assert.equal(format.plainText("ab cdefg", 4), "ab…");
  for (let most = 1; most < 12; most += 1) {
    const cut = format.cut("😀😀😀😀😀😀", most);
    assert.ok(cut.length <= most, `${cut.length} > ${most}`);
    assert.ok(cut.isWellFormed?.() ?? encodeURIComponent(cut), `half a character at ${most}`);
  }
  assert.ok(format.plainText("x".repeat(1_000_000)).length <= 300);
});

test("a stack trace keeps its lines and tabs and loses its other control characters", () => {
  assert.equal(format.plainLines("a\r\n\tb\rc\u2028d\u001b[0m\u202e"), "a\n\tb\nc\nd[0m");
  assert.equal(format.plainLines("abcdef", 4), "abc…");
  assert.equal(format.plainLines(null), "");
});

test("a job is called by its name, or by its id where the name shows nothing", () => {
  assert.equal(format.jobName(job()), "tiles");
  assert.equal(format.jobName(job({ name: "\u200b" })), "a1");
  assert.equal(format.jobAddress(job()), "a1");
  assert.equal(format.jobAddress(job({ workspace: "geo" })), "geo/a1");
  assert.equal(format.pageQuery(job({ workspace: "geo", id: "a:b~c" })), "?job=geo/a%3Ab~c");
});

test("a link is followed only where it is http, https or relative", () => {
  const base = "http://gateway:8000/mounted/v1/jobs/a1";
  assert.equal(format.safeHref("https://x.example/a?b#c", base), "https://x.example/a?b#c");
  assert.equal(format.safeHref("../results/1", base), "http://gateway:8000/mounted/v1/results/1");
  assert.equal(format.safeHref("//other.example/x", base), "http://other.example/x");
  const refused = [
    "javascript:alert(1)", " JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "\u0001javascript:alert(1)",
    "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:http://x/1", "http://", "", " ", null, 7, {},
  ];
  for (const href of refused) assert.equal(format.safeHref(href, base), null, String(href));
  assert.equal(format.safeHref("a", "not a base"), null);
});

test("progress is rounded down, so that 100% means that it is reached", () => {
  assert.equal(format.formatPercent(45.9), "45%");
  assert.equal(format.formatPercent(99.999), "99%");
  assert.equal(format.formatPercent(100), "100%");
  assert.equal(format.formatPercent(0), "0%");
  assert.equal(format.formatPercent(null), "");
  assert.equal(format.formatPercent(Number.NaN), "");
  assert.equal(format.wholePercent(130), 100);
  assert.equal(format.wholePercent(-1), 0);
  assert.equal(format.wholePercent(undefined), null);
});

test("counts and sizes are written for people", () => {
  assert.equal(format.formatCount(12345, "en"), "12,345");
  assert.equal(format.plural(1, "job"), "1 job");
  assert.equal(format.plural(0, "job"), "0 jobs");
  assert.equal(format.plural(2000, "match", "matches", "en"), "2,000 matches");
  assert.deepEqual([0, 1023, 1024, 1536, 20_480, 1024 ** 2, 5.25 * 1024 ** 3].map(format.formatBytes), [
    "0 B",
    "1023 B",
    "1 KiB",
    "1.5 KiB",
    "20 KiB",
    "1 MiB",
    "5.3 GiB",
  ]);
});

test("a duration shows its two largest units, and is read aloud in words", () => {
  const SECOND = 1000;
  const table = [
    [null, "", "", ""],
    [-5, "0 s", "0 seconds", "PT0S"],
    [999, "0 s", "0 seconds", "PT0S"],
    [1000, "1 s", "1 second", "PT1S"],
    [59_999, "59 s", "59 seconds", "PT59S"],
    [245 * SECOND, "4 min 05 s", "4 minutes 5 seconds", "PT245S"],
    [120 * SECOND, "2 min 00 s", "2 minutes", "PT120S"],
    [(2 * 3600 + 240) * SECOND, "2 h 04 min", "2 hours 4 minutes", "PT7440S"],
    [(3600 + 5) * SECOND, "1 h 00 min", "1 hour", "PT3605S"],
    [76 * 3600 * SECOND, "3 d 4 h", "3 days 4 hours", "PT273600S"],
  ];
  for (const [length, short, spoken, iso] of table) {
    assert.equal(format.formatDuration(length), short);
    assert.equal(format.speakDuration(length), spoken);
    assert.equal(format.isoDuration(length), iso);
  }
});

test("the time at work runs from the start to the end or to now, and never backwards", () => {
  assert.equal(format.timeRunning(job(), NOW), 25_000);
  assert.equal(format.timeRunning(job({ started: null }), NOW), null);
  assert.equal(format.timeRunning(job({ finished: "2026-02-19T10:00:08.000Z" }), NOW), 3_000);
  assert.equal(format.timeRunning(job(), Date.parse("2026-02-19T09:59:00.000Z")), 0); // a clock that runs behind
});

test("a time is told by its distance, and by its date once that says more", () => {
  const ago = (/** @type {number} */ seconds) => format.formatRelative(NOW - seconds * 1000, NOW, "en-GB");
  assert.equal(ago(1), "just now");
  assert.equal(ago(12), "12 s ago");
  assert.equal(ago(-12), "in 12 s");
  assert.equal(ago(3 * 60 + 59), "3 min ago");
  assert.equal(ago(5 * 3600), "5 h ago");
  assert.equal(ago(49 * 3600), "2 d ago");
  assert.match(ago(8 * 86_400), /^11 Feb/);
  assert.match(ago(400 * 86_400), /2025/);
  assert.equal(format.formatRelative(null, NOW), "");
  assert.equal(format.formatRelative("never", NOW), "");
});

test("a time of today is told without its date", () => {
  const noon = new Date(2026, 1, 19, 12, 0, 0).getTime();
  assert.equal(format.formatTime(noon, noon + 5000, "en-GB"), "12:00:00");
  assert.match(format.formatTime(noon, noon + 86_400_000, "en-GB"), /^19 Feb,? (at )?12:00$/);
  assert.match(format.formatTime(noon, noon + 400 * 86_400_000, "en-GB"), /2026/);
  assert.match(format.formatFullTime(noon, "en-GB"), /19 Feb 2026.*12:00:00/);
  assert.equal(format.formatTime(null, noon), "");
  assert.equal(format.formatFullTime("x"), "");
});

test("times are read from texts, numbers and dates alike", () => {
  assert.equal(format.milliseconds("2026-02-19T10:00:30.000Z"), NOW);
  assert.equal(format.milliseconds(NOW), NOW);
  assert.equal(format.milliseconds(0), 0);
  assert.equal(format.milliseconds(new Date(NOW)), NOW);
  for (const none of [null, undefined, "", "soon", new Date("soon")]) assert.equal(format.milliseconds(none), null);
});

test("a progress bar says in words where the job stands", () => {
  assert.equal(format.progressText(job()), "45%, validating");
  assert.equal(format.progressText(job({ step: null })), "45%");
  assert.equal(format.progressText(job({ progress: null })), "progress not known, validating");
  assert.equal(format.progressText(job({ progress: null, step: null, started: null })), "not started");
  assert.equal(format.progressText(job({ state: "failed", terminal: true })), "Failed at 45%");
  assert.equal(format.progressText(job({ state: "cancelled", terminal: true, progress: null })), "Cancelled");
});

test("an announcement names the job, its new state, and why it ended", () => {
  assert.equal(format.announcement(job()), "tiles: Running");
  assert.equal(format.announcement(job({ state: "retrying", attempt: 2 })), "tiles: Retrying, attempt 2");
  const end = { terminal: true, finished: "2026-02-19T10:02:10.000Z" };
  const failed = job({ ...end, state: "failed", error: { message: "disk\nfull" } });
  assert.equal(format.announcement(failed), "tiles: Failed after 2 minutes 5 seconds. disk full");
  assert.equal(format.newsOf(failed), "disk full");
  const done = job({ ...end, state: "succeeded", message: null });
  assert.equal(format.announcement(done), "tiles: Succeeded after 2 minutes 5 seconds");
  const never = job({ state: "cancelled", terminal: true, started: null, message: null });
  assert.equal(format.announcement(never), "tiles: Cancelled");
});
