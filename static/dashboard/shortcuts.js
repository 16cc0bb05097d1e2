/**
 * Whether keys of a single character do something. Who dictates, or hits keys by accident, switches them off
 * (WCAG 2.1.4); all that they do can be done without them.
 */

import { say } from "./announce.js";

const KEPT = "status-gateway-shortcuts";
const OFF = "off";

export class Shortcuts {
  /** Whether they count. */
  on = true;
  #box;
  /** @type {() => void} called whenever they were switched */
  onChange = () => {};

  /** @param {HTMLInputElement} box that switches them */
  constructor(box) {
    this.#box = box;
    box.addEventListener("change", () => {
      keep(box.checked);
      this.#set(box.checked);
      say(`Single-key shortcuts ${box.checked ? "on" : "off"}`);
    });
    addEventListener("storage", ({ key }) => (key === KEPT || key === null) && this.#set(kept())); // by another tab
    this.#set(kept());
  }

  /** @param {boolean} on */
  #set(on) {
    this.on = on;
    this.#box.checked = on;
    document.documentElement.dataset["shortcuts"] = on ? "on" : OFF;
    this.onChange();
  }

  /** Whether a key counts. @param {string} key as an event has it */
  allow(key) {
    return this.on || key.length > 1;
  }

  /** A text with the key that does the same, while that counts. @param {string} text @param {string} key */
  hint(text, key) {
    return this.on ? `${text} (${key})` : text;
  }
}

function kept() {
  try {
    return localStorage.getItem(KEPT) !== OFF;
  } catch {
    return true; // storage is forbidden here: they hold for this page only
  }
}

/** @param {boolean} on */
function keep(on) {
  try {
    if (on) localStorage.removeItem(KEPT);
    else localStorage.setItem(KEPT, OFF);
  } catch {
    // as above
  }
}
