/**
 * One connection for all tabs: the tab that holds the lock leads, the others hear from it over a channel.
 *
 * Law: each reader keeps its own cursor. When the leading tab goes, the next one asks for the lowest cursor of all, and
 * what comes twice is dropped by whoever had it. A token is never spoken of: such readers share within their tab only.
 */

import { Exchange } from "./exchange.js";

/** @typedef {import("./exchange.js").Wish} Wish */
/** @typedef {import("./exchange.js").Standing} Standing */
/** @typedef {import("./exchange.js").Outlet} Outlet */
/** @typedef {import("./line.js").LineState} LineState */
/** @typedef {import("./state.js").Frame} Frame */
/** @typedef {import("./transports.js").Identity} Identity */
/** @typedef {import("./timing.js").Timing} Timing */
/**
 * Somebody in this tab who reads a line.
 * @typedef {{
 *   id: string, line: string | null, wish: () => Wish, joined: (standing: Standing) => void,
 *   frames: (frames: Frame[]) => void, state: (state: LineState, shared: boolean) => void,
 * }} Reader
 */
/**
 * What tabs tell each other.
 * @typedef {{ type: "leader", name: string } | { type: "join", wish: Wish } | { type: "leave", id: string }
 *   | { type: "bye", tab: string } | { type: "nudge" } | { type: "ping", ids: string[] }
 *   | { type: "pong", name: string } | { type: "unknown", id: string }
 *   | { type: "joined", id: string, line: string, standing: Standing, state: LineState }
 *   | { type: "frames", line: string, frames: Frame[] } | { type: "state", line: string, state: LineState }} Message
 */

const LEAVE_AFTER = 2_000; // ms without readers until a tab lets go of the lock: another view of the page may come
const ROLL_CALL = 30_000; // ms between two looks for tabs that went without a word

let count = 0;
export const TAB = Math.random().toString(36).slice(2);

export class Share {
  /** @type {Map<string, Reader>} */
  #readers = new Map();
  /** Of the tab that leads, or that is alone. @type {Exchange | null} */
  #exchange = null;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  #stop = new AbortController();
  #candidacy = new AbortController();
  #started = false;
  #heard = 0;
  /** The name of the exchange that leads, as far as it is known. @type {string | null} */
  #leader = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #leaving;
  /** @type {Outlet} */
  #local;
  /** @type {Outlet} */
  #remote;

