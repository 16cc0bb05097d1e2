/** What single requests bring, as frames: documents, lists, and what there is instead. */

import { jobAddress, listAddress, splitKey } from "./address.js";
import { keyOf } from "./state.js";
import { ask, Trouble } from "./transports.js";

/** @typedef {import("./line.js").Line} Line */
/** @typedef {import("./state.js").Frame} Frame */
/** @typedef {import("../gateway.js").Job} Job */
/** @typedef {import("./address.js").Address} Address */
/** @typedef {import("./transports.js").Identity} Identity */
/** @typedef {Awaited<ReturnType<typeof ask>>} Answer */
/** @typedef {{ jobs: Job[], next: string | null, head: string }} JobPage */

export const AT_ONCE = 2; // requests at a time: a browser has six connections to a host, and the page needs some
export const PAGE = 1000; // jobs or records of an answer; as many as a stream shows at first
const MORE = 1001; // matched: more than are counted

/** A page of jobs as a stream would show them. @param {JobPage} page @returns {Frame[]} */
export function snapshots({ jobs, next, head }) {
  const matched = next === null ? jobs.length : MORE;
  const shown = jobs.map((job) => ({ event: "snapshot", id: null, data: job }));
  return [...shown, sync(head, { shown: jobs.length, matched })];
}

/**
 * What a reader starts with whose line is under way: the jobs as they stand now. Throws Trouble.
 * @param {Address} address
 * @param {Identity} identity
 * @param {string[] | null} keys the jobs to be read; null: all that match
 * @param {AbortSignal} signal
 * @returns {Promise<{ frames: Frame[], missing: string[], aliases: Map<string, string> }>} `aliases`: ids that turned
 *   out to stand for others
 */
export async function readAside(address, identity, keys, signal) {
  /** @type {{ frames: Frame[], missing: string[], aliases: Map<string, string> }} */
  const found = { frames: [], missing: [], aliases: new Map() };
  if (keys === null) {
    const answer = await ask(listAddress(address, address.filter, PAGE), identity, { signal });
    found.frames = isRefusal(answer) ? [refusal(answer)] : snapshots(answer.body);
    return found;
  }
  const answers = await inTurn(keys, (key) => ask(jobAddress(address, key), identity, { signal }), signal);
  answers.forEach((answer, n) => {
    const key = keys[n];
    if (answer.status === 404) found.missing.push(key);
    else if (answer.status === 410) found.frames.push(deletion(key));
    else if (isRefusal(answer)) found.frames.push(refusal(answer));
    else {
      found.frames.push({ event: "snapshot", id: null, data: answer.body });
      if (keyOf(answer.body) !== key) found.aliases.set(key, keyOf(answer.body));
    }
  });
  return found;
}

/** @param {Line} line @param {[string, string][]} filter @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<JobPage>} */
export async function list(line, filter, limit, signal) {
  const answer = await ask(listAddress(line.address, filter, limit), line.identity, { signal });
  return signal.aborted ? { jobs: [], next: null, head: "-0" } : accepted(line, answer);
}

/**
 * The body of a good answer; a refusal ends the line.
 * @param {Line} line
 * @param {Answer} answer
 */
export function accepted(line, answer) {
  if (!isRefusal(answer)) return answer.body;
  const frame = refusal(answer);
  line.emit([frame]);
  line.close();
  throw new Trouble(frame.data.reason);
}

/** @param {Answer} answer */
function isRefusal({ status, body }) {
  if (status === 200 && (body === null || typeof body !== "object")) throw new Trouble("the answer is no gateway's");
  return status !== 200;
}

/** @param {Answer} answer @returns {Frame} */
function refusal({ status, body }) {
  const reason = status === 401 || status === 403 ? "unauthorized" : "refused";
  const problem = body && typeof body === "object" ? body : { status, title: `the gateway answers ${status}` };
  return { event: "end", id: null, data: { reason, problem } };
}

/** @param {string} key @returns {Frame} */
export function deletion(key) {
  const [workspace, id] = splitKey(key);
  return { event: "deleted", id: null, data: { id, workspace, position: null } };
}

/** @param {string} head @param {object} more @returns {Frame} */
export function sync(head, more) {
  return { event: "sync", id: head, data: { head, time: null, ...more } };
}

/** Results of work on each item, AT_ONCE at a time. @template T, R
 * @param {T[]} items @param {(item: T) => Promise<R>} work @param {AbortSignal} signal @returns {Promise<R[]>} */
export async function inTurn(items, work, signal) {
  /** @type {R[]} */
  const results = [];
  let next = 0;
  const lane = async () => {
    while (next < items.length && !signal.aborted) {
      const index = next++;
      try {
        results[index] = await work(items[index]);
      } catch (error) {
        next = items.length; // the other lanes stop too
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return results;
}
