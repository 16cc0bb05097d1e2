/**
 * The page of one job. It reads the document once, follows it for as long as it changes, and shows each part only
 * again when that part has changed.
 */

import { onTick } from "../elements/clock.js";
import { announcement, jobAddress, jobName, stateLabel } from "../format.js";
import { watch } from "../gateway.js";
import { say } from "./announce.js";
import { chartView } from "./chart-view.js";
import { copyable } from "./copy.js";
import { jobUrl, shellWord } from "./forms.js";
import { formsView, snippetsView } from "./forms-view.js";
import { eachFrame, el, setText } from "./job-dom.js";
import { headView, nowView, standingView } from "./job-head.js";
import { errorPanel, jsonPanel, linksPanel } from "./job-parts.js";
import { recordsOf } from "./job-records.js";
import { wishesView } from "./job-wishes.js";
import { timelineView } from "./timeline-view.js";
import { treeView } from "./tree-view.js";

/**
 * @typedef {import("../gateway.js").Job} Job
 * @typedef {import("../gateway.js").ConnectionState} ConnectionState
 * @typedef {{workspace: string, id: string, base: URL, connection: (state: ConnectionState) => void, title: (text: string) => void, listHref: string}} Options
 * @typedef {{status: number, job: Job | null, detail: string}} Answer
 */

const PAST_MS = 200; // between two drawings of timeline and chart, which look at all records
const PATIENCE_MS = 400; // before the page says that it is loading; mostly it is there by then

/**
 * @param {HTMLElement} root an empty element, which the caller empties after `close`
 * @param {Options} options
 */
export function showJob(root, options) {
  const { workspace, id, base, connection, title, listHref } = options;
  const named = { workspace, id, name: id };
  const ending = new AbortController();
  const { signal } = ending;
  const body = el("div", { class: "job-whole" });
  root.append(el("a", { class: "back", "data-route": true, href: listHref }, "All jobs"), body);
  /** @type {ReturnType<typeof pageOf> | null} */
  let page = null;

  /** @param {Job} job @param {string} [event] */
  function take(job, event = "") {
    if (!page) {
      const waited = body.querySelector("[data-kind=missing]") !== null;
      page = pageOf(job, base, removed, signal);
      put(page.element);
      if (waited) say(`It is here. ${announcement(job)}`);
    } else if (event === "transition") say(announcement(job));
    page.show(job);
    title(`${stateLabel(job.state)}: ${jobName(job)}`);
  }

  /** Show what takes the place of all before; who has gone nowhere on this page begins at its title. @param {HTMLElement} view */
  function put(view) {
    const at = document.activeElement;
    const idle = at === null || at === document.body || at.contains(body) || body.contains(at);
    body.replaceChildren(view);
    if (idle) focusTitle();
  }

  function focusTitle() {
    root.querySelector("h1")?.focus({ preventScroll: true });
  }

  /** @param {keyof typeof EMPTY} kind @param {string} [detail] */
  function tell(kind, detail = "") {
    if (kind === "deleted" && page) {
      page.leave("This job was deleted. What is shown is what it said last.", true);
      title(`Deleted: ${jobName(page.job)}`);
    } else if (!page) {
      put(emptyView(kind, named, { base, listHref }, detail));
      title(EMPTY[kind].title);
    }
  }

  /** The job was deleted from here: nothing of it is shown any more. */
  function removed() {
    const name = page ? jobName(page.job) : id;
    page?.close();
    page = null;
    tell("deleted");
    say(`${name} was deleted`);
  }

  /** @param {Answer} answer @returns {boolean} whether there is anything to follow */
  function takeAnswer({ status, job, detail }) {
    if (job) take(job);
    else if (status === 404) tell("missing");
    else if (status === 410) tell("deleted");
    else if (status === 0 || status >= 500) tell("away", detail);
    else tell("refused", detail);
    return job !== null || status === 404 || status === 0 || status >= 500;
  }

  async function begin() {
    const answer = await read(jobUrl(named, base.href), signal);
    if (signal.aborted || !takeAnswer(answer)) return;
    follow(answer.job ?? named);
  }

  /** @param {{workspace: string, id: string, name: string}} job */
  function follow(job) {
    watch(jobUrl(job, base.href), {
      signal,
      onConnection: connection,
      onMissing: () => tell("missing"),
      onStatus: (current, change) =>
        change.event === "deleted" ? tell("deleted") : take(/** @type {Job} */ (current), change.event),
      onReset: () => page?.reset(),
      onEnd: async ({ reason, problem }) => {
        if (reason === "deleted") tell("deleted");
        else if (page && reason !== "terminal")
          page.leave(`This page is no longer live: ${problem?.detail ?? reason}.`);
        else if (!page) takeAnswer(problem?.status ? refusal(problem) : await read(jobUrl(named, base.href), signal));
      },
    });
  }

  /** A job that has ended is not followed; somebody who comes back to the page learns that it was deleted meanwhile. */
  async function look() {
    if (document.hidden || !page?.job.terminal) return;
    const { status } = await read(jobUrl(page.job, base.href), signal);
    if (status === 410) tell("deleted");
  }

  document.addEventListener("visibilitychange", look, { signal });
  const slow = setTimeout(() => !body.firstChild && tell("loading"), PATIENCE_MS);
  signal.addEventListener("abort", () => clearTimeout(slow));
  void begin();
  return {
    close() {
      ending.abort();
      page?.close();
    },
    focus: focusTitle,
  };
}

