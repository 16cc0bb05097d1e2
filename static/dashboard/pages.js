/** The pages of `GET /v1/jobs`, one after another: what is older than the stream's snapshots comes from them. */

import { pageQuery } from "./filters.js";

/** @typedef {import("../gateway.js").Job} Job */
/** @typedef {import("../gateway.js").Problem} Problem */
/** @typedef {import("./filters.js").Filter} Filter */

const EXPIRED = 410; // the log no longer knows where the page before ended, or it is another log

/** An answer that is not a page. `wait`: milliseconds after which it may be one, 0 if nobody says; null: it will not be. */
export class Refused extends Error {
  /** @param {number} status @param {Problem | null} problem @param {number | null} seconds of its Retry-After */
  constructor(status, problem, seconds) {
    super(problem?.detail ?? problem?.title ?? `the gateway answered ${status}`);
    this.wait = seconds !== null ? seconds * 1000 : status >= 500 ? 0 : null;
  }
}

export class Pages {
  #base;
  #filter;
  /** @type {string | null} */
  #after = null;
  /** Whether the last page is here. */
  done = false;

  /** @param {URL} base of the gateway @param {Filter} filter */
  constructor(base, filter) {
    this.#base = base;
    this.#filter = filter;
  }

  /** The next page. Raises Refused, and TypeError where nobody answers. @param {number} limit @param {AbortSignal} signal
   * @returns {Promise<Job[]>} */
  async next(limit, signal) {
    const url = new URL(`v1/jobs?${pageQuery(this.#filter, limit, this.#after)}`, this.#base);
    const answer = await fetch(url, { signal, headers: { Accept: "application/json" }, cache: "no-store" });
    if (answer.status === EXPIRED && this.#after !== null) {
      this.#after = null; // from the start: what is known already costs only the way
      return [];
    }
    if (!answer.ok) throw await refusal(answer);
    const page = /** @type {{ jobs: Job[], next: string | null }} */ (await answer.json());
    this.#after = page.next;
    this.done = page.next === null;
    return page.jobs;
  }
}

/** @param {Response} answer */
async function refusal(answer) {
  const seconds = Number(answer.headers.get("Retry-After") ?? "x");
  /** @type {Problem | null} */
  let problem = null;
  try {
    problem = await answer.json();
  } catch {
    // a proxy says it in its own way; the status is enough
  }
  return new Refused(answer.status, problem, Number.isFinite(seconds) ? seconds : null);
}
