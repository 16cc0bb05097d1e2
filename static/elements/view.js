/** One job as DOM, as a card or as a row. Law: what a job says is only ever set as text, its links only where safe. */

import {
  formatDuration,
  formatFullTime,
  formatPercent,
  formatRelative,
  isoDuration,
  jobName,
  milliseconds,
  pageQuery,
  plainText,
  plural,
  progressText,
  safeHref,
  stateLabel,
  stateTone,
  timeRunning,
  wholePercent,
} from "../format.js";
import { setMark, stateMark } from "./mark.js";

/** @typedef {import("../gateway.js").Job} Job */

const LINKS_SHOWN = 8; // a job may have more; its page shows them all
const STEP = 120; // characters

/**
 * An element with a class, and the same names as parts for the page's own style.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name @param {string} part @param {...Node} children
 */
export function make(name, part, ...children) {
  const element = document.createElement(name);
  element.className = part;
  if (part) element.setAttribute("part", part);
  element.append(...children);
  return element;
}

/** Set a text only where it differs: writing the same one again would disturb a selection. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Element} element @param {string} name @param {string | null} value null removes it */
function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export class JobView {
  /** @type {Job | null} */
  #job = null;
  #base = "";
  #mark = stateMark("unknown");
  /** @type {HTMLElement} */
  #name = make("span", "name");
  #state = make("span", "state");
  #stalled = make("span", "flag stalled");
  #attempt = make("span", "flag attempt");
  #bar = make("div", "bar");
  #track = make("div", "track", this.#bar);
  #percent = make("span", "percent");
  #meter = make("div", "meter", this.#track, this.#percent);
  #step = make("span", "step");
  #message = make("span", "message");
  #line = make("div", "line", this.#step, this.#message);
  #error = make("div", "error");
  #time = make("time", "time");
  #note = make("span", "note");
  #links = make("span", "links");

  /** @type {"card" | "row"} */
  #form;

  /** @param {"card" | "row"} form @param {...Node} actions what the page adds to a card's foot */
  constructor(form, ...actions) {
    this.#form = form;
    this.#mark.setAttribute("part", "mark");
    this.#stalled.dataset["tone"] = "wish";
    this.#stalled.textContent = "Stalled";
    this.#stalled.title = "Nothing was heard of it for longer than it promised";
    this.#attempt.dataset["tone"] = "idle";
    this.#track.setAttribute("role", "progressbar");
    setAttribute(this.#track, "aria-valuemin", "0");
    setAttribute(this.#track, "aria-valuemax", "100");
    for (const element of [this.#name, this.#step, this.#message, this.#error]) element.dir = "auto";
    const flags = make("span", "flags", this.#stalled, this.#attempt, this.#state);
    const head = make("div", "head", this.#mark, this.#name, flags);
    /** The whole view. */
    this.element = make("div", `job ${form}`);
    this.element.setAttribute("role", "group");
    if (form === "card") {
      const foot = make("div", "foot", this.#time, this.#note, this.#links, ...actions);
      this.element.append(head, this.#meter, this.#line, this.#error, foot);
    } else {
      head.append(this.#time);
      this.element.append(head, this.#line, this.#error, this.#meter, this.#note);
    }
    this.await("");
  }

  /** The job that is shown, or null. */
  get job() {
    return this.#job;
  }

  /** Nothing is known yet but, perhaps, the id. @param {string} id @param {string} [word] what stands in the state's place */
  await(id, word = "Connecting…") {
    this.#job = null;
    this.#paintState("created", "idle", word);
    this.#named(plainText(id, STEP), null);
    this.#stalled.hidden = this.#attempt.hidden = this.#track.hidden = true;
    for (const element of [this.#percent, this.#step, this.#message, this.#error, this.#time]) setText(element, "");
    this.#links.replaceChildren();
    this.element.setAttribute("aria-busy", "true");
  }

  /**
   * Show a job. `base` is where its gateway is mounted, for the link to its page; null makes no link.
   * @param {Job} job @param {number} now the gateway's time @param {string | null} base @param {string} source the address
   *   of the job, from which its relative links start
   */
  show(job, now, base, source) {
    const linksDiffer = !this.#job || JSON.stringify(this.#job.links) !== JSON.stringify(job.links);
    this.#job = job;
    this.element.removeAttribute("aria-busy");
    this.#paintState(job.state, stateTone(job.state), stateLabel(job.state));
    this.#named(jobName(job), base === null ? null : new URL(pageQuery(job), base).href);
    this.#stalled.hidden = !job.stalled;
    this.#attempt.hidden = job.attempt < 2;
    setText(this.#attempt, `Attempt ${job.attempt}`);
    this.#paintMeter(job);
    const error = plainText(job.error?.message);
    const message = plainText(job.message);
    setText(this.#step, plainText(job.step, STEP));
    setText(this.#message, message === error ? "" : message);
    setText(this.#error, error);
    if (linksDiffer || this.#base !== source) this.#paintLinks(job, source);
    this.#base = source;
    const begun = job.started === null ? `created ${formatFullTime(job.created)}` : `started ${formatFullTime(job.started)}`;
    setAttribute(this.#time, "title", job.terminal ? `${begun}, ended ${formatFullTime(job.finished)}` : begun);
    this.tick(now);
  }

  /** What changes by time alone. @param {number} now the gateway's time */
  tick(now) {
    const job = this.#job;
    if (!job) return;
    const running = timeRunning(job, now);
    const length = running ?? Math.max((milliseconds(job.finished) ?? now) - (milliseconds(job.created) ?? now), 0);
    setText(this.#time, this.#timeText(job, running, formatDuration(length), now));
    setAttribute(this.#time, "datetime", isoDuration(length));
  }

  /** @param {Job} job @param {number | null} running @param {string} length @param {number} now */
  #timeText(job, running, length, now) {
    const ended = job.terminal ? formatRelative(job.finished, now) : "";
    if (running === null && job.terminal) return ended;
    if (this.#form === "row") return length;
    if (running === null) return `waiting ${length}`;
    return job.terminal ? `took ${length} · ${ended}` : length;
  }

  /** A remark on the connection; "" for none. @param {string} text */
  note(text) {
    setText(this.#note, text);
    this.#note.hidden = text === "";
  }

  /** @param {string} state @param {string} tone @param {string} label */
  #paintState(state, tone, label) {
    this.element.dataset["tone"] = tone;
    setMark(this.#mark, state);
    setText(this.#state, label);
  }

  /** @param {string} name @param {string | null} href */
  #named(name, href) {
    if ((href !== null) !== this.#name instanceof HTMLAnchorElement) {
      const other = make(href === null ? "span" : "a", "name");
      other.dir = "auto";
      this.#name.replaceWith(other);
      this.#name = other;
    }
    if (href !== null) setAttribute(this.#name, "href", href);
    setText(this.#name, name);
    this.#name.title = name;
    setAttribute(this.element, "aria-label", name || "Job");
    setAttribute(this.#track, "aria-label", `Progress of ${name}`);
  }

  /** @param {Job} job */
  #paintMeter(job) {
    const known = wholePercent(job.progress);
    const endless = known === null && !job.terminal && job.started !== null;
    this.#track.hidden = known === null && !endless;
    this.#track.classList.toggle("endless", endless);
    this.#bar.style.setProperty("--progress", String(job.progress ?? 0)); // through the CSSOM, which no CSP forbids
    setAttribute(this.#track, "aria-valuenow", known === null ? null : String(known));
    setAttribute(this.#track, "aria-valuetext", progressText(job));
    setText(this.#percent, formatPercent(job.progress));
  }

  /** @param {Job} job @param {string} source */
  #paintLinks(job, source) {
    const shown = job.links.slice(0, LINKS_SHOWN).map((link) => {
      const href = safeHref(link.href, source);
      const text = plainText(link.rel, STEP) || "link";
      if (href === null) return make("span", "", new Text(`${text}: ${plainText(link.href, STEP)}`));
      const anchor = make("a", "link", new Text(text));
      anchor.href = href;
      anchor.rel = "noopener noreferrer";
      return anchor;
    });
    const more = job.links.length - shown.length;
    this.#links.replaceChildren(...shown, ...(more > 0 ? [make("span", "", new Text(`and ${plural(more, "more link")}`))] : []));
  }
}
