/** The timeline of a job: what changed, newest first, with the runs of reports between the changes folded away. */

import { setMark, stateMark } from "../elements/mark.js";
import { formatCount, formatFullTime, formatTime, plainText, plural, stateLabel, stateTone } from "../format.js";
import { el, reconcile, setAttribute, setText } from "./job-dom.js";
import { changeText, lengthText, reasonText, runText, timelineOf } from "./timeline.js";

/**
 * @typedef {import("./timeline.js").Entry} Entry
 * @typedef {import("./timeline.js").Item} Item
 * @typedef {import("./timeline.js").Change} Change
 * @typedef {import("./timeline.js").Reports} Reports
 * @typedef {import("./timeline.js").Gap} Gap
 */

const ROOM = 60; // items made at first, and each time more is asked for
const RECORDS = 50; // reports of one run made at a time
const TEXT = 400; // characters of a reason; the whole stands in its record
const ORDINARY = new Set(["anonymous", null]); // writers that are not worth a word

/**
 * @param {(position: string) => string} addressAt where the document of a position is
 * @param {() => void} loadMore
 */
export function timelineView(addressAt, loadMore) {
  const list = el("ol", { class: "job-timeline" });
  const more = el("button", { type: "button", class: "button small job-more" });
  const text = el("span");
  const load = el("button", { type: "button", class: "button small", onclick: loadMore }, "Load more");
  const note = el("p", { class: "quiet job-timeline-note" }, text, load);
  const element = el("section", { class: "panel job-past" }, el("h2", {}, "Timeline"), note, list, more);
  /** @type {Item[]} */
  let items = [];
  let room = ROOM;
  let live = false;

  function show() {
    const shown = items.slice(-room).reverse();
    reconcile(list, shown, {
      key: (item) => item.key,
      make: (item) =>
        item.kind === "change" ? makeChange(item, addressAt) : item.kind === "gap" ? el("li") : makeRun(),
      update: (li, item) => update(li, item, item === items.at(-1) || item === lastChange()),
    });
    const rest = items.length - shown.length;
    more.hidden = rest === 0;
    setText(more, `Show ${formatCount(Math.min(rest, ROOM))} older of ${formatCount(rest)}`);
  }

  /** @param {HTMLElement} li @param {Item} item @param {boolean} newest */
  function update(li, item, newest) {
    if (item.kind === "change") updateChange(li, item, newest && live);
    else if (item.kind === "reports") updateRun(li, item);
    else updateGap(li, item);
  }

  function lastChange() {
    return items.findLast((item) => item.kind === "change");
  }

  more.addEventListener("click", () => {
    const seen = list.children.length;
    room += ROOM;
    show();
    const next = list.children[seen]?.querySelector("a, summary");
    if (more.hidden && next instanceof HTMLElement) next.focus(); // the button that had the focus is gone
  });

  return {
    element,
    /**
     * @param {readonly Entry[]} entries
     * @param {{live: boolean, note: string, more: boolean}} state `note`: what is missing, and why; `more`: there is more to load
     */
    show(entries, state) {
      live = state.live;
      items = timelineOf(entries);
      setText(text, state.note);
      load.hidden = !state.more;
      note.hidden = state.note === "";
      show();
    },
    /** The state that lasts grows older. @param {number} now ms */
    tick(now) {
      const last = lastChange();
      const li =
        live &&
        last &&
        [...list.children].find((child) => child instanceof HTMLElement && child.dataset.key === last.key);
      const text = li && li.querySelector(".job-stood");
      if (text) setText(text, `for ${lengthText(Math.max(0, now - last.entry.at))}`);
    },
  };
}

/**
 * @param {Change} change
 * @param {(position: string) => string} addressAt
 */
function makeChange(change, addressAt) {
  const { entry } = change;
  const time = new Date(entry.at).toISOString();
  const label = `v${entry.version}: the document as it stood then`;
  const link = el(
    "a",
    { class: "job-then", href: addressAt(entry.position), "aria-label": label, title: label },
    `v${entry.version}`,
  );
  const mark = stateMark(entry.state);
  return el(
    "li",
    { class: "job-change", "data-tone": stateTone(entry.state), "data-state": entry.state },
    el("span", { class: "job-mark" }, mark),
    el(
      "div",
      { class: "job-change-head" },
      el("span", { class: "job-change-word" }),
      el("span", { class: "job-stood quiet nums" }),
      el(
        "time",
        { class: "quiet nums", datetime: time, title: formatFullTime(entry.at) },
        formatTime(entry.at, Date.now()),
      ),
      link,
    ),
    el("p", { class: "job-reason" }),
    el("p", { class: "job-by quiet" }),
  );
}

