/**
 * One way to the gateway for all who want the same: a stream, or requests in its place while no stream gets through.
 *
 * Law: whatever the way, of each job every record after the cursor comes in order; so two ways may run beside each
 * other for a while, and what comes twice is dropped by its readers (`Follow`). A round of snapshots comes whole or not
 * at all: of one that breaks off, readers would miss what lies before the next.
 */

import { matcher } from "../elements/matching.js";
import { streamUrl } from "./address.js";
import { pollMany } from "./poll-many.js";
import { pollJobs } from "./poll.js";
import { keyOf, later, offsetOf } from "./state.js";
import { backoff, sleep } from "./timing.js";
import { openStream, openStreams, transportFor } from "./transports.js";

/** @typedef {import("./state.js").Frame} Frame */
/** @typedef {import("./transports.js").Identity} Identity */
/** @typedef {import("./timing.js").Timing} Timing */
/** @typedef {Omit<import("../gateway.js").ConnectionState, "shared">} LineState */
/** What stood in the newest document of a job that came along.
 * @typedef {{ position: string, version: number, state: string, terminal: boolean, matching: boolean }} Seen */
/**
 * How an attempt went: `good`: it had caught up and did not fall silent; `final`: nothing follows.
 * @typedef {{ good: boolean, final?: boolean, wait?: number | null, trouble: string | null }} Outcome
 */
/** @typedef {{ frames: (frames: Frame[]) => void, state: (state: LineState) => void }} Audience */

const MEMORY = 100_000; // jobs whose newest position is remembered
const MAX_STREAMS = 4;
const LASTING = 10_000; // ms after which a connection counts as sound, and back-off begins anew
const MAX_WAIT = 120_000; // ms; a longer wish would look like a hang

export class Line {
  /** Everything up to here has come; null before snapshots are complete. @type {string | null} */
  cursor = null;
  /** @type {Map<string, Seen>} */
  seen = new Map();
  /** @type {LineState} */
  state = { state: "connecting", transport: null, retryAt: null, trouble: null };
  polling = false;
  over = false;
  #running = false;
  /** Cut at once, to begin again from here or earlier. @type {string | null} */
  #from = null;
  #cut = new AbortController();
  #pause = new AbortController();
  #heard = 0;
  #earliest = 0;
  /** Streams that seemed to be good and fell silent, one after the other. */
  #relapses = 0;

  /**
   * @param {import("./address.js").Address} address
   * @param {Identity} identity
   * @param {Timing} timing
   * @param {Audience} audience
   */
  constructor(address, identity, timing, audience) {
    this.gateway = address.gateway;
    this.parameters = [...address.filter, ...address.form];
    this.address = address;
    this.identity = identity;
    this.timing = timing;
    this.audience = audience;
    this.matches = matcher(new URLSearchParams(address.filter));
    /** @type {Set<string> | null} */
    this.keys = address.keys && new Set(address.keys);
  }

