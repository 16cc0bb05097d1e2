/**
 * The jobs that the page knows, newest first, and those of them that it shows.
 * Law: no DOM and no clock here. A change costs a look-up; the order is settled once for all changes of a frame.
 */

/** @typedef {import("../gateway.js").Job} Job */
/**
 * @typedef {object} Entry
 * @property {string} key "workspace/id"
 * @property {Job} job
 * @property {number} round of snapshots that last showed it
 * @property {boolean} found whether the search finds it: such jobs are counted
 * @property {boolean} shown whether it is in the view: found, and of a state that is asked for
 * @property {boolean} gone
 * @property {string | null} text what is searched, in lower case; null until it is
 */

const SORT_FROM = 32; // this many new ones are sorted together; fewer are put in one by one

export class Jobs {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** @type {Entry[]} all that were settled, newest first */
  #sorted = [];
  /** @type {Entry[]} */
  #added = [];
  #left = false; // whether some of the sorted ones are gone
  #moved = false; // whether the view is out of date
  /** @type {((text: string) => boolean) | null} */
  #search = null;
  /** @type {ReadonlySet<string>} */
  #states = new Set();
  #limit;

  /** @type {readonly Entry[]} what is shown, newest first; renewed by settle() */
  view = [];
  /** @type {Map<string, number>} how many of each state the search finds */
  counts = new Map();
  /** How many the search finds. */
  found = 0;
  /** Whether old ones were let go because there are more than the page can hold. */
  trimmed = false;

  /** @param {number} limit how many are kept at most */
  constructor(limit) {
    this.#limit = limit;
  }

  get size() {
    return this.#entries.size;
  }

  /** @param {string} key */
  get(key) {
    return this.#entries.get(key);
  }

  /** Every job that is known, in no order. */
  values() {
    return this.#entries.values();
  }

  /**
   * Show these. @param {readonly string[]} states none: all of them @param {((text: string) => boolean) | null} search
   */
  show(states, search) {
    this.#states = new Set(states);
    this.#search = search;
    this.counts.clear();
    this.found = 0;
    for (const entry of this.#entries.values()) {
      entry.found = this.#finds(entry);
      entry.shown = this.#shows(entry);
      if (entry.found) this.#count(entry, 1);
    }
    this.#moved = true;
  }

  /**
   * Take a job's document. @param {string} key @param {Job} job @param {number} round
   * @returns {boolean} false where the same or a newer one is known
   */
  put(key, job, round) {
    const known = this.#entries.get(key);
    if (!known) {
      this.#add({ key, job, round, found: false, shown: false, gone: false, text: null });
      return true;
    }
    const renewed = known.round !== round; // another log may stand behind a new round, and count from 1
    known.round = round;
    if (known.job.version >= job.version && !(renewed && known.job.position !== job.position)) return false;
    this.#change(known, job);
    return true;
  }

  /** @param {string} key @returns {boolean} whether it was known */
  drop(key) {
    const entry = this.#entries.get(key);
    if (!entry) return false;
    this.#entries.delete(key);
    entry.gone = true;
    this.#left = true;
    if (entry.found) this.#count(entry, -1);
    if (entry.shown) this.#moved = true;
    entry.found = entry.shown = false;
    return true;
  }

  /** Drop what a finished round did not show. @param {number} round */
  dropBefore(round) {
    for (const entry of [...this.#entries.values()]) if (entry.round < round) this.drop(entry.key);
    this.trimmed = false;
  }

  /** Bring the view up to date. @returns {boolean} whether it is another one */
  settle() {
    if (this.#left) {
      this.#sorted = this.#sorted.filter((entry) => !entry.gone);
      this.#added = this.#added.filter((entry) => !entry.gone);
      this.#left = false;
    }
    this.#merge();
    while (this.#sorted.length > this.#limit) {
      const last = this.#sorted.pop();
      if (last) this.drop(last.key);
      this.trimmed = true;
    }
    if (!this.#moved) return false;
    this.#moved = false;
    this.view = this.#sorted.filter((entry) => entry.shown);
    return true;
  }

  #merge() {
    const added = this.#added;
    if (added.length === 0) return;
    this.#added = [];
    if (added.length >= SORT_FROM) {
      this.#sorted = this.#sorted.concat(added).sort(compare);
      return;
    }
    for (const entry of added) this.#sorted.splice(placeOf(this.#sorted, entry), 0, entry);
  }

  /** @param {Entry} entry */
  #add(entry) {
    this.#entries.set(entry.key, entry);
    this.#added.push(entry);
    entry.found = this.#finds(entry);
    entry.shown = this.#shows(entry);
    if (entry.found) this.#count(entry, 1);
    if (entry.shown) this.#moved = true;
  }

  /** @param {Entry} entry @param {Job} job */
  #change(entry, job) {
    if (entry.found) this.#count(entry, -1);
    const moved = compareJobs(entry.job, job) !== 0; // only where another log says another time of its creation
    entry.job = job;
    entry.text = null;
    entry.found = this.#finds(entry);
    if (entry.found) this.#count(entry, 1);
    const shown = this.#shows(entry);
    if (shown !== entry.shown || moved) this.#moved = true;
    entry.shown = shown;
    if (moved) this.#sorted.sort(compare);
  }

  /** @param {Entry} entry */
  #finds(entry) {
    if (this.#search === null) return true;
    const { job } = entry;
    entry.text ??= `${job.name}\n${job.id}\n${job.message ?? ""}\n${job.error?.message ?? ""}`.toLowerCase();
    return this.#search(entry.text);
  }

  /** @param {Entry} entry */
  #shows(entry) {
    return entry.found && (this.#states.size === 0 || this.#states.has(entry.job.state));
  }

  /** @param {Entry} entry @param {number} by */
  #count(entry, by) {
    this.counts.set(entry.job.state, (this.counts.get(entry.job.state) ?? 0) + by);
    this.found += by;
  }
}

/** @param {Entry} a @param {Entry} b */
function compare(a, b) {
  return compareJobs(a.job, b.job);
}

/** Newest first. Times are of one form, so that their texts sort as they do. @param {Job} a @param {Job} b */
function compareJobs(a, b) {
  if (a.created !== b.created) return a.created < b.created ? 1 : -1;
  if (a.id !== b.id) return a.id < b.id ? 1 : -1;
  return a.workspace < b.workspace ? 1 : a.workspace > b.workspace ? -1 : 0;
}

/** Where an entry belongs. Most that come are the newest, so the search begins there. @param {Entry[]} sorted @param {Entry} entry */
function placeOf(sorted, entry) {
  const first = sorted[0];
  if (!first || compare(entry, first) < 0) return 0;
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = /** @type {Entry} */ (sorted[middle]);
    if (compare(other, entry) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
