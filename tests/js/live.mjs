// Watches of a real gateway through a bad network, told on stdin what to begin; prints what was delivered.
// Each stream is at random let through, refused, or held back without a byte, as proxies do that buffer.
import { createInterface } from "node:readline";
import { watch } from "../../static/gateway.js";

const [base, seed] = process.argv.slice(2);
const TIMING = { first: 400, silence: 1500, back: [150, 300], base: 50, cap: 400, wait: 2000 };
/** @type {Record<string, { log: object[], watcher: import("../../static/gateway.js").Watcher }>} */
const watches = {};
const through = globalThis.fetch;
let state = Number(seed);
let kind = true; // whether streams get through at present

function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

globalThis.fetch = async (url, init = {}) => {
  const { Accept: accept = "" } = /** @type {Record<string, string>} */ (init.headers ?? {});
  if (accept === "text/event-stream" && !kind && random() < 0.8) {
    if (random() < 0.5) return new Response("", { status: 403 });
    await new Promise((_, reject) => init.signal?.addEventListener("abort", () => reject(new Error("aborted"))));
  }
  return through(url, init);
};

/** @type {Record<string, (name: string, url: string, token?: string) => void>} */
const commands = {
  watch(name, url, token) {
    /** @type {object[]} */
    const log = [];
    const note = (/** @type {string} */ what) => (/** @type {any[]} */ ...values) => void log.push({ what, values });
    watches[name] = {
      log,
      watcher: watch(base + url, {
        onStatus: (job, change) =>
          void log.push({ what: change.event, job: change.key, state: job.state, position: change.position }),
        onSync: (sync) => void log.push({ what: "sync", head: sync.head, shown: sync.shown }),
        onReset: note("reset"),
        onEnd: ({ reason }) => void log.push({ what: "end", reason }),
        onConnection: (now) => void log.push({ what: "connection", state: now.state, transport: now.transport }),
        timing: TIMING,
        ...(token ? { token } : {}),
      }),
    };
  },
  close: (name) => watches[name].watcher.close(),
  streams: (how) => void (kind = how === "pass"),
  tell(name) {
    process.stdout.write(`${JSON.stringify(watches[name].log)}\n`);
  },
};

for await (const line of createInterface(process.stdin)) {
  const [command, ...rest] = JSON.parse(line);
  commands[command](...rest);
}
process.exit(0);