  /**
   * Begin, or begin again at once, from a cursor; null is fresh, or where it stands.
   * @param {string | null} from
   */
  open(from) {
    this.#from = from;
    if (this.#running) this.#cut.abort();
    else void this.#run();
  }

  close() {
    this.over = true;
    this.#cut.abort();
  }

  /** Things may have changed for the better: try now, unless the gateway asked for longer. */
  nudge() {
    if (performance.now() >= this.#earliest) this.#pause.abort();
    this.check();
  }

  /** Do what is overdue, where the browser holds back the timers of a hidden tab. */
  check() {
    const { state, retryAt } = this.state;
    if (retryAt !== null && Date.now() >= retryAt) this.#pause.abort();
    if (state === "open" && !this.polling && performance.now() - this.#heard > this.timing.silence) this.#cut.abort();
  }

  /** @param {Frame[]} frames from any way */
  emit(frames) {
    if (this.over) return;
    for (const { event, id, data } of frames) {
      if (id) this.cursor = later(this.cursor, id);
      if (event === "reset") {
        this.cursor = null;
        this.seen.clear();
      } else if (event === "deleted") this.seen.delete(keyOf(data));
      else if (event === "snapshot" || event === "transition" || event === "progress") this.#note(data);
    }
    if (frames.length) this.audience.frames(frames);
  }

  /** @param {import("../gateway.js").Job} job */
  #note(job) {
    const key = keyOf(job);
    const seen = this.seen.get(key);
    if (seen && offsetOf(seen.position) >= offsetOf(job.position)) return;
    const { position, version, state, terminal } = job;
    this.seen.set(key, { position, version, state, terminal, matching: this.matches(job) });
    if (this.seen.size > MEMORY) this.seen.delete(/** @type {string} */ (this.seen.keys().next().value));
  }

  async #run() {
    this.#running = true;
    let failures = 0;
    let reopened = false;
    while (!this.over) {
      this.#cut = new AbortController();
      this.#rewind();
      const cut = this.#cut.signal;
      if (!this.polling && !this.#mayStream()) this.polling = true;
      const transport = this.polling ? "poll" : transportFor(this.identity);
      // Opened again for more jobs it is not lost in the eyes of those who had it open.
      if (!reopened) this.#say({ state: "connecting", transport, retryAt: null });
      const began = performance.now();
      const outcome = await (this.polling ? this.#poll(cut) : this.#stream(cut, () => this.#opened()));
      if (outcome.final || this.over) break;
      reopened = outcome.trouble === null && this.state.state === "open"; // the same way, from #from
      if (outcome.trouble === null) continue;
      const lasted = performance.now() - began;
      if (outcome.good && lasted > LASTING) failures = 0;
      if (outcome.good && lasted > 2 * this.timing.silence) this.#relapses = 0;
      const next = !this.polling && !outcome.good; // requests show at once whether the gateway itself is there
      if (!next || outcome.wait) {
        await this.#wait(backoff(failures, this.timing, null), Math.min(outcome.wait ?? 0, MAX_WAIT), outcome.trouble);
        failures += 1;
      }
      this.polling = next;
    }
    this.over = true;
    this.#say({ state: "closed", transport: null, retryAt: null });
  }

  #rewind() {
    if (this.#from !== null && this.#from !== this.cursor) {
      this.cursor = this.#from;
      if (this.keys) this.seen.clear(); // requests too go on from the cursor
    }
    this.#from = null;
  }

  /** Where a browser has six connections to a host, streams may not take all of them. */
  #mayStream() {
    return openStreams() < (this.#isMultiplexed() ? Infinity : MAX_STREAMS);
  }

  #isMultiplexed() {
    const [page] = globalThis.document ? performance.getEntriesByType("navigation") : [];
    const { nextHopProtocol = "" } = /** @type {PerformanceNavigationTiming} */ (page ?? {});
    return this.gateway.startsWith(`${globalThis.location?.origin}/`) && /^h[23]/.test(nextHopProtocol);
  }

  /** @param {number} jitter ms @param {number} wished what the gateway asked for, in ms @param {string} trouble */
  async #wait(jitter, wished, trouble) {
    this.#pause = new AbortController();
    this.#earliest = performance.now() + wished;
    this.#say({ state: "waiting", retryAt: Date.now() + wished + jitter, trouble });
    const wake = () => this.#pause.abort();
    this.#cut.signal.addEventListener("abort", wake);
    if (!this.#cut.signal.aborted) await sleep(wished + jitter, this.#pause.signal);
  }

  #opened() {
    this.polling = false;
    this.#say({ state: "open", transport: transportFor(this.identity), retryAt: null, trouble: null });
  }

