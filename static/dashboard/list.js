/**
 * The list: the jobs of the feed in one table under one filter.
 * Law: changes are taken as they come, and painted together.
 */

import { formatCount, plural } from "../format.js";
import { say } from "./announce.js";
import { Around } from "./around.js";
import { Feed } from "./feed.js";
import { FilterBar } from "./filterbar.js";
import { filterOf, isEmpty, NO_FILTER, searching, searchOf } from "./filters.js";
import { setText } from "./job-dom.js";
import { Table } from "./table.js";

/** @typedef {import("../gateway.js").ConnectionState} ConnectionState */
/** @typedef {import("./filters.js").Filter} Filter */

const NEAR = 200; // rows below the window; with fewer, the next page is fetched
const PAINT_MS = 80; // between two paintings of changes: at 200 changes a second every frame would be one
const COUNT_MS = 250; // between two paintings of the counts: digits that spin can't be read
const HIDDEN_MS = 1000; // between two settlements while the tab is hidden, where no frames come
const SAY_MS = 800; // after a change of the filters, until the number of jobs is said to those who hear the page
const LOST_MS = 3000; // without a connection, until the list says so

export class List {
  #element = byId("list");
  #rows = byId("table");
  #newer = byId("newer");
  #feed;
  #around;
  /** @type {Filter} */
  #filter = NO_FILTER;
  #visible = false;
  /** @type {"" | "frame" | "timer"} what the next painting waits for */
  #asked = "";
  #paintedAt = 0;
  #countedAt = 0;
  #counted = 0; // jobs that there were then
  #counting = 0;
  #saying = 0;
  #newCount = 0; // jobs that came above what is being read

  table = new Table(this.#rows);
  bar;
  /** @type {(title: string) => void} */
  onTitle = () => {};

  /**
   * @param {URL} base of the gateway @param {(search: string, step: boolean) => void} go changes the address
   * @param {(state: ConnectionState) => void} connection
   */
  constructor(base, go, connection) {
    this.bar = new FilterBar((filter, step) => go(searchOf(filter), step));
    const feed = new Feed(base, {
      connection,
      changed: () => this.#changed(),
      came: () => (this.#newCount += 1),
      near: () => this.#visible && this.table.size > 0 && this.table.below < NEAR,
    });
    this.#feed = feed;
    const ways = { clear: () => this.bar.clear(), again: () => feed.again(), further: () => feed.loadFurther() };
    this.#around = new Around(base, ways, { trouble: byId("trouble"), empty: byId("empty"), foot: byId("foot") });
    this.table.onScroll = () => {
      if (this.table.above <= 0) this.#paintNew();
      void feed.load();
    };
    this.#newer.addEventListener("click", () => this.table.toTop());
    document.addEventListener("visibilitychange", () => document.hidden && this.#changed());
    const filters = /** @type {HTMLElement} */ (this.#element.querySelector(".filters"));
    new ResizeObserver(() => {
      this.#element.style.setProperty("--filters-h", `${filters.offsetHeight}px`); // the headings stay right below
    }).observe(filters);
  }

  /** The connection as it stands. */
  get connection() {
    return this.#feed.connection;
  }

  /** Show the list that an address means. @param {string} search @param {boolean} fresh whether to begin at its top */
  open(search, fresh) {
    const before = this.#filter;
    this.#filter = filterOf(search);
    if (searchOf(before) !== searchOf(this.#filter)) this.#sayCount();
    this.#visible = true;
    this.#element.hidden = false;
    this.bar.show(this.#filter);
    this.#feed.follow(this.#filter);
    this.#feed.jobs.show(this.#filter.states, searching(this.#filter));
    this.table.turn(true);
    if (fresh) this.table.toTop();
    this.#newCount = 0;
    this.#flush();
    this.#count();
    void this.#feed.load();
  }

  /** Another page is shown. The list goes on in the background, so that it is right when it comes back. */
  hide() {
    this.#visible = false;
    this.#element.hidden = true;
    this.table.turn(false);
  }

  /** From the search into the rows that it found, also those of a word that was typed just now. */
  enter() {
    this.bar.searchNow();
    this.table.move("first");
  }

  /** Something is to be painted: in the next frame, in the one after a rest, or, where no frames come, soon. */
  #changed() {
    const how = document.hidden ? "timer" : "frame";
    if (this.#asked === "timer" || this.#asked === how) return; // a frame that was asked for may never come once hidden
    this.#asked = how;
    const flush = () => this.#asked !== "" && this.#flush();
    const rest = this.#paintedAt + PAINT_MS - performance.now();
    if (how === "timer") setTimeout(flush, HIDDEN_MS);
    else if (rest > 0) setTimeout(() => requestAnimationFrame(flush), rest);
    else requestAnimationFrame(flush);
  }

  #flush() {
    this.#asked = "";
    this.#paintedAt = performance.now();
    const { jobs } = this.#feed;
    jobs.settle();
    if (!this.#visible) return;
    this.#rows.hidden = jobs.view.length === 0;
    this.table.show(jobs.view, this.#feed.complete);
    this.#paintNew();
    this.#paintAround();
    const wait = this.#countedAt + COUNT_MS - this.#paintedAt;
    if (wait <= 0 || this.#counted === 0) this.#count();
    else this.#counting ||= setTimeout(() => this.#count(), wait);
  }

  #count() {
    clearTimeout(this.#counting);
    this.#counting = 0;
    this.#countedAt = performance.now();
    const { jobs, known, complete, waiting } = this.#feed;
    this.#counted = jobs.size;
    this.bar.count(jobs, complete || waiting);
    this.bar.offer(known);
    const running = jobs.counts.get("running") ?? 0;
    this.onTitle(running > 0 ? `${formatCount(running)} running · Jobs` : "Jobs");
    const plain = known.processes.size === 0 && known.labels.size === 0 && known.workspaces.size < 2;
    this.#rows.classList.toggle("plain", plain);
    this.#element.dataset["complete"] = String(complete); // the counts are of all there are
  }

  #paintAround() {
    const { jobs, lostAt, complete, waiting, failure } = this.#feed;
    const lostFor = lostAt === 0 ? 0 : Date.now() - lostAt;
    if (lostAt > 0 && lostFor < LOST_MS) setTimeout(() => this.#changed(), LOST_MS - lostFor);
    this.#around.paint({
      rows: jobs.view.length,
      size: jobs.size,
      trimmed: jobs.trimmed,
      filtered: !isEmpty(this.#filter),
      lostAt: lostFor < LOST_MS ? 0 : lostAt,
      complete,
      waiting,
      failure,
    });
  }

  /** What came above is counted as long as the top is out of sight. */
  #paintNew() {
    if (this.table.above <= 0) this.#newCount = 0;
    this.#newer.hidden = this.#newCount === 0;
    if (this.#newCount > 0) setText(this.#newer, `↑ ${plural(this.#newCount, "new job")}`);
  }

  /** Say how many there are, once what is typed has come to rest. */
  #sayCount() {
    clearTimeout(this.#saying);
    this.#saying = setTimeout(() => {
      if (this.#visible) say(`${plural(this.#feed.jobs.view.length, "job")} shown`);
    }, SAY_MS);
  }
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
