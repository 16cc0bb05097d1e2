/** The parts of a job's page that show one member of its document each: error, result, details, links. */

import { formatBytes, plainLines, plainText, plural, safeHref } from "../format.js";
import { copyButton } from "./copy.js";
import { el, setLongText } from "./job-dom.js";
import { jsonBox, textBox } from "./job-json.js";

/**
 * @typedef {import("../gateway.js").Job} Job
 * @typedef {NonNullable<Job["error"]>} JobError
 * @typedef {Job["links"][number]} Link
 */

const SUMMARY = 20_000; // characters of an error's message; a stack has its own box

/**
 * Names and what they stand for.
 * @param {string[][]} facts
 */
export function factsView(facts) {
  return el(
    "dl",
    { class: "job-facts" },
    ...facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))),
  );
}

/**
 * An error with all it says.
 * @param {JobError} error
 */
export function errorView(error) {
  const details = error.details ?? null;
  const message = el("p", { class: "job-error-message" });
  setLongText(message, plainLines(error.message, SUMMARY), "The error's message");
  return el(
    "div",
    { class: "job-error" },
    error.code && el("p", { class: "job-code mono" }, plainText(error.code)),
    message,
    error.stack &&
      titled("Trace", textBox("The trace of the error", plainLines(error.stack)), "Copy the trace", error.stack),
    details &&
      Object.keys(details).length > 0 &&
      titled(
        "Details",
        jsonBox("The details of the error", details),
        "Copy the error's details",
        JSON.stringify(details, null, 2),
      ),
  );
}

/**
 * A box with a small heading and a button that copies what is in it.
 * @param {string} title
 * @param {HTMLElement} box
 * @param {string} label
 * @param {string} text
 */
function titled(title, box, label, text) {
  return el(
    "div",
    { class: "job-titled" },
    el("h3", {}, title),
    copyButton(label, () => text),
    box,
  );
}

/**
 * A panel that shows a member of the document and is made anew only when that has changed.
 * @param {string} title
 * @param {string} name class of the panel
 * @param {(job: Job) => unknown} member
 * @param {(value: any, job: Job) => Node[]} make
 */
export function memberPanel(title, name, member, make) {
  const body = el("div", { class: "job-body" });
  const element = el("section", { class: `panel ${name}`, hidden: true }, el("h2", {}, title), body);
  let told = "";
  return {
    element,
    /** @param {Job} job */
    show(job) {
      const value = member(job);
      const text = isEmpty(value) ? "" : JSON.stringify(value);
      if (text === told) return;
      told = text;
      element.hidden = text === "";
      body.replaceChildren(...(text ? make(value, job) : []));
    },
  };
}

/** @param {unknown} value */
function isEmpty(value) {
  return value === null || value === undefined || (typeof value === "object" && Object.keys(value).length === 0);
}

export function errorPanel() {
  return memberPanel(
    "Error",
    "job-failed",
    (job) => job.error,
    (error) => [errorView(error)],
  );
}

/** @param {URL} base the gateway's root: a relative link starts from the document's own address */
export function linksPanel(base) {
  return memberPanel(
    "Links",
    "job-linked",
    (job) => job.links,
    (links, job) => {
      const from = new URL(`v1/jobs/${encodeURIComponent(job.id)}`, base).href;
      return [
        el(
          "ul",
          { class: "job-links" },
          ...links.map((/** @type {Link} */ link) => el("li", {}, ...linkParts(link, from))),
        ),
      ];
    },
  );
}

/**
 * @param {Link} link
 * @param {string} from
 */
function linkParts({ rel, href, type }, from) {
  const safe = safeHref(href, from);
  const text = plainText(href, 2000);
  return [
    el("span", { class: "tag" }, plainText(rel)),
    safe ? el("a", { href: safe, rel: "noopener noreferrer" }, text) : el("span", { class: "job-unsafe mono" }, text),
    type ? el("span", { class: "quiet" }, plainText(type)) : null,
    safe ? null : el("span", { class: "quiet" }, "not a web address"),
  ];
}

/**
 * A member that is any JSON: its result, its details.
 * @param {string} title
 * @param {string} name
 * @param {(job: Job) => unknown} member
 */
export function jsonPanel(title, name, member) {
  return memberPanel(title, name, member, (value) => {
    const text = JSON.stringify(value, null, 2);
    const size = `${formatBytes(new Blob([text]).size)}, ${plural(text.split("\n").length, "line")}`;
    const bar = el(
      "div",
      { class: "job-bar" },
      el("span", { class: "quiet nums" }, size),
      copyButton(`Copy the ${name.slice("job-".length)}`, () => text),
    );
    return [bar, jsonBox(title, value)];
  });
}
