/** What an element's `src` means, and why a gateway can't be read: in words that say what to do. */

/** @typedef {import("../job-status.d.ts").ElementProblem} Problem */
/** @typedef {{ url: URL, base: string, id: string }} Source what is watched, where its gateway is mounted, the job's id */
/** @typedef {"job" | "list"} Kind */

const PROBE_MS = 5_000; // an answer that takes longer explains nothing
const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/; // browsers let a page of https read these by http
const MEANT = {
  job: "the address of a job, such as http://gateway:8000/v1/jobs/ID",
  list: "the address of a list, such as http://gateway:8000/v1/events?state=running",
};

/**
 * Read the `src` of an element. Also takes the address of the gateway's own page, as copied from the address bar.
 * @param {Kind} kind @param {string | null} text @param {string} base the document's
 * @returns {Source | Problem}
 */
export function readSource(kind, text, base) {
  if (text === null || text.trim() === "") {
    return { code: "no-src", title: "Nothing to show yet", text: `Set src to ${MEANT[kind]}.` };
  }
  let url;
  try {
    url = new URL(text, base);
  } catch {
    return badSource(kind, `“${text}” is no address.`);
  }
  if (!/^https?:$/.test(url.protocol)) return badSource(kind, `“${text}” is no address of http or https.`);
  if (url.username || url.password) return badSource(kind, "No user name and password may stand in an address.");
  url.hash = "";
  return (kind === "job" ? jobSource(url) : listSource(url)) ?? badSource(kind, `“${text}” is the address of something else.`);
}

/** @param {Kind} kind @param {string} why @returns {Problem} */
export function badSource(kind, why) {
  return { code: "bad-src", title: "This src can’t be shown", text: `${why} It should be ${MEANT[kind]}.` };
}

/** @param {URL} url @returns {Source | null} */
function jobSource(url) {
  const [mounted, rest] = splitAtApi(url);
  if (rest === null) return pageSource(url);
  const parts = rest.replace(/\/(events)?$/, "").split("/");
  const id = decoded(parts[1]);
  return parts.length === 2 && parts[0] === "jobs" && id ? { url, base: mounted, id } : null;
}

/** `…/?job=workspace/id`, the gateway's page of one job. @param {URL} url @returns {Source | null} */
function pageSource(url) {
  const [workspace, id, more] = (url.searchParams.get("job") ?? "").split("/");
  if (!workspace || !id || more !== undefined || !url.pathname.endsWith("/")) return null;
  const base = new URL(".", url).href.split("?")[0] ?? "";
  const job = new URL(`v1/jobs/${encodeURIComponent(id)}`, base);
  job.searchParams.set("workspace", workspace);
  return { url: job, base, id };
}

/** `/v1/events?…`, `/v1/jobs?…`, or `/?…`, the gateway's page of many. @param {URL} url @returns {Source | null} */
function listSource(url) {
  const [mounted, rest] = splitAtApi(url);
  const isPage = rest === null && url.pathname.endsWith("/") && !url.searchParams.has("job");
  if (!isPage && rest !== "events" && rest !== "jobs") return null;
  const events = new URL("v1/events", mounted);
  events.search = url.search;
  for (const paging of ["limit", "after"]) events.searchParams.delete(paging);
  return { url: events, base: mounted, id: "" };
}

/** Where the gateway is mounted, and the path below `/v1/`, or null. @param {URL} url @returns {[base: string, rest: string | null]} */
function splitAtApi(url) {
  const at = url.pathname.lastIndexOf("/v1/");
  const mounted = at < 0 ? url.pathname.replace(/[^/]*$/, "") : url.pathname.slice(0, at + 1);
  return [url.origin + mounted, at < 0 ? null : url.pathname.slice(at + "/v1/".length)];
}

/** @param {string | undefined} part */
function decoded(part) {
  try {
    return decodeURIComponent(part ?? "");
  } catch {
    return "";
  }
}

/** @param {URL} url @param {string} id @returns {Problem} */
export function missing(url, id) {
  const named = id ? `job “${id}”` : "such job";
  return { code: "missing", title: `There is no ${named} yet`, text: `It appears here once it is reported to ${url.origin}.` };
}

/**
 * What the gateway refused, in its own words where it sent any.
 * @param {string} reason @param {{ title?: string, detail?: string } | null | undefined} said @returns {Problem}
 */
export function refusal(reason, said) {
  const own = [said?.title, said?.detail].filter(Boolean).join(": ");
  if (reason === "unauthorized") {
    const text = `${own ? `${own}. ` : ""}Set the element’s property token, by script, to a token that may read this.`;
    return { code: "unauthorized", title: "You may not read this", text };
  }
  return { code: "refused", title: "The gateway refused this", text: own || "It gave no reason; see its log." };
}

/**
 * Why nothing comes from a gateway. A browser tells a page only that a request failed, so this asks again: once
 * in a way that needs no permission, and then in the way that does.
 * @param {URL} url what is watched @param {string} base where its gateway is mounted
 * @param {boolean} forbidden whether the page's own Content-Security-Policy stopped a request to it
 * @returns {Promise<Problem>}
 */
export async function explain(url, base, forbidden) {
  const { origin } = url;
  if (forbidden) {
    const text = `The Content-Security-Policy of this page forbids it. Add ${origin} to its connect-src.`;
    return { code: "csp", title: `This page may not connect to ${origin}`, text };
  }
  if (location.protocol === "https:" && url.protocol === "http:" && !LOOPBACK.test(url.hostname)) {
    const text = "A page of https can’t read from http. Serve the gateway by https, and give its https address as src.";
    return { code: "mixed-content", title: `The browser blocks ${origin}`, text };
  }
  if (!(await answers(new URL("healthz", base), "no-cors"))) {
    const text = "Is it running, and is its address right? This goes on trying by itself.";
    return { code: "unreachable", title: `No answer from ${origin}`, text };
  }
  if (origin === location.origin || (await answers(new URL("v1/jobs?limit=1", base), "cors"))) {
    const text = "The gateway answers, but this address does not get through. This goes on trying by itself.";
    return { code: "interrupted", title: "The connection was interrupted", text };
  }
  // The gateway's own files may be read by every page: where even they may not, something else answers in its place.
  if (!(await answers(new URL("static/format.js", base), "cors"))) {
    const text = "Perhaps a proxy answers whose gateway is not there. This goes on trying by itself.";
    return { code: "interrupted", title: `${origin} does not answer as a gateway does`, text };
  }
  const text =
    self.origin === "null"
      ? "A page from a file or a sandbox has no origin that could be allowed. Serve it by http."
      : `Start the gateway with --allowed-origin ${location.origin} (or add that to its setting allowed_origins).`;
  return { code: "origin-not-allowed", title: `${origin} does not allow this page to read it`, text };
}

/** @param {URL} url @param {RequestMode} mode */
async function answers(url, mode) {
  try {
    const signal = AbortSignal.timeout(PROBE_MS);
    await fetch(url, { method: "HEAD", mode, signal, cache: "no-store", credentials: "omit" });
    return true;
  } catch {
    return false;
  }
}
