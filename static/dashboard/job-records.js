/**
 * A job's history, page by page, as far as a page can show it. Pages leave out what is bulky, and what the stream tells
 * in between is filed by asking for what came after the last page.
 */

import { formatCount, plural } from "../format.js";
import { jobUrl } from "./forms.js";
import { entryOf, History } from "./timeline.js";

/** @typedef {import("../gateway.js").Job} Job */

const PAGE = 1000; // records; the most that the gateway gives at once
const MOST = 20_000; // records that are loaded unasked: a job that reports for days has more than anybody looks at
const SETTLE_MS = 400; // after a transition, so that a burst of them is asked for once
const HOLE_MS = 3000; // after a hole in what the stream tells: it may pass over progress, and goes on doing so
const AGAIN_MS = 5000; // after the gateway did not answer

/**
 * @param {{id: string, workspace: string, name: string}} job
 * @param {URL} base
 * @param {AbortSignal} signal
 * @param {() => void} onNews
 */
export function recordsOf(job, base, signal, onNews) {
  const history = new History();
  let after = "";
  let most = MOST;
  let loaded = 0;
  let loading = false;
  let again = false; // whether it was asked for while it was loading
  let whole = false; // whether all that there was is loaded
  let trouble = "";
  let timer = 0;
  let due = Infinity;
  let round = 0;

  async function load() {
    if (signal.aborted) return;
    again = loading;
    if (loading) return;
    loading = true;
    const mine = round;
    trouble = "";
    try {
      for (let more = true; more && mine === round && (whole || loaded < most);) more = await page(mine);
    } catch (error) {
      if (signal.aborted) return;
      trouble = "The history could not be read; trying again.";
      later(AGAIN_MS);
    } finally {
      loading = false;
    }
    if (again || mine !== round) void load();
    onNews();
  }

  /** @param {number} mine @returns {Promise<boolean>} whether there is more */
  async function page(mine) {
    const address = new URL(jobUrl(job, base.href, "/events"));
    address.searchParams.set("limit", String(PAGE));
    address.searchParams.set("omit", "steps,details,result");
    if (after) address.searchParams.set("after", after);
    const answer = await fetch(address, { headers: { Accept: "application/json" }, signal });
    if (mine !== round) return false;
    if (answer.status === 410 && after) return restart();
    if (answer.status === 404 || answer.status === 410) return false; // the stream tells
    if (!answer.ok) throw new Error(`${answer.status}`);
    const { records, next } = await answer.json();
    if (mine !== round) return false;
    const entries = records.filter(isDocument).map(filed);
    after = next ?? entries.at(-1)?.position ?? after;
    whole ||= next === null;
    loaded += entries.length;
    if (history.add(entries)) onNews();
    return next !== null;
  }

  /** What we would go on from was compacted meanwhile. */
  function restart() {
    after = "";
    loaded = 0;
    whole = false;
    return true;
  }

  /** @param {number} ms */
  function later(ms) {
    if (Date.now() + ms >= due) return;
    clearTimeout(timer);
    due = Date.now() + ms;
    timer = setTimeout(() => {
      due = Infinity;
      void load();
    }, ms);
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  return {
    get entries() {
      return history.entries;
    },
    /** What is missing, and why; empty where nothing is. */
    get note() {
      if (trouble) return trouble;
      if (!whole && loading) return loaded ? `Loading, ${formatCount(loaded)} records so far…` : "Loading…";
      return whole ? "" : `The first ${plural(loaded, "record")}.`;
    },
    get more() {
      return !whole && !loading && !trouble;
    },
    load,
    loadMore() {
      most += MOST;
      void load();
    },
    /** A document from the stream. @param {Job} current @param {boolean} changed whether its state did */
    tell(current, changed) {
      const hole = current.version > (history.entries.at(-1)?.version ?? 0) + 1;
      if (history.add([entryOf(current)])) onNews();
      if (changed || (hole && whole)) later(changed ? SETTLE_MS : HOLE_MS);
    },
    /** Another log, or one that no longer holds all: begin anew. */
    reset() {
      round += 1;
      restart();
      history.clear();
      void load();
    },
  };
}

/** @param {{job: Partial<Job>}} record one of a deletion has no state */
function isDocument({ job }) {
  return job.state !== undefined;
}

/** @param {{job: Job, by: string}} record */
function filed({ job, by }) {
  return entryOf(job, { by, filed: true });
}
