/**
 * Where the list's jobs come from: what the stream pushes, and what the pages hold beyond its snapshots.
 * Law: where a page and the stream disagree, the newer version of the job is right, and a job that went while a page
 * was on its way has gone.
 */

import { watch } from "../gateway.js";
import { inScope, NO_FILTER, scopeOf, streamQuery } from "./filters.js";
import { Jobs } from "./jobs.js";
import { Pages, Refused } from "./pages.js";

/** @typedef {import("../gateway.js").Job} Job */
/** @typedef {import("../gateway.js").Change} Change */
/** @typedef {import("../gateway.js").ConnectionState} ConnectionState */
/** @typedef {import("../gateway.js").Watcher} Watcher */
/** @typedef {import("./filters.js").Filter} Filter */
/**
 * What the feed asks and tells.
 * @typedef {object} Reader
 * @property {() => void} changed something is to be painted
 * @property {() => void} came a job that is shown has just been created
 * @property {(state: ConnectionState) => void} connection
 * @property {() => boolean} near whether somebody is about to reach the end of what is known
 */

const INTERVAL_MS = 500; // between two progress frames of a job: nobody reads faster, and 200 changes a second add up
const FIRST_PAGE = 100; // small, so that something is there at once
const PAGE = 500; // of the others: some 300 KB, parsed in a few ms
const COUNTED = 10_000; // jobs that are fetched unasked, so that the counts are right; beyond, by scrolling
const KEPT = 20_000; // jobs that the page holds at most, some 15 MB
const RETRY_MS = 5000; // after a page that could not be read, unless the gateway says when
const MOST_KNOWN = 500; // values of one kind that the menus offer

export class Feed {
  #base;
  #reader;
  /** @type {Filter} */
  #filter = NO_FILTER;
  /** @type {string | null} what the gateway was asked for */
  #scope = null;
  /** @type {(job: Job) => boolean} */
  #inScope = () => true;
  /** @type {Map<string, Pages>} by the states that are asked for */
  #pages = new Map();
  /** @type {Watcher | null} */
  #watcher = null;
  #ending = new AbortController();
  #round = 0; // of snapshots: what a finished round did not show is gone
  #synced = false;
  #sweep = false; // whether a round has ended, and what it did not show may go as soon as the pages were read again
  #loading = false;
  #further = 0; // jobs beyond COUNTED that somebody asked for
  /** @type {Set<string> | null} jobs that went while a page was on its way */
  #wentMeanwhile = null;
  #retry = 0;

  jobs = new Jobs(KEPT);
  /** What there is to choose from. */
  known = { workspaces: new Set(), processes: new Set(), labels: new Set() };
  /** @type {Error | null} why older jobs could not be read */
  failure = null;
  /** Since when there is no connection, in milliseconds since 1970; 0 while there is one. */
  lostAt = 0;

  /** @param {URL} base of the gateway @param {Reader} reader */
  constructor(base, reader) {
    this.#base = base;
    this.#reader = reader;
  }

  /** The connection as it stands. */
  get connection() {
    return this.#watcher?.connection ?? null;
  }

  /** Whether all the jobs there are of the states that are asked for are known. */
  get complete() {
    return this.#current().done && !this.jobs.trimmed;
  }

  /** Whether more may come at any moment. */
  get waiting() {
    return this.#loading || !this.#synced;
  }

  /** Follow what a filter means; where only the states or the search differ, what is known stays. @param {Filter} filter */
  follow(filter) {
    this.#filter = filter;
    this.#further = 0;
    const scope = String(scopeOf(filter));
    if (scope === this.#scope) return;
    this.#scope = scope;
    this.#ending.abort();
    this.#ending = new AbortController();
    this.#inScope = inScope(filter);
    this.jobs = new Jobs(KEPT);
    this.failure = null;
    this.#pages.clear();
    this.#loading = false;
    this.#sweep = false;
    this.#wentMeanwhile = null;
    this.#watch();
  }

  /** Read pages for as long as more of them are wanted. */
  async load() {
    if (this.#loading || this.#scope === null) return;
    const { signal } = this.#ending;
    this.#loading = true;
    this.#wentMeanwhile = new Set();
    try {
      while (!signal.aborted && this.#wanted()) await this.#loadPage(signal);
    } catch (error) {
      if (!signal.aborted) this.#fail(/** @type {Error} */ (error));
    }
    if (signal.aborted) return; // another scope is followed, and what is known is its own
    this.#loading = false;
    this.#wentMeanwhile = null;
    this.#reader.changed();
  }

  /** Read on, beyond what is read unasked. */
  loadFurther() {
    this.#further += COUNTED;
    this.#reload();
  }

  /** Try again at once, as somebody wishes. */
  again() {
    if (this.#watcher === null || this.#watcher.closed || this.#watcher.connection.state !== "open") this.#watch();
    this.#reload();
  }

  #reload() {
    this.failure = null;
    void this.load();
    this.#reader.changed();
  }

  /** Follow what changes; anew, everything is shown again. */
  #watch() {
    this.#watcher?.close();
    this.#newRound();
    const { signal } = this.#ending;
    const url = new URL(`v1/events?${streamQuery(this.#filter, INTERVAL_MS)}`, this.#base);
    this.#watcher = watch(url, {
      signal,
      onStatus: (job, change) => this.#take(job, change),
      onSync: ({ shown }) => this.#sync(shown),
      onReset: () => this.#newRound(),
      onConnection: (state) => this.#connected(state),
      onEnd: ({ problem }) => this.#fail(new Refused(problem?.status ?? 400, problem, null)),
    });
  }

  #newRound() {
    this.#round += 1;
    this.#synced = false;
  }

