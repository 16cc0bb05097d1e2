/** The job's document in each dialect, asked for when its tab is chosen, and lines to copy that ask for it elsewhere. */

import { formatBytes, plural } from "../format.js";
import { copyable, copyButton } from "./copy.js";
import { formsOf, snippetsOf } from "./forms.js";
import { el, setAttribute, unique } from "./job-dom.js";
import { textBox } from "./job-json.js";

/**
 * @typedef {import("./forms.js").Form} Form
 * @typedef {import("./forms.js").Named} Named
 */

const NEXT = new Map([
  ["ArrowRight", 1],
  ["ArrowLeft", -1],
]);

/**
 * @param {Named} job
 * @param {string} base
 * @param {AbortSignal} signal
 */
export function formsView(job, base, signal) {
  const forms = formsOf(job, base);
  const panel = el("div", { role: "tabpanel", id: unique("form"), class: "job-form", tabindex: 0 });
  const tabs = forms.map((form) => {
    const attributes = {
      type: "button",
      role: "tab",
      id: unique("tab"),
      "aria-controls": panel.id,
      "aria-selected": "false",
      tabindex: -1,
    };
    return el("button", attributes, form.title);
  });
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": "Dialects" }, ...tabs);
  const element = el(
    "section",
    { class: "panel job-forms" },
    el("h2", {}, "The same job in each dialect"),
    list,
    panel,
  );
  let chosen = -1;

  /** @param {number} index @param {boolean} [focus] */
  function choose(index, focus = false) {
    for (const [at, tab] of tabs.entries()) {
      setAttribute(tab, "aria-selected", String(at === index));
      setAttribute(tab, "tabindex", at === index ? 0 : -1);
    }
    setAttribute(panel, "aria-labelledby", tabs[index].id);
    if (focus) tabs[index].focus();
    if (chosen === index) return;
    chosen = index;
    fill();
  }

  /** Ask anew for what is chosen. */
  async function fill() {
    const form = forms[chosen];
    const body = el("div", { class: "job-answer", "aria-live": "off" });
    const again = form.address
      ? el("button", { type: "button", class: "button small", onclick: () => fill() }, "Ask again")
      : null;
    panel.replaceChildren(
      el("p", { class: "quiet" }, form.note),
      copyable(form.command, `Copy the command for ${form.title}`),
      body,
    );
    if (!form.address) return;
    body.append(el("p", { class: "quiet" }, "Asking…"));
    const parts = await answerOf(form, signal);
    if (form === forms[chosen] && body.isConnected) body.replaceChildren(...parts(again));
  }

  for (const [index, tab] of tabs.entries()) tab.addEventListener("click", () => choose(index));
  list.addEventListener("keydown", (event) => {
    const step = NEXT.get(event.key);
    const edge = event.key === "Home" ? 0 : event.key === "End" ? forms.length - 1 : -1;
    if (step === undefined && edge < 0) return;
    event.preventDefault();
    choose(edge >= 0 ? edge : (chosen + (step ?? 0) + forms.length) % forms.length, true);
  });
  setAttribute(tabs[0], "tabindex", 0);

  return {
    element,
    /** Nothing is asked for before somebody comes near. */
    begin() {
      const observer = new IntersectionObserver((seen) => {
        if (!seen.some((one) => one.isIntersecting)) return;
        observer.disconnect();
        if (chosen < 0) choose(0);
      });
      observer.observe(element);
      signal.addEventListener("abort", () => observer.disconnect());
    },
  };
}

/**
 * @param {Form} form
 * @param {AbortSignal} signal
 * @returns {Promise<(again: HTMLElement | null) => Node[]>}
 */
async function answerOf(form, signal) {
  try {
    const answer = await fetch(/** @type {string} */ (form.address), {
      headers: { Accept: "application/json" },
      signal,
    });
    const raw = await answer.text();
    const text = indented(raw);
    return (again) => {
      const said = `${answer.status} ${answer.statusText} · ${answer.headers.get("Content-Type") ?? "no type"} · ${formatBytes(new Blob([raw]).size)}`;
      const bar = el(
        "div",
        { class: "job-bar" },
        el("span", { class: "quiet nums job-said", "data-status": answer.status }, said),
        again,
        copyButton(`Copy the answer of ${form.title}`, () => text),
      );
      return [
        bar,
        textBox(`The answer of ${form.title}, ${plural(text.split("\n").length, "line")}`, text, { json: true }),
      ];
    };
  } catch (error) {
    if (signal.aborted) return () => [];
    const text = `The gateway did not answer: ${error instanceof Error ? error.message : error}.`;
    return (again) => [el("div", { class: "banner", "data-tone": "bad", role: "alert" }, el("p", {}, text), again)];
  }
}

/** @param {string} text */
function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/**
 * @param {Named} job
 * @param {string} base
 */
export function snippetsView(job, base) {
  const items = snippetsOf(job, base).map(({ key, title, note, text }) =>
    el(
      "div",
      { class: "job-snippet", "data-snippet": key },
      el("h3", {}, `${title} `, el("span", { class: "quiet" }, note)),
      copyable(text, `Copy: ${title}`),
    ),
  );
  return el(
    "section",
    { class: "panel job-snippets" },
    el("h2", {}, "Use it elsewhere"),
    el("div", { class: "job-snippet-list" }, ...items),
  );
}
