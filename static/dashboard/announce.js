/** What is said to those who hear the page: one polite region for all of it. */

const CLEAR_MS = 4000; // until a text leaves the page again: it is said by then, and nobody should find it later

let timer = 0;

/** Say a sentence. The next one takes its place. @param {string} text */
export function say(text) {
  const region = document.getElementById("said");
  if (!region) return;
  clearTimeout(timer);
  region.textContent = text;
  timer = setTimeout(() => (region.textContent = ""), CLEAR_MS);
}
