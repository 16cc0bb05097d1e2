/** What stands around the rows, and in their place where there are none. */

import { formatCount, formatTime, plural } from "../format.js";
import { away, noJobs, noMatch, refused } from "./empty.js";
import { el, setText } from "./job-dom.js";
import { Refused } from "./pages.js";

/**
 * How the list stands.
 * @typedef {object} Standing
 * @property {number} rows that are shown
 * @property {number} size jobs that are known
 * @property {boolean} waiting whether more may come at any moment
 * @property {boolean} complete whether all there are are known
 * @property {boolean} trimmed whether old ones were let go
 * @property {boolean} filtered
 * @property {number} lostAt since when there is no connection, in milliseconds since 1970; 0 while there is one
 * @property {Error | null} failure
 */
/** @typedef {{ clear: () => void, again: () => void, further: () => void }} Ways what a button may do */

export class Around {
  #base;
  #ways;
  #trouble;
  #empty;
  #foot;
  /** @type {string | null} what stands in the rows' place */
  #kind = null;
  /** @type {string | null} */
  #told = null;

  /**
   * @param {URL} base of the gateway
   * @param {Ways} ways
   * @param {{ trouble: HTMLElement, empty: HTMLElement, foot: HTMLElement }} places
   */
  constructor(base, ways, { trouble, empty, foot }) {
    this.#base = base;
    this.#ways = ways;
    this.#trouble = trouble;
    this.#empty = empty;
    this.#foot = foot;
  }

  /** @param {Standing} standing */
  paint(standing) {
    const kind = standing.rows === 0 ? kindOf(standing) : "";
    if (kind !== this.#kind) {
      this.#kind = kind;
      this.#empty.hidden = kind === "";
      this.#empty.replaceChildren(...this.#parts(kind, standing).filter((part) => part instanceof Node));
    }
    this.#tell(standing.rows === 0 ? "" : troubleOf(standing));
    const foot = footOf(standing, kind);
    setText(this.#foot, foot);
    this.#foot.hidden = foot === "";
  }

  /** @param {string} kind @param {Standing} standing */
  #parts(kind, { failure, complete, size }) {
    const { clear, again, further } = this.#ways;
    if (kind === "") return [];
    if (kind === "none") return noJobs(this.#base);
    if (kind === "away") return away(this.#base, again);
    if (kind.startsWith("refused")) return refused(failure?.message ?? "", clear, again);
    const searched = `These are the newest ${plural(size, "job")}; there are older ones.`;
    return noMatch(clear, complete ? null : searched, further);
  }

  /** @param {string} text */
  #tell(text) {
    if (text === this.#told) return;
    this.#told = text;
    this.#trouble.hidden = text === "";
    const again = el("button", { type: "button", class: "button small", onclick: this.#ways.again }, "Try now");
    this.#trouble.replaceChildren(el("p", {}, text), again);
  }
}

/** @param {Standing} standing */
function kindOf({ failure, lostAt, waiting, filtered, complete, size }) {
  if (failure instanceof Refused) return `refused ${failure.message}`;
  if (failure !== null || lostAt > 0) return "away";
  if (waiting) return "";
  return filtered ? `match ${complete} ${size}` : "none";
}

/** @param {Standing} standing */
function troubleOf({ failure, lostAt }) {
  if (lostAt > 0) {
    const since = formatTime(lostAt, Date.now());
    return `No connection to the gateway since ${since}. This is how things stood then; the page goes on by itself as soon as it can.`;
  }
  return failure === null ? "" : `Older jobs could not be read: ${failure.message}.`;
}

/** @param {Standing} standing @param {string} kind */
function footOf({ rows, size, trimmed, waiting }, kind) {
  if (trimmed) return `The newest ${formatCount(size)} jobs are kept here. Narrow the filters to see older ones.`;
  if (rows > 0 || kind !== "" || !waiting) return "";
  return size > 0 ? "Searching…" : "Asking the gateway…";
}
