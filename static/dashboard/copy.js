/** Copying to the clipboard, and a button that says how it went. */

import { say } from "./announce.js";
import { el, setText } from "./job-dom.js";

const SHOWN_MS = 2000; // how long a button says that it has copied

/**
 * @param {string} text
 * @returns {Promise<boolean>} whether it lies in the clipboard now
 */
export async function copyText(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // not allowed here: the old way may still be
    }
  }
  return copySelected(text); // http on another host than loopback has no clipboard of its own
}

/** @param {string} text */
function copySelected(text) {
  const area = el("textarea", { class: "visually-hidden", readonly: true, "aria-hidden": "true", tabindex: -1 });
  area.value = text;
  const focused = document.activeElement;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  let copied = false;
  try {
    copied = document.execCommand("copy");
  } catch {
    // the button says that it did not work
  }
  area.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  return copied;
}

/**
 * A button that copies a text.
 * @param {string} label for those who only hear it: "Copy the id"
 * @param {() => string | Promise<string>} text
 */
export function copyButton(label, text) {
  const word = el("span", { "aria-hidden": "true" }, "Copy");
  const button = el("button", { type: "button", class: "button small copy", "aria-label": label }, word);
  let timer = 0;
  button.addEventListener("click", async () => {
    const copied = await copyText(await text());
    clearTimeout(timer);
    button.dataset.copied = String(copied);
    setText(word, copied ? "Copied" : "Can't copy");
    say(copied ? "Copied" : "Could not copy: select the text and copy it by hand");
    timer = setTimeout(() => {
      delete button.dataset.copied;
      setText(word, "Copy");
    }, SHOWN_MS);
  });
  return button;
}

/**
 * A text to copy, with its button.
 * @param {string} text
 * @param {string} label of the button: "Copy the curl command"
 */
export function copyable(text, label) {
  const shown = el("pre", {}, el("code", {}, text));
  return el(
    "div",
    { class: "code" },
    shown,
    copyButton(label, () => text),
  );
}
