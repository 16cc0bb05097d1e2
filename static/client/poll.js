/**
 * Requests in place of a stream: the jobs as they stand now, and from the history what lay between two answers.
 *
 * Law: frames leave here in the order of the log for each job, and all of them, as a stream would send them; only where
 * the history too is out of reach does the newest document stand for what lay between.
 */

import { etagOf, jobAddress } from "./address.js";
import { accepted, AT_ONCE, deletion, inTurn, list, PAGE, sync } from "./reading.js";
import { keyOf, offsetOf, sameEpoch } from "./state.js";
import { sleep } from "./timing.js";
import { ask } from "./transports.js";

/** @typedef {import("./line.js").Line} Line */
/** @typedef {import("./state.js").Frame} Frame */
/** @typedef {import("../gateway.js").Job} Job */

const PACE = { least: 1_000, most: 30_000 }; // ms between two looks at a job, as Retry-After says
const CURSOR_AGE = 300_000; // ms; then a newer head is asked for, lest the cursor falls out of what the log keeps
const SOON = 200; // ms between an answer with news and the next request that waits
const MISSING_PACE = 5_000; // for a job that may come

/** The log is another, or keeps no longer what lay between: all is to be shown again, after this frame. */
export class Again extends Error {
  /** @param {Frame} frame */
  constructor(frame) {
    super(frame.data.reason);
    this.frame = frame;
  }
}

/**
 * Follow the jobs that a line names; returns when nothing more will come of any. Throws Trouble.
 * @param {Line} line
 * @param {AbortSignal} signal
 * @param {() => void} caughtUp
 */
export async function pollJobs(line, signal, caughtUp) {
  /** What is shown whole, in place of single changes. @type {Frame[] | null} */
  let whole = line.cursor === null ? [] : null;
  while (!signal.aborted) {
    try {
      // Whatever the head covers has come once all jobs were looked at after it: so it can be the cursor then.
      const { head } = await list(line, [], 1, signal);
      const keys = [...(line.keys ?? [])];
      const kept = whole;
      const pauses = await inTurn(keys, (key) => look(line, key, 0, signal, kept), signal);
      if (signal.aborted) return;
      line.emit([...(kept ?? []), sync(head, { shown: keys.length, matched: keys.length })]);
      whole = null;
      caughtUp();
      const due = keys.map((key, n) => ({ key, pause: pauses[n] })).filter(({ pause }) => pause !== null);
      if (due.length === 0) {
        line.emit([{ event: "end", id: null, data: { reason: "terminal" } }]);
        return;
      }
      await goOn(line, due, signal);
    } catch (error) {
      if (!(error instanceof Again)) throw error;
      whole = [error.frame];
    }
  }
}

/**
 * Look at each job again and again, for as long as one cursor may serve.
 * @param {Line} line
 * @param {{ key: string, pause: number | null }[]} due ms until a job is looked at again; null: never
 * @param {AbortSignal} signal
 */
function goOn(line, due, signal) {
  // A few can wait at the gateway for their next change; of many, each is asked at its own pace.
  return patiently(line, due.length, async (wait) => {
    const until = performance.now() + CURSOR_AGE;
    await together(due, signal, async ({ key, pause }, stop) => {
      let next = pause;
      while (next !== null && !stop.aborted && performance.now() < until) {
        await sleep(next, stop);
        next = await limited(() => look(line, key, wait, stop), stop);
      }
    });
  });
}

let waiting = 0; // requests, of all lines, that wait at the gateway for news: each takes a connection

/**
 * Work with requests that may wait at the gateway, where enough connections are left to others.
 * @template T
 * @param {Line} line
 * @param {number} count of such requests
 * @param {(wait: number) => Promise<T>} work is told how long they may wait, in ms
 * @returns {Promise<T>}
 */
export async function patiently(line, count, work) {
  const wait = waiting + count <= AT_ONCE ? line.timing.wait : 0;
  if (wait) waiting += count;
  try {
    return await work(wait);
  } finally {
    if (wait) waiting -= count;
  }
}

/** Requests that are under way, of all lines: each takes one of the browser's few connections to a host. */
const running = /** @type {Promise<unknown>[]} */ ([]);

/** Run when fewer than AT_ONCE others do.
 * @template T @param {() => Promise<T>} work @param {AbortSignal} signal @returns {Promise<T | null>} */
