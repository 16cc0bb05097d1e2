/**
 * What has happened to a job, from its records: the pure part. Records come from the history in pages and from the
 * stream one by one, twice now and then, and with holes. Versions are dense, so a hole is seen and told.
 */

import { formatDuration, formatPercent, plural } from "../format.js";

/**
 * @typedef {import("../gateway.js").Job} Job
 *
 * @typedef {object} Entry what is kept of a record
 * @property {number} version
 * @property {string} position
 * @property {boolean} filed whether it came from the history; a hole between two such was compacted
 * @property {string | null} by who wrote it; null where only the stream told of it
 * @property {number} at milliseconds since 1970: when it happened, as far as its worker said so, else when it was told
 * @property {string} state
 * @property {boolean} stalled
 * @property {number} attempt
 * @property {number | null} progress
 * @property {string | null} step
 * @property {string | null} message
 * @property {string | null} error
 * @property {number} spared how many reports before it were let go, so that memory stays bounded; they are no hole
 *
 * @typedef {{kind: "change", key: string, entry: Entry, before: Entry | null, stood: number | null}} Change
 *   a transition, a new attempt, or a beginning or end of silence; `stood`: how long until the next one, in ms
 * @typedef {{kind: "reports", key: string, entries: Entry[]}} Reports a run of records that changed no state
 * @typedef {{kind: "gap", key: string, count: number, compacted: boolean, first: boolean}} Gap
 * @typedef {Change | Reports | Gap} Item
 */

/**
 * A record as the history has it, or the document of a frame of the stream.
 * @param {Job} job
 * @param {{by?: string | null, filed?: boolean}} [source]
 * @returns {Entry}
 */
export function entryOf(job, { by = null, filed = false } = {}) {
  return {
    version: job.version,
    position: job.position,
    filed,
    by,
    at: Math.min(Date.parse(job.reported ?? job.updated), Date.parse(job.updated)),
    state: job.state,
    stalled: job.stalled,
    attempt: job.attempt,
    progress: job.progress,
    step: job.step,
    message: job.message,
    error: job.error?.message ?? null,
    spared: 0,
  };
}

const KEPT = 20_000; // records; a page may stay open for days beside a job that reports ten times a second
const FRESH = 2000; // of the newest that are all kept

/** The records of one job, each once, in the order of their versions. */
export class History {
  /** @type {Map<number, Entry>} */
  #known = new Map();
  /** @type {Entry[] | null} */
  #sorted = [];

  get size() {
    return this.#known.size;
  }

  /**
   * What the history says of a record outlasts what the stream said: it knows who wrote it.
   * @param {Iterable<Entry>} entries
   * @returns {boolean} whether anything was new
   */
  add(entries) {
    let news = false;
    for (const entry of entries) {
      const known = this.#known.get(entry.version);
      if (known && (known.filed || !entry.filed)) continue;
      this.#known.set(entry.version, entry);
      this.#place(entry);
      news = true;
    }
    if (this.#known.size > KEPT) this.#thin();
    return news;
  }

  /** What comes last, as nearly all does, needs no sorting. @param {Entry} entry */
  #place(entry) {
    const last = this.#sorted?.at(-1);
    if (!this.#sorted || (last && last.version >= entry.version)) {
      this.#sorted = null;
      return;
    }
    entry.at = Math.max(entry.at, last?.at ?? entry.at);
    this.#sorted.push(entry);
  }

