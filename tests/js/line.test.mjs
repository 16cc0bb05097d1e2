// `watch` before servers that say exactly what a test lets them say, over real sockets.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { watch } from "../../static/gateway.js";

/** @typedef {import("node:http").IncomingMessage} Request */
/** @typedef {import("node:http").ServerResponse} Response */

const TIMING = { first: 1500, silence: 3000, back: [200], base: 20, cap: 50, wait: 3000, look: 50 };
const at = (/** @type {number} */ offset) => `k7f3q2ab-${offset}`;

/** @param {number} offset @param {object} [more] */
function job(offset, more = {}) {
  return { id: "a", workspace: "default", state: "running", terminal: false, version: offset, position: at(offset), ...more };
}

/** @param {string} event @param {object} data @param {string} [id] */
function frame(event, data, id) {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n${id ? `id: ${id}\n` : ""}\n`;
}

const round = (/** @type {number} */ offset) =>
  frame("snapshot", job(offset)) + frame("sync", { head: at(offset), time: "t", shown: 1, matched: 1 }, at(offset));
const END = frame("transition", job(90, { state: "succeeded", terminal: true }), at(90)) + frame("end", { reason: "terminal" });

/** @param {Response} response @param {string} text @param {boolean} [end] */
function stream(response, text, end = false) {
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
  response.write(text);
  if (end) setTimeout(() => response.destroy(), 30);
}

/** @param {Response} response @param {number} status @param {object | null} body @param {Record<string, string>} [headers] */
function answer(response, status, body, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(body === null ? undefined : JSON.stringify(body));
}

/**
 * What a watch of job a was told by a server, to its end.
 * @param {(request: Request, response: Response, count: number) => void} onStream the n-th request for a stream
 * @param {(request: Request, response: Response, count: number) => void} [onRead] for the job itself
 * @param {string} [path]
 */
async function told(onStream, onRead = (_, response) => answer(response, 500, {}), path = "v1/jobs/a") {
  const counts = { stream: 0, read: 0 };
  /** @type {{ url: string, headers: import("node:http").IncomingHttpHeaders, at: number }[]} */
  const asked = [];
  const server = createServer((request, response) => {
    asked.push({ url: String(request.url), headers: request.headers, at: performance.now() });
    if (request.headers.accept === "text/event-stream") onStream(request, response, counts.stream++);
    else if (request.url?.endsWith("/v1/jobs?limit=1")) answer(response, 200, { jobs: [], next: null, head: at(1) });
    else onRead(request, response, counts.read++);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  /** @type {string[]} */
  const log = [];
  const over = new AbortController();
  const patience = setTimeout(() => over.abort(new Error(`no end; it was told ${log.join(", ")}`)), 100_000);
  try {
    await new Promise((resolve, reject) => {
      over.signal.addEventListener("abort", () => reject(over.signal.reason));
      watch(`http://127.0.0.1:${port}/${path}`, {
        share: false,
        timing: TIMING,
        signal: over.signal,
        onStatus: (_, change) => void log.push(`${change.event} ${change.position}`),
        onReset: (reason) => void log.push(`reset ${reason}`),
        onMissing: (keys) => void log.push(`missing ${keys.join()}`),
        onConnection: ({ state, trouble }) => state === "waiting" && log.push(`waiting: ${trouble}`),
        onEnd: ({ reason }) => void log.push(`end ${reason}`) ?? resolve(undefined),
      });
    });
  } finally {
    clearTimeout(patience);
    over.abort();
    server.close();
    server.closeAllConnections();
  }
  return { log, asked };
}

const BROKE = "waiting: the stream broke off";

test("a round of snapshots that breaks off is not shown, so that nothing lies hidden before the next", async () => {
  const { log } = await told((_, response, count) => {
    if (count === 0) stream(response, frame("snapshot", job(5)), true);
    else stream(response, round(9) + END);
  }, (_, response) => answer(response, 503, {}));
  assert.deepEqual(log.filter((line) => !line.startsWith("waiting")), [`snapshot ${at(9)}`, `transition ${at(90)}`, "end terminal"]);
});

test("a reset counts once its snapshots are complete; before that the old cursor is sent again", async () => {
  const reset = frame("reset", { reason: "expired", requested: at(9), oldest: at(20), head: at(30) });
  const { log, asked } = await told((_, response, count) => {
    if (count === 0) stream(response, round(9), true);
    else if (count === 1) stream(response, reset + frame("snapshot", job(25)), true);
    else stream(response, reset + round(30) + END);
  }, (_, response) => answer(response, 503, {}));
  assert.deepEqual(log.filter((line) => !line.startsWith("waiting")), [
    `snapshot ${at(9)}`,
    "reset expired",
    `snapshot ${at(30)}`,
    `transition ${at(90)}`,
    "end terminal",
  ]);
  const cursors = asked.filter(({ headers }) => headers.accept === "text/event-stream").map(({ url }) => new URL(url, "http://h").searchParams.get("after"));
  assert.deepEqual(cursors, [null, at(9), at(9)]);
});

