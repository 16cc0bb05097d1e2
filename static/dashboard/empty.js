/** What stands in the list's place where there is nothing to list: what happened, and what to do next. */

import { copyable } from "./copy.js";
import { el } from "./job-dom.js";

const DEFAULT_BASE = "http://127.0.0.1:8000"; // the command line's own, which needs no saying

/** Nobody has reported anything yet. @param {URL} base */
export function noJobs(base) {
  const url = base.href.replace(/\/$/, "");
  const option = url === DEFAULT_BASE ? "" : ` --url ${url}`;
  const loop = 'for i in 1 2 3 4 5; do echo "$i/5"; sleep 1; done';
  const json = "-H 'Content-Type: application/json'";
  const run = `status-gateway run${option} --name hello -- sh -c '${loop}'`;
  const post = [
    `curl ${url}/v1/jobs ${json} -d '{"id":"hello","state":"running"}'`,
    `curl ${url}/v1/jobs/hello/events ${json} -d '{"progress":50,"message":"half way"}'`,
    `curl ${url}/v1/jobs/hello/events ${json} -d '{"state":"succeeded"}'`,
  ];
  return [
    el("h2", {}, "No jobs yet"),
    el("p", { class: "quiet" }, "This page is live: the first job appears here the moment it is reported."),
    el("div", { class: "ways" },
      el("section", { class: "panel way" },
        el("h3", {}, "Run any command as a job"),
        el("p", { class: "quiet" }, "Its start, output, progress and end are reported for it."),
        copyable(run, "Copy the command that runs a job")),
      el("section", { class: "panel way" },
        el("h3", {}, "Or report by HTTP, from anything"),
        el("p", { class: "quiet" }, "Create a job, say how far it is, say how it ended."),
        copyable(post.join("\n"), "Copy the curl commands"))),
  ];
}

/**
 * There are jobs, but the filter lets none through. @param {() => void} clear
 * @param {string | null} searched what was searched, where that is not all
 * @param {() => void} on looks further
 */
export function noMatch(clear, searched, on) {
  const more = searched === null ? "Jobs that come to match appear here by themselves." : searched;
  return [
    el("h2", {}, "No job matches these filters"),
    el("p", { class: "quiet" }, more),
    el("div", { class: "buttons" },
      searched !== null && el("button", { type: "button", class: "button", onclick: on }, "Search older jobs"),
      el("button", { type: "button", class: "button primary", onclick: clear }, "Clear the filters")),
  ];
}

/** Nobody answers. @param {URL} base @param {() => void} again */
export function away(base, again) {
  return [
    el("h2", {}, "The gateway does not answer"),
    el("p", { class: "quiet" }, `Nothing comes from ${base.href}. Is it running, and can this browser reach it?`),
    copyable("status-gateway serve", "Copy the command that starts the gateway"),
    el("p", { class: "quiet" }, "This page tries again by itself."),
    el("button", { type: "button", class: "button primary", onclick: again }, "Try now"),
  ];
}

/** The gateway says no. @param {string} why @param {() => void} clear @param {() => void} again */
export function refused(why, clear, again) {
  return [
    el("h2", {}, "The gateway refused this"),
    el("p", {}, why),
    el("div", { class: "buttons" },
      el("button", { type: "button", class: "button", onclick: again }, "Try again"),
      el("button", { type: "button", class: "button primary", onclick: clear }, "Clear the filters")),
  ];
}
