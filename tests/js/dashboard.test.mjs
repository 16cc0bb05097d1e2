import assert from "node:assert/strict";
import { test } from "node:test";
import * as filters from "../../static/dashboard/filters.js";
import { Jobs } from "../../static/dashboard/jobs.js";

/** @param {number} number @param {object} [changes] @returns {any} */
function job(number, changes = {}) {
  const created = new Date(Date.parse("2026-06-01T00:00:00.000Z") + number * 1000).toISOString();
  const id = `j${String(number).padStart(5, "0")}`;
  return { id, workspace: "default", name: `Job ${number}`, state: "running", message: null, error: null, version: 1,
    position: `k7f3q2ab-${number}`, created, ...changes };
}

/** @param {Jobs} jobs @param {any} job @param {number} [round] */
function put(jobs, job, round = 1) {
  return jobs.put(`${job.workspace}/${job.id}`, job, round);
}

/** @param {Jobs} jobs */
function shown(jobs) {
  jobs.settle();
  return jobs.view.map((entry) => entry.job.id);
}

/** What the view has to be, told the long way. @param {Map<string, any>} all @param {string[]} states @param {string} word */
function expected(all, states, word) {
  const found = [...all.values()].filter((job) => `${job.name} ${job.message}`.toLowerCase().includes(word));
  const view = found.filter((job) => states.length === 0 || states.includes(job.state));
  return { found, ids: view.sort((a, b) => (a.created < b.created ? 1 : -1)).map((job) => job.id) };
}

test("whatever is put, dropped and filtered in whatever order, the view and the counts are right", () => {
  let seed = 5;
  const chance = (/** @type {number} */ below) => (seed = (seed * 48271) % 2147483647) % below;
  for (let run = 0; run < 40; run += 1) {
    const jobs = new Jobs(10_000);
    const all = new Map();
    let [states, word] = [/** @type {string[]} */ ([]), ""];
    for (let step = 0; step < 120; step += 1) {
      const number = chance(60);
      const kind = chance(10);
      if (kind < 6) {
        const version = (all.get(number)?.version ?? 0) + 1;
        const state = ["running", "failed", "succeeded"][chance(3)];
        const next = job(number, { state, version, message: `says ${chance(4)}`, position: `k7f3q2ab-${step}` });
        all.set(number, next);
        assert.equal(put(jobs, next), true);
      } else if (kind === 6) {
        assert.equal(jobs.drop(`default/${job(number).id}`), all.delete(number));
      } else if (kind === 7) {
        states = [[], ["running"], ["failed", "succeeded"]][chance(3)] ?? [];
        word = ["", "says 1", "job 2"][chance(3)] ?? "";
        jobs.show(states, word === "" ? null : (text) => text.includes(word));
      } else if (kind === 8) {
        const many = Array.from({ length: 40 }, (_, index) => job(100 + index + chance(3)));
        for (const one of many) if (put(jobs, one)) all.set(Number(one.id.slice(1)), one);
      } else {
        const { found, ids } = expected(all, states, word);
        assert.deepEqual(shown(jobs), ids);
        assert.equal(jobs.found, found.length);
        for (const state of ["running", "failed", "succeeded"]) {
          assert.equal(jobs.counts.get(state) ?? 0, found.filter((job) => job.state === state).length);
        }
      }
    }
    assert.equal(jobs.size, all.size);
  }
});

test("an older version of a job than is known changes nothing", () => {
  const jobs = new Jobs(10);
  put(jobs, job(1, { version: 3, state: "succeeded" }));
  assert.equal(put(jobs, job(1, { version: 2 })), false);
  assert.equal(put(jobs, job(1, { version: 3, state: "succeeded" })), false);
  assert.equal(jobs.get("default/j00001")?.job.state, "succeeded");
});

test("after a reset another log's job of the same id takes its place, though it counts from 1", () => {
  const jobs = new Jobs(10);
  put(jobs, job(1, { version: 9 }), 1);
  assert.equal(put(jobs, job(1, { version: 1, position: "zzzzzzzz-1", state: "pending" }), 2), true);
  assert.equal(jobs.get("default/j00001")?.job.state, "pending");
});

test("what a finished round did not show is gone", () => {
  const jobs = new Jobs(10);
  for (const number of [1, 2, 3]) put(jobs, job(number), 1);
  put(jobs, job(2), 2);
  jobs.dropBefore(2);
  assert.deepEqual(shown(jobs), ["j00002"]);
});

test("of more jobs than are kept the oldest leave, and it says so", () => {
  const jobs = new Jobs(3);
  for (const number of [5, 1, 4, 2, 3]) put(jobs, job(number));
  assert.deepEqual(shown(jobs), ["j00005", "j00004", "j00003"]);
  assert.equal(jobs.trimmed, true);
  assert.equal(jobs.size, 3);
  assert.equal(jobs.counts.get("running"), 3);
});

test("the view is another array only where it shows something else", () => {
  const jobs = new Jobs(10);
  put(jobs, job(1));
  assert.equal(jobs.settle(), true);
  const { view } = jobs;
  put(jobs, job(1, { version: 2, message: "further" }));
  assert.equal(jobs.settle(), false);
  assert.equal(jobs.view, view);
});

test("a filter comes back from its address as it was, whatever its values are", () => {
  for (const text of ["a b", "100%", "a&b=c", "ü/?#", ""]) {
    const filter = { states: ["running", "failed"], workspaces: ["a", "b"], processes: [text].filter(Boolean), labels: [`k:${text}`], text };
    assert.deepEqual(filters.filterOf(filters.searchOf(filter)), filter);
  }
  assert.equal(filters.searchOf(filters.NO_FILTER), "?");
  assert.equal(filters.isEmpty(filters.filterOf("")), true);
});

test("what no filter can mean is left out", () => {
  assert.deepEqual(filters.filterOf("?state=nonsense&state=failed&state=failed&label=x&workspace=&job=a"), { ...filters.NO_FILTER, states: ["failed"] });
});

test("the stream is asked for all states, the pages for those that are shown", () => {
  const filter = { ...filters.NO_FILTER, states: ["failed"], workspaces: ["w"], text: "x" };
  assert.equal(filters.streamQuery(filter, 500).toString(), "workspace=w&omit=steps%2Cdetails%2Cresult&min_interval=500");
  assert.equal(filters.pageQuery(filter, 10, "k-1").toString(), "workspace=w&state=failed&omit=steps%2Cdetails%2Cresult&limit=10&after=k-1");
});

test("a search finds what holds all of its words", () => {
  const finds = filters.searching({ ...filters.NO_FILTER, text: " Tiles  B08 " });
  assert.equal(finds?.("tiles-1\nband b08 ends"), true);
  assert.equal(finds?.("tiles-1\nband b07 ends"), false);
  assert.equal(filters.searching(filters.NO_FILTER), null);
});
