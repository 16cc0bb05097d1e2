/**
 * What both elements have in common: the life of their watch, their problems, their announcements.
 * Law: a watch lives exactly as long as its element stands in a document; moving the element keeps it.
 */

import { watch } from "../gateway.js";
import { onTick } from "./clock.js";
import { stateMark } from "./mark.js";
import { dress } from "./sheet.js";
import { badSource, explain, missing, readSource, refusal } from "./source.js";
import { make } from "./view.js";

/** @typedef {import("../gateway.js").Job} Job */
/** @typedef {import("../gateway.js").Change} Change */
/** @typedef {import("../gateway.js").Watcher} Watcher */
/** @typedef {import("../gateway.js").ConnectionState} ConnectionState */
/** @typedef {import("./source.js").Problem} Problem */
/** @typedef {import("./source.js").Source} Source */

const NOTE_AFTER_MS = 1_500; // a shorter break is over before anybody has read of it
const SPOKEN_MS = 10_000; // then it was said; whoever reads the page through should not meet it a second time
/** @type {Problem} */
const TOKEN_IN_MARKUP = {
  code: "token-in-markup",
  title: "A token does not belong into the markup",
  text: "Whoever reads the page reads it too. Remove the attribute token and set the property by script: element.token = “…”.",
};
/** @type {Problem} */
const DELETED = { code: "deleted", title: "This was deleted", text: "The gateway knows no more of it than that." };

export class WatchingElement extends HTMLElement {
  static observedAttributes = ["src", "token"];

  /** @type {import("./source.js").Kind} */
  #kind;
  /** @type {Source | null} */
  #source = null;
  /** @type {Watcher | null} */
  #watcher = null;
  /** @type {ConnectionState | null} */
  #connection = null;
  /** @type {Problem | null} */
  #problem = null;
  /** @type {string | undefined} */
  #token;
  #life = new AbortController();
  #ended = false;
  #forbidden = false;
  #explaining = false;
  /** @type {(() => void) | null} */
  #stopClock = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #noteTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #spokenTimer;
  #skew = Infinity; // milliseconds that the reader's clock is at most ahead of the gateway's
  #internals = this.attachInternals();
  #spoken = make("div", "spoken");
  /** Where a problem is shown; an element may put it where it looks right. @protected */
  problemBox = make("div", "problem");
  /** @protected */
  root = this.attachShadow({ mode: "open" });

