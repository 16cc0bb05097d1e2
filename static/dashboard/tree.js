/**
 * The steps of a job and their tasks as a tree: the pure part, and which row a key leads to.
 */

/**
 * @typedef {import("../gateway.js").Step} Step
 * @typedef {import("../gateway.js").Task} Task
 *
 * @typedef {object} Node
 * @property {string} key
 * @property {string} name
 * @property {string} state
 * @property {1 | 2} level
 * @property {boolean} current whether the job says that it is at this step
 * @property {string | null} error
 * @property {string} note what its tasks amount to
 * @property {string} created
 * @property {string} updated
 * @property {Step | Task} source
 * @property {Node[]} children
 */

const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const NEWS = new Set(["running", "failed", "retrying", "unknown"]);

/**
 * @param {readonly Step[]} steps
 * @param {string | null} current the job's own word for where it is
 * @returns {Node[]}
 */
export function treeOf(steps, current) {
  return steps.map((step) => {
    const tasks = step.tasks ?? [];
    const node = nodeOf(step, JSON.stringify([step.name]), 1, step.name === current);
    node.children = tasks.map((task) => nodeOf(task, JSON.stringify([step.name, task.name]), 2, false));
    node.note = tasksText(tasks);
    return node;
  });
}

/**
 * @param {Step | Task} source
 * @param {string} key
 * @param {1 | 2} level
 * @param {boolean} current
 * @returns {Node}
 */
function nodeOf(source, key, level, current) {
  const { name, state, created, updated, error } = source;
  return {
    key,
    name,
    state,
    level,
    current,
    error: error?.message ?? null,
    note: "",
    created,
    updated,
    source,
    children: [],
  };
}

/** @param {readonly Task[]} tasks */
function tasksText(tasks) {
  if (tasks.length === 0) return "";
  const done = tasks.filter((task) => task.state === "succeeded").length;
  const failed = tasks.filter((task) => task.state === "failed").length;
  const count = `${done} of ${tasks.length} ${tasks.length === 1 ? "task" : "tasks"} done`;
  return failed ? `${count}, ${failed} failed` : count;
}

/**
 * Which step of how many a job is at, or null where it does not say.
 * @param {readonly Step[]} steps
 * @param {string | null} current
 * @returns {{index: number, count: number, name: string} | null}
 */
export function placeOf(steps, current) {
  let index = steps.findIndex((step) => step.name === current);
  if (index < 0) index = steps.findIndex((step) => step.state === "running");
  return index < 0 ? null : { index: index + 1, count: steps.length, name: steps[index].name };
}

/** @param {readonly Step[]} steps */
export function doneOf(steps) {
  return steps.filter((step) => ENDED.has(step.state)).length;
}

/**
 * Whether a step is open until somebody decides otherwise: where the news is, but not a thousand rows at once.
 * @param {Node} node
 * @param {number} rows all rows of the tree
 * @param {number} room
 */
export function opensAtFirst(node, rows, room) {
  return rows <= room || (node.children.length <= room && NEWS.has(node.state));
}

/**
 * The rows that are seen, from top to bottom.
 * @param {readonly Node[]} nodes
 * @param {(node: Node) => boolean} isOpen
 */
export function rowsSeen(nodes, isOpen) {
  return nodes.flatMap((node) => (node.children.length && isOpen(node) ? [node, ...node.children] : [node]));
}

/**
 * What a key does in a tree, as the pattern of WAI-ARIA has it.
 * @param {string} pressed `KeyboardEvent.key`
 * @param {readonly Node[]} rows the rows that are seen
 * @param {string} at the key of the row with the focus
 * @param {(node: Node) => boolean} isOpen
 * @returns {{go: string} | {open: string} | {close: string} | null}
 */
export function keyed(pressed, rows, at, isOpen) {
  const index = rows.findIndex((row) => row.key === at);
  const row = rows[index];
  if (!row) return null;
  const inner = row.children.length > 0;
  /** @param {number} to */
  const go = (to) => (rows[to] ? { go: rows[to].key } : null);
  switch (pressed) {
    case "ArrowDown":
      return go(index + 1);
    case "ArrowUp":
      return go(index - 1);
    case "Home":
      return go(0);
    case "End":
      return go(rows.length - 1);
    case "ArrowRight":
      return !inner ? null : isOpen(row) ? go(index + 1) : { open: row.key };
    case "ArrowLeft":
      if (inner && isOpen(row)) return { close: row.key };
      return row.level === 1 ? null : go(rows.slice(0, index).findLastIndex((other) => other.level === 1));
    case "Enter":
    case " ":
      return !inner ? null : isOpen(row) ? { close: row.key } : { open: row.key };
    default:
      return typed(pressed, rows, index);
  }
}

/**
 * A letter leads to the next row that begins with it.
 * @param {string} pressed
 * @param {readonly Node[]} rows
 * @param {number} index
 */
function typed(pressed, rows, index) {
  if ([...pressed].length !== 1) return null;
  const letter = pressed.toLowerCase();
  const found = [...rows.slice(index + 1), ...rows.slice(0, index)].find((row) =>
    row.name.toLowerCase().startsWith(letter),
  );
  return found ? { go: found.key } : null;
}
