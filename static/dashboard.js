/**
 * The dashboard's shell: which page the address means, the light of the connection, the theme, the keyboard.
 * Law: it knows of the gateway only what the public API says, and builds on the same client as any other page.
 */

import { Indicator } from "./dashboard/connection.js";
import { showJob } from "./dashboard/job.js";
import { List } from "./dashboard/list.js";
import { say } from "./dashboard/announce.js";
import { Shortcuts } from "./dashboard/shortcuts.js";

/** @typedef {import("./gateway.js").ConnectionState} ConnectionState */

const BASE = new URL("../", import.meta.url); // the gateway may be mounted below a path
const THEME = "status-gateway-theme";
const THEMES = /** @type {const} */ (["system", "light", "dark"]);
const TITLE = "status gateway";

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const indicator = new Indicator(byId("connection"), byId("connection-word"), byId("connection-count"));
/** @type {{ close(): void, root: HTMLElement } | null} the page of one job, while it is shown */
let page = null;
let listSearch = "?"; // the filters as they were, to come back to
let listScroll = 0;

const list = new List(BASE, (search, step) => go(search, step), (state) => page === null && indicator.show(state));
list.onTitle = (/** @type {string} */ title) => page === null && setTitle(title);

/** @param {string} text */
function setTitle(text) {
  const title = `${text} · ${TITLE}`;
  if (document.title !== title) document.title = title;
}

// --- which page ---

/** Change the address and show what it means. @param {string} search @param {boolean} step one to come back from */
function go(search, step) {
  const url = new URL(search, location.href);
  if (url.search === location.search) return show(false);
  if (step) history.pushState({ fromList: jobOf(location.search) === null }, "", url);
  else history.replaceState(history.state, "", url);
  show(step);
}

/** The job that an address means, or null for the list. @param {string} search */
function jobOf(search) {
  const named = new URLSearchParams(search).get("job");
  if (!named) return null;
  const at = named.indexOf("/");
  return at < 0 ? { workspace: "default", id: named } : { workspace: named.slice(0, at), id: named.slice(at + 1) };
}

/** @param {boolean} fresh whether this is a new step, which begins at its top */
function show(fresh) {
  const job = jobOf(location.search);
  const before = page;
  if (before === null && job !== null && !byId("list").hidden) listScroll = scrollY;
  closePage();
  if (job === null) showList(before !== null, fresh);
  else openPage(job);
}

/** @param {boolean} back whether a job was shown before @param {boolean} fresh */
function showList(back, fresh) {
  const same = location.search === listSearch || `?${location.search.slice(1)}` === listSearch;
  listSearch = location.search || "?";
  byId("find").hidden = false;
  list.open(location.search, fresh && !back);
  if (list.connection) indicator.show(list.connection);
  if (!back) return;
  if (same) scrollTo({ top: listScroll, behavior: "instant" });
  if (!list.table.focusActive()) byId("main").focus({ preventScroll: true });
}

/** @param {{ workspace: string, id: string }} job */
function openPage(job) {
  list.hide();
  byId("find").hidden = true;
  const root = byId("page");
  root.className = "job-page";
  root.hidden = false;
  setTitle(job.id);
  scrollTo({ top: 0, behavior: "instant" });
  const shown = showJob(root, {
    ...job,
    base: BASE,
    connection: (state) => indicator.show(state),
    title: setTitle,
    listHref: listSearch,
  });
  page = { root, close: () => shown.close() };
  (root.querySelector("h1") ?? byId("main")).focus({ preventScroll: true });
}

function closePage() {
  if (page === null) return;
  page.close();
  page.root.replaceChildren();
  page.root.hidden = true;
  page = null;
}

/** Back to the list: by the browser's own way where it leads there, so that its history does not grow. */
function back() {
  if (history.state?.fromList) history.back();
  else go(listSearch, true);
}

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest("a[data-route]") : null;
  if (!(link instanceof HTMLAnchorElement)) return;
  event.preventDefault();
  if (link.classList.contains("back")) back();
  else go(link.getAttribute("href") ?? "?", true);
});
addEventListener("popstate", () => show(false));

// --- theme ---

/** The theme that is chosen. */
function theme() {
  return THEMES.find((name) => name === document.documentElement.dataset["theme"]) ?? "system";
}

/** @param {typeof THEMES[number]} name */
function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = name;
  try {
    localStorage.setItem(THEME, name);
  } catch {
    // storage is forbidden here: it holds for this page
  }
  paintTheme();
  say(`Theme: ${name}`);
}

function nextTheme() {
  setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length] ?? "system");
}

function paintTheme() {
  const button = byId("theme");
  const text = `Theme: ${theme()}`;
  button.setAttribute("aria-label", text);
  button.title = shortcuts.hint(text, "t");
  button.dataset["theme"] = theme();
}

// --- keyboard ---

const help = /** @type {HTMLDialogElement} */ (byId("help"));
const shortcuts = new Shortcuts(/** @type {HTMLInputElement} */ (byId("shortcuts")));
shortcuts.onChange = paintHints;

function paintHints() {
  byId("help-open").title = shortcuts.hint("Keyboard and help", "?");
  paintTheme();
}

/** @type {Record<string, () => void>} */
const KEYS = {
  "?": () => help.showModal(),
  t: nextTheme,
};
/** @type {Record<string, () => void>} */
const LIST_KEYS = {
  "/": () => list.bar.focusSearch(),
  j: () => list.table.move(1),
  k: () => list.table.move(-1),
  ArrowDown: () => list.table.move(1),
  ArrowUp: () => list.table.move(-1),
};
/** @type {Record<string, () => void>} from the search to what it found */
const SEARCH_KEYS = { ArrowDown: () => list.enter(), Enter: () => list.enter() };
/** @type {Record<string, () => void>} only where the focus is in a row: elsewhere they scroll */
const ROW_KEYS = {
  Home: () => list.table.move("first"),
  End: () => list.table.move("last"),
  PageDown: () => list.table.move("page"),
  PageUp: () => list.table.move("page-back"),
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const { target } = event;
  if (target instanceof HTMLElement && target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]")) {
    if (event.key === "Escape" && target.id === "text") leaveSearch(event, target);
    else if (target.id === "text") act(event, SEARCH_KEYS);
    return;
  }
  if (event.key === "Escape" && page !== null) {
    event.preventDefault();
    back();
  } else if (!act(event, KEYS) && page === null && !act(event, LIST_KEYS)) {
    if (target instanceof Element && target.closest(".rows")) act(event, ROW_KEYS);
  } else if (event.key === "/" && page !== null && shortcuts.on) {
    event.preventDefault();
    go(listSearch, true);
    list.bar.focusSearch();
  }
});

/** @param {KeyboardEvent} event @param {Record<string, () => void>} keys */
function act(event, keys) {
  const action = keys[event.key];
  if (!action || !shortcuts.allow(event.key)) return false;
  event.preventDefault();
  action();
  return true;
}

/** @param {KeyboardEvent} event @param {HTMLElement} field */
function leaveSearch(event, field) {
  event.preventDefault();
  if (!list.bar.escape()) field.blur();
}

byId("theme").addEventListener("click", nextTheme);
byId("help-open").addEventListener("click", () => help.showModal());
byId("help-close").addEventListener("click", () => help.close());
for (const id of ["theme", "help-open"]) byId(id).hidden = false;
history.scrollRestoration = "manual"; // rows that are not there yet can't be scrolled to
paintHints();
show(false);
