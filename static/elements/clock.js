/** One timer for everything on a page that counts seconds. It stands still while nobody listens or looks. */

const TICK_MS = 1000;

/** @type {Set<(now: number) => void>} */
const listeners = new Set();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * Call `listener` with the time (milliseconds since 1970) once a second, on the second, while the page is visible.
 * @param {(now: number) => void} listener
 * @returns {() => void} ends it
 */
export function onTick(listener) {
  if (listeners.size === 0) document.addEventListener("visibilitychange", tick);
  listeners.add(listener);
  if (timer === undefined) tick();
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    document.removeEventListener("visibilitychange", tick);
    clearTimeout(timer);
    timer = undefined;
  };
}

function tick() {
  clearTimeout(timer);
  timer = undefined;
  if (document.hidden) return; // the change to visible calls again
  const now = Date.now();
  timer = setTimeout(tick, TICK_MS - (now % TICK_MS));
  for (const listener of [...listeners]) listener(now);
}