/**
 * @param {HTMLElement} li
 * @param {Change} change
 * @param {boolean} lasts
 */
function updateChange(li, change, lasts) {
  const { entry, stood } = change;
  const word = changeText(change);
  const quietly = word !== entry.state;
  setText(/** @type {Element} */ (li.querySelector(".job-change-word")), quietly ? sentence(word) : stateLabel(word));
  if (quietly && entry.stalled) setAttribute(li, "data-tone", "bad");
  const mark = li.querySelector("svg");
  if (mark) setMark(mark, entry.state);
  const length = stood ?? (lasts ? Math.max(0, Date.now() - entry.at) : null);
  setText(/** @type {Element} */ (li.querySelector(".job-stood")), length === null ? "" : `for ${lengthText(length)}`);
  setOptional(li, ".job-reason", plainText(reasonText(change), TEXT));
  setOptional(
    li,
    ".job-by",
    ORDINARY.has(entry.by) ? "" : `by ${entry.by === "gateway" ? "the gateway" : plainText(entry.by)}`,
  );
  setAttribute(li, "data-lasts", lasts);
}

/** @param {HTMLElement} li @param {string} selector @param {string} text */
function setOptional(li, selector, text) {
  const part = /** @type {HTMLElement} */ (li.querySelector(selector));
  part.hidden = text === "";
  setText(part, text);
}

/** @param {string} word */
function sentence(word) {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** A run of reports: one line, which opens into its records when somebody asks for them. */
function makeRun() {
  const summary = el("summary", {});
  const rows = el("ol", { class: "job-records" });
  const more = el("button", { type: "button", class: "button small quiet", hidden: true }, "Show more");
  const details = el("details", {}, summary, rows, more);
  return el("li", { class: "job-run" }, details);
}

/** What a run holds now, for its listeners: an element is made once and its run grows. @type {WeakMap<Element, Reports>} */
const runs = new WeakMap();

/** @param {HTMLElement} li @param {Reports} run */
function updateRun(li, run) {
  const details = /** @type {HTMLDetailsElement} */ (li.firstElementChild);
  const known = runs.has(li);
  runs.set(li, run);
  setText(/** @type {Element} */ (details.querySelector("summary")), runText(run.entries));
  if (!known) {
    details.addEventListener("toggle", () => showRecords(li, details, RECORDS));
    details.querySelector("button")?.addEventListener("click", () => {
      showRecords(li, details, /** @type {Element} */ (details.querySelector("ol")).children.length + RECORDS);
    });
  } else if (details.open) {
    showRecords(li, details, Math.max(RECORDS, /** @type {Element} */ (details.querySelector("ol")).children.length));
  }
}

/** @param {Element} li @param {HTMLDetailsElement} details @param {number} room */
function showRecords(li, details, room) {
  const list = /** @type {HTMLElement} */ (details.querySelector("ol"));
  const entries = details.open ? (runs.get(li)?.entries ?? []) : [];
  const shown = entries.slice(-room).reverse();
  reconcile(list, shown, { key: (entry) => String(entry.version), make: makeRecord });
  const button = /** @type {HTMLElement} */ (details.querySelector("button"));
  button.hidden = shown.length === entries.length;
  setText(button, `Show more of ${formatCount(entries.length - shown.length)}`);
}

/** @param {Entry} entry */
function makeRecord(entry) {
  const text = [entry.step, entry.message].filter(Boolean).join(" · ");
  return el(
    "li",
    {},
    el(
      "time",
      { class: "quiet nums", datetime: new Date(entry.at).toISOString(), title: formatFullTime(entry.at) },
      formatTime(entry.at, Date.now()),
    ),
    el("span", { class: "nums" }, entry.progress === null ? "" : `${Math.floor(entry.progress)}%`),
    el("span", { class: "job-record-text" }, plainText(text)),
  );
}

/** @param {HTMLElement} li @param {Gap} gap */
function updateGap(li, gap) {
  li.className = "job-gap quiet";
  setText(li, gapText(gap));
}

/** What is told of a hole. @param {Gap} gap */
export function gapText({ count, compacted, first }) {
  const records = plural(count, "record");
  if (!compacted) return `${records} not loaded yet`;
  return first ? `History before this was compacted: ${records}` : `${records} compacted away`;
}
