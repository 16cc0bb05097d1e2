/**
 * Where one job's status can be had, in each dialect and from each tool: addresses and lines to copy. The pure part.
 */

import { pageQuery } from "../format.js";

/**
 * @typedef {{id: string, workspace: string, name: string}} Named
 * @typedef {object} Form
 * @property {string} key
 * @property {string} title
 * @property {string} note
 * @property {string | null} address what GET is asked for; null where the answer takes a call of its own
 * @property {string} command
 * @typedef {{key: string, title: string, note: string, text: string}} Snippet
 */

const DEFAULT = "default";
const DEFAULT_GATEWAY = "http://127.0.0.1:8000"; // which the command line asks where it is told nothing

/**
 * A word for a POSIX shell.
 * @param {string} text
 */
export function shellWord(text) {
  return /^[\w./:@%+=,-][\w./:@%+=,~-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** @param {Named} job */
function inWorkspace(job) {
  return job.workspace === DEFAULT ? "" : `?workspace=${encodeURIComponent(job.workspace)}`;
}

/**
 * The job in our own dialect.
 * @param {Named} job
 * @param {string} base the gateway's root, with its last slash
 * @param {string} [under] such as `/events`
 */
export function jobUrl(job, base, under = "") {
  return `${base}v1/jobs/${encodeURIComponent(job.id)}${under}${inWorkspace(job)}`;
}

/**
 * @param {Named} job
 * @param {string} base the gateway's root, with its last slash
 * @returns {Form[]}
 */
export function formsOf(job, base) {
  const id = encodeURIComponent(job.id);
  const query = inWorkspace(job);
  /** @param {string} key @param {string} title @param {string} address @param {string} note @returns {Form} */
  const form = (key, title, address, note) => ({ key, title, note, address, command: `curl ${shellWord(address)}` });
  return [
    form(
      "canonical",
      "Gateway",
      jobUrl(job, base),
      "The gateway's own document; every frame of the stream carries it.",
    ),
    form(
      "weaver",
      "Weaver",
      `${base}weaver/jobs/${id}${query}`,
      "As Weaver and other servers of OGC API - Processes answer.",
    ),
    form("julep", "Julep", `${base}julep/jobs/${id}${query}`, "As Julep answers."),
    form("praisonai", "PraisonAI", `${base}praisonai/api/v1/runs/${id}${query}`, "As PraisonAI's async jobs answer."),
    form("nemo", "NeMo", nemoAddress(job, base), nemoNote(job)),
    mcpForm(job, base),
  ];
}

/**
 * NeMo has jobs by workspace and name. A name with a slash fits no address of it; its predecessor asked by id.
 * @param {Named} job
 * @param {string} base
 */
function nemoAddress(job, base) {
  const { id, name, workspace } = job;
  if (!isNemoName(name)) return `${base}nemo/v1/jobs/${encodeURIComponent(id)}/status${inWorkspace(job)}`;
  return `${base}nemo/apis/jobs/v2/workspaces/${encodeURIComponent(workspace)}/jobs/${encodeURIComponent(name)}/status`;
}

/** @param {Named} job */
function nemoNote({ name }) {
  return isNemoName(name)
    ? "As NVIDIA NeMo Platform answers. It asks by name: where several jobs have this name, this is the newest of them."
    : "As NVIDIA NeMo Microservices answers, by id: this job's name fits no address of NeMo Platform.";
}

/** @param {string} name */
function isNemoName(name) {
  return !name.includes("/") && name !== "." && name !== "..";
}

/**
 * MCP has no GET for a job: an agent calls a tool.
 * @param {Named} job
 * @param {string} base
 * @returns {Form}
 */
function mcpForm(job, base) {
  const call = { name: "get_job_status", arguments: { job_id: job.id } };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: call });
  const headers = "-H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream'";
  const command = `curl ${shellWord(`${base}mcp${inWorkspace(job)}`)} ${headers} -d ${shellWord(body)}`;
  return {
    key: "mcp",
    title: "MCP",
    note: "Agents call the tool get_job_status of mcp-background-job. There is no GET for it; this is the call:",
    address: null,
    command,
  };
}

/**
 * @param {Named} job
 * @param {string} base the gateway's root, with its last slash
 * @returns {Snippet[]}
 */
export function snippetsOf(job, base) {
  const events = jobUrl(job, base, "/events");
  const page = `${base}${pageQuery(job)}`;
  return [
    { key: "curl", title: "Read it once", note: "curl", text: `curl ${shellWord(jobUrl(job, base))}` },
    { key: "follow", title: "Follow it", note: "curl", text: `curl -N -H 'Accept: text/plain' ${shellWord(events)}` },
    { key: "watch", title: "Wait for its end", note: "command line", text: watchLine(job, base) },
    {
      key: "badge",
      title: "Show it in a README",
      note: "Markdown",
      text: `[![status](${jobUrl(job, base, "/badge.svg")})](${page})`,
    },
    { key: "eventsource", title: "Listen in a page", note: "JavaScript", text: eventSourceLines(events) },
    { key: "element", title: "Show it in a page", note: "HTML", text: elementLines(job, base) },
  ];
}

/**
 * @param {Named} job
 * @param {string} base
 */
function watchLine(job, base) {
  const url = base.replace(/\/$/, "");
  const words = ["status-gateway", "watch"];
  if (url !== DEFAULT_GATEWAY) words.push("--url", shellWord(url));
  if (job.workspace !== DEFAULT) words.push("--workspace", shellWord(job.workspace));
  if (job.id.startsWith("-")) words.push("--"); // else it would be read as a flag
  return [...words, shellWord(job.id)].join(" ");
}

/** @param {string} events */
function eventSourceLines(events) {
  return [
    `const source = new EventSource(${JSON.stringify(events)});`,
    "const show = (event) => console.log(JSON.parse(event.data).state);",
    'for (const name of ["snapshot", "transition", "progress"]) source.addEventListener(name, show);',
    'source.addEventListener("end", () => source.close());',
  ].join("\n");
}

/**
 * @param {Named} job
 * @param {string} base
 */
function elementLines(job, base) {
  return [
    `<script type="module" src="${attribute(`${base}static/job-status.js`)}"></script>`,
    `<job-status src="${attribute(jobUrl(job, base))}"></job-status>`,
  ].join("\n");
}

/** @param {string} text */
function attribute(text) {
  return text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");
}
