/** When to try again, and how long to wait. Pure, but for the sleep. */

/** @typedef {import("../gateway.js").Timing} Timing */

/** See `Timing` for what each means. @type {Readonly<Timing>} */
export const TIMING = Object.freeze({
  first: 8_000,
  silence: 40_000, // two of the gateway's heartbeats of 15 s missed, and some
  back: Object.freeze([2_000, 5_000, 15_000, 30_000, 60_000, 120_000, 300_000]),
  base: 2_000,
  cap: 30_000,
  wait: 25_000, // below what proxies bear
  look: 2_000,
  hidden: 10_000,
  lead: 5_000,
});

/**
 * Full jitter: anything up to a bound that doubles, so that the readers of a gateway that restarts come back spread.
 * @param {number} failures so far
 * @param {Timing} timing
 * @param {number | null} atLeast what the gateway asks for, in ms
 * @param {() => number} [random] from 0 to 1
 * @returns {number} ms
 */
export function backoff(failures, timing, atLeast, random = Math.random) {
  const bound = Math.min(timing.cap, timing.base * 2 ** Math.min(failures, 30));
  return Math.round((atLeast ?? 0) + random() * bound);
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal ends it early
 * @returns {Promise<void>}
 */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", over);
      resolve();
    };
    const timer = setTimeout(over, ms);
    signal.addEventListener("abort", over);
    if (signal.aborted) over();
  });
}