  /**
   * @param {string} name of what is shared; the same in all tabs
   * @param {Identity} identity
   * @param {Timing} timing
   * @param {boolean} alone
   */
  constructor(name, identity, timing, alone) {
    this.name = name;
    this.identity = identity;
    this.timing = timing;
    // Locks exist in secure contexts only: https, or loopback.
    this.alone = alone || !globalThis.navigator?.locks || typeof BroadcastChannel === "undefined";
    this.#local = {
      joined: (id, line, standing, state) => this.#joined(id, line, standing, state),
      frames: (line, frames) => this.#frames(line, frames),
      state: (line, state) => this.#state(line, state),
    };
    this.#remote = {
      joined: (id, line, standing, state) => this.#post({ type: "joined", id, line, standing, state }),
      frames: (line, frames) => this.#post({ type: "frames", line, frames }),
      state: (line, state) => this.#post({ type: "state", line, state }),
    };
  }

  /** @param {Reader} reader */
  join(reader) {
    clearTimeout(this.#leaving);
    this.#readers.set(reader.id, reader);
    if (this.#started) this.#ask(reader);
    else this.#start();
  }

  /** @param {Reader} reader */
  leave(reader) {
    if (!this.#readers.delete(reader.id)) return;
    reader.line = null;
    if (this.#exchange) this.#exchange.leave(reader.id);
    else this.#post({ type: "leave", id: reader.id });
    if (this.#readers.size > 0) return;
    clearTimeout(this.#leaving);
    this.#leaving = setTimeout(() => this.#readers.size === 0 && this.#suspend(), LEAVE_AFTER);
  }

  /** Try at once what waits. */
  nudge() {
    if (this.#exchange) this.#exchange.nudge();
    else this.#post({ type: "nudge" });
  }

  #start() {
    if (this.#started) return;
    this.#started = true;
    this.#stop = new AbortController();
    this.#listen(this.#stop.signal);
    if (this.alone) {
      this.#lead();
    } else {
      this.#channel = new BroadcastChannel(this.name);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
      // Held for as long as this tab lives, so that the leading one knows whom it serves.
      this.#hold(`${this.name} tab ${TAB}`, () => {}, { signal: this.#stop.signal });
      this.#stand(false);
      this.#attend();
      this.#askAll();
    }
  }

  /** @param {AbortSignal} signal */
  #listen(signal) {
    const page = globalThis.document;
    if (!page) return;
    const putAside = () => {
      this.#suspend(); // a page that may come back as it was can hold neither lock nor connection
      addEventListener("pageshow", () => this.#readers.size > 0 && this.#start(), { once: true });
    };
    addEventListener("pagehide", putAside, { signal });
    addEventListener("online", () => this.nudge(), { signal });
    page.addEventListener("visibilitychange", () => page.visibilityState === "visible" && this.nudge(), { signal });
  }

  #suspend() {
    if (!this.#started) return;
    this.#started = false;
    this.#post({ type: "bye", tab: TAB });
    this.#stop.abort();
    this.#exchange?.close();
    this.#exchange = null;
    this.#channel?.close();
    this.#channel = null;
    this.#leader = null;
    for (const reader of this.#readers.values()) reader.line = null;
  }

  /** Lead as soon as nobody else does, or at once. @param {boolean} steal */
  #stand(steal) {
    this.#candidacy.abort();
    const candidacy = (this.#candidacy = new AbortController());
    /** @param {DOMException} error */
    const lost = (error) => {
      if (candidacy.signal.aborted || !this.#started) return;
      if (error.name !== "AbortError") { // locks are forbidden here, as in some frames
        this.alone = true;
        this.#lead();
        return;
      }
      this.#exchange?.close(); // another tab held this one for frozen, and leads now
      this.#exchange = null;
      this.#leader = null;
      this.#askAll();
      this.#stand(false);
    };
    this.#stop.signal.addEventListener("abort", () => candidacy.abort());
    this.#hold(this.name, () => this.#lead(), steal ? { steal } : { signal: candidacy.signal }, lost);
  }

  /** @param {string} name @param {() => void} held @param {LockOptions} [options]
   * @param {(error: DOMException) => void} [lost] */
  #hold(name, held, options = {}, lost = () => {}) {
    const { signal } = this.#stop;
    const task = () => {
      if (signal.aborted) return undefined;
      held();
      return new Promise((resolve) => signal.addEventListener("abort", resolve));
    };
    navigator.locks.request(name, options, task).catch(lost);
  }

  #lead() {
    this.#exchange ??= new Exchange(`${TAB}.${++count}`, this.identity, this.timing);
    this.#post({ type: "leader", name: this.#exchange.name });
    this.#askAll();
    if (!this.alone) this.#every(ROLL_CALL, () => this.#callTheRoll());
  }

  #askAll() {
    for (const reader of this.#readers.values()) this.#ask(reader);
  }

  /** @param {Reader} reader */
  #ask(reader) {
    reader.line = null;
    const wish = reader.wish();
    if (this.#exchange) this.#exchange.join(wish, this.#local);
    else this.#post({ type: "join", wish });
  }

  /** Whether the leading tab still answers; a frozen one holds the lock and says nothing. */
  #attend() {
    this.#heard = performance.now();
    this.#every(this.timing.lead, () => {
      if (this.#exchange || globalThis.document?.visibilityState === "hidden") this.#heard = performance.now();
      if (performance.now() - this.#heard > 2.5 * this.timing.lead) this.#stand(true);
      else this.#ping();
    });
  }

  #ping() {
    const joined = [...this.#readers.values()].filter(({ line }) => line !== null);
    this.#post({ type: "ping", ids: joined.map(({ id }) => id) });
  }

  /** @param {number} ms @param {() => void} work */
  #every(ms, work) {
    const timer = setInterval(work, ms);
    this.#stop.signal.addEventListener("abort", () => clearInterval(timer));
  }

  async #callTheRoll() {
    const { held = [] } = await navigator.locks.query();
    const start = `${this.name} tab `;
    const tabs = held.filter(({ name }) => name?.startsWith(start)).map(({ name }) => String(name).slice(start.length));
    this.#exchange?.keepOnly((id) => tabs.some((tab) => id.startsWith(`${tab}:`)));
  }

  /** @param {Message} message */
  #post(message) {
    this.#channel?.postMessage(message);
  }

  /** @param {Message} message */
  #hear(message) {
    if (this.#exchange) this.#serve(this.#exchange, message);
    else this.#obey(message);
  }

  /** @param {Exchange} exchange @param {Message} message */
  #serve(exchange, message) {
    if (message.type === "join") exchange.join(message.wish, this.#remote);
    else if (message.type === "leave") exchange.leave(message.id);
    else if (message.type === "bye") exchange.keepOnly((id) => !id.startsWith(`${message.tab}:`));
    else if (message.type === "nudge") exchange.nudge();
    else if (message.type === "ping") {
      exchange.check();
      this.#post({ type: "pong", name: exchange.name });
      for (const id of message.ids) if (!exchange.has(id)) this.#post({ type: "unknown", id });
    }
  }

  /** @param {Message} message */
  #obey(message) {
    if (message.type === "leader") this.#acknowledge(message.name, true);
    else if (message.type === "pong") this.#acknowledge(message.name, false);
    else if (message.type === "unknown") this.#again(message.id);
    else if (message.type === "joined" || message.type === "frames" || message.type === "state") {
      this.#leader ??= message.line.slice(0, message.line.lastIndexOf("."));
      // One that hung and was replaced may go on for a moment before it learns of it.
      if (!message.line.startsWith(`${this.#leader}.`)) return;
      this.#heard = performance.now();
      if (message.type === "joined") this.#joined(message.id, message.line, message.standing, message.state);
      else if (message.type === "frames") this.#frames(message.line, message.frames);
      else this.#state(message.line, message.state);
    }
  }

  /** @param {string} name of the exchange that leads @param {boolean} isNew */
  #acknowledge(name, isNew) {
    this.#heard = performance.now();
    const known = this.#leader ?? name; // whoever asked without knowing whom is answered all the same
    this.#leader = name;
    if (isNew || name !== known) this.#askAll();
  }

  /** The tab that leads took this reader for gone. @param {string} id */
  #again(id) {
    const reader = this.#readers.get(id);
    if (reader) this.#ask(reader);
  }

  /** @param {string} id @param {string} line @param {Standing} standing @param {LineState} state */
  #joined(id, line, standing, state) {
    const reader = this.#readers.get(id);
    if (!reader) return;
    reader.line = line;
    reader.joined(standing);
    reader.state(state, this.#exchange === null);
  }

  /** @param {string} line @param {Frame[]} frames */
  #frames(line, frames) {
    for (const reader of [...this.#readers.values()]) if (reader.line === line) reader.frames(frames);
  }

  /** @param {string} line @param {LineState} state */
  #state(line, state) {
    for (const reader of [...this.#readers.values()]) {
      if (reader.line === line) reader.state(state, this.#exchange === null);
    }
  }
}