test("a stream goes on from the last id", async () => {
  const { log, asked } = await told((request, response, count) => {
    if (count === 0) stream(response, round(5) + frame("progress", job(7), at(7)), true);
    else if (count === 1) stream(response, frame("progress", job(8), at(8)) + frame("sync", { head: at(9), time: "t" }, at(9)), true);
    else stream(response, END);
  });
  assert.deepEqual(asked.map(({ url }) => url), ["/v1/events?job=a", `/v1/events?job=a&after=${at(7)}`, `/v1/events?job=a&after=${at(9)}`]);
  assert.deepEqual(log.slice(0, 5), [`snapshot ${at(5)}`, `progress ${at(7)}`, BROKE, `progress ${at(8)}`, BROKE]);
});

test("204 says that all had ended: the job is read, and the watch ends", async () => {
  const { log, asked } = await told(
    (_, response) => void response.writeHead(204).end(),
    (_, response) => answer(response, 200, job(90, { state: "failed", terminal: true })),
  );
  assert.deepEqual(log, [`snapshot ${at(90)}`, "end terminal"]);
  assert.equal(asked.length, 2);
});

test("what a gateway asks for in Retry-After is waited, for a stream and for a request", async () => {
  const { log, asked } = await told((_, response, count) => {
    if (count === 0) answer(response, 503, {}, { "Retry-After": "1" });
    else stream(response, round(9) + END);
  });
  assert.ok(asked[1].at - asked[0].at >= 990, "the stream");
  assert.equal(log[0], "waiting: the stream was answered 503");
  const requests = await told(
    (_, response, count) => (count < 2 ? answer(response, 404, {}) : stream(response, round(9) + END)),
    (_, response) => answer(response, 503, {}, { "Retry-After": "1" }),
  );
  const read = requests.asked.findIndex(({ url }) => url === "/v1/jobs/a");
  assert.ok(requests.asked[read + 1].at - requests.asked[read].at >= 990, "the request");
  assert.ok(requests.log.includes("waiting: the gateway answers 503"));
});

test("requests in place of a stream wait at the gateway for what is newer than what they have", async () => {
  const { log, asked } = await told(
    (_, response) => answer(response, 404, {}),
    async (request, response, count) => {
      if (request.url?.includes("/events")) {
        const records = [7, 8, 9].map((offset) => ({ event: "transition", position: at(offset), by: "", job: job(offset) }));
        answer(response, 200, { records, next: null });
      } else if (count === 0) answer(response, 200, job(5), { ETag: `"${at(5)}"` });
      else if (request.headers["if-none-match"] === `"${at(5)}"`) {
        await sleep(100);
        answer(response, 200, job(9), { ETag: `"${at(9)}"`, "Preference-Applied": "wait=3" });
      } else answer(response, 200, job(10, { state: "succeeded", terminal: true }));
    },
  );
  assert.deepEqual(log, [`snapshot ${at(5)}`, ...[7, 8, 9, 10].map((n) => `transition ${at(n)}`), "end terminal"]);
  const reads = asked.filter(({ url }) => url === "/v1/jobs/a");
  assert.deepEqual(reads.map(({ headers }) => [headers["if-none-match"], headers.prefer]).slice(0, 2), [
    [undefined, undefined],
    [`"${at(5)}"`, "wait=3"],
  ]);
});

test("a document of a stale cache is not shown, and is no reason to begin anew", async () => {
  const { log } = await told(
    (_, response) => answer(response, 404, {}),
    (request, response, count) => {
      if (request.url?.includes("/events")) answer(response, 200, { records: [], next: null });
      else answer(response, 200, count < 4 ? job([8, 8, 5, 8][count]) : job(9, { state: "failed", terminal: true }));
    },
  );
  assert.deepEqual(log, [`snapshot ${at(8)}`, `transition ${at(9)}`, "end terminal"]);
});

test("a log that stepped back is another one: what it has is shown anew", async () => {
  const { log } = await told(
    (_, response) => answer(response, 404, {}),
    (_, response, count) => {
      if (count === 0) answer(response, 200, job(50));
      else if (count < 3) answer(response, 200, { ...job(4), position: "aaaaaaaa-4" });
      else answer(response, 200, { ...job(5, { state: "failed", terminal: true }), position: "aaaaaaaa-5" });
    },
  );
  assert.deepEqual(log, [`snapshot ${at(50)}`, "reset foreign", "snapshot aaaaaaaa-4", "transition aaaaaaaa-5", "end terminal"]);
});

/** @param {number} offset @param {string} [event] */
const record = (offset, event = "transition") => ({ event, position: at(offset), by: "", job: job(offset, { id: `job-${offset}` }) });

/**
 * What a watch of many jobs was told where no stream gets through, until lists are refused.
 * @param {((response: Response) => void)[]} lists
 * @param {((response: Response) => void)[]} pages
 * @param {string} [path]
 */
function toldOfMany(lists, pages, path = "v1/events?state=running") {
  const end = (/** @type {Response} */ response) => answer(response, 403, {});
  return told(
    (_, response) => answer(response, 403, {}),
    (request, response) => ((request.url?.startsWith("/v1/events") ? pages : lists).shift() ?? end)(response),
    path,
  );
}

