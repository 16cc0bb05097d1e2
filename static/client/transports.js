/** The three ways to the gateway: EventSource, a streaming fetch, and single requests. All I/O is here. */

import { Parser } from "./parser.js";

/** @typedef {import("./state.js").Frame} Frame */
/** Who asks: `token` for the Authorization header, `credentials` for cookies to another origin.
 * @typedef {{ token: string | null, credentials: boolean }} Identity */
/**
 * How a stream is over: `gone` for good (204), else it may be tried again, after at least `wait` ms where that was said.
 * @typedef {{ gone?: boolean, wait?: number | null, trouble: string }} Over
 */
/** @typedef {{ frames: (frames: Frame[]) => void, over: (over: Over) => void }} Listener */

const EVENTS = ["snapshot", "transition", "progress", "deleted", "sync", "reset", "busy", "end"];
// An EventSource repeats the last id with frames that have none; in a stream of many jobs only these have one.
const WITH_ID = new Set(["transition", "progress", "deleted", "sync"]);
const CLOSED = 2; // EventSource.CLOSED
const ANSWER_MS = 15_000; // for an answer, beyond what it was asked to wait

/** @type {Set<() => void>} */
const open = new Set();

/** A request that brought no answer that counts; `wait` is how long the gateway wants to be left alone, in ms. */
export class Trouble extends Error {
  /** @param {string} message @param {number | null} [wait] */
  constructor(message, wait = null) {
    super(message);
    this.wait = wait;
  }
}

/** @param {Identity} identity */
export function transportFor(identity) {
  return identity.token !== null || typeof EventSource === "undefined" ? "fetch" : "eventsource";
}

/**
 * Open a stream. `over` is called at most once; nothing is after it, or after the returned function was called.
 * @param {string} url
 * @param {Identity} identity
 * @param {Listener} listener
 * @returns {() => void} closes it
 */
export function openStream(url, identity, listener) {
  const close = (transportFor(identity) === "fetch" ? openFetch : openEventSource)(url, identity, listener);
  open.add(close);
  return () => {
    open.delete(close);
    close();
  };
}

/** How many streams of this tab have not been closed. */
export function openStreams() {
  return open.size;
}

/** @type {typeof openStream} */
function openEventSource(url, { credentials }, listener) {
  const source = new EventSource(url, { withCredentials: credentials });
  /** @param {string} trouble */
  const fail = (trouble) => {
    source.close(); // when to come back is ours to say: a browser does not back off, and never returns after a 5xx
    listener.over({ trouble });
  };
  for (const event of EVENTS) {
    source.addEventListener(event, (message) => {
      const id = WITH_ID.has(event) ? message.lastEventId || null : null;
      try {
        listener.frames([{ event, id, data: JSON.parse(message.data) }]);
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        fail("the stream is garbled");
      }
    });
  }
  source.onerror = () => fail(source.readyState === CLOSED ? "the stream was refused" : "the stream broke off");
  return () => source.close();
}

/** @type {typeof openStream} */
function openFetch(url, identity, listener) {
  const abort = new AbortController();
  readStream(url, identity, listener, abort.signal).then(
    (over) => abort.signal.aborted || listener.over(over),
    (error) => abort.signal.aborted || listener.over({ trouble: nameOf(error) }),
  );
  return () => abort.abort();
}

/** @param {unknown} error */
function nameOf(error) {
  if (error instanceof Trouble) return error.message;
  return error instanceof SyntaxError || error instanceof RangeError ? "the stream is garbled" : "the stream broke off";
}

/** @param {string} url @param {Identity} identity @param {Listener} listener @param {AbortSignal} signal
 * @returns {Promise<Over>} */
async function readStream(url, identity, listener, signal) {
  const response = await request(url, identity, { Accept: "text/event-stream" }, signal).catch(() => {
    throw new Trouble("the gateway can't be reached");
  });
  if (response.status === 204) return { gone: true, trouble: "" };
  const type = response.headers.get("Content-Type") ?? "";
  if (response.status !== 200 || !type.startsWith("text/event-stream") || !response.body) {
    await response.body?.cancel();
    return { trouble: `the stream was answered ${response.status}`, wait: retryAfter(response) };
  }
  const parser = new Parser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  /** @type {number | null} */
  let wait = null;
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return { trouble: "the stream broke off", wait };
    const blocks = parser.push(decoder.decode(value, { stream: true }));
    for (const block of blocks) wait = block.retry ?? wait;
    const frames = blocks.filter((block) => block.data !== null && EVENTS.includes(block.event));
    if (frames.length) {
      listener.frames(frames.map(({ event, id, data }) => ({ event, id, data: JSON.parse(data ?? "") })));
    }
  }
}

/**
 * One request for JSON.
 * @param {string} url
 * @param {Identity} identity
 * @param {{ etag?: string | null, wait?: number, signal: AbortSignal }} options `wait`: how long it may wait for news,
 *   of a job: for a change from `etag`, in ms
 * @returns {Promise<{ status: number, body: any, etag: string | null, wait: number | null }>} an answer below 500, or
 *   a refusal; `wait` is its Retry-After in ms
 * @throws {Trouble} where there is none, for now
 */
export async function ask(url, identity, { etag = null, wait = 0, signal }) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (etag) headers["If-None-Match"] = etag;
  if (wait >= 1000) headers.Prefer = `wait=${Math.floor(wait / 1000)}`;
  const abort = new AbortController();
  const stop = () => abort.abort();
  const timer = setTimeout(stop, wait + ANSWER_MS);
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  try {
    const response = await request(url, identity, headers, abort.signal);
    const pause = retryAfter(response);
    if (response.status >= 500 || response.status === 429 || response.status === 408) {
      throw new Trouble(`the gateway answers ${response.status}`, pause);
    }
    const text = response.status === 304 ? "" : await response.text();
    return { status: response.status, body: readJson(text), etag: response.headers.get("ETag"), wait: pause };
  } catch (error) {
    if (error instanceof Trouble) throw error;
    throw new Trouble("the gateway can't be reached");
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

/**
 * @param {string} url
 * @param {Identity} identity
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 */
function request(url, { token, credentials }, headers, signal) {
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  return fetch(url, { headers, signal, cache: "no-store", credentials: credentials ? "include" : "same-origin" });
}

/** @param {Response} response @returns {number | null} ms */
function retryAfter(response) {
  const value = response.headers.get("Retry-After");
  if (!value) return null;
  if (/^[0-9]+$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}

/** @param {string} text */
function readJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // of a proxy, or nothing
  }
}
