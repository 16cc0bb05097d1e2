/**
 * The client of a status gateway for browsers: `watch` follows one job or many, whatever happens to the connection.
 * No dependency; `import { watch } from "http://GATEWAY/static/gateway.js"`. Types and meanings stand in gateway.d.ts.
 */

import { jobUrl, parseAddress } from "./client/address.js";
import { readAside } from "./client/reading.js";
import { Share, TAB } from "./client/share.js";
import { Follow, keyOf } from "./client/state.js";
import { backoff, sleep, TIMING } from "./client/timing.js";

export { jobUrl };

/** @typedef {import("./gateway.d.ts").Job} Job */
/** @typedef {import("./gateway.d.ts").Change} Change */
/** @typedef {import("./gateway.d.ts").Problem} Problem */
/** @typedef {import("./gateway.d.ts").ConnectionState} ConnectionState */
/** @typedef {import("./gateway.d.ts").WatchOptions} WatchOptions */
/** @typedef {import("./gateway.d.ts").End} End */
/** @typedef {import("./client/state.js").Delivery} Delivery */
/** @typedef {import("./client/state.js").Frame} Frame */
/** @typedef {import("./client/exchange.js").Standing} Standing */
/** @typedef {Awaited<ReturnType<typeof readAside>>} Aside */

const DIALOGUE = 1; // version of what tabs tell each other: those of different releases don't
const REJOIN = 1_000; // ms; a line that ended without this watch's end is not to be asked in a loop
const MAX_WAITING = 1_000; // deliveries that an iterator may lag behind before progress is conflated

/** The gateway ended the watch: `unauthorized` or `refused`. */
export class WatchError extends Error {
  /** @param {string} reason @param {Problem | null} problem */
  constructor(reason, problem) {
    super([reason, problem?.detail ?? problem?.title].filter(Boolean).join(": "));
    this.name = "WatchError";
    this.reason = reason;
    this.problem = problem;
  }
}

/** @type {Map<string, Share>} */
const shares = new Map();
let count = 0;

/** @type {typeof import("./gateway.d.ts").watch} */
export function watch(url, options = {}) {
  return new Watcher(parseAddress(url, globalThis.document?.baseURI ?? globalThis.location?.href), options);
}

/** @param {string} gateway @param {WatchOptions} options */
function shareFor(gateway, { token, credentials = false, share = true, timing }) {
  const identity = { token: token ?? null, credentials };
  const patience = { ...TIMING, ...timing };
  const name = `status-gateway ${DIALOGUE} ${gateway}${credentials ? " with credentials" : ""}`;
  if (!share) return new Share(name, identity, patience, true);
  const within = token === undefined ? name : `${name} ${token}`; // a key of this page's memory only
  const found = shares.get(within) ?? new Share(name, identity, patience, token !== undefined);
  shares.set(within, found);
  return found;
}

/** @template {{ type: string }} T @param {T} delivery @returns {Omit<T, "type">} */
function withoutType({ type: _, ...rest }) {
  return rest;
}

/** @implements {AsyncIterable<{ job: Job, change: Change }>} */
class Watcher {
  closed = false;
  /** @type {ConnectionState} */
  connection = { state: "connecting", transport: null, shared: false, retryAt: null, trouble: null };
  #options;
  #address;
  #share;
  #follow;
  /** What an iterator has not taken yet; null while nobody wants it. @type {{ job: Job, change: Change }[] | null} */
  #queue;
  /** @type {WatchError | null} */
  #error = null;
  #wake = () => {};
  #attempt = new AbortController();
  #released = new AbortController();
  #paused = false;
  /** @type {import("./client/share.js").Reader} */
  #reader;

