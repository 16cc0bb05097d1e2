/** Progress over time, drawn: a stair for each attempt, a strip of the states below it, and the same as words and table. */

import { formatFullTime, formatPercent, formatTime, stateLabel, stateTone } from "../format.js";
import { courseOf, drawingOf, rowsOf, summaryOf, totalsOf } from "./chart.js";
import { el, reconcile, setAttribute, setText, svg, unique } from "./job-dom.js";
import { lengthText } from "./timeline.js";

/**
 * @typedef {import("./timeline.js").Entry} Entry
 * @typedef {import("./chart.js").Course} Course
 */

const HEIGHT = 148; // of the plot
const LEFT = 40;
const RIGHT = 10;
const TOP = 10;
const STRIP = 8; // below the plot, after a gap of as much
const BOTTOM = 2 * STRIP + 24;
const FLAT = 0; // the plot of a job that never told its progress: the strip of its states is all there is
const LEVELS = [0, 25, 50, 75, 100];
const NARROW = 240; // units; below this nothing can be told apart
const ROWS = 60; // of the table

export function chartView() {
  const [titleId, textId] = [unique("chart-title"), unique("chart-text")];
  const name = svg("title", { id: titleId });
  const heading = el("h2");
  const text = svg("desc", { id: textId });
  const plot = svg("g", { transform: `translate(${LEFT} ${TOP})` });
  const picture = svg(
    "svg",
    { class: "job-chart", role: "img", "aria-labelledby": titleId, "aria-describedby": textId },
    name,
    text,
    plot,
  );
  const readout = el("p", { class: "job-readout nums", "aria-hidden": "true" });
  const totals = el("ul", { class: "job-totals" });
  const rows = el("tbody");
  const table = tableOf(rows);
  const element = el(
    "section",
    { class: "panel job-course" },
    heading,
    el("div", { class: "job-plot" }, picture, readout),
    totals,
    table,
  );
  /** @type {readonly Entry[]} */
  let entries = [];
  /** @type {Course | null} */
  let course = null;
  let ended = false;
  let width = 0;

  const observer = new ResizeObserver(() => {
    const wide = Math.floor(picture.getBoundingClientRect().width);
    if (wide === width || wide === 0) return;
    width = wide;
    draw(Date.now());
  });
  observer.observe(picture);

  /** @param {number} now */
  function draw(now) {
    course = courseOf(entries, now, ended);
    element.hidden = course === null;
    if (!course || width === 0) return;
    const size = { width: Math.max(NARROW, width) - LEFT - RIGHT, height: course.runs.length ? HEIGHT : FLAT };
    const title = course.runs.length ? "Progress over time" : "States over time";
    setText(heading, title);
    setText(name, title);
    setAttribute(picture, "height", TOP + size.height + BOTTOM);
    plot.replaceChildren(...partsOf(course, size));
    setText(text, summaryOf(course, lengthText));
    showTotals(totals, course);
    if (table.open) showRows(rows, entries);
  }

  table.addEventListener("toggle", () => table.open && showRows(rows, entries));
  picture.addEventListener("pointermove", (event) => course && point(event.offsetX - LEFT, course));
  picture.addEventListener("pointerleave", () => setText(readout, ""));

  /** @param {number} x @param {Course} at */
  function point(x, at) {
    const moment = at.from + (x / (width - LEFT - RIGHT)) * (at.to - at.from);
    const entry = moment >= at.from && moment <= at.to ? entries.findLast((one) => one.at <= moment) : null;
    const parts = entry ? [formatPercent(entry.progress), stateLabel(entry.state), formatTime(moment, Date.now())] : [];
    setText(readout, parts.filter(Boolean).join(" · "));
  }

  return {
    element,
    /** @param {readonly Entry[]} known @param {boolean} over whether the job has ended */
    show(known, over) {
      entries = known;
      ended = over;
      draw(Date.now());
    },
    /** @param {number} now */
    tick(now) {
      if (!ended) draw(now);
    },
    close: () => observer.disconnect(),
  };
}

