/** One row of the table. Law: a part of it is touched only where it says something else than before. */

import {
  formatDuration,
  formatFullTime,
  formatPercent,
  formatRelative,
  jobName,
  milliseconds,
  newsOf,
  pageQuery,
  plainText,
  progressText,
  stateTone,
  timeRunning,
} from "../format.js";
import { chip, setChip } from "./chip.js";

/** @typedef {import("../gateway.js").Job} Job */
/**
 * @typedef {object} Row
 * @property {string} key of the job that it shows
 * @property {number} index
 * @property {Job | null} job as it is painted
 * @property {HTMLElement} element
 * @property {HTMLElement} chip
 * @property {HTMLElement} stalled
 * @property {HTMLAnchorElement} link
 * @property {HTMLElement} id
 * @property {HTMLElement} process
 * @property {HTMLElement} workspace
 * @property {HTMLProgressElement} bar
 * @property {HTMLElement} percent
 * @property {HTMLElement} step
 * @property {HTMLElement} message
 * @property {HTMLTimeElement} time
 * @property {HTMLElement} took
 */

const FLASH_MS = 900;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** @returns {Row} */
export function makeRow() {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById("row"));
  const element = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  /** @template {HTMLElement} E @param {string} selector @returns {E} */
  const part = (selector) => /** @type {E} */ (element.querySelector(selector));
  const state = chip("created");
  part(".c-state").prepend(state);
  return {
    key: "",
    index: -1,
    job: null,
    element,
    chip: state,
    stalled: part(".stalled"),
    link: part("a"),
    id: part(".id"),
    process: part(".process"),
    workspace: part(".workspace"),
    bar: part("progress"),
    percent: part(".percent"),
    step: part(".step"),
    message: part(".message"),
    time: part("time"),
    took: part(".took"),
  };
}

/** @param {Row} row @param {Job} job @param {number} now @param {boolean} known whether the row showed this job before */
export function paintRow(row, job, now, known) {
  if (row.job === job) return;
  row.job = job;
  row.element.dataset["tone"] = stateTone(job.state);
  if (setChip(row.chip, job.state) && known) flash(row.chip);
  row.stalled.hidden = !job.stalled;
  row.element.classList.toggle("is-stalled", job.stalled);
  paintName(row, job);
  paintProgress(row, job);
  paintNow(row, job);
  row.time.dateTime = heard(job);
  row.time.title = formatFullTime(heard(job));
  paintTimes(row, now);
}

/** What changes by the clock alone. @param {Row} row @param {number} now */
export function paintTimes(row, now) {
  const { job } = row;
  if (!job) return;
  // Whose clock runs behind the gateway's should not read of changes to come.
  text(row.time, formatRelative(heard(job), Math.max(now, milliseconds(heard(job)) ?? now)));
  const length = formatDuration(timeRunning(job, now));
  text(row.took, length === "" ? "" : `${job.terminal ? "took" : "for"} ${length}`);
}

/** When its newest was so, as its producer says; a report may come late. @param {Job} job */
function heard(job) {
  return job.finished ?? job.reported ?? job.updated;
}

/** @param {Row} row @param {Job} job */
function paintName(row, job) {
  const name = jobName(job);
  if (row.link.textContent !== name) {
    row.link.textContent = name;
    row.link.title = name;
  }
  const query = pageQuery(job);
  if (row.link.getAttribute("href") !== query) row.link.setAttribute("href", query);
  text(row.id, job.name === job.id ? "" : plainText(job.id));
  text(row.process, plainText(job.process));
  const labels = Object.entries(job.labels).map(([key, value]) => `${key}:${value}`);
  text(row.workspace, plainText([job.workspace === "default" ? "" : job.workspace, ...labels].filter(Boolean).join(" · ")));
}

/** @param {Row} row @param {Job} job */
function paintProgress(row, job) {
  const { bar } = row;
  const moves = !job.terminal && job.started !== null;
  bar.hidden = job.state === "succeeded" || (job.progress === null && !moves);
  if (job.progress === null) bar.removeAttribute("value");
  else if (bar.value !== job.progress || !bar.hasAttribute("value")) bar.value = job.progress;
  const said = bar.hidden ? "" : progressText(job);
  if (said && bar.getAttribute("aria-valuetext") !== said) bar.setAttribute("aria-valuetext", said);
  text(row.percent, job.state === "succeeded" ? "" : formatPercent(job.progress));
}

/** @param {Row} row @param {Job} job */
function paintNow(row, job) {
  const step = job.terminal && job.state !== "failed" ? "" : plainText(job.step);
  const attempt = job.attempt > 1 && !job.terminal ? `attempt ${job.attempt}` : "";
  text(row.step, [step, attempt].filter(Boolean).join(" · "));
  const news = newsOf(job);
  text(row.message, news);
  row.message.title = news;
}

/** @param {Element} element @param {string} value */
function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Show that a state is new. @param {HTMLElement} element */
function flash(element) {
  if (calm.matches) return;
  element.animate([{ boxShadow: "0 0 0 0 var(--tone-solid)" }, { boxShadow: "0 0 0 7px transparent" }], {
    duration: FLASH_MS,
    easing: "ease-out",
  });
}
