/** What an address asks for: which gateway, which jobs, in which form. Pure. */

const FORM = ["omit", "min_interval"];
const FILTERS = ["workspace", "state", "process", "name", "label"];
const KNOWN = {
  job: ["workspace", "after", ...FORM],
  many: [...FILTERS, "job", "after", ...FORM],
};
export const MAX_JOBS = 200; // named in one stream; more are refused by the gateway
export const MAX_QUERY = 6000; // characters: proxies take request lines of 8 KiB
const DEFAULT_WORKSPACE = "default";

/**
 * `keys`: the jobs that are named, as `workspace/id`; null where a filter says which are meant. `line`: what may share
 * a stream has the same text here. `filter` and `form` are the parameters of each. `after`: a cursor that was asked for.
 * @typedef {{
 *   gateway: string, keys: string[] | null, filter: [string, string][], form: [string, string][], line: string,
 *   after: string | null,
 * }} Address
 */

/**
 * @param {string | URL} url
 * @param {string | undefined} base what a relative one is relative to
 * @returns {Address}
 * @throws {TypeError} where a gateway would not know the address
 */
export function parseAddress(url, base) {
  const parsed = readUrl(url, base);
  const found = /^(.*\/)v1\/(?:jobs\/([^/]+)(?:\/events)?|events)$/.exec(parsed.pathname);
  if (!found) {
    throw new TypeError(`watch: ${parsed.href} is none of …/v1/jobs/ID, …/v1/jobs/ID/events and …/v1/events`);
  }
  const gateway = parsed.origin + found[1];
  const query = [...parsed.searchParams];
  check(query, found[2] ? KNOWN.job : KNOWN.many);
  const form = sorted(query.filter(([name]) => FORM.includes(name)));
  const after = parsed.searchParams.get("after") || null;
  const keys = found[2]
    ? [`${parsed.searchParams.get("workspace") || DEFAULT_WORKSPACE}/${decodeURIComponent(found[2])}`]
    : namedKeys(query);
  const filter = keys ? [] : sorted(query.filter(([name]) => FILTERS.includes(name)));
  const line = `${keys ? "jobs" : "events"}?${new URLSearchParams([...filter, ...form])}`;
  return { gateway, keys, filter, form, line, after };
}

/** @param {string | URL} url @param {string | undefined} base */
function readUrl(url, base) {
  try {
    const parsed = new URL(url, base);
    if (parsed.protocol === "http:" || parsed.protocol === "https:") return parsed;
  } catch {
    // said below
  }
  throw new TypeError(`watch: ${String(url)} is no http address`);
}

/** @param {[string, string][]} query @param {string[]} known */
function check(query, known) {
  for (const [name] of query) {
    if (!known.includes(name)) {
      throw new TypeError(`watch: the parameter ${name} is not known here: known are ${known.join(", ")}`);
    }
  }
}

/** @param {[string, string][]} query */
function namedKeys(query) {
  const jobs = query.filter(([name]) => name === "job").map(([, value]) => value);
  if (jobs.length === 0) return null;
  const workspaces = query.filter(([name]) => name === "workspace").map(([, value]) => value);
  if (query.some(([name]) => FILTERS.includes(name) && name !== "workspace")) {
    throw new TypeError("watch: job can't be combined with other filters; name the jobs, or filter");
  }
  const places = workspaces.length ? workspaces : [DEFAULT_WORKSPACE];
  const keys = new Set(jobs.flatMap((job) => (job.includes("/") ? [job] : places.map((place) => `${place}/${job}`))));
  if (keys.size > MAX_JOBS) throw new TypeError(`watch: ${keys.size} jobs are named; ${MAX_JOBS} at most`);
  return [...keys];
}

/** @param {[string, string][]} query */
function sorted(query) {
  const order = (/** @type {[string, string]} */ pair) => pair.join("=");
  return query.sort((one, other) => (order(one) < order(other) ? -1 : 1));
}

/** @param {string} key `workspace/id` @returns {[workspace: string, id: string]} */
export function splitKey(key) {
  const slash = key.indexOf("/");
  return [key.slice(0, slash), key.slice(slash + 1)];
}

/**
 * The address of a job of a gateway.
 * @param {string | URL} gateway where it is mounted
 * @param {string} workspace
 * @param {string} id
 */
export function jobUrl(gateway, workspace, id) {
  const query = workspace === DEFAULT_WORKSPACE ? "" : `?workspace=${encodeURIComponent(workspace)}`;
  return new URL(`v1/jobs/${encodeURIComponent(id)}${query}`, gateway).href;
}

/**
 * The address of the stream that brings all that a line is for.
 * @param {string} gateway
 * @param {Iterable<string> | null} keys
 * @param {[string, string][]} parameters filter and form
 * @param {string | null} after
 */
export function streamUrl(gateway, keys, parameters, after) {
  const query = new URLSearchParams(parameters);
  for (const key of keys ?? []) query.append("job", jobParameter(key));
  if (after) query.set("after", after);
  return `${gateway}v1/events?${query}`;
}

/** @param {string} key */
export function jobParameter(key) {
  const [workspace, id] = splitKey(key);
  return workspace === DEFAULT_WORKSPACE ? id : key;
}

/**
 * Whether so many jobs can be named in one address.
 * @param {Iterable<string>} keys
 */
export function fits(keys) {
  let count = 0;
  let size = 0;
  for (const key of keys) {
    count += 1;
    size += encodeURIComponent(jobParameter(key)).length + "&job=".length;
  }
  return count <= MAX_JOBS && (size <= MAX_QUERY || count === 1);
}

/**
 * Where a job, or what lies below it, is asked for.
 * @param {Address} address
 * @param {string} key
 * @param {string} [below]
 * @param {[string, string][]} [more] parameters
 */
export function jobAddress(address, key, below = "", more = []) {
  const url = new URL(jobUrl(address.gateway, ...splitKey(key)));
  url.pathname += below;
  for (const [name, value] of [...omitted(address), ...more]) url.searchParams.append(name, value);
  return url.href;
}

/**
 * Where jobs that match are listed.
 * @param {Address} address
 * @param {[string, string][]} filter
 * @param {number} limit
 */
export function listAddress(address, filter, limit) {
  const query = new URLSearchParams([...filter, ...omitted(address), ["limit", String(limit)]]);
  return `${address.gateway}v1/jobs?${query}`;
}

/**
 * Where a page of what happened to jobs that match is asked for.
 * @param {Address} address
 * @param {string} after
 * @param {number} limit
 */
export function recordsAddress(address, after, limit) {
  const query = new URLSearchParams([...address.filter, ...omitted(address), ["after", after], ["limit", String(limit)]]);
  return `${address.gateway}v1/events?${query}`;
}

/**
 * The entity tag of a document at a position, as the gateway writes it.
 * @param {Address} address
 * @param {string} position
 */
export function etagOf(address, position) {
  const names = new Set(omitted(address).flatMap(([, value]) => value.split(",").filter(Boolean)));
  return names.size ? `"${position}~${[...names].sort().join(".")}"` : `"${position}"`;
}

/** @param {Address} address */
function omitted(address) {
  return address.form.filter(([name]) => name === "omit");
}