/**
 * @param {Course} course
 * @param {{width: number, height: number}} size
 */
function partsOf(course, size) {
  const { lines, areas, tip, strip, bands, ticks } = drawingOf(course, size);
  const { width, height } = size;
  const level = (/** @type {number} */ percent) => height - (percent / 100) * height + 0.5;
  const tone = stateTone(course.spans[course.spans.length - 1].state);
  const levels = height ? LEVELS : [];
  return [
    ...bands.map((band) =>
      svg("rect", {
        class: "job-band",
        "data-tone": band.state === "stalled" ? "bad" : stateTone(band.state),
        x: band.x,
        y: 0,
        width: band.width,
        height,
      }),
    ),
    ...levels.map((percent) =>
      svg("line", {
        class: percent ? "job-grid" : "job-axis",
        x1: 0,
        x2: width,
        y1: level(percent),
        y2: level(percent),
      }),
    ),
    ...levels
      .filter((percent) => percent % 50 === 0)
      .map((percent) =>
        svg("text", { class: "job-label", x: -8, y: level(percent) + 4, "text-anchor": "end" }, `${percent}%`),
      ),
    ...areas.map((path) => svg("path", { class: "job-area", "data-tone": tone, d: path })),
    ...lines.map((path) => svg("path", { class: "job-line", "data-tone": tone, d: path })),
    tip && svg("circle", { class: "job-tip", "data-tone": tone, cx: tip.x, cy: tip.y, r: 4 }),
    ...strip.map((band) =>
      svg("rect", {
        class: "job-strip",
        "data-state": band.state,
        "data-tone": stateTone(band.state),
        x: band.x,
        y: height + STRIP,
        width: band.width,
        height: STRIP,
      }),
    ),
    ...ticks.map((tick, index) =>
      svg(
        "text",
        { class: "job-label", x: tick.x, y: height + 2 * STRIP + 16, "text-anchor": index ? "middle" : "start" },
        tick.text,
      ),
    ),
  ].filter((part) => part !== null);
}

/** @param {HTMLElement} list @param {Course} course */
function showTotals(list, course) {
  reconcile(list, totalsOf(course), {
    key: (total) => total.state,
    make: ({ state }) => {
      const tone = state === "stalled" ? "bad" : stateTone(state);
      return el(
        "li",
        { "data-tone": tone, "data-state": state },
        state === "stalled" ? "Silent " : `${stateLabel(state)} `,
        el("span", { class: "nums" }),
      );
    },
    update: (li, total) => setText(/** @type {Element} */ (li.lastElementChild), lengthText(total.length)),
  });
}

/** @param {HTMLElement} rows */
function tableOf(rows) {
  const head = el("tr", {}, ...["Time", "State", "Progress"].map((word) => el("th", { scope: "col" }, word)));
  const table = el(
    "table",
    {},
    el("caption", { class: "visually-hidden" }, "Progress over time"),
    el("thead", {}, head),
    rows,
  );
  const box = el("div", { class: "job-rows", tabindex: 0, role: "region", "aria-label": "Progress as a table" }, table);
  return el("details", { class: "job-table" }, el("summary", {}, "As a table"), box);
}

/** @param {HTMLElement} rows @param {readonly Entry[]} entries */
function showRows(rows, entries) {
  reconcile(rows, rowsOf(entries, ROWS), {
    key: (entry) => String(entry.version),
    make: (entry) => {
      const row = el(
        "tr",
        {},
        el("td", { class: "nums" }, formatFullTime(entry.at)),
        el("td", {}, stateLabel(entry.state)),
      );
      row.append(el("td", { class: "nums" }, formatPercent(entry.progress) || "not known"));
      setAttribute(row, "data-tone", stateTone(entry.state));
      return row;
    },
  });
}
