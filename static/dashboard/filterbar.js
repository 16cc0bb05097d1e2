/** The filters as one sees and changes them. What they say comes from the address, and goes there. */

import { setMark, stateMark } from "../elements/mark.js";
import { formatCount, stateLabel, stateTone, STATES } from "../format.js";
import { isEmpty, NO_FILTER } from "./filters.js";
import { el, setText } from "./job-dom.js";

/** @typedef {import("./filters.js").Filter} Filter */
/** @typedef {import("./jobs.js").Jobs} Jobs */
/** @typedef {{ workspaces: Set<string>, processes: Set<string>, labels: Set<string> }} Known */

const TYPING_MS = 120; // until what is typed is searched: less than a pause, more than the time between two keys
const MOST_OFFERED = 500; // values in a menu; beyond that one types
/** These stand there always, others while a job is in them: what is seldom should not push the rest about. */
const USUAL = ["pending", "running", "succeeded", "failed", "cancelled"];
const ORDER = [...USUAL, ...STATES.filter((state) => !USUAL.includes(state))];
const ALL = "";

export class FilterBar {
  /** @type {Filter} */
  #filter = NO_FILTER;
  #change;
  #text = input("text");
  #label = input("label");
  #labels = byId("labels");
  #clear = byId("clear");
  #workspace = /** @type {HTMLSelectElement} */ (byId("workspace"));
  #process = /** @type {HTMLSelectElement} */ (byId("process"));
  /** @type {Map<string, { button: HTMLButtonElement, count: HTMLElement }>} */
  #states = new Map();
  #typing = 0;
  #typed = false; // whether the newest step in the browser's history is the search that is being typed
  #offered = "";

