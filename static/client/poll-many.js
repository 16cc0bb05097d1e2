/**
 * The jobs that match a filter, followed by single requests: pages of what happened since the one before.
 *
 * Law: a page holds every record that a stream would have brought, in the same order. Only where something on the way
 * lets no page through are the lists compared instead, which show as much as they can: the newest jobs.
 */

import { jobAddress, recordsAddress } from "./address.js";
import { Again, changes, isBefore, patiently, reset } from "./poll.js";
import { accepted, deletion, inTurn, list, PAGE, snapshots, sync } from "./reading.js";
import { keyOf, offsetOf } from "./state.js";
import { sleep } from "./timing.js";
import { ask } from "./transports.js";

/** @typedef {import("./line.js").Line} Line */
/** @typedef {import("./state.js").Frame} Frame */
/** @typedef {import("../gateway.js").Job} Job */
/** @typedef {{ records: { event: string, position: string, job: Job }[], next: string | null, head: string }} HappenedPage */

const DETOUR = 30; // looks at lists, where no page got through, before one is asked for again
const ATTEMPTS = 2; // to get the first page
const SOON = 300; // ms between these, and between a page that was waited for and the next
const ABSENT = 20; // jobs a round that a list no longer shows and that are looked at each

/**
 * Follow all that match a line's filter. Throws Trouble.
 * @param {Line} line
 * @param {AbortSignal} signal
 * @param {() => void} caughtUp
 */
export async function pollMany(line, signal, caughtUp) {
  /** All is to be shown again, after these. @type {Frame[] | null} */
  let whole = null;
  let again = 0; // the turn from which on pages may be asked for
  let through = false; // whether one has come
  for (let turn = 0; !signal.aborted; turn += 1) {
    try {
      const since = sinceOf(line);
      const asks = !whole && since !== null && turn >= again;
      const asked = performance.now();
      const page = asks ? await happened(line, since, through, signal) : null;
      if (signal.aborted) return;
      if (asks && !page) again = turn + DETOUR;
      if (page) {
        through = true;
        line.emit(framesOf(page));
        if (page.next !== null) continue;
      } else if (whole || line.cursor === null) {
        const jobs = await list(line, line.address.filter, PAGE, signal);
        if (!signal.aborted) line.emit([...(whole ?? []), ...snapshots(jobs)]);
        whole = null;
      } else await compare(line, line.cursor, turn, signal);
      if (signal.aborted) return;
      caughtUp();
      const waited = performance.now() - asked > SOON; // else something on the way may have hidden that it may wait
      await sleep(page && waited ? SOON : line.timing.look * (0.75 + Math.random() / 2), signal);
    } catch (error) {
      if (!(error instanceof Again)) throw error;
      whole = [error.frame];
    }
  }
}

/** From where it goes on: where it stands, or where it was asked to begin. @param {Line} line */
function sinceOf(line) {
  return line.cursor ?? line.address.after;
}

/**
 * A page of what has happened since a position. Once one has come, others may be waited for, and trouble is the
 * gateway's, which passes.
 * @param {Line} line
 * @param {string} since
 * @param {boolean} through
 * @param {AbortSignal} signal
 * @returns {Promise<HappenedPage | null>} null where something on the way lets none through, or the gateway has none
 */
async function happened(line, since, through, signal) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const url = recordsAddress(line.address, since, PAGE);
      const { status, body } = await patiently(line, 1, (wait) =>
        ask(url, line.identity, { wait: through ? wait : 0, signal }),
      );
      if (status === 410 && body?.oldest) reset(since, body.oldest, body.reason);
      return status === 200 && Array.isArray(body?.records) ? body : null;
    } catch (error) {
      if (error instanceof Again || through || signal.aborted) throw error;
      if (attempt === ATTEMPTS) return null;
      await sleep(SOON, signal); // a gateway that comes back just now is no reason to leave the exact way
    }
  }
}

/** @param {HappenedPage} page @returns {Frame[]} as a stream has them */
function framesOf({ records, next, head }) {
  return [...records.map(({ event, position, job }) => ({ event, id: position, data: job })), sync(next ?? head, {})];
}

/**
 * What has come since a position, by the lists and the history of each job on them.
 * @param {Line} line
 * @param {string} since
 * @param {number} turn
 * @param {AbortSignal} signal
 */
async function compare(line, since, turn, signal) {
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
