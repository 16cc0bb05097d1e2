/**
 * The look of the elements, as constructable style sheets: a Content-Security-Policy without 'unsafe-inline' stops
 * `<style>` and style attributes, but not these. What a page may set are the `--job-…` properties and the parts.
 */

const COMMON = `
:host {
  --ground: var(--job-ground, light-dark(#ffffff, #171b20));
  --raised: var(--job-raised, light-dark(#f2f4f7, #22272e));
  --text: var(--job-text, light-dark(#1b2026, #e8ebee));
  --quiet: var(--job-quiet, light-dark(#5a636d, #a2acb6));
  --line: var(--job-line, light-dark(#dfe3e8, #30373f));
  --track: var(--job-track, light-dark(#e6e9ee, #2d343c));
  --idle: var(--job-idle, light-dark(#5a636d, #a2acb6));
  --active: var(--job-active, light-dark(#1d5fd6, #78b0ff));
  --wish: var(--job-wish, light-dark(#8f5200, #e8ab4f));
  --good: var(--job-good, light-dark(#14753a, #55cb8e));
  --bad: var(--job-bad, light-dark(#bd2130, #ff8589));
  --stopped: var(--job-stopped, light-dark(#5a636d, #a2acb6));
  --unknown: var(--job-unknown, light-dark(#7a4bb5, #c3a1f5));
  --radius: var(--job-radius, 10px);
  display: block;
  color: var(--text);
  font: var(--job-font-size, 0.9375rem)/1.45 var(--job-font, system-ui, sans-serif);
  font-variant-numeric: tabular-nums;
  text-align: start;
}
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([hidden]), [hidden] { display: none !important; }
*, *::before { box-sizing: border-box; }
[data-tone="idle"] { --tone: var(--idle); }
[data-tone="active"] { --tone: var(--active); }
[data-tone="wish"] { --tone: var(--wish); }
[data-tone="good"] { --tone: var(--good); }
[data-tone="bad"] { --tone: var(--bad); }
[data-tone="stopped"] { --tone: var(--stopped); }
[data-tone="unknown"] { --tone: var(--unknown); }
a { color: inherit; text-decoration-color: color-mix(in srgb, currentColor 45%, transparent); text-underline-offset: 0.2em; }
a:hover { text-decoration-color: currentColor; }
:focus-visible { outline: 2px solid var(--active); outline-offset: 2px; border-radius: 3px; }
.spoken { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.mark { width: 1.15em; height: 1.15em; flex: none; color: var(--tone); }
.mark .ring[data-ring="dashed"] { stroke-dasharray: 2.4 2.5; }
.mark .ring[data-ring="faint"] { opacity: 0.3; }
.mark .ring[data-ring="filled"] { fill: var(--tone); }
.mark:has([data-ring="filled"]) .glyph { stroke: var(--ground); }
.problem { display: grid; grid-template-columns: auto 1fr; gap: 0.15rem 0.6rem; align-items: start; }
.problem .mark { margin-top: 0.15em; }
.problem strong { font-weight: 600; }
.problem p { grid-column: 2; margin: 0; color: var(--quiet); overflow-wrap: anywhere; }
.problem button { grid-column: 2; justify-self: start; margin-top: 0.4rem; }
button {
  padding: 0.25rem 0.75rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--raised); color: var(--text); font: inherit; cursor: pointer;
}
button:hover { border-color: var(--quiet); }
@media (prefers-reduced-motion: no-preference) {
  .card .mark.turns { animation: turn 1.4s linear infinite; } /* in rows it would be many, and restless */
  .bar { transition: translate 0.35s ease-out; }
  .track.endless .bar { animation: slide 1.6s ease-in-out infinite alternate; }
}
@keyframes turn { to { transform: rotate(1turn); } }
@keyframes slide { from { translate: 0; } to { translate: calc(var(--way) * 186%); } } /* 65 of 35 percent */
`;

