/**
 * The table of jobs: only the rows that can be seen exist.
 * Law: a row stays the same element as long as its job is in view, so that focus, selection and a reader's place stay.
 */

import { onTick } from "../elements/clock.js";
import { makeRow, paintRow, paintTimes } from "./row.js";

/** @typedef {import("./jobs.js").Entry} Entry */
/** @typedef {import("./row.js").Row} Row */

const AHEAD = 8; // rows made beyond each edge of the window, so that a turn of the wheel finds them
const SPARE = 60; // rows kept for later

export class Table {
  #table;
  #rows;
  #heads;
  /** @type {readonly Entry[]} */
  #view = [];
  /** @type {Map<string, Row>} */
  #live = new Map();
  /** @type {Row[]} */
  #spare = [];
  /** @type {string | null} the key of the row that the keyboard is at */
  #active = null;
  /** @type {string | null} the key of the row that Tab leads to */
  #entry = null;
  #height = 0;
  /** Where the rows begin and the headings end, in the window, as it was measured last. */
  #at = { top: 0, stick: 0 };
  #on = true;
  #asked = false;
  #complete = false;
  /** @type {() => void} called whenever other rows come into sight */
  onScroll = () => {};

  /** @param {HTMLElement} table with its `.heads` and `.rows` */
  constructor(table) {
    this.#table = table;
    this.#rows = /** @type {HTMLElement} */ (table.querySelector(".rows"));
    this.#heads = /** @type {HTMLElement} */ (table.querySelector(".heads"));
    addEventListener("scroll", () => this.#ask(), { passive: true });
    addEventListener("resize", () => {
      this.#height = 0;
      this.#ask();
    });
    this.#rows.addEventListener("focusin", (event) => this.#entered(event));
    this.#rows.addEventListener("click", (event) => this.#clicked(event));
    this.#rows.addEventListener("auxclick", (event) => event.button === 1 && this.#clicked(event));
    onTick((now) => {
      if (this.#on) for (const row of this.#live.values()) paintTimes(row, now);
    });
  }

  /** Show these jobs. What is read stays in its place on the screen, whatever comes above it.
   * @param {readonly Entry[]} view @param {boolean} complete whether these are all */
  show(view, complete) {
    const before = this.#view;
    if (this.#on) this.#measure();
    if (view !== before || complete !== this.#complete) {
      const anchor = this.#on ? this.#firstSeen() : -1;
      const focused = this.#focused();
      this.#view = view;
      this.#complete = complete;
      this.#rows.style.setProperty("--rows", String(view.length));
      this.#table.setAttribute("aria-rowcount", String(complete ? view.length + 1 : -1));
      if (anchor > 0) this.#keepPlace(before, anchor);
      if (focused) this.#keepFocus(before, focused);
    }
    if (this.#on) this.#paint();
  }

  /** Rest while the table is hidden, or go on. @param {boolean} on */
  turn(on) {
    this.#on = on;
    this.#height = 0;
    if (!on) return;
    this.#measure();
    this.#paint();
  }

  /** To the first row. */
  toTop() {
    scrollTo({ top: 0, behavior: "instant" });
    this.#active = null;
    this.#ask();
  }

  /** How many rows there are. */
  get size() {
    return this.#view.length;
  }

  /** How many rows stand above what can be seen. */
  get above() {
    return Math.max(this.#firstSeen(), 0);
  }

  /** How many rows come below what can be seen. */
  get below() {
    return this.#view.length - Math.ceil((innerHeight - this.#at.top) / this.#rowHeight());
  }

  /** Move the focus: to the next row (1), the one before (-1), a window's height of them, or the ends.
   * @param {1 | -1 | "page" | "page-back" | "first" | "last"} where */
  move(where) {
    if (this.#view.length === 0) return;
    this.#measure();
    const at = this.#focused() ? this.#indexOf(this.#active) : -1;
    const page = Math.max(Math.floor((innerHeight - this.#at.stick) / this.#rowHeight()) - 1, 1);
    const last = this.#view.length - 1;
    let to;
    if (where === "first") to = 0;
    else if (where === "last") to = last;
    else if (at < 0) to = Math.max(this.#firstSeen(), 0);
    else to = at + (where === "page" ? page : where === "page-back" ? -page : where);
    this.focus(Math.min(Math.max(to, 0), last));
  }

  /** Put the focus on a row, and the row into sight. @param {number} index */
  focus(index) {
    const entry = this.#view[index];
    if (!entry) return;
    this.#active = entry.key;
    this.#measure();
    const height = this.#rowHeight();
    const { stick } = this.#at;
    const top = this.#at.top + index * height;
    if (top < stick) this.#scroll(index === 0 ? -scrollY : top - stick);
    else if (top + height > innerHeight) this.#scroll(top + height - innerHeight);
    this.#paint();
    this.#live.get(entry.key)?.link.focus({ preventScroll: true });
  }

  /** Put the focus back where it was. @returns {boolean} whether it could be */
  focusActive() {
    const index = this.#indexOf(this.#active);
    if (index >= 0) this.focus(index);
    return index >= 0;
  }

  #ask() {
    if (this.#asked || !this.#on) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      if (!this.#on) return;
      this.#measure();
      this.#paint();
      this.onScroll();
    });
  }

  #paint() {
    const [first, last] = this.#range();
    const now = Date.now();
    const wanted = new Set();
    for (let index = first; index < last; index += 1) wanted.add(this.#view[index]?.key);
    const focused = this.#focused();
    if (focused) wanted.add(focused.key);
    for (const [key, row] of this.#live) if (!wanted.has(key)) this.#putAway(key, row);
    let next = this.#rows.firstElementChild;
    const outside = focused && !this.#inside(focused.key, first, last) ? this.#indexOf(focused.key) : -1;
    if (outside >= 0 && outside < first) next = this.#place(outside, next, now);
    for (let index = first; index < last; index += 1) next = this.#place(index, next, now);
    if (outside >= last) this.#place(outside, next, now);
    this.#leadTab(first, last);
  }

  /** @param {number} index @param {Element | null} next where its row has to stand @param {number} now */
  #place(index, next, now) {
    const entry = /** @type {Entry} */ (this.#view[index]);
    let row = this.#live.get(entry.key);
    const known = row !== undefined;
    row ??= this.#take(entry.key);
    if (row.element === next) next = next.nextElementSibling;
    else this.#rows.insertBefore(row.element, next);
    if (row.index !== index) {
      row.index = index;
      row.element.style.setProperty("--i", String(index));
      row.element.setAttribute("aria-rowindex", String(index + 2)); // from 1, after the row of headings
    }
    paintRow(row, entry.job, now, known);
    return next;
  }

  /** @param {string} key */
  #take(key) {
    const row = this.#spare.pop() ?? makeRow();
    row.key = key;
    row.job = null;
    this.#live.set(key, row);
    return row;
  }

  /** @param {string} key @param {Row} row */
  #putAway(key, row) {
    this.#live.delete(key);
    row.element.remove();
    row.link.tabIndex = -1;
    if (this.#entry === key) this.#entry = null;
    if (this.#spare.length < SPARE) this.#spare.push(row);
  }

  /** One row at a time is in the order of Tab; the arrows lead to the others. @param {number} first @param {number} last */
  #leadTab(first, last) {
    let key = this.#active !== null && this.#live.has(this.#active) ? this.#active : null;
    key ??= this.#view[Math.min(Math.max(this.#firstSeen(), first), last - 1)]?.key ?? null;
    if (key === this.#entry) return;
    const before = this.#entry === null ? undefined : this.#live.get(this.#entry);
    if (before) before.link.tabIndex = -1;
    const row = key === null ? undefined : this.#live.get(key);
    if (row) row.link.tabIndex = 0;
    this.#entry = key;
  }

  /** A click beside the link is one on it, unless it ends the selection of a text. @param {MouseEvent} event */
  #clicked(event) {
    const target = event.target instanceof Element ? event.target : null;
    const link = target?.closest(".row")?.querySelector("a");
    if (!link || target?.closest("a") || !getSelection()?.isCollapsed) return;
    if (event.button === 1 || event.ctrlKey || event.metaKey || event.shiftKey) open(link.href, "_blank", "noopener");
    else link.click();
  }

  /** @param {FocusEvent} event */
  #entered(event) {
    for (const row of this.#live.values()) if (row.element.contains(/** @type {Node} */ (event.target))) this.#active = row.key;
  }

  /** The row that has the focus. */
  #focused() {
    const row = this.#active === null ? undefined : this.#live.get(this.#active);
    return row?.element.contains(document.activeElement) ? row : null;
  }

  /** @param {readonly Entry[]} before @param {number} anchor index of the first row that was seen */
  #keepPlace(before, anchor) {
    for (let index = anchor; index < before.length; index += 1) {
      const entry = /** @type {Entry} */ (before[index]);
      if (!entry.shown) continue; // it has just left: the next one stays where it was
      const by = this.#indexOf(entry.key) - index;
      if (by !== 0) this.#scroll(by * this.#rowHeight());
      return;
    }
  }

  /** Where the job under the focus has left, its place is taken. @param {readonly Entry[]} before @param {Row} row */
  #keepFocus(before, row) {
    if (this.#indexOf(row.key) >= 0) return;
    const index = Math.min(row.index, this.#view.length - 1);
    if (index < 0 || before.length === 0) return;
    this.focus(index);
  }

  /** Look where things are. Once, before anything is changed: after a change, looking costs a layout. */
  #measure() {
    this.#at = { top: this.#rows.getBoundingClientRect().top, stick: this.#heads.getBoundingClientRect().bottom };
  }

  /** @param {number} by */
  #scroll(by) {
    scrollBy({ top: by, behavior: "instant" });
    this.#measure();
  }

  /** The index of the first row below the headings; below 0 while the table's top is in sight. */
  #firstSeen() {
    return Math.floor((this.#at.stick - this.#at.top) / this.#rowHeight() + 0.01);
  }

  #range() {
    const height = this.#rowHeight();
    if (this.#height === 0) return /** @type {const} */ ([0, 0]);
    const { top } = this.#at;
    const first = Math.max(Math.floor(-top / height) - AHEAD, 0);
    const last = Math.min(Math.ceil((innerHeight - top) / height) + AHEAD, this.#view.length);
    return /** @type {const} */ ([Math.min(first, last), Math.max(last, 0)]);
  }

  #rowHeight() {
    // By CSS, in whatever unit and for whatever width: asked once for each size of the window.
    if (this.#height === 0) {
      const probe = document.createElement("div");
      probe.className = "row probe";
      this.#rows.append(probe);
      this.#height = probe.getBoundingClientRect().height; // 0 while the table is hidden: asked again then
      probe.remove();
    }
    return this.#height || 1;
  }

  /** @param {string | null} key */
  #indexOf(key) {
    if (key === null) return -1;
    const known = this.#live.get(key)?.index ?? -1;
    if (this.#view[known]?.key === key) return known;
    return this.#view.findIndex((entry) => entry.key === key);
  }

  /** @param {string} key @param {number} first @param {number} last */
  #inside(key, first, last) {
    const index = this.#indexOf(key);
    return index >= first && index < last;
  }
}
