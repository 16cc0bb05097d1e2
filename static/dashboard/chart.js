/**
 * Progress over time as numbers and paths: the pure part of the chart. Progress is drawn in steps, since between two
 * reports nobody knows more than the last one said.
 */

import { formatPercent } from "../format.js";

/**
 * @typedef {import("./timeline.js").Entry} Entry
 *
 * @typedef {{state: string, from: number, to: number}} Span the time a job stood in a state, ms since 1970
 * @typedef {{at: number, progress: number}} Point
 * @typedef {object} Course
 * @property {number} from ms since 1970
 * @property {number} to
 * @property {Span[]} spans one state after the other, without holes
 * @property {Span[]} silences times of `stalled`
 * @property {Point[][]} runs progress, a list for each attempt
 * @property {number} attempts
 *
 * @typedef {{x: number, width: number, state: string}} Band
 * @typedef {object} Drawing
 * @property {string[]} lines path data, one for each attempt
 * @property {string[]} areas the same, closed along the axis
 * @property {{x: number, y: number} | null} tip where the line ends
 * @property {Band[]} strip the states along the axis
 * @property {Band[]} bands pauses and silences, behind the line
 * @property {{x: number, text: string}[]} ticks
 */

const HELD = new Set(["pausing", "paused"]);
const MIN_SPAN = 1; // ms; a job of one record still has a width
const TICK_ROOM = 84; // units between two marks of time, so that their texts never touch
const HALF = 0.5; // of a unit: less than that cannot be seen
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const TICKS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 7, 14, 28, 91, 364].map((n) => n * DAY),
];

/**
 * @param {readonly Entry[]} entries in the order of their versions
 * @param {number} now ms since 1970; where the last state still lasts
 * @param {boolean} ended then `now` does not count
 * @returns {Course | null} null where nothing is known
 */
export function courseOf(entries, now, ended) {
  if (entries.length === 0) return null;
  const from = entries[0].at;
  const last = entries[entries.length - 1];
  const to = Math.max(from + MIN_SPAN, last.at, ended ? 0 : now);
  /** @type {Course} */
  const course = { from, to, spans: [], silences: [], runs: [], attempts: last.attempt };
  let attempt = 0;
  for (const entry of entries) {
    extend(course.spans, entry.state, entry.at);
    extend(course.silences, entry.stalled ? "stalled" : "", entry.at);
    if (entry.progress === null) continue;
    if (entry.attempt !== attempt) course.runs.push([]);
    attempt = entry.attempt;
    course.runs[course.runs.length - 1].push({ at: entry.at, progress: entry.progress });
  }
  for (const spans of [course.spans, course.silences]) spans[spans.length - 1].to = to;
  course.silences = course.silences.filter((span) => span.state !== "");
  for (const [index, run] of course.runs.entries()) closeRun(course, run, index, entries);
  return course;
}

/**
 * @param {Span[]} spans
 * @param {string} state
 * @param {number} at
 */
function extend(spans, state, at) {
  const last = spans[spans.length - 1];
  if (last) last.to = at;
  if (last?.state !== state) spans.push({ state, from: at, to: at });
}

/**
 * What was last said stands until the next attempt begins, or until the end.
 * @param {Course} course
 * @param {Point[]} run
 * @param {number} index
 * @param {readonly Entry[]} entries
 */
function closeRun(course, run, index, entries) {
  const { at, progress } = run[run.length - 1];
  const next = course.runs[index + 1]?.[0].at ?? course.to;
  const retry = entries.find((entry) => entry.at >= at && entry.state === "retrying")?.at ?? next;
  const end = Math.min(next, retry);
  if (end > at) run.push({ at: end, progress });
}

/**
 * @param {Course} course
 * @param {{width: number, height: number}} size of the plot, in the units of the view box
 * @returns {Drawing}
 */
export function drawingOf(course, { width, height }) {
  const scale = width / (course.to - course.from);
  /** @param {number} at */
  const x = (at) => round((at - course.from) * scale);
  /** @param {number} progress */
  const y = (progress) => round(height - (Math.min(100, Math.max(0, progress)) / 100) * height);
  /** @param {Span} span @returns {Band} */
  const band = ({ state, from, to }) => ({ state, x: x(from), width: round(x(to) - x(from)) });
  const lines = course.runs.map((run) => lineOf(run, x, y));
  const end = course.runs.at(-1)?.at(-1);
  return {
    lines,
    areas: lines.map((line, index) => areaOf(line, course.runs[index], x, height)),
    tip: end ? { x: x(end.at), y: y(end.progress) } : null,
    strip: visible(course.spans.map(band)),
    bands: [course.spans.filter((span) => HELD.has(span.state)), course.silences].flatMap((spans) =>
      visible(spans.map(band)),
    ),
    ticks: ticksOf(course.to - course.from, width),
  };
}

/**
 * Path data of a stair; of the points that fall on one unit of the axis only the first and the last are kept.
 * @param {readonly Point[]} run
 * @param {(at: number) => number} x
 * @param {(progress: number) => number} y
 */
