/**
 * JSON to read: indented, coloured, in a box of bounded height, and made as far as somebody scrolls. A document of
 * 256 KiB has tens of thousands of lines.
 */

import { el } from "./job-dom.js";

const LINES = 250; // made at a time: more than any screen has
const LONG = 2000; // characters of one line that are shown; the rest is there to be copied
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d[\d.eE+-]*)/g;

/**
 * @param {string} label what it is, for those who don't see the box
 * @param {string} text
 * @param {{json?: boolean}} [options] `json`: colour it
 */
export function textBox(label, text, { json = false } = {}) {
  const lines = text.split("\n");
  const code = el("code");
  const box = el("pre", { class: "job-box", tabindex: 0, role: "region", "aria-label": label }, code);
  let made = 0;
  const more = () => {
    const part = el("span", { class: "job-lines" });
    for (const line of lines.slice(made, made + LINES)) part.append(...lineOf(line, json), "\n");
    made = Math.min(made + LINES, lines.length);
    code.append(part);
  };
  more();
  box.addEventListener(
    "scroll",
    () => {
      if (made < lines.length && box.scrollTop + 2 * box.clientHeight > box.scrollHeight) more();
    },
    { passive: true },
  );
  return box;
}

/**
 * @param {string} label
 * @param {unknown} value
 */
export function jsonBox(label, value) {
  return textBox(label, JSON.stringify(value, null, 2), { json: true });
}

/**
 * @param {string} line
 * @param {boolean} json
 * @returns {(Node | string)[]}
 */
function lineOf(line, json) {
  const rest = line.length - LONG;
  const shown = rest > 0 ? line.slice(0, LONG) : line;
  const parts = json ? coloured(shown) : [shown];
  if (rest > 0) parts.push(el("span", { class: "job-cut" }, ` … ${rest.toLocaleString()} more characters`));
  return parts;
}

/**
 * @param {string} line one line of indented JSON
 * @returns {(Node | string)[]}
 */
function coloured(line) {
  /** @type {(Node | string)[]} */
  const parts = [];
  let at = 0;
  for (const found of line.matchAll(TOKEN)) {
    const [whole, text, colon, word] = found;
    parts.push(line.slice(at, found.index));
    const kind = text ? (colon ? "key" : "text") : word ? "word" : "number";
    parts.push(el("span", { class: `job-json-${kind}` }, text ?? whole), colon ?? "");
    at = found.index + whole.length;
  }
  return [...parts, line.slice(at)];
}
