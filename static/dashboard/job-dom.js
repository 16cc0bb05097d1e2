/** Making and changing elements. Law: what a job says is only ever set as text or as an attribute's value. */

const SVG = "http://www.w3.org/2000/svg";
const SHORT = 120; // characters that fit into any of these boxes, however narrow the window

/** @typedef {string | number | boolean | null | undefined | ((event: any) => void)} Value */
/** @typedef {Node | string | null | undefined | false} Child */

/**
 * An element: `el("p", { class: "note", onclick: … }, "text", child)`. A boolean attribute is there or not.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, Value>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, Value>} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * @template {Element} E
 * @param {E} element
 * @param {Record<string, Value>} attributes
 * @param {Child[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  for (const child of children) if (child || child === "") element.append(child);
  return element;
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {string | number | boolean | null | undefined} value null, undefined and false remove it
 */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== (value === true ? "" : String(value))) {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * Set a text only where it is another one: a selection in it stays, and nothing is announced twice.
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Make the children of an element those of a list, each made once for its key. What stays is not touched, so that
 * focus, scroll and selection stay with it.
 * @template Item
 * @param {Element} parent
 * @param {readonly Item[]} items
 * @param {{key: (item: Item) => string, make: (item: Item) => HTMLElement, update?: (element: HTMLElement, item: Item) => void}} how
 */
export function reconcile(parent, items, { key, make, update }) {
  /** @type {Map<string, HTMLElement>} */
  const old = new Map();
  for (const child of parent.children) if (child instanceof HTMLElement) old.set(child.dataset.key ?? "", child);
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let element = old.get(name);
    old.delete(name);
    if (!element) {
      element = make(item);
      element.dataset.key = name;
    }
    update?.(element, item);
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
  for (const element of old.values()) element.remove();
}

/**
 * A text in a box of bounded height. One that may be longer than its box can be reached and scrolled by keys.
 * @param {HTMLElement} element
 * @param {string} text
 * @param {string} label
 */
export function setLongText(element, text, label) {
  setText(element, text);
  const long = text.length > SHORT || text.includes("\n");
  setAttribute(element, "tabindex", long ? 0 : null);
  setAttribute(element, "role", long ? "region" : null);
  setAttribute(element, "aria-label", long ? label : null);
}

let count = 0;

/** An id that no other element has. @param {string} word */
export function unique(word) {
  count += 1;
  return `${word}-${count}`;
}

/**
 * Wrap what may be asked for often: it runs once in a frame, and not at all after `stop`.
 * @param {() => void} work
 * @param {number} [apart] milliseconds from one run to the next, for what takes long
 */
export function eachFrame(work, apart = 0) {
  let frame = 0;
  let timer = 0;
  let last = -Infinity;
  let stopped = false;

  function run() {
    frame = 0;
    last = performance.now();
    work();
  }

  function wait() {
    timer = 0;
    frame = requestAnimationFrame(run);
  }

  return {
    ask() {
      if (frame || timer || stopped) return;
      const rest = last + apart - performance.now();
      if (rest > 0) timer = setTimeout(wait, rest);
      else wait();
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
      cancelAnimationFrame(frame);
    },
  };
}