  /** @param {Partial<LineState>} change */
  #say(change) {
    this.state = { ...this.state, ...change };
    this.audience.state(this.state);
  }

  /**
   * One stream, to its end.
   * @param {AbortSignal} cut
   * @param {() => void} onGood called when it has caught up
   * @returns {Promise<Outcome>}
   */
  #stream(cut, onGood) {
    return new Promise((resolve) => {
      let good = false;
      let settled = false;
      /** @param {Outcome} outcome */
      const over = (outcome) => {
        if (settled) return;
        settled = true;
        clearInterval(watch);
        cut.removeEventListener("abort", stop);
        close();
        resolve(outcome);
      };
      const stop = () => over({ good, trouble: null });
      const allow = () => (good ? this.timing.silence : this.timing.first);
      this.#heard = performance.now();
      const watch = setInterval(
        () => {
          if (performance.now() - this.#heard <= allow()) return;
          if (good) this.#relapses += 1;
          over({ good: false, trouble: "the stream is silent" });
        },
        Math.min(this.timing.first, this.timing.silence) / 4,
      );
      const from = this.cursor ?? this.address.after;
      const url = streamUrl(this.gateway, this.keys, this.parameters, from);
      const whole = rounds(from === null);
      const close = openStream(url, this.identity, {
        over: ({ gone = false, wait = null, trouble }) => {
          if (gone) this.emit([{ event: "end", id: null, data: { reason: "terminal" } }]);
          over({ good, final: gone, wait, trouble });
        },
        frames: (frames) => {
          if (settled) return;
          this.#heard = performance.now();
          const names = new Set(frames.map((frame) => frame.event));
          if (!good && (names.has("sync") || names.has("end"))) {
            good = true;
            onGood();
          }
          this.emit(whole(frames));
          if (names.has("end")) over({ good, final: true, trouble: null });
          const busy = frames.find((frame) => frame.event === "busy");
          if (busy) over({ good: true, wait: busy.data.retry, trouble: "the gateway is busy" });
        },
      });
      cut.addEventListener("abort", stop);
      if (cut.aborted) stop();
    });
  }

  /** Requests in place of the stream, until a stream has caught up again, and that one to its end.
   * @param {AbortSignal} cut @returns {Promise<Outcome>} */
  #poll(cut) {
    const polling = new AbortController();
    const tries = new AbortController();
    const stop = () => {
      polling.abort();
      tries.abort();
    };
    cut.addEventListener("abort", stop);
    if (cut.aborted) stop();
    const answered = () => {
      if (!polling.signal.aborted && this.state.state !== "open") {
        this.#say({ state: "open", transport: "poll", retryAt: null });
      }
    };
    const requests = (this.keys ? pollJobs : pollMany)(this, polling.signal, answered).then(
      () => /** @type {Outcome} */ ({ good: false, final: !polling.signal.aborted, trouble: null }),
      (/** @type {import("./transports.js").Trouble} */ { wait, message }) =>
        /** @type {Outcome} */ ({ good: false, wait, trouble: message }),
    );
    const back = this.#comeBack(tries.signal, () => polling.abort());
    return new Promise((resolve) => {
      /** @param {Outcome} outcome */
      const over = (outcome) => {
        stop();
        cut.removeEventListener("abort", stop);
        resolve(outcome);
      };
      void requests.then((outcome) => {
        if (cut.aborted) over({ good: false, trouble: null });
        else if (!polling.signal.aborted) over(outcome);
      });
      void back.then(over);
    });
  }

  /** Try the stream now and then; the outcome of the first that has caught up.
   * @param {AbortSignal} signal @param {() => void} onGood @returns {Promise<Outcome>} */
  async #comeBack(signal, onGood) {
    const { back } = this.timing;
    for (let n = this.#relapses; ; n += 1) {
      await sleep(back[Math.min(n, back.length - 1)] * (0.75 + Math.random() / 2), signal);
      if (signal.aborted) return { good: false, trouble: null };
      if (!this.#mayStream() || this.cursor === null) continue; // two rounds of snapshots would hide records
      let caughtUp = false;
      const outcome = await this.#stream(signal, () => {
        caughtUp = true;
        onGood();
        this.#opened();
      });
      if (caughtUp || outcome.final) return outcome;
      this.#say({ trouble: outcome.trouble });
    }
  }
}

/**
 * Keeps back the snapshots that a stream begins with, or shows after a reset, until they are complete.
 * @param {boolean} fresh whether it begins with snapshots
 * @returns {(frames: Frame[]) => Frame[]} what may be shown
 */
function rounds(fresh) {
  /** @type {Frame[] | null} */
  let kept = fresh ? [] : null;
  return (frames) =>
    frames.flatMap((frame) => {
      if (frame.event === "reset") kept = [];
      if (kept === null) return [frame];
      kept.push(frame);
      if (frame.event !== "sync" && frame.event !== "end") return [];
      const round = kept;
      kept = null;
      return round;
    });
}
