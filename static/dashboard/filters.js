/**
 * What the list shows, as it stands in the page's address.
 * Law: the address is the only place where a filter is kept, so back, forward, reload and a copied link show the same.
 */

import { matcher } from "../elements/matching.js";
import { STATES } from "../format.js";

/** @typedef {{ states: string[], workspaces: string[], processes: string[], labels: string[], text: string }} Filter */
/** @typedef {import("../gateway.js").Job} Job */

/** The parameters of the address that the gateway understands too, but for `state`: the page counts all states. */
const SCOPE = /** @type {const} */ ([
  ["workspace", "workspaces"],
  ["process", "processes"],
  ["label", "labels"],
]);
const OMITTED = "steps,details,result"; // bulky, and no row shows them
const LABEL = /^[^:]+:/;

/** @type {Filter} */
export const NO_FILTER = Object.freeze({ states: [], workspaces: [], processes: [], labels: [], text: "" });

/** The filter of an address. States that do not exist and labels without a colon are left out. @param {string} search */
export function filterOf(search) {
  const query = new URLSearchParams(search);
  return {
    states: STATES.filter((state) => query.getAll("state").includes(state)),
    workspaces: unique(query.getAll("workspace")),
    processes: unique(query.getAll("process")),
    labels: unique(query.getAll("label").filter((label) => LABEL.test(label))),
    text: query.get("text") ?? "",
  };
}

/** The address of a filter, relative to the page: "?state=running", or "?" where all is shown. @param {Filter} filter */
export function searchOf(filter) {
  const query = scopeOf(filter);
  for (const state of filter.states) query.append("state", state);
  if (filter.text.trim() !== "") query.append("text", filter.text);
  return `?${query}`;
}

/** Whether nothing is filtered. @param {Filter} filter */
export function isEmpty(filter) {
  return searchOf(filter) === "?";
}

/** What the gateway is asked for, states apart. @param {Filter} filter */
export function scopeOf(filter) {
  const query = new URLSearchParams();
  for (const [name, member] of SCOPE) for (const value of filter[member]) query.append(name, value);
  return query;
}

/** The query of the stream: without the states, for their counts are of all of them. @param {Filter} filter @param {number} interval ms */
export function streamQuery(filter, interval) {
  const query = scopeOf(filter);
  query.set("omit", OMITTED);
  query.set("min_interval", String(interval));
  return query;
}

/** The query of a page of the list. @param {Filter} filter @param {number} limit @param {string | null} after */
export function pageQuery(filter, limit, after) {
  const query = scopeOf(filter);
  for (const state of filter.states) query.append("state", state);
  query.set("omit", OMITTED);
  query.set("limit", String(limit));
  if (after !== null) query.set("after", after);
  return query;
}

/** Whether a job is in what the gateway was asked for. @param {Filter} filter @returns {(job: Job) => boolean} */
export function inScope(filter) {
  return matcher(scopeOf(filter));
}

/**
 * Whether a text holds every word of the search. Texts come in lower case.
 * @param {Filter} filter @returns {((text: string) => boolean) | null} null where nothing is searched
 */
export function searching(filter) {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length === 0 ? null : (text) => words.every((word) => text.includes(word));
}

/** @param {string[]} values */
function unique(values) {
  return [...new Set(values.filter((value) => value !== ""))];
}