const JOB = `
.job { min-width: 0; }
.name { min-width: 0; font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; unicode-bidi: isolate; }
a.name { text-decoration-color: transparent; }
a.name:hover { text-decoration-color: currentColor; }
.flags { display: flex; flex-wrap: wrap; justify-content: end; gap: 0.3rem; }
.state, .flag {
  padding: 0.05rem 0.55rem; border-radius: 99px; border: 1px solid transparent; white-space: nowrap;
  font-size: 0.8125em; font-weight: 550; line-height: 1.5; color: var(--tone);
  background: color-mix(in srgb, var(--tone) 11%, var(--ground));
}
.track { position: relative; flex: 1; min-width: 3rem; height: var(--job-bar-height, 0.5rem); border-radius: 99px; background: var(--track); overflow: hidden; }
.bar {
  --way: 1; /* -1 where the writing goes to the left */
  position: absolute; inset: 0; border-radius: inherit; background: var(--tone);
  translate: calc((var(--progress, 0) - 100) * 1% * var(--way)); /* moved, not resized: that costs no layout */
}
.bar:dir(rtl) { --way: -1; }
.track.endless .bar {
  inline-size: 35%; translate: none;
  background: repeating-linear-gradient(-55deg, var(--tone) 0 0.5rem, color-mix(in srgb, var(--tone) 65%, var(--track)) 0.5rem 1rem);
}
.meter { display: flex; align-items: center; gap: 0.6rem; }
.percent { min-width: 3em; font-size: 0.875em; text-align: end; }
.percent:empty, .line:not(:has(:not(:empty))), .error:empty, .links:empty, .meter:has(.track[hidden]) { display: none; }
.line { min-width: 0; color: var(--quiet); overflow-wrap: anywhere; }
.step { color: var(--text); unicode-bidi: isolate; }
.message { unicode-bidi: isolate; }
.step:not(:empty) + .message:not(:empty)::before { content: " · "; white-space: pre; }
.error { color: var(--bad); overflow-wrap: anywhere; unicode-bidi: isolate; }
.time, .note { color: var(--quiet); font-size: 0.875em; white-space: nowrap; }
.note { white-space: normal; }
:host([hide-name]) .name, :host([hide-state]) .state, :host([hide-progress]) .meter, :host([hide-step]) .step,
:host([hide-message]) .message, :host([hide-error]) .error, :host([hide-links]) .links, :host([hide-time]) .time { display: none; }

.card {
  display: grid; gap: 0.6rem; padding: var(--job-padding, 0.9rem 1.1rem 1rem);
  border: 1px solid var(--line); border-radius: var(--radius); background: var(--ground);
  box-shadow: var(--job-shadow, 0 1px 2px light-dark(rgb(20 30 45 / 6%), rgb(0 0 0 / 30%)));
}
.card .head { display: grid; grid-template-columns: auto minmax(0, 1fr) auto; align-items: center; gap: 0.55rem; }
.card .name { font-size: 1.0625em; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; white-space: normal; overflow-wrap: anywhere; }
.card .error {
  padding: 0.45rem 0.7rem; border-radius: 6px; border-inline-start: 3px solid var(--bad);
  background: color-mix(in srgb, var(--bad) 8%, var(--ground)); white-space: pre-line;
}
.card .foot { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0.2rem 1rem; }
.card .foot ::slotted(*), .card .links { margin-inline-start: auto; }
.links { display: flex; flex-wrap: wrap; gap: 0.2rem 0.9rem; font-size: 0.875em; overflow-wrap: anywhere; }
.links a { color: var(--active); }
.links span { color: var(--quiet); }

.row {
  display: grid; align-items: center; gap: 0.1rem 0.6rem; grid-template-columns: auto minmax(0, 1fr) auto auto;
  grid-template-areas: "mark name flags time" ". line meter meter" ". note note note";
}
.row .head { display: contents; }
.row .mark { grid-area: mark; }
.row .name { grid-area: name; }
.row .flags { grid-area: flags; flex-wrap: nowrap; }
.row .time { grid-area: time; min-width: 5.5em; text-align: end; }
.row .line, .row .error { grid-area: line; } /* an error takes the line's place */
.row .meter { grid-area: meter; inline-size: 9rem; justify-self: end; }
.row .note { grid-area: note; }
.row .line, .row .error { font-size: 0.875em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row:has(.error:not(:empty)) .line { display: none; }
.row .track { height: var(--job-bar-height, 0.375rem); }
@container (width < 30rem) {
  .row {
    grid-template-columns: auto minmax(0, 1fr) auto;
    grid-template-areas: "mark name flags" ". line time" ". meter meter" ". note note";
  }
  .row .meter { inline-size: 100%; }
  .row .flags .attempt { display: none; }
}
`;

const STATUS = `
:host([compact]) { container-type: inline-size; min-inline-size: min(16rem, 100%); }
.row, .problem { padding: var(--job-padding, 0.6rem 0.9rem); border: 1px solid var(--line); border-radius: var(--radius); background: var(--ground); }
.problem { padding: var(--job-padding, 0.9rem 1.1rem 1rem); }
`;

const LIST = `
:host { container-type: inline-size; min-inline-size: min(16rem, 100%); }
.list { border: 1px solid var(--line); border-radius: var(--radius); background: var(--ground); overflow: hidden; }
.heading { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0.2rem 1rem; padding: 0.65rem 0.9rem; border-bottom: 1px solid var(--line); background: var(--raised); }
.title { font-weight: 600; }
.count { color: var(--quiet); font-size: 0.875em; align-self: center; }
ul { margin: 0; padding: 0; list-style: none; }
li { padding: 0.55rem 0.9rem; }
li + li { border-top: 1px solid var(--line); }
.none, .problem { padding: 1.2rem 0.9rem; }
.none { color: var(--quiet); text-align: center; }
.note { padding: 0.5rem 0.9rem; border-top: 1px solid var(--line); }
`;

// Last, for it has to win over all of the above.
const FORCED = `
@media (forced-colors: active) {
  .mark .ring[data-ring="filled"] { fill: none; }
  .mark:has([data-ring="filled"]) .glyph { stroke: currentColor; }
  .mark { color: CanvasText; }
  .track { border: 1px solid CanvasText; }
  .bar, .track.endless .bar { forced-color-adjust: none; background: Highlight; }
  .state, .flag { border: 1px solid CanvasText; }
}
`;

const TEXTS = { job: COMMON + JOB + STATUS + FORCED, list: COMMON + JOB + LIST + FORCED };

/** @type {WeakMap<Document, Map<string, CSSStyleSheet>>} A sheet belongs to the document that it was made for. */
const made = new WeakMap();

/**
 * Give a shadow root its look; to be called again when it has moved to another document.
 * @param {ShadowRoot} root @param {keyof typeof TEXTS} name
 */
export function dress(root, name) {
  const owner = root.ownerDocument;
  const sheets = made.get(owner) ?? new Map();
  made.set(owner, sheets);
  let sheet = sheets.get(name);
  if (!sheet) {
    sheet = new (owner.defaultView ?? window).CSSStyleSheet();
    sheet.replaceSync(TEXTS[name]);
    sheets.set(name, sheet);
  }
  root.adoptedStyleSheets = [sheet];
}
