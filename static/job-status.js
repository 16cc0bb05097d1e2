/**
 * `<job-status src="http://gateway/v1/jobs/ID">`: one job, live. Needs nothing but
 * `<script type="module" src="http://gateway/static/job-status.js"></script>`, on any page that the gateway allows.
 *
 * Attributes: `src` (a job of the gateway, or its page's address); `compact` (a row instead of a card); `theme`
 * ("light" or "dark", else as the page's color-scheme); `hide-name`, `hide-state`, `hide-progress`, `hide-step`,
 * `hide-message`, `hide-error`, `hide-links`, `hide-time`; `no-link` (the name leads nowhere).
 * Properties: `src`; `token` (never an attribute: markup is read by many); `job`, `connection`, `problem` (to read).
 * Events, all of which bubble: `statuschange` {job, previous, change}, `end` {reason, job}, `connectionchange`.
 * Parts and `--job-…` properties: the README lists them. What stands inside the tag is shown where scripts don't run.
 */

import { announcement } from "./format.js";
import { WatchingElement } from "./elements/base.js";
import { JobView, make } from "./elements/view.js";

/** @typedef {import("./gateway.js").Job} Job */
/** @typedef {import("./gateway.js").Change} Change */
/** @typedef {import("./elements/source.js").Source} Source */

export class JobStatus extends WatchingElement {
  static observedAttributes = [...super.observedAttributes, "compact", "no-link"];

  /** @type {Job | null} */
  #job = null;
  /** @type {JobView | null} */
  #view = null;
  #wanted = ""; // the job that is waited for
  #deleted = false;

  constructor() {
    super("job");
  }

  /** The job's document as it was last heard of, or null. */
  get job() {
    return this.#job;
  }

  connectedCallback() {
    this.#build(); // not before: a constructor may not look at attributes
    super.connectedCallback();
  }

  /** @param {string} name @param {string | null} before @param {string | null} after */
  attributeChangedCallback(name, before, after) {
    if (name === "src" || name === "token") super.attributeChangedCallback(name, before, after);
    else if (this.#view) this.#build();
  }

  /** @protected */
  cleared() {
    this.#job = null;
    this.#deleted = false;
    this.become();
    this.#view?.await("");
  }

  /** @protected @param {Source} source */
  opened(source) {
    this.#wanted = source.id;
    if (!this.#job) this.#view?.await(source.id);
    return source.url.href;
  }

  /** @protected @param {Job} job @param {Change} change */
  received(job, change) {
    const previous = this.#job;
    if (change.event === "deleted") {
      this.#deleted = true;
      this.become("deleted");
      this.#paint();
      this.say(`${previous?.name ?? job.id} was deleted`);
    } else if (previous && previous.position === job.position) {
      return; // put back into the page, it is told again what it knew
    } else {
      this.#job = job;
      this.#deleted = false;
      this.become(job.state, job.stalled ? "stalled" : null);
      this.#paint();
      if (previous && previous.state !== job.state) this.say(announcement(job));
    }
    this.emit("statuschange", { job, previous, change });
  }

  /** @protected @param {number} now */
  tick(now) {
    this.#view?.tick(now);
  }

  /** @protected */
  hasContent() {
    return this.#job !== null || this.#deleted;
  }

  /** @protected @param {string} text */
  note(text) {
    this.#view?.note(text);
  }

  /** @protected @param {boolean} hidden */
  covered(hidden) {
    if (this.#view) this.#view.element.hidden = hidden;
  }

  #build() {
    const compact = this.hasAttribute("compact");
    const actions = make("slot", "");
    actions.name = "actions"; // buttons of the page's own
    const view = compact ? new JobView("row") : new JobView("card", actions);
    view.note("");
    view.element.hidden = this.problem !== null;
    if (this.#view) this.#view.element.replaceWith(view.element);
    else this.root.prepend(view.element);
    this.#view = view;
    this.#paint();
  }

  #paint() {
    const { source } = this;
    if (this.#deleted) this.#view?.await(this.#job?.name ?? this.#wanted, "Deleted");
    else if (!this.#job) this.#view?.await(this.#wanted);
    else if (source) this.#view?.show(this.#job, this.now, this.hasAttribute("no-link") ? null : source.base, source.url.href);
  }
}

/** @type {typeof import("./job-status.d.ts").JobStatus} So that what is declared is what is here. */
const declared = JobStatus;
if (!customElements.get("job-status")) customElements.define("job-status", declared);