  /** @param {import("./source.js").Kind} kind */
  constructor(kind) {
    super();
    this.#kind = kind;
    this.#spoken.removeAttribute("part");
    this.#spoken.setAttribute("role", "status"); // polite: it waits until the reader has been told what is being told
    this.problemBox.hidden = true;
    dress(this.root, kind);
    this.root.append(this.problemBox, this.#spoken);
  }

  // --- what a page sees ---

  /** The address of what is shown, as in the attribute. */
  get src() {
    return this.getAttribute("src") ?? "";
  }

  set src(value) {
    this.setAttribute("src", value);
  }

  /** A token for the gateway, or undefined. Only ever a property, so that it stands in no markup; it can't be read back. */
  set token(/** @type {string | undefined} */ value) {
    if (this.#token === value) return;
    this.#token = value;
    if (this.isConnected) this.retry();
  }

  /** How the connection stands, as `onConnection` of gateway.js tells it; null before there is one. */
  get connection() {
    return this.#connection;
  }

  /** Why nothing, or nothing new, can be shown: `{code, title, text}`, else null. */
  get problem() {
    return this.#problem;
  }

  /** Begin anew, also after an end. */
  retry() {
    this.#stop();
    this.#ended = false;
    this.#source = null;
    this.#skew = Infinity;
    this.cleared();
    if (this.isConnected) this.#start();
  }

  // --- what an element fills in ---

  /** Everything that is shown belongs to another source. @protected */
  cleared() {}

  /** A source was read, and is now watched. @protected @param {Source} _source @returns {string} what is asked of the gateway */
  opened(_source) {
    return _source.url.href;
  }

  /** @protected @param {Job} _job @param {Change} _change */
  received(_job, _change) {}

  /** @protected @param {{ shown: number | null, matched: number | null }} _sync */
  synced(_sync) {}

  /** @protected */
  reset() {}

  /** Nothing follows. @protected */
  finished() {}

  /** @protected @param {number} _now the gateway's time */
  tick(_now) {}

  /** Whether anything is shown that a break of the connection need not hide. @protected @returns {boolean} */
  hasContent() {
    return false;
  }

  /** A remark on the connection; "" for none. @protected @param {string} _text */
  note(_text) {}

  /** The content is to be hidden in favour of a problem, or to be seen again. @protected @param {boolean} _hidden */
  covered(_hidden) {}

  // --- what an element uses ---

  /** The source that is watched, or null. @protected */
  get source() {
    return this.#source;
  }

  /** The gateway's time as far as it is known. @protected */
  get now() {
    return Date.now() - (Number.isFinite(this.#skew) ? this.#skew : 0);
  }

  /** Tell those who listen rather than look. @protected @param {string} text */
  say(text) {
    this.#spoken.textContent = text;
    clearTimeout(this.#spokenTimer);
    this.#spokenTimer = setTimeout(() => this.#spoken.replaceChildren(), SPOKEN_MS);
  }

  /** @protected @param {string} type @param {object} detail */
  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  /** Let a page style by what is: `job-status:state(failed)`. @protected @param {...(string | null | undefined)} names */
  become(...names) {
    this.#internals.states.clear();
    for (const name of names) if (name) this.#internals.states.add(name);
  }

  // --- the life ---

  connectedCallback() {
    for (const name of /** @type {const} */ (["src", "token"])) this.#upgrade(name);
    this.#stopClock ??= onTick(() => this.tick(this.now));
    this.tick(this.now);
    if (!this.#watcher && !this.#ended) this.#start();
  }

  disconnectedCallback() {
    // An element that is moved is out for a moment only; its stream is kept.
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.#stopClock?.();
      this.#stopClock = null;
      this.#stop();
    });
  }

  adoptedCallback() {
    dress(this.root, this.#kind); // a style sheet can't follow into another document
  }

  /** @param {string} _name @param {string | null} before @param {string | null} after */
  attributeChangedCallback(_name, before, after) {
    if (before !== after && this.isConnected) this.retry();
  }

  /** What was set before the element was defined hides the accessor: set it again. @param {"src" | "token"} name */
  #upgrade(name) {
    const own = Object.getOwnPropertyDescriptor(this, name);
    if (!own) return;
    delete (/** @type {Partial<WatchingElement>} */ (this)[name]);
    this[name] = own.value;
  }

  #start() {
    this.#fail(null);
    this.#connection = null;
    this.#forbidden = false;
    if (this.hasAttribute("token")) return this.#fail(TOKEN_IN_MARKUP);
    const source = readSource(this.#kind, this.getAttribute("src"), this.baseURI);
    if ("code" in source) return this.#fail(source);
    this.#source = source;
    const { signal } = (this.#life = new AbortController());
    this.ownerDocument.addEventListener("securitypolicyviolation", this.#violated, { signal });
    try {
      this.#watcher = this.#watch(this.opened(source));
    } catch (error) {
      this.#stop();
      this.#fail(badSource(this.#kind, `${error instanceof Error ? error.message : error}.`));
    }
  }

  /** @param {string} url */
  #watch(url) {
    return watch(url, {
      ...(this.#token === undefined ? {} : { token: this.#token }),
      onStatus: (job, change) => {
        if (this.#problem) this.#fail(null);
        this.received(/** @type {Job} */ (job), change);
      },
      onEnd: (end) => this.#finished(end),
      onMissing: () => {
        if (this.#kind === "job" && this.#source) this.#fail(missing(this.#source.url, this.#source.id));
      },
      onSync: (sync) => {
        const age = Date.now() - Date.parse(sync.time ?? "");
        if (age < this.#skew) this.#skew = age; // what was on its way for longer tells less
        this.synced(sync);
      },
      onReset: () => this.reset(),
      onConnection: (state) => this.#connected(state),
    });
  }

  #stop() {
    this.#watcher?.close();
    this.#watcher = null;
    this.#life.abort();
    this.#quieten();
  }

  /** @param {{ reason: string, job: Job | null, problem?: object | null }} end */
  #finished(end) {
    this.#ended = true;
    this.#stop();
    const { reason } = end;
    if (reason === "unauthorized" || reason === "refused") this.#fail(refusal(reason, end.problem));
    else if (reason === "deleted" && !this.hasContent()) this.#fail(DELETED);
    this.finished();
    this.emit("end", { reason, job: end.job });
  }

  /** @param {ConnectionState} state */
  #connected(state) {
    this.#connection = state;
    if (state.state === "waiting") {
      this.#noteTimer ??= setTimeout(() => this.note("Connection lost. Trying again …"), NOTE_AFTER_MS);
      this.#explain();
    } else if (state.state !== "connecting") {
      this.#quieten();
      if (state.state === "open" && this.#problem && this.#problem.code !== "missing") this.#fail(null);
    }
    this.emit("connectionchange", state);
  }

  #quieten() {
    clearTimeout(this.#noteTimer);
    this.#noteTimer = undefined;
    this.note("");
  }

  async #explain() {
    const source = this.#source;
    if (!source || this.#explaining || this.hasContent()) return;
    this.#explaining = true;
    const problem = await explain(source.url, source.base, this.#forbidden);
    this.#explaining = false;
    const stillSo = this.#source === source && this.#connection?.state !== "open" && !this.hasContent() && this.#watcher;
    if (stillSo) this.#fail(problem);
  }

  #violated = (/** @type {SecurityPolicyViolationEvent} */ event) => {
    if (event.effectiveDirective !== "connect-src" || !this.#source) return;
    if (!event.blockedURI.startsWith(this.#source.url.origin)) return;
    this.#forbidden = true;
    this.#explain();
  };

  /** @param {Problem | null} problem */
  #fail(problem) {
    if (this.#problem?.code === problem?.code && this.#problem?.text === problem?.text) return;
    this.#problem = problem;
    this.covered(problem !== null);
    this.problemBox.hidden = problem === null;
    this.problemBox.replaceChildren();
    if (problem === null) return;
    const waits = problem.code === "no-src" || problem.code === "missing";
    this.problemBox.dataset["tone"] = waits ? "idle" : "bad";
    const again = make("button", "retry", new Text("Try again"));
    again.type = "button";
    again.hidden = !["refused", "unauthorized", "origin-not-allowed", "csp"].includes(problem.code);
    again.addEventListener("click", () => this.retry());
    const title = make("strong", "problem-title", new Text(problem.title));
    const text = make("p", "problem-text", new Text(problem.text));
    this.problemBox.append(stateMark(waits ? "pending" : "failed"), title, text, again);
    this.say(`${problem.title}. ${problem.text}`);
  }
}