  /** Let go of every second old report, never of a change: a chart of this width shows no difference. */
  #thin() {
    const entries = this.entries;
    for (let index = 1; index < entries.length - FRESH; index += 1) {
      const [before, entry, next] = [entries[index - 1], entries[index], entries[index + 1]];
      const single =
        entry.version === before.version + 1 + entry.spared && next.version === entry.version + 1 + next.spared;
      if (!single || isChange(entry, before) || isChange(next, entry)) continue;
      next.spared += 1 + entry.spared;
      this.#known.delete(entry.version);
      index += 1;
    }
    this.#sorted = null;
  }

  clear() {
    this.#known.clear();
    this.#sorted = [];
  }

  /** @returns {readonly Entry[]} */
  get entries() {
    if (!this.#sorted) {
      this.#sorted = [...this.#known.values()].sort((a, b) => a.version - b.version);
      let latest = -Infinity; // workers' clocks differ, but the order of the log is the order in which things happened
      for (const entry of this.#sorted) latest = entry.at = Math.max(latest, entry.at);
    }
    return this.#sorted;
  }
}

/**
 * Whether a record is a change that people want to see by itself.
 * @param {Entry} entry
 * @param {Entry | null} before
 */
export function isChange(entry, before) {
  return (
    before === null ||
    entry.state !== before.state ||
    entry.stalled !== before.stalled ||
    entry.attempt !== before.attempt
  );
}

/**
 * The timeline, oldest first.
 * @param {readonly Entry[]} entries in the order of their versions
 * @returns {Item[]}
 */
export function timelineOf(entries) {
  /** @type {Item[]} */
  const items = [];
  /** @type {Entry | null} */
  let before = null;
  /** @type {Change | null} */
  let last = null;
  for (const entry of entries) {
    const missing = entry.version - (before?.version ?? 0) - 1 - entry.spared;
    if (missing > 0) items.push(gapBefore(entry, before, missing));
    if (isChange(entry, before)) {
      if (last) last.stood = Math.max(0, entry.at - last.entry.at);
      last = { kind: "change", key: `v${entry.version}`, entry, before, stood: null };
      items.push(last);
    } else {
      const run = items.at(-1);
      if (run?.kind === "reports") run.entries.push(entry);
      else items.push({ kind: "reports", key: `r${entry.version}`, entries: [entry] });
    }
    before = entry;
  }
  return items;
}

/**
 * @param {Entry} entry
 * @param {Entry | null} before
 * @param {number} count
 * @returns {Gap}
 */
function gapBefore(entry, before, count) {
  const compacted = entry.filed && (before === null || before.filed);
  return { kind: "gap", key: `g${entry.version}`, count, compacted, first: before === null };
}

/**
 * What a run of reports amounts to, in a few words: `12 reports, 10% → 45%`.
 * @param {readonly Entry[]} entries
 */
export function runText(entries) {
  const count = plural(
    entries.reduce((sum, entry) => sum + 1 + entry.spared, 0),
    "report",
  );
  const known = entries.filter((entry) => entry.progress !== null);
  if (known.length === 0) return count;
  const [from, to] = [known[0], known[known.length - 1]].map((entry) => formatPercent(entry.progress));
  return from === to ? `${count}, at ${to}` : `${count}, ${from} → ${to}`;
}

/**
 * A length of time as short as states may stand: `310 ms`, `2.4 s`, then as everywhere.
 * @param {number} ms
 */
export function lengthText(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 10_000 ? `${(Math.floor(ms / 100) / 10).toFixed(1)} s` : formatDuration(ms);
}

/**
 * What a change is called: its state, or what else changed.
 * @param {Change} change
 */
export function changeText({ entry, before }) {
  if (before && entry.state === before.state && entry.stalled !== before.stalled) {
    return entry.stalled ? "silent" : "heard again";
  }
  return entry.state;
}

/**
 * What is said beside a change: why it happened, as far as the record tells.
 * @param {Change} change
 */
export function reasonText({ entry, before }) {
  if (before && entry.stalled && !before.stalled) return "nothing was heard for the length of its lease";
  if (entry.error) return entry.error;
  const parts = entry.attempt > (before?.attempt ?? 1) ? [`attempt ${entry.attempt}`] : [];
  if (entry.step && entry.step !== before?.step) parts.push(entry.step);
  if (entry.message && entry.message !== before?.message) parts.push(entry.message);
  return parts.join(" · ");
}
