/** The light in the bar: whether what the page shows is how things stand, and over what it comes. */

import { onTick } from "../elements/clock.js";
import { setText } from "./job-dom.js";

/** @typedef {import("../gateway.js").ConnectionState} ConnectionState */

const WAYS = { eventsource: "pushed over an EventSource", fetch: "pushed over a streaming fetch", poll: "asked for with GET" };

export class Indicator {
  /** @type {ConnectionState | null} */
  #state = null;
  #element;
  #word;
  #count;

  /** @param {HTMLElement} element @param {HTMLElement} word @param {HTMLElement} count */
  constructor(element, word, count) {
    this.#element = element;
    this.#word = word;
    this.#count = count;
    onTick(() => this.#paintCount(Date.now()));
  }

  /** @param {ConnectionState} state */
  show(state) {
    this.#state = state;
    this.#element.hidden = false;
    const [word, tone] = spoken(state);
    setText(this.#word, word);
    this.#element.dataset["tone"] = tone;
    this.#element.dataset["state"] = state.state;
    this.#element.title = explained(state);
    this.#paintCount(Date.now());
  }

  /** @param {number} now */
  #paintCount(now) {
    // Apart from the word, which is announced: nobody wants to hear every second.
    const at = this.#state?.state === "waiting" ? this.#state.retryAt : null;
    const seconds = at === null ? 0 : Math.ceil((at - now) / 1000);
    setText(this.#count, seconds > 0 ? `in ${seconds} s` : "");
  }
}

/** @param {ConnectionState} state @returns {[word: string, tone: string]} */
function spoken({ state, transport, trouble }) {
  if (state === "open") return transport === "poll" ? ["Polling", "wish"] : ["Live", "good"];
  if (state === "connecting") return ["Connecting", "idle"];
  if (state === "waiting") return ["Reconnecting", "wish"];
  return trouble === null ? ["Finished", "idle"] : ["Not connected", "bad"]; // nothing follows the end of a job
}

/** @param {ConnectionState} state */
function explained({ state, transport, shared, trouble }) {
  if (state !== "open") return trouble ?? "";
  const way = transport === null ? "" : `Changes are ${WAYS[transport]}`;
  return `${way}${shared ? ", over the connection of another tab" : ""}${trouble ? `: ${trouble}` : ""}`;
}
