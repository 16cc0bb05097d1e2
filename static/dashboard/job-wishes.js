/**
 * What a reader may wish of a job: cancel, pause, resume. Only the worker makes it so; the page says no more than that.
 * What has ended may be deleted; the gateway does that at once.
 */

import { jobName } from "../format.js";
import { say } from "./announce.js";
import { confirmed } from "./dialog.js";
import { jobUrl } from "./forms.js";
import { el, setAttribute, setText } from "./job-dom.js";

/**
 * @typedef {import("../gateway.js").Job} Job
 * @typedef {"cancel" | "pause" | "resume" | "delete"} Kind
 */

/** The states in which each makes sense: those from which the gateway lets it follow. @type {Record<Kind, Set<string>>} */
const ALLOWED = {
  pause: new Set(["created", "pending", "running", "resuming", "retrying", "unknown"]),
  resume: new Set(["pausing", "paused", "unknown"]),
  cancel: new Set(["created", "pending", "running", "pausing", "paused", "resuming", "retrying", "unknown"]),
  delete: new Set(["succeeded", "failed", "cancelled"]),
};
const DANGEROUS = new Set(["cancel", "delete"]);
/** @type {Record<Kind, {label: string, yes: string, no: string, text: string}>} */
const WORDS = {
  pause: {
    label: "Pause",
    yes: "Pause the job",
    no: "Let it run",
    text: "The worker is asked to pause. It decides when, and whether it can.",
  },
  resume: {
    label: "Resume",
    yes: "Resume the job",
    no: "Not now",
    text: "The worker is asked to go on. It decides when.",
  },
  cancel: {
    label: "Cancel job",
    yes: "Cancel the job",
    no: "Keep it",
    text: "The worker is asked to stop. It decides when; this can't be taken back.",
  },
  delete: {
    label: "Delete job",
    yes: "Delete the job",
    no: "Keep it",
    text: "Its document, its timeline and all its history are deleted: nobody can read them any more, and its id can't be used again for a while. This can't be taken back.",
  },
};
const GONE = 410; // somebody else was quicker
const NOT_BEGUN = "It has not begun, so it is cancelled at once. This can't be taken back.";

/** @param {Kind} kind @param {Job} job */
export function isAllowed(kind, job) {
  return ALLOWED[kind].has(job.state);
}

/**
 * The buttons, and a line that says what came of the last one.
 * @param {URL} base
 * @param {() => Job} current
 * @param {() => void} deleted called when the job has been deleted here
 * @param {AbortSignal} signal
 */
export function wishesView(base, current, deleted, signal) {
  const kinds = /** @type {Kind[]} */ (Object.keys(WORDS));
  const buttons = kinds.map((kind) => {
    const look = DANGEROUS.has(kind) ? "button danger" : "button";
    return el(
      "button",
      { type: "button", class: look, "data-wish": kind, onclick: () => wish(kind) },
      WORDS[kind].label,
    );
  });
  const element = el(
    "div",
    { class: "job-wishes", role: "group", "aria-label": "What to do with this job" },
    ...buttons,
  );
  const text = el("p");
  const away = el("button", { type: "button", class: "button small quiet", onclick: () => told(null) }, "Dismiss");
  const outcome = el("div", { class: "banner job-outcome", role: "alert", hidden: true }, text, away);
  let asking = false;
  let closed = false;

  /** @param {string | null} problem */
  function told(problem) {
    outcome.hidden = problem === null;
    setText(text, problem ?? "");
    setAttribute(outcome, "data-tone", "bad");
    if (problem === null && document.activeElement === document.body) focusNear();
  }

  /** @param {Kind} kind */
  async function wish(kind) {
    if (asking) return;
    const { yes, no, text: said } = WORDS[kind];
    const job = current();
    const notBegun = kind === "cancel" && job.started === null && ["created", "pending"].includes(job.state);
    const question = {
      title: `${WORDS[kind].label.split(" ")[0]} “${jobName(job)}”?`,
      text: notBegun ? NOT_BEGUN : said,
      yes,
      no,
    };
    if (!(await confirmed({ ...question, danger: DANGEROUS.has(kind) }, signal))) return;
    asking = true;
    told(null);
    for (const button of buttons) setAttribute(button, "aria-disabled", "true");
    try {
      const address = jobUrl(current(), base.href, kind === "delete" ? "" : `/${kind}`);
      const problem = await ask(kind === "delete" ? "DELETE" : "POST", address, signal);
      if (signal.aborted) return;
      if (problem) told(`${yes}: ${problem}`);
      else if (kind === "delete") deleted();
      else say(`Asked: ${yes.toLowerCase()}`);
    } finally {
      asking = false;
      for (const button of buttons) setAttribute(button, "aria-disabled", null);
    }
  }

  /** A button that had the focus may be gone: what follows it in reading gets it, but never the one that deletes. */
  function focusNear() {
    const next =
      buttons.find((button, index) => !button.hidden && kinds[index] !== "delete") ??
      document.querySelector(".job-page h1");
    if (next instanceof HTMLElement) next.focus();
  }

  return {
    element,
    outcome,
    /** There is nothing left to do. */
    close() {
      closed = true;
      this.show(current());
    },
    /** @param {Job} job */
    show(job) {
      const focused = document.activeElement;
      for (const [index, kind] of kinds.entries()) buttons[index].hidden = closed || !isAllowed(kind, job);
      element.hidden = buttons.every((button) => button.hidden);
      if (focused instanceof HTMLElement && buttons.some((button) => button === focused && button.hidden)) focusNear();
    },
  };
}

/**
 * @param {string} method
 * @param {string} address
 * @param {AbortSignal} signal
 * @returns {Promise<string>} why it was refused; empty where it was not
 */
async function ask(method, address, signal) {
  try {
    const answer = await fetch(address, { method, headers: { Accept: "application/json" }, signal });
    if (answer.ok || (method === "DELETE" && answer.status === GONE)) return "";
    const problem = await answer.json().catch(() => ({}));
    return String(problem.detail ?? problem.title ?? `refused with ${answer.status} ${answer.statusText}`);
  } catch (error) {
    return signal.aborted ? "" : "the gateway did not answer. Try again when it is back.";
  }
}