async function limited(work, signal) {
  while (running.length >= AT_ONCE) await Promise.race(running);
  if (signal.aborted) return null;
  const result = work();
  const slot = result.catch(() => undefined).finally(() => running.splice(running.indexOf(slot), 1));
  running.push(slot);
  return result;
}

/**
 * Look at one job and say what is new.
 * @param {Line} line
 * @param {string} key
 * @param {number} wait ms that the request may wait for a change
 * @param {AbortSignal} signal
 * @param {Frame[] | null} [kept] where the job as it stands is added, of which nothing counts that was seen before
 * @returns {Promise<number | null>} ms until the next look; null where nothing more will come
 */
async function look(line, key, wait, signal, kept = null) {
  const seen = kept ? undefined : line.seen.get(key);
  if (seen?.terminal) return null;
  const show = (/** @type {Frame[]} */ frames) => (kept ? void kept.push(...frames) : line.emit(frames));
  const url = jobAddress(line.address, key);
  const asked = performance.now();
  const etag = seen ? etagOf(line.address, seen.position) : null;
  const answer = await ask(url, line.identity, { etag, wait, signal });
  if (signal.aborted) return null;
  if (answer.status === 404) return MISSING_PACE;
  if (answer.status === 410) {
    show([deletion(key)]);
    return null;
  }
  if (answer.status !== 304) {
    const job = accepted(line, answer);
    if (seen && isBefore(job.position, seen.position)) reset(seen.position, job.position);
    const known = seen?.position ?? (kept ? null : line.cursor); // before its cursor the line owes nothing
    const frames = await changes(line, job, known, signal);
    if (signal.aborted) return null;
    show(frames);
    if (job.terminal) return null;
  }
  if (wait && (answer.status === 200 || performance.now() - asked > PACE.least)) return SOON;
  return Math.max(PACE.least, Math.min(answer.wait ?? PACE.least, PACE.most));
}

/**
 * What led to a document: the records after a position, or a snapshot where there is none, or none after it.
 * @param {Line} line
 * @param {Job} job
 * @param {string | null} after
 * @param {AbortSignal} signal
 * @returns {Promise<Frame[]>}
 */
export async function changes(line, job, after, signal) {
  // Readers drop what they had, as from a cache that knows no If-None-Match.
  if (after === null || offsetOf(job.position) <= offsetOf(after)) return [{ event: "snapshot", id: null, data: job }];
  const seen = line.seen.get(keyOf(job));
  const event = seen?.state === job.state ? "progress" : "transition";
  /** @type {Frame[]} */
  const newest = [{ event, id: null, data: job }];
  const isNext = job.version === (seen?.version ?? 0) + 1 && offsetOf(seen?.position ?? "-0") <= offsetOf(after);
  if (isNext) return newest;
  /** @type {Frame[]} */
  const frames = [];
  for (let next = /** @type {string | null} */ (after); next !== null; ) {
    const url = jobAddress(line.address, keyOf(job), "/events", [["after", next], ["limit", String(PAGE)]]);
    const answer = await ask(url, line.identity, { signal });
    if (signal.aborted) return [];
    if (answer.status === 410 && answer.body?.oldest) reset(after, job.position, answer.body.reason);
    // Something between us and the gateway lets no history through.
    if (answer.status !== 200 || !Array.isArray(answer.body?.records)) return newest;
    for (const record of answer.body.records) frames.push({ event: record.event, id: null, data: record.job });
    next = answer.body.next;
  }
  return frames.length ? frames : newest;
}

/** @param {string} requested @param {string} head @param {string} [said] the gateway's own reason @returns {never} */
export function reset(requested, head, said) {
  const reason = said ?? (sameEpoch(requested, head) ? "expired" : "foreign");
  throw new Again({ event: "reset", id: null, data: { reason, requested, oldest: head, head } });
}

/** Whether a log stepped back; within one epoch it is a cache that does. @param {string} now @param {string} then */
export function isBefore(now, then) {
  return !sameEpoch(now, then) && offsetOf(now) < offsetOf(then);
}

/** Work on all items at once; the first that fails stops the others. @template T
 * @param {T[]} items @param {AbortSignal} signal @param {(item: T, stop: AbortSignal) => Promise<void>} work */
async function together(items, signal, work) {
  const stop = new AbortController();
  const cut = () => stop.abort();
  signal.addEventListener("abort", cut);
  if (signal.aborted) cut();
  try {
    await Promise.all(items.map((item) => work(item, stop.signal)));
  } finally {
    cut();
    signal.removeEventListener("abort", cut);
  }
}
