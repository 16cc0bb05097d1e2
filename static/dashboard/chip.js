/** The coloured word that says a state; its mark differs by state, so that colour is never the only cue. */

import { setMark, stateMark } from "../elements/mark.js";
import { stateLabel, stateTone } from "../format.js";

/** A new chip. @param {string} state */
export function chip(state) {
  const element = document.createElement("span");
  element.className = "chip";
  element.append(stateMark(state), document.createElement("span"));
  setChip(element, state);
  return element;
}

/** Show another state in the same chip. @param {HTMLElement} element @param {string} state @returns {boolean} whether it is another */
export function setChip(element, state) {
  if (element.dataset["state"] === state) return false;
  const [mark, word] = element.children;
  element.dataset["state"] = state;
  element.dataset["tone"] = stateTone(state);
  if (mark instanceof SVGSVGElement) setMark(mark, state);
  if (word) word.textContent = stateLabel(state);
  return true;
}