/**
 * @param {string} address
 * @param {AbortSignal} signal
 * @returns {Promise<Answer>} with status 0 where nobody answered
 */
async function read(address, signal) {
  try {
    const answer = await fetch(address, { headers: { Accept: "application/json" }, cache: "no-cache", signal });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) return refusal({ ...body, status: answer.status });
    if (typeof body.state !== "string") return refusal({ detail: "what answered there is no gateway", status: 400 });
    return { status: 200, job: body, detail: "" };
  } catch {
    return { status: 0, job: null, detail: "" };
  }
}

/** @param {{status?: number, detail?: string, title?: string}} problem @returns {Answer} */
function refusal({ status = 0, detail, title }) {
  return { status, job: null, detail: detail ?? title ?? "" };
}

const EMPTY = {
  loading: { title: "Loading", text: "" },
  missing: {
    title: "No such job yet",
    text: "The gateway knows no job of this id. This page waits: as soon as it is created, it appears here.",
  },
  deleted: {
    title: "This job was deleted",
    text: "It had ended, and was deleted since. Its id can't be used again for a while.",
  },
  refused: { title: "This is no job's address", text: "The gateway refused it:" },
  away: { title: "The gateway does not answer", text: "This page tries again by itself." },
};

/**
 * @param {keyof typeof EMPTY} kind
 * @param {{workspace: string, id: string, name: string}} job
 * @param {{base: URL, listHref: string}} places
 * @param {string} detail
 */
function emptyView(kind, job, { base, listHref }, detail) {
  const { title, text } = EMPTY[kind];
  const place = job.workspace === "default" ? "" : ` --workspace ${shellWord(job.workspace)}`;
  const example = `status-gateway run --url ${shellWord(base.href.replace(/\/$/, ""))}${place} --id ${shellWord(job.id)} -- sleep 10`;
  const waits = kind === "missing" || kind === "away" || kind === "loading";
  return el(
    "div",
    { class: "empty", "data-kind": kind, role: "status" },
    el("h1", { tabindex: -1 }, title),
    el("p", { class: "mono job-id" }, jobAddress(job)),
    waits &&
      el("progress", {
        class: "bar job-waiting",
        "aria-label": "Waiting",
        "data-tone": kind === "away" ? "wish" : "active",
      }),
    text && el("p", { class: "quiet" }, text),
    detail && el("p", { class: "job-detail" }, detail),
    kind === "missing" && el("p", { class: "quiet" }, "Create it, for example by running a command as this job:"),
    kind === "missing" && copyable(example, "Copy the command that creates it"),
    kind === "deleted" && el("a", { class: "button", "data-route": true, href: listHref }, "Back to all jobs"),
  );
}

/**
 * All that is shown of a job that exists.
 * @param {Job} first
 * @param {URL} base
 * @param {() => void} removed called when the job has been deleted from here
 * @param {AbortSignal} signal
 */
function pageOf(first, base, removed, signal) {
  let job = first;
  let gone = false;
  const frame = eachFrame(paint);
  const past = eachFrame(paintPast, PAST_MS);
  const records = recordsOf(first, base, signal, () => past.ask());
  const wishes = wishesView(base, () => job, removed, signal);
  const head = headView(first, wishes.element);
  const [standing, now, chart] = [standingView(), nowView(), chartView()];
  const [tree, error, links] = [treeView(), errorPanel(), linksPanel(base)];
  const result = jsonPanel("Result", "job-result", ({ result: value }) => value);
  const details = jsonPanel("Details", "job-details", ({ details: value }) => value);
  const timeline = timelineView((position) => {
    const address = new URL(jobUrl(first, base.href));
    address.searchParams.set("at", position);
    return address.href;
  }, records.loadMore);
  const forms = formsView(first, base.href, signal);
  const farewell = el("p");
  const left = el("div", { class: "banner", "data-tone": "bad", role: "status", hidden: true }, farewell);
  const parts = [head, standing, now, tree, error, links, result, details, wishes];

  const element = el(
    "article",
    { class: "job" },
    head.element,
    el("div", { class: "job-notices" }, left, wishes.outcome, standing.element),
    now.element,
    el(
      "div",
      { class: "job-columns" },
      el("div", { class: "job-first" }, error.element, chart.element, tree.element),
      timeline.element,
      el("div", { class: "job-rest" }, result.element, details.element, links.element),
    ),
    forms.element,
    snippetsView(first, base.href),
  );

  function paint() {
    for (const part of parts) part.show(job);
  }

  function paintPast() {
    chart.show(records.entries, job.terminal);
    timeline.show(records.entries, { live: !job.terminal && !gone, note: records.note, more: records.more });
  }

  const stop = onTick((time) => {
    if (gone) return;
    for (const part of [standing, now, timeline]) part.tick(time);
    if (!job.terminal) chart.tick(time);
  });
  void records.load();
  forms.begin();
  paint();
  paintPast();

  return {
    element,
    get job() {
      return job;
    },
    /** @param {Job} current */
    show(current) {
      const changed = current.state !== job.state || current.stalled !== job.stalled || current.terminal;
      job = current;
      records.tell(current, changed);
      frame.ask();
      if (changed) past.ask();
    },
    reset: records.reset,
    /** Nothing more will come, though the job may not have ended. @param {string} why @param {boolean} [deleted] */
    leave(why, deleted = false) {
      gone = true;
      if (deleted) wishes.close();
      setText(farewell, why);
      left.hidden = false;
      say(why);
      past.ask();
    },
    close() {
      stop();
      frame.stop();
      past.stop();
      chart.close();
    },
  };
}
