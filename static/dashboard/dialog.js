/** A question that must be answered before something is done. */

import { el, unique } from "./job-dom.js";

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} text
 * @property {string} yes what the button does, in its own words
 * @property {string} no
 * @property {boolean} [danger]
 */

/**
 * Ask. Escape, and a click beside the dialog, mean no. The focus begins at no and goes back to where it was.
 * @param {Question} question
 * @param {AbortSignal} [signal] aborted, it closes and means no
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, text, yes, no, danger = false }, signal) {
  const [titleId, textId] = [unique("dialog-title"), unique("dialog-text")];
  const refuse = el("button", { type: "button", class: "button", autofocus: true }, no);
  const agree = el("button", { type: "button", class: danger ? "button danger primary" : "button primary" }, yes);
  const dialog = el(
    "dialog",
    { class: "dialog", "aria-labelledby": titleId, "aria-describedby": textId },
    el("h2", { id: titleId }, title),
    el("p", { id: textId }, text),
    el("footer", {}, refuse, agree),
  );
  return new Promise((resolve) => {
    refuse.addEventListener("click", () => dialog.close());
    agree.addEventListener("click", () => dialog.close("yes"));
    dialog.addEventListener("click", (event) => isBeside(dialog, event) && dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    signal?.addEventListener("abort", () => dialog.close(), { once: true });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * A click of the Enter key has no place, and is never beside.
 * @param {HTMLDialogElement} dialog
 * @param {MouseEvent} event
 */
function isBeside(dialog, event) {
  if (event.target !== dialog) return false;
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
}
