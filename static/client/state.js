/**
 * What the frames of a stream mean to one reader. Pure: frames in, deliveries out.
 *
 * Law: each job moves forward only. Whatever way frames come, again or beside each other, a document that is not newer
 * than the one before of its job is not delivered, and nothing at or before the cursor is: all of that was.
 */

/** @typedef {import("../gateway.js").Job} Job */
/** @typedef {import("../gateway.js").Change} Change */
/** @typedef {import("../gateway.js").Problem} Problem */
/** `id` is null where a frame moves no cursor.
 * @typedef {{ event: string, id: string | null, data: any }} Frame */
/**
 * @typedef {{ type: "status", job: Job, change: Change }
 *   | { type: "sync", head: string | null, time: string | null, shown: number | null, matched: number | null }
 *   | { type: "reset", reason: string }
 *   | { type: "unseen", keys: string[], over: boolean }
 *   | { type: "end", reason: string, job: Job | null, problem: Problem | null }} Delivery
 */

const NEWS = new Set(["snapshot", "transition", "progress", "deleted"]);
const MEMORY = 100_000; // jobs of a filter whose newest position is remembered; older ones are under the cursor by then

/** @param {string} position @returns {number} its offset, which orders the positions of one log */
export function offsetOf(position) {
  return Number(position.slice(position.lastIndexOf("-") + 1));
}

/** @param {string | null} one @param {string | null} other the later of two cursors; null is before all */
export function later(one, other) {
  if (one === null || other === null) return one ?? other;
  return offsetOf(one) >= offsetOf(other) ? one : other;
}

/** Whether two positions are of one epoch; only the gateway can tell how others lie to each other.
 * @param {string} one @param {string} other */
export function sameEpoch(one, other) {
  return one.slice(0, one.lastIndexOf("-")) === other.slice(0, other.lastIndexOf("-"));
}

/** @param {{ workspace: string, id: string }} job */
export function keyOf(job) {
  return `${job.workspace}/${job.id}`;
}

/** One reader's state: of the jobs that are named, or (null) of all that its line shows. */
export class Follow {
  /** Everything owed up to here has been delivered. @type {string | null} */
  cursor = null;
  ended = false;
  /** @type {Set<string> | null} */
  #keys;
  /** @type {Map<string, number>} */
  #known = new Map();
  /** @type {Set<string>} */
  #finished = new Set();
  /** Jobs shown since snapshots began to come; null where none are awaited. @type {Set<string> | null} */
  #round = new Set();
  /** Frames that wait until it is known where this reader starts. @type {Frame[] | null} */
  #held = null;
  /** @type {Job | null} */
  #last = null;

  /** @param {Iterable<string> | null} keys */
  constructor(keys) {
    this.#keys = keys && new Set(keys);
  }

  /** The jobs that have not ended, of those that are named. @returns {string[] | null} */
  get keys() {
    return this.#keys && [...this.#keys].filter((key) => !this.#finished.has(key));
  }

  /** Whether a document of the job has been delivered. @param {string} key */
  knows(key) {
    return this.#known.has(key);
  }

  get holding() {
    return this.#held !== null;
  }

  /** Keep what comes until `release` says where this reader starts: its line is under way already. */
  hold() {
    this.#held = [];
  }

  /**
   * Start with what was read aside, then go on with what was kept.
   * @param {Frame[]} start
   * @param {string | null} at where the line was before that was read
   * @returns {Delivery[]}
   */
  release(start, at) {
    const kept = this.#held ?? [];
    this.#held = null;
    const deliveries = start.flatMap((frame) => this.take(frame));
    this.cursor = later(this.cursor, at);
    return deliveries.concat(kept.flatMap((frame) => this.take(frame)));
  }

  /**
   * A job turned out to have another id: its address was an alias.
   * @param {string} alias
   * @param {string} key
   */
  rename(alias, key) {
    this.#keys?.delete(alias);
    this.#keys?.add(key);
  }