  /** @param {(filter: Filter, step: boolean) => void} change called with another filter; `step`: one to come back from */
  constructor(change) {
    this.#change = change;
    byId("states").append(...[ALL, ...ORDER].map((state) => this.#stateButton(state)));
    this.#text.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#search(), TYPING_MS);
    });
    this.#text.addEventListener("blur", () => {
      this.#search();
      this.#typed = false;
    });
    this.#label.addEventListener("change", () => this.#addLabel());
    this.#clear.addEventListener("click", () => this.clear());
    for (const [select, member] of this.#selects()) {
      select.addEventListener("change", () => this.#set({ [member]: select.value === ALL ? [] : [select.value] }));
    }
  }

  /** @param {Filter} filter as the address says it */
  show(filter) {
    this.#filter = filter;
    if (this.#typing === 0 && this.#text.value.trim() !== filter.text.trim()) {
      this.#text.value = filter.text;
      this.#typed = false;
    }
    for (const [state, { button }] of this.#states) {
      const pressed = state === ALL ? filter.states.length === 0 : filter.states.includes(state);
      button.setAttribute("aria-pressed", String(pressed));
    }
    this.#labels.replaceChildren(...filter.labels.map((label) => this.#labelTag(label)));
    this.#clear.hidden = isEmpty(filter);
    this.#offered = "";
  }

  /** How many jobs are in which state. @param {Jobs} jobs @param {boolean} complete whether these are all there are */
  count(jobs, complete) {
    for (const [state, { button, count }] of this.#states) {
      const number = state === ALL ? jobs.found : (jobs.counts.get(state) ?? 0);
      setText(count, `${formatCount(number)}${state === ALL && !complete ? "+" : ""}`);
      const hidden = state !== ALL && number === 0 && !USUAL.includes(state) && !this.#filter.states.includes(state);
      if (button.hidden !== hidden) button.hidden = hidden;
      button.classList.toggle("none", number === 0);
    }
  }

  /** What may be chosen. @param {Known} known */
  offer(known) {
    const offered = `${known.workspaces.size} ${known.processes.size} ${known.labels.size}`;
    if (offered === this.#offered) return;
    this.#offered = offered;
    const { workspaces, processes } = this.#filter;
    fillMenu(this.#workspace, "Workspace", known.workspaces, workspaces, known.workspaces.size > 1);
    fillMenu(this.#process, "Process", known.processes, processes, known.processes.size > 0);
    this.#label.hidden = known.labels.size === 0 && this.#filter.labels.length === 0;
    const list = byId("label-list");
    list.replaceChildren(...[...known.labels].slice(0, MOST_OFFERED).sort().map((label) => el("option", { value: label })));
  }

  /** To the search field. */
  focusSearch() {
    this.#text.focus();
    this.#text.select();
  }

  /** Do not wait for more to be typed. */
  searchNow() {
    if (this.#typing !== 0) this.#search();
  }

  /** Escape in the search field. @returns {boolean} whether there was something to clear */
  escape() {
    if (this.#text.value === "") return false;
    this.#text.value = "";
    this.#search();
    return true;
  }

  /** Show all jobs. */
  clear() {
    clearTimeout(this.#typing);
    this.#typing = 0;
    this.#change(NO_FILTER, true);
  }

  #search() {
    clearTimeout(this.#typing);
    this.#typing = 0;
    const text = this.#text.value;
    if (text.trim() === this.#filter.text.trim()) return;
    const step = !this.#typed;
    this.#typed = true;
    this.#set({ text }, step);
  }

  #addLabel() {
    const label = this.#label.value.trim();
    const right = label === "" || /^[^:]+:./.test(label);
    this.#label.setCustomValidity(right ? "" : "A label is written key:value");
    if (!right) {
      this.#label.reportValidity();
      return;
    }
    this.#label.value = "";
    if (label !== "" && !this.#filter.labels.includes(label)) this.#set({ labels: [...this.#filter.labels, label] });
  }

  /** @param {Partial<Filter>} change @param {boolean} [step] */
  #set(change, step = true) {
    this.#change({ ...this.#filter, ...change }, step);
  }

  #selects() {
    return /** @type {const} */ ([
      [this.#workspace, "workspaces"],
      [this.#process, "processes"],
    ]);
  }

  /** @param {string} state */
  #stateButton(state) {
    const count = el("span", { class: "count nums" }, "0");
    const word = el("span", {}, state === ALL ? "All" : stateLabel(state));
    const button = el("button", { type: "button", class: "state", "aria-pressed": "false" }, word, count);
    if (state !== ALL) {
      button.dataset["tone"] = stateTone(state);
      const mark = stateMark(state);
      setMark(mark, state);
      button.prepend(mark);
    }
    button.addEventListener("click", () => this.#toggle(state));
    this.#states.set(state, { button, count });
    return button;
  }

  /** @param {string} state */
  #toggle(state) {
    const { states } = this.#filter;
    if (state === ALL) this.#set({ states: [] });
    else this.#set({ states: STATES.filter((other) => (other === state) !== states.includes(other)) });
  }

  /** @param {string} label */
  #labelTag(label) {
    const remove = el("button", { type: "button", "aria-label": `Remove the label filter ${label}` }, "×");
    remove.addEventListener("click", () => {
      this.#set({ labels: this.#filter.labels.filter((other) => other !== label) });
      this.#label.focus();
    });
    return el("span", { class: "tag removable" }, el("span", { class: "truncate" }, label), remove);
  }
}

/**
 * @param {HTMLSelectElement} select @param {string} all @param {Set<string>} known @param {string[]} chosen
 * @param {boolean} useful whether there is a choice
 */
function fillMenu(select, all, known, chosen, useful) {
  const values = [...new Set([...chosen, ...[...known].slice(0, MOST_OFFERED)])].sort();
  const options = [el("option", { value: ALL }, all), ...values.map((value) => el("option", { value }, value))];
  if (chosen.length > 1) {
    // Only a link can choose several; the menu says so, and any choice replaces them.
    options.push(el("option", { value: chosen.join(" "), disabled: true, selected: true }, chosen.join(", ")));
  }
  select.replaceChildren(...options);
  if (chosen.length === 1) select.value = /** @type {string} */ (chosen[0]);
  select.hidden = !useful && chosen.length === 0;
  select.classList.toggle("chosen", chosen.length > 0);
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** @param {string} id */
function input(id) {
  return /** @type {HTMLInputElement} */ (document.getElementById(id));
}