  /** @param {any} job @param {Change} change */
  #take(job, change) {
    if (change.event === "deleted" || !this.#inScope(job)) {
      this.#wentMeanwhile?.add(change.key);
      if (this.jobs.drop(change.key)) this.#reader.changed();
      return;
    }
    this.#wentMeanwhile?.delete(change.key);
    if (!this.#put(job, this.#round)) return;
    if (change.event !== "snapshot" && job.version === 1 && this.jobs.get(change.key)?.shown) this.#reader.came();
    this.#reader.changed();
  }

  /** @param {Job} job @param {number} round */
  #put(job, round) {
    const { workspaces, processes, labels } = this.known;
    if (workspaces.size < MOST_KNOWN) workspaces.add(job.workspace);
    if (job.process !== null && processes.size < MOST_KNOWN) processes.add(job.process);
    if (labels.size < MOST_KNOWN) for (const key in job.labels) labels.add(`${key}:${job.labels[key]}`);
    return this.jobs.put(`${job.workspace}/${job.id}`, job, round);
  }

  /** @param {number | null} shown */
  #sync(shown) {
    this.#synced = true;
    if (shown === null) return;
    this.#sweep = true;
    this.#pages.clear();
    void this.load();
  }

  /** @param {AbortSignal} signal */
  async #loadPage(signal) {
    const pages = this.#current();
    const round = this.#synced ? this.#round : this.#round - 1; // until the stream is there it may say otherwise
    const jobs = await pages.next(this.jobs.size < FIRST_PAGE ? FIRST_PAGE : PAGE, signal);
    for (const job of jobs) {
      if (!this.#wentMeanwhile?.has(`${job.workspace}/${job.id}`)) this.#put(job, round);
    }
    if (this.#sweep && this.#synced && round === this.#round) {
      this.jobs.dropBefore(round);
      this.#sweep = false;
    }
    this.failure = null;
    this.#reader.changed();
    await new Promise((resolve) => setTimeout(resolve, 0)); // let the browser answer whoever uses the page
  }

  #wanted() {
    const pages = this.#current();
    if (pages.done || this.jobs.trimmed || this.jobs.size >= KEPT) return this.#sweep && !pages.done;
    if (!this.#synced) return this.jobs.size === 0 && this.failure === null; // one page, until the stream is there
    return this.jobs.size < COUNTED + this.#further || this.#reader.near();
  }

  /** The pages of the states that are asked for. Where those of all states were read to their end, nothing is left. */
  #current() {
    const all = this.#pages.get("");
    const states = this.#filter.states.join(" ");
    if (all?.done || states === "") return all ?? this.#newPages("", { ...this.#filter, states: [] });
    return this.#pages.get(states) ?? this.#newPages(states, this.#filter);
  }

  /** @param {string} name @param {Filter} filter */
  #newPages(name, filter) {
    const pages = new Pages(this.#base, filter);
    this.#pages.set(name, pages);
    return pages;
  }

  /** @param {Error} error */
  #fail(error) {
    this.failure = error;
    clearTimeout(this.#retry);
    const wait = error instanceof Refused ? error.wait : RETRY_MS;
    if (wait !== null) this.#retry = setTimeout(() => this.#reload(), wait || RETRY_MS);
    this.#reader.changed();
  }

  /** @param {ConnectionState} state */
  #connected(state) {
    this.#reader.connection(state);
    if (state.state === "open") {
      this.lostAt = 0;
      if (!(this.failure instanceof Refused)) this.failure = null;
      void this.load();
    } else if (this.lostAt === 0) this.lostAt = Date.now();
    this.#reader.changed();
  }
}
