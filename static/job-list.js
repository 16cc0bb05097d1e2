/**
 * `<job-list src="http://gateway/v1/events?state=running">`: the jobs that match, live, newest first.
 * `<script type="module" src="http://gateway/static/job-list.js"></script>` is all that it needs.
 *
 * Attributes: `src` (`/v1/events?…`, `/v1/jobs?…` or the gateway's page with its filters); `heading`; `limit` (rows,
 * 50 where absent); `empty` (what to say when nothing matches); `quiet` (announces nothing); `theme`, `no-link` and
 * `hide-…` as `<job-status>` has them. Properties: `src`, `token` (never an attribute), `jobs`, `connection`, `problem`.
 * Events, all of which bubble: `statuschange` {job, previous, change}, `end` {reason}, `connectionchange`.
 * The documents come without steps, details and result; read a job by its address for those.
 */

import { announcement, formatCount, plainText, plural } from "./format.js";
import { WatchingElement } from "./elements/base.js";
import { matcher } from "./elements/matching.js";
import { JobView, make, setText } from "./elements/view.js";

/** @typedef {import("./gateway.js").Job} Job */
/** @typedef {import("./gateway.js").Change} Change */
/** @typedef {import("./elements/source.js").Source} Source */
/** @typedef {{ job: Job, round: number, row: { item: HTMLLIElement, view: JobView } | null }} Entry */

const ROWS = 50;
const MOST = 1_000; // as many as the gateway shows at first; a list that is open for days keeps no more either
const SAY_AFTER_MS = 1_000; // what ends together is told together
const NAMED_AT_ONCE = 2; // more than this are told as a number

export class JobList extends WatchingElement {
  static observedAttributes = [...super.observedAttributes, "heading", "limit", "empty", "no-link"];

  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** @type {(job: Job) => boolean} */
  #matches = () => true;
  #round = 0; // a reset begins a new one; what it does not show again is gone
  #more = false; // more jobs match than are known here
  #frame = 0;
  /** @type {Set<string>} */
  #dirty = new Set();
  #complete = false;
  /** @type {Job[]} */
  #ends = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #sayTimer;
  #title = make("span", "title");
  #count = make("span", "count");
  #heading = make("div", "heading", this.#title, this.#count);
  #items = make("ul", "items");
  #none = make("div", "none");
  #note = make("div", "note");
  #list = make("div", "list", this.#heading, this.#items, this.#none);