/** @param {number[]} offsets @param {number} head */
const listed = (offsets, head) => (/** @type {Response} */ response) =>
  answer(response, 200, { jobs: offsets.map((offset) => job(offset, { id: `job-${offset}` })), next: null, head: at(head) });
/** @param {object[]} records @param {string | null} next @param {number} head */
const paged = (records, next, head) => (/** @type {Response} */ response) => answer(response, 200, { records, next, head: at(head) });

test("without a stream pages tell all that happened to many jobs, each from where the one before ended", async () => {
  const { log, asked } = await toldOfMany(
    [listed([5], 6)],
    [
      paged([record(7), record(8, "progress")], at(8), 20),
      paged([], at(15), 20),
      paged([{ ...record(17), event: "deleted", job: { id: "job-5", workspace: "default", position: at(17) } }], null, 20),
      paged([record(21)], null, 21),
    ],
  );
  assert.deepEqual(log, [`snapshot ${at(5)}`, `transition ${at(7)}`, `progress ${at(8)}`, `deleted ${at(17)}`, `transition ${at(21)}`, "end unauthorized"]);
  const reads = asked.filter(({ headers }) => headers.accept === "application/json").slice(1, 5);
  assert.deepEqual(reads.map(({ url }) => url), [6, 8, 15, 20].map((offset) => `/v1/events?state=running&after=${at(offset)}&limit=1000`));
  assert.deepEqual(reads.map(({ headers }) => headers.prefer), [undefined, "wait=3", "wait=3", "wait=3"]);
});

test("a watch that begins at a position is told what followed it, without a stream too", async () => {
  const { log, asked } = await toldOfMany([], [paged([record(3), record(4)], null, 4)], `v1/events?state=running&after=${at(2)}`);
  assert.deepEqual(log.slice(0, 2), [`transition ${at(3)}`, `transition ${at(4)}`]);
  const [first] = asked.filter(({ headers }) => headers.accept === "application/json");
  assert.equal(first.url, `/v1/events?state=running&after=${at(2)}&limit=1000`);
});

test("a page that expired is a reset with the gateway's reason, and all is shown again", async () => {
  const { log } = await toldOfMany(
    [listed([5], 6), listed([5], 9)],
    [(response) => answer(response, 410, { oldest: at(8), reason: "ahead" }), paged([record(10)], null, 10)],
  );
  assert.deepEqual(log.slice(0, 4), [`snapshot ${at(5)}`, "reset ahead", `snapshot ${at(5)}`, `transition ${at(10)}`]);
});

test("where pages are held up too the lists are compared, and the histories of the jobs on them", async () => {
  const history = paged([{ ...record(7), job: { ...job(7), id: "job-8" } }, record(8)], null, 9);
  const { log, asked } = await toldOfMany([listed([5], 6), listed([5, 8], 9), listed([], 9), history, listed([], 9)], []);
  assert.deepEqual(log.slice(0, 3), [`snapshot ${at(5)}`, `transition ${at(7)}`, `transition ${at(8)}`]);
  assert.equal(asked.filter(({ url, headers }) => url.startsWith("/v1/events") && headers.accept === "application/json").length, 1);
});

test("a page that fails for a moment is asked for again, and no list in its place", async () => {
  const { log, asked } = await toldOfMany([listed([5], 6)], [
    (response) => answer(response, 502, {}),
    paged([record(7)], null, 7),
  ]);
  assert.deepEqual(log.slice(0, 2), [`snapshot ${at(5)}`, `transition ${at(7)}`]);
  const kinds = asked.filter(({ headers }) => headers.accept === "application/json").map(({ url }) => url.split("?")[0]);
  assert.deepEqual(kinds.slice(0, 3), ["/v1/jobs", "/v1/events", "/v1/events"]);
});

test("garbage in place of frames, or of a document, is borne like a broken connection", async () => {
  const { log } = await told((_, response, count) => {
    if (count === 0) stream(response, "event: snapshot\ndata: {oh\n\n");
    else stream(response, round(9) + END);
  }, (_, response) => void response.writeHead(200, { "Content-Type": "text/html" }).end("<h1>Sign in</h1>"));
  assert.deepEqual(log.slice(-3), [`snapshot ${at(9)}`, `transition ${at(90)}`, "end terminal"]);
});

test("an alias is followed as the job that it stands for", async () => {
  const { log, asked } = await told(
    (request, response) => {
      const nothing = frame("sync", { head: at(9), time: "t", shown: 0, matched: 0 }, at(9));
      stream(response, request.url?.includes("alias") ? nothing : frame("sync", { head: at(9), time: "t" }, at(9)) + END);
    },
    (_, response) => answer(response, 200, job(8)),
    "v1/jobs/alias",
  );
  assert.deepEqual(log, [`snapshot ${at(8)}`, `transition ${at(90)}`, "end terminal"]);
  assert.deepEqual(asked.map(({ url }) => url), ["/v1/events?job=alias", "/v1/jobs/alias", `/v1/events?job=a&after=${at(9)}`]);
});
