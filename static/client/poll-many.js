/** The jobs that match a filter, followed by single requests. */

import { jobAddress } from "./address.js";
import { Again, changes, isBefore, reset } from "./poll.js";
import { accepted, deletion, inTurn, list, PAGE, snapshots, sync } from "./reading.js";
import { keyOf, offsetOf } from "./state.js";
import { sleep } from "./timing.js";
import { ask } from "./transports.js";

/** @typedef {import("./line.js").Line} Line */
/** @typedef {import("./state.js").Frame} Frame */
/** @typedef {import("../gateway.js").Job} Job */

const LIST_PACE = 2_000; // ms between two looks
const ABSENT = 20; // jobs a round that a list no longer shows and that are looked at each

/**
 * Follow all that match a line's filter. Throws Trouble.
 * @param {Line} line
 * @param {AbortSignal} signal
 * @param {() => void} caughtUp
 */
export async function pollMany(line, signal, caughtUp) {
  /** @type {Frame[] | null} */
  let whole = line.cursor === null ? [] : null;
  for (let turn = 0; !signal.aborted; turn += 1) {
    try {
      if (whole) {
        const page = await list(line, line.address.filter, PAGE, signal);
        if (!signal.aborted) line.emit([...whole, ...snapshots(page)]);
        whole = null;
      } else await round(line, line.cursor ?? "", turn, signal);
      if (signal.aborted) return;
      caughtUp();
      await sleep(LIST_PACE * (0.75 + Math.random() / 2), signal);
    } catch (error) {
      if (!(error instanceof Again)) throw error;
      whole = [error.frame];
    }
  }
}

/**
 * What has come since a position.
 * @param {Line} line
 * @param {string} since
 * @param {number} turn
 * @param {AbortSignal} signal
 */
async function round(line, since, turn, signal) {
  const { filter } = line.address;
  const pages = [await list(line, filter, PAGE, signal)];
  // A job may have come to match and have ceased to, all since the last look: the newest of all show that.
  const lasting = filter.filter(([name]) => name !== "state" && name !== "label");
  if (lasting.length < filter.length) pages.push(await list(line, lasting, PAGE / 5, signal));
  if (signal.aborted) return;
  const head = pages[0].head; // the earlier: what came later is for the next round
  if (isBefore(head, since)) reset(since, head);
  /** @type {Map<string, Job>} */
  const jobs = new Map(pages.flatMap((page) => page.jobs).map((job) => [keyOf(job), job]));
  for (const job of await absent(line, jobs, turn, signal)) jobs.set(keyOf(job), job);
  const changed = [...jobs.values()].filter((job) => offsetOf(job.position) > offsetOf(since));
  const found = await inTurn(changed, (job) => matching(line, job, since, signal), signal);
  if (signal.aborted) return;
  const frames = found.flat().filter((frame) => offsetOf(frame.data.position) <= offsetOf(head));
  frames.sort((one, other) => offsetOf(one.data.position) - offsetOf(other.data.position));
  line.emit([...frames, sync(head, {})]);
}

/** The records of a job that concern the filter: it matched before or after. @param {Line} line @param {Job} job
 * @param {string} since @param {AbortSignal} signal @returns {Promise<Frame[]>} */
async function matching(line, job, since, signal) {
  const seen = line.seen.get(keyOf(job));
  let before = seen?.matching ?? false;
  return (await changes(line, job, since, signal)).filter(({ data }) => {
    const after = line.matches(data);
    const concerned = before || after;
    before = after;
    return concerned;
  });
}

/**
 * Jobs that were shown and are on no list now, looked at one by one: beyond the list's end, unmatched, or deleted.
 * @param {Line} line
 * @param {Map<string, Job>} listed
 * @param {number} turn
 * @param {AbortSignal} signal
 * @returns {Promise<Job[]>} those that are still there
 */
async function absent(line, listed, turn, signal) {
  const keys = [...line.seen].filter(([key, seen]) => seen.matching && !listed.has(key)).map(([key]) => key);
  const from = keys.length ? (turn * ABSENT) % keys.length : 0;
  /** @type {Job[]} */
  const found = [];
  for (const key of keys.slice(from, from + ABSENT)) {
    const answer = await ask(jobAddress(line.address, key), line.identity, { signal });
    if (signal.aborted) return [];
    if (answer.status === 410 || answer.status === 404) line.emit([deletion(key)]);
    else found.push(accepted(line, answer));
  }
  return found;
}
