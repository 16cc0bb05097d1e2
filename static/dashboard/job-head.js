/** The head of a job's page: what it is, where it stands, and since when. */

import {
  formatDuration,
  formatFullTime,
  formatPercent,
  formatRelative,
  formatTime,
  isoDuration,
  jobName,
  milliseconds,
  plainLines,
  plainText,
  progressText,
  stateLabel,
  stateTone,
  timeRunning,
} from "../format.js";
import { chip, setChip } from "./chip.js";
import { copyButton } from "./copy.js";
import { el, reconcile, setAttribute, setLongText, setText } from "./job-dom.js";
import { lengthText } from "./timeline.js";
import { placeOf } from "./tree.js";

/** @typedef {import("../gateway.js").Job} Job */

const MESSAGE = 2000; // characters of a message that are shown at the top
const WISHES = new Map([
  ["cancelling", "Cancelling: asked; the worker decides. It goes on until it confirms."],
  ["pausing", "Pausing: asked; the worker decides. It goes on until it confirms."],
  ["resuming", "Resuming: asked; the worker decides. It rests until it confirms."],
]);
const UNKNOWN = "Unknown: whoever reports on this job can't tell how it stands.";

/**
 * @param {Job} first
 * @param {HTMLElement} wishes
 */
export function headView(first, wishes) {
  const title = el("h1", { tabindex: -1 });
  const state = chip(first.state);
  const address = el("span", { class: "mono job-id" }, first.id);
  const tags = el("ul", { class: "job-tags", "aria-label": "Workspace, process and labels" });
  const element = el(
    "header",
    { class: "job-head" },
    el("div", { class: "job-name" }, title, state),
    wishes,
    el(
      "div",
      { class: "job-address" },
      address,
      copyButton("Copy the id", () => first.id),
    ),
    tags,
  );
  return {
    element,
    /** @param {Job} job */
    show(job) {
      setText(title, jobName(job));
      setChip(state, job.state);
      reconcile(tags, tagsOf(job), {
        key: ([name, value]) => JSON.stringify([name, value]),
        make: ([name, value]) => el("li", { class: "tag" }, el("span", { class: "job-tag-name" }, `${name} `), value),
      });
    },
  };
}

/** @param {Job} job */
function tagsOf({ workspace, process, labels }) {
  const tags = [
    ["workspace", workspace],
    ...Object.entries(labels).map(([name, value]) => [plainText(name), plainText(value)]),
  ];
  if (process) tags.splice(1, 0, ["process", plainText(process)]);
  return tags;
}

/** What the worker has not confirmed, or not said for too long. */
export function standingView() {
  const wish = el("div", { class: "banner", "data-tone": "wish", hidden: true }, el("p"));
  const silence = el("div", { class: "banner", "data-tone": "bad", hidden: true }, el("p"));
  const element = el("div", { class: "job-standing" }, wish, silence);
  /** @type {Job | null} */
  let job = null;

  /** @param {number} now */
  function tick(now) {
    if (!job) return;
    const text = WISHES.get(job.state) ?? (job.state === "unknown" ? UNKNOWN : "");
    put(wish, text);
    setAttribute(wish, "data-tone", stateTone(job.state));
    const length = formatDuration(Math.max(0, now - (milliseconds(job.updated) ?? now)));
    put(
      silence,
      job.stalled
        ? `Stalled: nothing was heard for more than its lease of ${formatDuration((job.lease ?? 0) * 1000)}; the gateway noticed ${length} ago. The worker may be gone.`
        : "",
    );
  }

  return {
    element,
    /** @param {Job} current */
    show(current) {
      job = current;
      tick(Date.now());
    },
    tick,
  };
}

/** @param {HTMLElement} banner @param {string} text */
function put(banner, text) {
  banner.hidden = text === "";
  setText(/** @type {Element} */ (banner.firstElementChild), text);
}

/** Progress in large, what it is doing, and its times. */
export function nowView() {
  const percent = el("p", { class: "job-percent nums" });
  const place = el("p", { class: "job-place" });
  const message = el("p", { class: "job-message" });
  const bar = el("progress", { class: "bar job-progress", max: 100, "aria-label": "Progress" });
  const times = el("dl", { class: "job-times" });
  const element = el(
    "section",
    { class: "panel job-now", "aria-label": "How it stands" },
    el("div", { class: "job-now-head" }, percent, el("div", { class: "job-doing" }, place, message)),
    bar,
    times,
  );
  /** @type {Job | null} */
  let job = null;

  /** @param {number} now */
  function tick(now) {
    if (!job) return;
    setText(percent, formatPercent(job.progress) || unmeasured(job, now));
    reconcile(times, timesOf(job, now), {
      key: (time) => time.name,
      make: ({ name }) => el("div", {}, el("dt", {}, name), el("dd", { class: "nums" }, el("time"))),
      update: (part, { text, title, datetime }) => {
        const time = /** @type {Element} */ (part.querySelector("time"));
        setText(time, text);
        setAttribute(time, "title", title);
        setAttribute(time, "datetime", datetime);
      },
    });
  }

  return {
    element,
    /** @param {Job} current */
    show(current) {
      job = current;
      setAttribute(element, "data-tone", stateTone(job.state));
      setAttribute(percent, "data-known", job.progress !== null);
      setText(place, placeText(job));
      place.hidden = place.textContent === "";
      setLongText(message, plainLines(job.message, MESSAGE), "Message");
      message.hidden = message.textContent === "";
      setAttribute(bar, "aria-valuetext", progressText(job));
      setAttribute(bar, "value", job.progress ?? (job.terminal || !job.started || job.state === "paused" ? 0 : null));
      tick(Date.now());
    },
    tick,
  };
}

/** What stands in large where no progress is told. @param {Job} job @param {number} now */
function unmeasured(job, now) {
  if (job.terminal) return stateLabel(job.state);
  return job.started ? formatDuration(timeRunning(job, now)) : "Not started";
}

/** @param {Job} job */
function placeText({ steps, step, terminal }) {
  const place = placeOf(steps, step);
  const name = plainText(step ?? place?.name);
  if (!place || (terminal && !name)) return name;
  return `Step ${place.index} of ${place.count}${name ? ` · ${name}` : ""}`;
}

/**
 * @typedef {{name: string, text: string, title: string, datetime: string}} Shown
 * @param {Job} job
 * @param {number} now
 * @returns {Shown[]}
 */
function timesOf(job, now) {
  const running = timeRunning(job, now);
  /** @param {string} name @param {string | null} time @param {string} [text] @returns {Shown[]} */
  const moment = (name, time, text) =>
    time ? [{ name, text: text ?? formatTime(time, now), title: formatFullTime(time), datetime: time }] : [];
  /** @param {string} name @param {string} text @param {string} [datetime] @returns {Shown} */
  const length = (name, text, datetime = "") => ({ name, text, title: "", datetime });
  /** @param {number} ms */
  const work = (ms) =>
    job.terminal
      ? length("Took", lengthText(ms), isoDuration(ms))
      : length("Running for", formatDuration(ms), isoDuration(ms));
  return [
    ...(running === null ? [] : [work(running)]),
    ...moment("Created", job.created),
    ...moment("Started", job.started),
    ...moment("Ended", job.finished),
    ...moment("Updated", job.updated, formatRelative(job.updated, now)),
    ...(job.attempt > 1 ? [length("Attempt", String(job.attempt))] : []),
    ...(job.lease === null ? [] : [length("Lease", formatDuration(job.lease * 1000), isoDuration(job.lease * 1000))]),
  ];
}
