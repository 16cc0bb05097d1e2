// All jobs of the gateway, fed by one EventSource. What jobs say is only ever set as text, never as markup.
"use strict";

const STREAM = "v1/events?omit=steps,details,result"; // relative: the gateway may be mounted under a path
const MAX_ROWS = 1000; // as many as the gateway shows at first
const SILENCE_MS = 45_000; // three heartbeats missed: the connection is dead, whatever the browser believes
const REOPEN_MS = 5_000; // after an answer that ends an EventSource for good

const body = document.querySelector("#jobs tbody");
const jobs = new Map(); // "workspace/id" -> {job, row, seen}
const dirty = new Set(); // keys to paint in the next frame
let source = null;
let heard = 0;
let complete = false; // whether all that stood at the start was shown
let round = 0; // snapshots of one round end with `sync`; what a round does not show is gone

const keyOf = (job) => `${job.workspace}/${job.id}`;

function repaint(key) {
  if (dirty.size === 0) requestAnimationFrame(paint);
  dirty.add(key);
}

function take(event) {
  heard = Date.now();
  const job = JSON.parse(event.data);
  const key = keyOf(job);
  const known = jobs.get(key);
  if (known && known.seen === round && known.job.version > job.version) return;
  jobs.set(key, { job, row: known?.row ?? null, seen: round });
  repaint(key);
}

function drop(key) {
  jobs.get(key)?.row?.remove();
  jobs.delete(key);
  repaint(key);
}

function newRow() {
  return document.querySelector("#row").content.firstElementChild.cloneNode(true);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function paintJob(entry) {
  const { job } = entry;
  const row = (entry.row ??= place(newRow(), job));
  row.dataset.state = job.state;
  const query = job.workspace === "default" ? "" : `?workspace=${encodeURIComponent(job.workspace)}`;
  const link = row.querySelector(".name");
  link.href = `v1/jobs/${encodeURIComponent(job.id)}${query}`;
  setText(link, job.name);
  const where = job.workspace === "default" ? "" : `${job.workspace}/`;
  setText(row.querySelector(".id"), job.name === job.id && !where ? "" : where + job.id);
  setText(row.querySelector(".state"), job.state);
  row.querySelector(".stalled").hidden = !job.stalled;
  paintProgress(row, job);
  setText(row.querySelector(".step"), job.step ?? "");
  setText(row.querySelector(".message"), job.error?.message ?? job.message ?? "");
  const time = row.querySelector("time");
  time.dateTime = job.updated;
  time.title = job.updated;
  setText(time, when(new Date(job.updated)));
}

function paintProgress(row, job) {
  const bar = row.querySelector("progress");
  bar.hidden = job.progress === null && (job.terminal || !job.started);
  if (job.progress === null) bar.removeAttribute("value"); // the browser shows that something moves
  else bar.value = job.progress;
  bar.setAttribute("aria-label", `progress of ${job.name}`);
  setText(row.querySelector("output"), job.progress === null ? "" : `${Math.floor(job.progress)} %`);
}

function when(date) {
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString();
}

// Newest first; most jobs that come are the newest, so the search begins at the top.
function place(row, job) {
  row.dataset.order = `${job.created} ${keyOf(job)}`;
  for (const other of body.children) {
    if (other.dataset.order < row.dataset.order) {
      other.before(row);
      return row;
    }
  }
  body.append(row);
  return row;
}

function paint() {
  for (const key of dirty) {
    const entry = jobs.get(key);
    if (entry) paintJob(entry);
  }
  dirty.clear();
  while (jobs.size > MAX_ROWS) {
    const last = body.lastElementChild.dataset.order;
    const key = last.slice(last.indexOf(" ") + 1);
    body.lastElementChild.remove();
    jobs.delete(key);
  }
  const count = { active: 0, finished: 0 };
  for (const { job } of jobs.values()) count[job.terminal ? "finished" : "active"] += 1;
  setText(document.querySelector("#summary"), jobs.size ? `${count.active} active, ${count.finished} finished` : "");
  document.querySelector("#jobs").hidden = jobs.size === 0;
  document.querySelector("#empty").hidden = !complete || jobs.size > 0;
}

function caughtUp(event) {
  heard = Date.now();
  say("live", "live");
  if (!("shown" in JSON.parse(event.data))) return;
  complete = true;
  for (const [key, entry] of jobs) if (entry.seen !== round) drop(key);
  repaint("");
}

function say(state, text) {
  const connection = document.querySelector("#connection");
  connection.dataset.state = state;
  setText(connection, text);
}

function open() {
  source?.close();
  heard = Date.now();
  round += 1; // the first answer shows all there is
  source = new EventSource(STREAM);
  source.onopen = () => {
    heard = Date.now();
    say("live", "live");
  };
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return say("connecting", "reconnecting");
    say("lost", "no connection");
    setTimeout(open, REOPEN_MS);
  };
  for (const name of ["snapshot", "transition", "progress"]) source.addEventListener(name, take);
  source.addEventListener("deleted", (event) => drop(keyOf(JSON.parse(event.data))));
  source.addEventListener("sync", caughtUp);
  source.addEventListener("reset", () => {
    round += 1; // another log, or one that no longer holds where we were: what it does not show is gone
  });
  source.addEventListener("busy", (event) => {
    say("connecting", `busy, trying again in ${Math.ceil(JSON.parse(event.data).retry / 1000)} s`);
  });
}

function showExample() {
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  const url = base === "http://127.0.0.1:8000" ? "" : ` --url ${base}`;
  const loop = 'for i in 1 2 3 4 5; do echo "$i/5"; sleep 1; done';
  document.querySelector("#example").textContent = `status-gateway run${url} --name hello -- sh -c '${loop}'`;
}

showExample();
open();
setInterval(() => {
  if (source.readyState === EventSource.OPEN && Date.now() - heard > SILENCE_MS) open();
}, REOPEN_MS);
