/** The little picture beside a state. Its shape differs by state, so that colour is never the only cue. */

const SVG = "http://www.w3.org/2000/svg";
const RING = "M8 1.75a6.25 6.25 0 1 1 0 12.5a6.25 6.25 0 1 1 0-12.5z";

/** @typedef {{ ring: "whole" | "dashed" | "faint" | "filled", path: string, turns?: boolean }} Shape */
/** @type {ReadonlyMap<string, Shape>} What is drawn inside the ring, on a ground of 16 by 16. */
const SHAPES = new Map([
  ["created", { ring: "dashed", path: "" }],
  ["pending", { ring: "whole", path: "M8 4.75V8l2.25 1.5" }],
  ["running", { ring: "faint", path: "M8 1.75A6.25 6.25 0 0 1 14.25 8", turns: true }],
  ["pausing", { ring: "dashed", path: "M6.4 5.75v4.5M9.6 5.75v4.5" }],
  ["paused", { ring: "whole", path: "M6.4 5.75v4.5M9.6 5.75v4.5" }],
  ["resuming", { ring: "dashed", path: "M6.75 5.5v5L10.75 8z" }],
  ["retrying", { ring: "faint", path: "M8 1.75A6.25 6.25 0 0 1 14.25 8M8 8V5M8 8h2.5", turns: true }],
  ["cancelling", { ring: "dashed", path: "M5.25 8h5.5" }],
  ["succeeded", { ring: "filled", path: "M5 8.25l2.1 2.1L11 6.1" }],
  ["failed", { ring: "filled", path: "M5.75 5.75l4.5 4.5M10.25 5.75l-4.5 4.5" }],
  ["cancelled", { ring: "whole", path: "M5.25 8h5.5" }],
  ["unknown", { ring: "whole", path: "M6.2 6.3c.1-2.3 3.6-2.3 3.6 0 0 1.3-1.8 1.4-1.8 2.7M8 11v.2" }],
]);
const NOT_KNOWN = /** @type {Shape} */ (SHAPES.get("unknown"));

/**
 * An `<svg class="mark" data-state>` of one em, hidden from assistive technology (the state stands beside it in words).
 * Its strokes take `color`; class names of its parts: `ring` (with data-ring), `glyph`, and `turns` where it moves.
 * @param {string} state
 */
export function stateMark(state) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "mark");
  svg.append(part("ring"), part("glyph"));
  setMark(svg, state);
  return svg;
}

/** Show another state with the same mark. @param {SVGSVGElement} svg @param {string} state */
export function setMark(svg, state) {
  if (svg.dataset["state"] === state) return;
  const shape = SHAPES.get(state) ?? NOT_KNOWN;
  svg.dataset["state"] = state;
  svg.classList.toggle("turns", shape.turns === true);
  const [ring, glyph] = svg.children;
  ring?.setAttribute("d", RING);
  ring?.setAttribute("data-ring", shape.ring);
  glyph?.setAttribute("d", shape.path);
}

/** @param {string} name */
function part(name) {
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("class", name);
  path.setAttribute("fill", "none");
  path.setAttribute("stroke", "currentColor");
  path.setAttribute("stroke-width", "1.5");
  path.setAttribute("stroke-linecap", "round");
  path.setAttribute("stroke-linejoin", "round");
  return path;
}