function lineOf(run, x, y) {
  let path = `M${x(run[0].at)} ${y(run[0].progress)}`;
  let column = Math.floor(x(run[0].at));
  for (const [index, point] of run.entries()) {
    const next = run[index + 1];
    if (index === 0 || (next && Math.floor(x(point.at)) === column && Math.floor(x(next.at)) === column)) continue;
    column = Math.floor(x(point.at));
    path += `H${x(point.at)}V${y(point.progress)}`;
  }
  return path;
}

/**
 * @param {string} line
 * @param {readonly Point[]} run
 * @param {(at: number) => number} x
 * @param {number} height
 */
function areaOf(line, run, x, height) {
  return `${line}V${height}H${x(run[0].at)}Z`;
}

/**
 * A state that stood only for a moment still gets a unit of width, taken from nobody: it overlaps its neighbour. Of
 * many in one unit the first is drawn.
 * @param {Band[]} bands
 */
function visible(bands) {
  let end = -1;
  return bands.flatMap((band) => {
    const width = Math.max(1, band.width);
    if (band.x + width <= end + HALF) return [];
    end = band.x + width;
    return [{ ...band, width }];
  });
}

/**
 * Marks of the time that has passed.
 * @param {number} span ms
 * @param {number} width
 */
export function ticksOf(span, width) {
  const room = Math.max(1, Math.floor(width / TICK_ROOM));
  const longest = TICKS[TICKS.length - 1];
  const every = TICKS.find((tick) => span / tick <= room) ?? longest * Math.ceil(span / longest / room);
  const ticks = [];
  for (let at = 0; at <= span && ticks.length <= room; at += every) {
    ticks.push({ x: round((at / span) * width), text: tickText(at) });
  }
  return ticks;
}

/** @param {number} ms */
function tickText(ms) {
  if (ms === 0) return "0";
  if (ms < SECOND) return `${ms} ms`;
  if (ms < MINUTE) return `${ms / SECOND} s`;
  if (ms < HOUR)
    return ms % MINUTE ? `${Math.floor(ms / MINUTE)}:${pad((ms % MINUTE) / SECOND)} min` : `${ms / MINUTE} min`;
  if (ms < DAY) return ms % HOUR ? `${Math.floor(ms / HOUR)}:${pad((ms % HOUR) / MINUTE)} h` : `${ms / HOUR} h`;
  return ms % DAY ? `${Math.floor(ms / DAY)} d ${Math.floor((ms % DAY) / HOUR)} h` : `${ms / DAY} d`;
}

/** @param {number} number */
function pad(number) {
  return String(Math.floor(number)).padStart(2, "0");
}

/** @param {number} number */
function round(number) {
  return Math.round(number * 10) / 10;
}

/**
 * The chart in words, for those who don't see it.
 * @param {Course} course
 * @param {(ms: number) => string} duration
 */
export function summaryOf(course, duration) {
  const over = `over ${duration(course.to - course.from)}`;
  const run = course.runs.at(-1);
  const said = run
    ? `Progress went from ${formatPercent(run[0].progress)} to ${formatPercent(run[run.length - 1].progress)} ${over}.`
    : `No progress was reported ${over}.`;
  return [
    said,
    times(
      course.spans.filter((span) => span.state === "paused"),
      "Paused",
      duration,
    ),
    times(course.silences, "Silent", duration),
    course.attempts > 1 ? `It is in attempt ${course.attempts}.` : "",
  ]
    .filter(Boolean)
    .join(" ");
}

/**
 * @param {readonly Span[]} spans
 * @param {string} word
 * @param {(ms: number) => string} duration
 */
function times(spans, word, duration) {
  if (spans.length === 0) return "";
  const sum = spans.reduce((total, span) => total + span.to - span.from, 0);
  const often = spans.length === 1 ? "once, for" : `${spans.length} times, for`;
  return `${word} ${often} ${duration(sum)}${spans.length === 1 ? "" : " together"}.`;
}

/**
 * How long a job stood in each state, in the order in which it came to them; last, how long it was silent.
 * @param {Course} course
 * @returns {{state: string, length: number}[]}
 */
export function totalsOf(course) {
  /** @type {Map<string, number>} */
  const totals = new Map();
  for (const { state, from, to } of [...course.spans, ...course.silences]) {
    totals.set(state, (totals.get(state) ?? 0) + to - from);
  }
  return [...totals].map(([state, length]) => ({ state, length })).filter(({ length }) => length > 0);
}

/**
 * The course as a few rows of a table: every change of state, and progress in between at even distances.
 * @param {readonly Entry[]} entries
 * @param {number} most
 */
export function rowsOf(entries, most) {
  const every = Math.max(1, Math.ceil(entries.length / most));
  return entries.filter(
    (entry, index) =>
      index % every === 0 || index === entries.length - 1 || (every > 1 && entry.state !== entries[index - 1].state),
  );
}