  constructor() {
    super("list");
    this.#items.setAttribute("role", "list"); // Safari forgets it where a list has no bullets
    this.#note.hidden = true;
    this.root.prepend(this.#list);
    this.#list.append(this.problemBox, this.#note);
  }

  /** The jobs that match, newest first. */
  get jobs() {
    return this.#sorted().map((entry) => entry.job);
  }

  connectedCallback() {
    this.#paint();
    super.connectedCallback();
  }

  disconnectedCallback() {
    clearTimeout(this.#sayTimer);
    this.#ends = [];
    super.disconnectedCallback();
  }

  /** @param {string} name @param {string | null} before @param {string | null} after */
  attributeChangedCallback(name, before, after) {
    if (name === "src" || name === "token") return super.attributeChangedCallback(name, before, after);
    for (const key of this.#entries.keys()) this.#dirty.add(key);
    this.#repaint();
  }

  /** @protected */
  cleared() {
    this.#entries.clear();
    this.#items.replaceChildren();
    this.#dirty.clear();
    this.#ends = [];
    this.#complete = false;
    this.#more = false;
    this.#repaint();
  }

  /** @protected @param {Source} source */
  opened(source) {
    this.#matches = matcher(source.url.searchParams);
    const url = new URL(source.url);
    if (!url.searchParams.has("omit")) url.searchParams.set("omit", "steps,details,result");
    this.#round += 1; // back in the page, it is shown everything again
    return url.href;
  }

  /** @protected @param {Job} job @param {Change} change */
  received(job, change) {
    const known = this.#entries.get(change.key);
    if (change.event === "deleted") this.#drop(change.key);
    else if (known?.job.position === job.position) known.round = this.#round;
    else if (!this.#matches(job)) this.#drop(change.key);
    else {
      this.#entries.set(change.key, { job, round: this.#round, row: known?.row ?? null });
      this.#dirty.add(change.key);
      if (this.#entries.size > 2 * MOST) this.#trim(); // a hidden page paints nothing, but hears all
      this.#repaint();
    }
    const previous = known?.job ?? null;
    if (previous && job.terminal && !previous.terminal) this.#sayLater(job);
    const news = known ? known.job.position !== job.position : this.#entries.has(change.key);
    if (news) this.emit("statuschange", { job, previous, change });
  }

  /** @protected @param {{ shown: number | null, matched: number | null }} sync */
  synced({ shown, matched }) {
    if (shown !== null && matched !== null) {
      for (const [key, entry] of this.#entries) if (entry.round !== this.#round) this.#drop(key);
      this.#more = matched > shown;
    }
    this.#complete = true;
    this.#repaint();
  }

  /** @protected */
  reset() {
    this.#round += 1;
  }

  /** @protected */
  finished() {
    this.#complete = true;
    this.#repaint();
  }

  /** @protected @param {number} now */
  tick(now) {
    for (const { row } of this.#entries.values()) row?.view.tick(now);
  }

  /** @protected */
  hasContent() {
    return this.#complete;
  }

  /** @protected @param {string} text */
  note(text) {
    setText(this.#note, text);
    this.#note.hidden = text === "";
  }

  /** @protected @param {boolean} hidden */
  covered(hidden) {
    this.#items.hidden = hidden;
    this.#repaint();
  }

  /** @param {string} key */
  #drop(key) {
    this.#entries.get(key)?.row?.item.remove();
    this.#entries.delete(key);
    this.#dirty.delete(key);
    this.#repaint();
  }

  #sorted() {
    // Times of one form sort as text; equal ones by key, so that rows never change places for nothing.
    const entries = [...this.#entries.entries()];
    entries.sort(([a, { job: one }], [b, { job: other }]) =>
      one.created === other.created ? (a < b ? 1 : -1) : one.created < other.created ? 1 : -1,
    );
    return entries.map(([, entry]) => entry);
  }

  /** At most once a frame, however much comes: frames stop in a hidden page, and so does this. */
  #repaint() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #paint() {
    const limit = Math.min(Math.max(Number.parseInt(this.getAttribute("limit") ?? "", 10) || ROWS, 1), MOST);
    this.#trim();
    const sorted = this.#sorted();
    const shown = sorted.slice(0, limit);
    for (const entry of sorted.slice(limit)) {
      entry.row?.item.remove();
      entry.row = null;
    }
    let place = this.#items.firstElementChild;
    for (const entry of shown) {
      const row = this.#rowOf(entry);
      if (row.item === place) place = place.nextElementSibling;
      else this.#items.insertBefore(row.item, place);
    }
    this.#dirty.clear();
    this.#paintFrame(shown.length, sorted.length);
  }

  /** Let go of the oldest that are too many. */
  #trim() {
    if (this.#entries.size <= MOST) return;
    for (const { job } of this.#sorted().slice(MOST)) this.#drop(`${job.workspace}/${job.id}`);
    this.#more = true;
  }

  /** @param {Entry} entry */
  #rowOf(entry) {
    const key = `${entry.job.workspace}/${entry.job.id}`;
    const fresh = entry.row === null;
    if (entry.row === null) {
      const view = new JobView("row");
      view.note("");
      entry.row = { item: make("li", "item", view.element), view };
    }
    if (fresh || this.#dirty.has(key)) {
      const base = this.hasAttribute("no-link") ? null : (this.source?.base ?? null);
      entry.row.view.show(entry.job, this.now, base, this.source?.url.href ?? this.baseURI);
    }
    return entry.row;
  }

  /** What stands around the rows. @param {number} shown @param {number} known */
  #paintFrame(shown, known) {
    const title = plainText(this.getAttribute("heading"));
    setText(this.#title, title || "Jobs");
    this.#items.setAttribute("aria-label", title || "Jobs");
    const all = `${formatCount(known)}${this.#more ? "+" : ""} ${known === 1 ? "job" : "jobs"}`;
    setText(this.#count, !this.#complete ? "" : shown < known ? `${formatCount(shown)} of ${all}` : all);
    const failed = this.problem !== null;
    this.#none.hidden = failed || shown > 0;
    this.#items.hidden = failed || shown === 0;
    const empty = plainText(this.getAttribute("empty")) || "No job matches now. Those that will appear here by themselves.";
    setText(this.#none, this.#complete ? empty : "Connecting…");
  }

  /** @param {Job} job */
  #sayLater(job) {
    if (this.hasAttribute("quiet")) return;
    this.#ends.push(job);
    if (this.#ends.length > 1) return;
    this.#sayTimer = setTimeout(() => {
      const ends = this.#ends.splice(0);
      const text = ends.length > NAMED_AT_ONCE ? `${plural(ends.length, "job")} ended` : ends.map(announcement).join(". ");
      if (text) this.say(text);
    }, SAY_AFTER_MS);
  }
}

/** @type {typeof import("./job-list.d.ts").JobList} So that what is declared is what is here. */
const declared = JobList;
if (!customElements.get("job-list")) customElements.define("job-list", declared);