  /** @param {import("./client/address.js").Address} address @param {WatchOptions} options */
  constructor(address, options) {
    this.#options = options;
    this.#address = address;
    this.#follow = new Follow(address.keys);
    this.#share = shareFor(address.gateway, options);
    this.#queue = options.onStatus ? null : [];
    const id = `${TAB}:${++count}`;
    this.#reader = {
      id,
      line: null,
      wish: () => ({ id, address, keys: this.#follow.keys, cursor: this.#follow.cursor }),
      joined: (standing) => this.#joined(standing),
      frames: (frames) => this.#take(frames),
      state: (state, shared) => this.#say({ ...state, shared }),
    };
    options.signal?.addEventListener("abort", () => this.close(), { signal: this.#released.signal });
    if (options.signal?.aborted) this.close();
    else this.#share.join(this.#reader);
    if (options.pauseWhenHidden) this.#pauseWhenHidden();
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.#attempt.abort();
    this.#released.abort();
    this.#share.leave(this.#reader);
    this.#wake();
    if (this.connection.state !== "closed") {
      this.connection = { ...this.connection, state: "closed", transport: null, retryAt: null };
    }
  }

  async *[Symbol.asyncIterator]() {
    const queue = (this.#queue ??= []);
    try {
      for (;;) {
        for (let item = queue.shift(); item; item = queue.shift()) yield item;
        if (this.#error) throw this.#error;
        if (this.closed) return;
        await /** @type {Promise<void>} */ (new Promise((resolve) => (this.#wake = resolve)));
      }
    } finally {
      this.close();
    }
  }

  // What the line says

  /** @param {Standing} standing */
  #joined({ fresh, at }) {
    this.#attempt.abort();
    this.#attempt = new AbortController();
    if (fresh || this.#follow.cursor !== null) return;
    this.#follow.hold();
    void this.#readAside(this.#follow.keys, this.#attempt.signal, (found) => this.#begin(found, at));
  }

  /** @param {Frame[]} frames */
  #take(frames) {
    for (const frame of frames) {
      if (this.closed) return;
      this.#deliver(this.#follow.take(frame));
    }
  }

  /**
   * Read what there is now, beside the line.
   * @param {string[] | null} keys
   * @param {AbortSignal} signal
   * @param {(found: Aside) => void} then
   */
  async #readAside(keys, signal, then) {
    for (let failures = 0; !signal.aborted && !this.closed; failures += 1) {
      try {
        const found = await readAside(this.#address, this.#share.identity, keys, signal);
        if (!signal.aborted && !this.closed) then(found);
        return;
      } catch (error) {
        const { wait = null } = /** @type {import("./client/transports.js").Trouble} */ (error);
        await sleep(backoff(failures, this.#share.timing, wait), signal);
      }
    }
  }

  /** Start in a line that is under way. @param {Aside} found @param {string | null} at where that was before */
  #begin(found, at) {
    if (!this.#follow.holding) return; // a reset came, and with it all there is
    this.#rename(found);
    this.#deliver(this.#follow.release(found.frames, at));
    this.#rejoin(found);
  }

  /** The line did not show these jobs. @param {Aside} found @param {boolean} over the line has ended */
  #found(found, over) {
    this.#rename(found);
    // What came along since is newer, and whole: a document read aside would hide what is still under way.
    const isNews = (/** @type {Frame} */ { event, data }) =>
      over || event !== "snapshot" || !this.#follow.knows(keyOf(data));
    this.#take(found.frames.filter(isNews));
    this.#rejoin(found);
  }

  /** @param {Aside} found */
  #rename({ aliases }) {
    for (const [alias, key] of aliases) this.#follow.rename(alias, key);
  }

  /** @param {Aside} found */
  #rejoin({ aliases, missing }) {
    if (this.closed) return;
    if (aliases.size > 0) this.#share.join(this.#reader); // under the right ids
    if (missing.length > 0) this.#call("onMissing", missing);
  }

  // What the reader is told

  /** @param {Delivery[]} deliveries */
  #deliver(deliveries) {
    for (const delivery of deliveries) {
      if (this.closed) return;
      if (delivery.type === "status") this.#status(delivery.job, delivery.change);
      else if (delivery.type === "sync") this.#call("onSync", withoutType(delivery));
      else if (delivery.type === "reset") this.#call("onReset", /** @type {any} */ (delivery.reason));
      else if (delivery.type === "unseen") void this.#lookFor(delivery.keys, delivery.over);
      else this.#end(delivery);
    }
  }

  /** @param {string[]} keys jobs that the line did not show @param {boolean} over the line has ended */
  async #lookFor(keys, over) {
    await this.#readAside(keys, this.#released.signal, (found) => this.#found(found, over));
    if (!over || this.closed) return;
    await sleep(REJOIN, this.#released.signal);
    if (!this.closed) this.#share.join(this.#reader);
  }

  /** @param {Job} job @param {Change} change */
  #status(job, change) {
    this.#enqueue({ job, change });
    this.#call("onStatus", job, change);
  }

  /** @param {{ job: Job, change: Change }} item */
  #enqueue(item) {
    const queue = this.#queue;
    if (!queue) return;
    const last = queue.at(-1);
    const lags = queue.length > MAX_WAITING && last?.change.event === "progress" && item.change.event === "progress";
    if (lags && last?.change.key === item.change.key) queue.pop();
    queue.push(item);
    this.#wake();
  }

  /** @param {{ reason: string, job: Job | null, problem: Problem | null }} end */
  #end({ reason, job, problem }) {
    if (reason === "unauthorized" || reason === "refused") this.#error = new WatchError(reason, problem);
    this.#say({ ...this.connection, state: "closed", transport: null, retryAt: null });
    this.close();
    this.#call("onEnd", /** @type {End} */ ({ reason, job, problem }));
  }

  /** @param {ConnectionState} state */
  #say(state) {
    if (this.closed) return;
    const now = this.connection;
    const names = /** @type {(keyof ConnectionState)[]} */ (Object.keys(state));
    if (names.every((name) => state[name] === now[name])) return;
    this.connection = state;
    this.#call("onConnection", state);
  }

  /**
   * One reader's mistake may not cost another its news.
   * @template {"onStatus" | "onEnd" | "onMissing" | "onSync" | "onReset" | "onConnection"} Name
   * @param {Name} name
   * @param {Parameters<NonNullable<WatchOptions[Name]>>} values
   */
  #call(name, ...values) {
    try {
      /** @type {((...values: any[]) => void) | undefined} */ (this.#options[name])?.(...values);
    } catch (error) {
      if (typeof reportError === "function") reportError(error);
      else setTimeout(() => { throw error; });
    }
  }

  #pauseWhenHidden() {
    const page = globalThis.document;
    if (!page) return;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const look = () => {
      clearTimeout(timer);
      if (page.visibilityState === "hidden") timer = setTimeout(() => this.#pause(), this.#share.timing.hidden);
      else if (this.#paused) this.#resume();
    };
    page.addEventListener("visibilitychange", look, { signal: this.#released.signal });
    this.#released.signal.addEventListener("abort", () => clearTimeout(timer));
    look();
  }

  #pause() {
    this.#paused = true;
    this.#attempt.abort();
    this.#share.leave(this.#reader);
    this.#say({ ...this.connection, state: "waiting", transport: null, retryAt: null, trouble: "paused while hidden" });
  }

  #resume() {
    this.#paused = false;
    this.#share.join(this.#reader);
  }
}
