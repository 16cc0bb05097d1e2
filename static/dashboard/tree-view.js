/** The steps of a job and their tasks, as a tree that keys lead through; what is known of the chosen row stands below. */

import { setMark, stateMark } from "../elements/mark.js";
import { formatDuration, formatFullTime, plainText, plural, stateLabel, stateTone } from "../format.js";
import { el, reconcile, setAttribute, setText } from "./job-dom.js";
import { errorView, factsView } from "./job-parts.js";
import { jsonBox } from "./job-json.js";
import { doneOf, keyed, opensAtFirst, rowsSeen, treeOf } from "./tree.js";

/**
 * @typedef {import("../gateway.js").Job} Job
 * @typedef {import("./tree.js").Node} Row
 */

const ROOM = 40; // rows that open by themselves: more hide what is below

export function treeView() {
  const tree = el("ul", { class: "job-tree", role: "tree", "aria-label": "Steps and their tasks" });
  const count = el("span", { class: "quiet nums" });
  const chosen = el("div", { class: "job-chosen", role: "region", "aria-label": "The chosen step", hidden: true });
  const element = el("section", { class: "panel job-steps" }, el("h2", {}, "Steps ", count), tree, chosen);
  /** @type {Row[]} */
  let nodes = [];
  /** @type {Map<string, boolean>} what somebody decided */
  const decided = new Map();
  let all = 0;
  let focused = "";
  let selected = "";
  let told = "";
  let shown = "";

  /** @param {Row} node */
  const isOpen = (node) => decided.get(node.key) ?? opensAtFirst(node, all, ROOM);

  function show() {
    const rows = rowsSeen(nodes, isOpen);
    if (!rows.some((row) => row.key === focused)) focused = rows[0]?.key ?? "";
    reconcile(tree, rows, {
      key: (row) => row.key,
      make: makeRow,
      update: (li, row) => {
        updateRow(li, row, row.children.length ? isOpen(row) : null);
        setAttribute(li, "tabindex", row.key === focused ? 0 : -1);
        setAttribute(li, "aria-selected", String(row.key === selected));
      },
    });
    showChosen();
  }

  function showChosen() {
    const row = nodes.flatMap((node) => [node, ...node.children]).find((one) => one.key === selected);
    const text = row ? JSON.stringify(row.source) : "";
    if (text === told) return; // so that a selection in it stays
    told = text;
    chosen.hidden = !row;
    chosen.replaceChildren(...(row ? particularsOf(row) : []));
  }

  /** @param {string} key @param {boolean} [focus] */
  function go(key, focus = true) {
    focused = key;
    show();
    const li = [...tree.children].find((child) => child instanceof HTMLElement && child.dataset.key === key);
    if (focus && li instanceof HTMLElement) li.focus();
  }

  /** @param {string} key @param {boolean} open */
  function turn(key, open) {
    decided.set(key, open);
    go(key);
  }

  /** @param {string} key */
  function choose(key) {
    selected = selected === key ? "" : key;
    go(key);
  }

  tree.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const rows = rowsSeen(nodes, isOpen);
    const move =
      event.key === "Enter" || event.key === " " ? { choose: focused } : keyed(event.key, rows, focused, isOpen);
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    if ("choose" in move) choose(move.choose);
    else if ("go" in move) go(move.go);
    else if ("open" in move) turn(move.open, true);
    else turn(move.close, false);
  });
  tree.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    const li = target.closest("li");
    const node = li && nodes.find((one) => one.key === li.dataset.key);
    if (!li) return;
    if (node && target.closest(".job-twisty") && node.children.length) turn(node.key, !isOpen(node));
    else choose(li.dataset.key ?? "");
  });

  return {
    element,
    /** @param {Job} job */
    show(job) {
      const text = JSON.stringify([job.steps, job.step, job.terminal]);
      if (text === shown) return;
      shown = text;
      nodes = treeOf(job.steps, job.terminal ? null : job.step);
      all = nodes.reduce((sum, node) => sum + 1 + node.children.length, 0);
      element.hidden = all === 0;
      setText(count, `${doneOf(job.steps)} of ${job.steps.length} ended`);
      show();
    },
  };
}

/** @param {Row} row */
function makeRow(row) {
  return el(
    "li",
    { role: "treeitem", "aria-level": row.level },
    el("span", { class: "job-twisty", "aria-hidden": "true" }),
    stateMark(row.state),
    el("span", { class: "job-row-name" }, plainText(row.name), el("span", { class: "job-row-now" }, "now")),
    el("span", { class: "job-row-note quiet nums" }),
    row.level === 1 && el("progress", { class: "bar job-row-bar", "aria-hidden": "true" }),
    el("span", { class: "job-row-state" }),
    el("span", { class: "job-row-error" }),
  );
}

/** @param {HTMLElement} li @param {Row} row @param {boolean | null} open null where nothing is inside */
function updateRow(li, row, open) {
  const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (li.querySelector(`.job-row-${name}`));
  setAttribute(li, "data-tone", stateTone(row.state));
  setAttribute(li, "data-current", row.current);
  setAttribute(li, "aria-expanded", open === null ? null : String(open));
  setMark(/** @type {SVGSVGElement} */ (li.querySelector(".mark")), row.state);
  const length = Date.parse(row.updated) - Date.parse(row.created);
  part("now").hidden = !row.current;
  setText(part("note"), row.note || (length >= 1000 ? formatDuration(length) : ""));
  setText(part("state"), stateLabel(row.state));
  setText(part("error"), plainText(row.error));
  if (row.level === 2) return;
  part("bar").hidden = row.children.length === 0;
  setAttribute(part("bar"), "max", row.children.length || 1);
  setAttribute(part("bar"), "value", row.children.filter((child) => child.state === "succeeded").length);
}

/** @param {Row} row */
function particularsOf({ name, state, source, children }) {
  const { created, updated, details } = source;
  const facts = [
    ["State", stateLabel(state)],
    ["Created", formatFullTime(created)],
    ["Updated", formatFullTime(updated)],
    ["Tasks", children.length ? plural(children.length, "task") : ""],
  ];
  return [
    el("h3", {}, plainText(name)),
    factsView(facts.filter(([, text]) => text)),
    source.error && errorView(source.error),
    Object.keys(details ?? {}).length > 0 && jsonBox(`Details of ${plainText(name)}`, details),
  ].filter((part) => part instanceof Node);
}