  /**
   * @param {Frame} frame
   * @returns {Delivery[]}
   */
  take(frame) {
    if (this.ended) return [];
    const { event, id, data } = frame;
    if (this.#held && event !== "reset") {
      this.#held.push(frame);
      return [];
    }
    if (event === "reset") return this.#reset(data.reason);
    if (event === "end") return this.#end(data);
    const deliveries = NEWS.has(event) ? this.#news(event, data) : event === "sync" ? this.#sync(data) : [];
    if (id) this.cursor = later(this.cursor, id);
    return deliveries;
  }

  /** @param {string} event @param {Job} job @returns {Delivery[]} */
  #news(event, job) {
    const key = keyOf(job);
    if ((this.#keys && !this.#keys.has(key)) || this.#finished.has(key)) return [];
    if (job.position !== null && !this.#isNew(event, key, offsetOf(job.position))) return [];
    this.#remember(event, key, job);
    const change = /** @type {Change} */ ({ event, key, position: job.position });
    /** @type {Delivery[]} */
    const deliveries = [{ type: "status", job, change }];
    if (this.#keys && (event === "deleted" || job.terminal)) {
      this.#finished.add(key);
      this.#last = event === "deleted" ? this.#last : job;
      if (this.#finished.size >= this.#keys.size) {
        const gone = event === "deleted" && this.#keys.size === 1;
        deliveries.push(this.#over(gone ? "deleted" : "terminal"));
      }
    }
    return deliveries;
  }

  /** @param {string} event @param {string} key @param {number} offset */
  #isNew(event, key, offset) {
    const known = this.#known.get(key) ?? -1;
    if (event !== "snapshot") return offset > known && (this.cursor === null || offset > offsetOf(this.cursor));
    // Whoever keeps a list learns by a round of snapshots what is still there, so each is shown again once.
    return offset > known || (offset === known && this.#round !== null && !this.#round.has(key));
  }

  /** @param {string} event @param {string} key @param {Job} job */
  #remember(event, key, job) {
    if (event === "deleted") {
      this.#known.delete(key);
      return;
    }
    this.#known.set(key, offsetOf(job.position));
    this.#round?.add(key);
    if (this.#keys?.size === 1) {
      this.#last = job;
      this.cursor = later(this.cursor, job.position); // of one job nothing lies between its documents
    } else if (this.#known.size > MEMORY) {
      this.#known.delete(/** @type {string} */ (this.#known.keys().next().value));
    }
  }

  /** @param {any} data @returns {Delivery[]} */
  #sync(data) {
    const round = "shown" in data ? this.#round : null;
    /** @type {Delivery} */
    const sync = { type: "sync", head: data.head ?? null, time: data.time ?? null, shown: null, matched: null };
    if (!round) return [sync];
    this.#round = null;
    sync.shown = this.#keys ? round.size : data.shown;
    sync.matched = this.#keys ? round.size : data.matched;
    const unseen = (this.keys ?? []).filter((key) => !round.has(key));
    return unseen.length ? [sync, { type: "unseen", keys: unseen, over: false }] : [sync];
  }

  /** @param {string} reason @returns {Delivery[]} */
  #reset(reason) {
    // Of another history, or of a log that stepped back, the positions mean nothing.
    if (reason !== "expired") this.#known.clear();
    this.cursor = null;
    this.#held = null; // snapshots follow: nothing need be read aside
    this.#round = new Set();
    return [{ type: "reset", reason }];
  }

  /** @param {any} data @returns {Delivery[]} */
  #end(data) {
    const known = data.reason === "terminal" || data.reason === "deleted";
    // It did not see its own end.
    if (this.#keys && known) return [{ type: "unseen", keys: this.keys ?? [], over: true }];
    return [this.#over(data.reason, data.problem)];
  }

  /** @param {string} reason @param {Problem | null} [problem] @returns {Delivery} */
  #over(reason, problem = null) {
    this.ended = true;
    return { type: "end", reason, job: this.#last, problem };
  }
}
