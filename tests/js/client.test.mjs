import assert from "node:assert/strict";
import { test } from "node:test";
import { etagOf, fits, jobAddress, jobUrl, listAddress, parseAddress, streamUrl } from "../../static/client/address.js";
import { backoff, sleep, TIMING } from "../../static/client/timing.js";

const BASE = "http://127.0.0.1:8000/status/";

test("a job's address says its gateway, workspace and id", () => {
  for (const url of ["v1/jobs/a%3Ab", "v1/jobs/a%3Ab/events", `${BASE}v1/jobs/a:b?workspace=default`]) {
    const { gateway, keys, line } = parseAddress(url, BASE);
    assert.deepEqual([gateway, keys, line], [BASE, ["default/a:b"], "jobs?"]);
  }
  assert.deepEqual(parseAddress("v1/jobs/a?workspace=w&omit=steps", BASE).keys, ["w/a"]);
});

test("jobs in the same form share a line, filters do when they are the same", () => {
  const line = (/** @type {string} */ url) => parseAddress(url, BASE).line;
  assert.equal(line("v1/jobs/a?omit=steps"), line("v1/events?job=b&job=c&omit=steps"));
  assert.notEqual(line("v1/jobs/a?omit=steps"), line("v1/jobs/a"));
  assert.equal(line("v1/events?state=failed&workspace=w&state=running"), line("v1/events?workspace=w&state=running&state=failed"));
  assert.notEqual(line("v1/events"), line("v1/events?state=running"));
});

test("named jobs are found in each workspace that is named", () => {
  assert.deepEqual(parseAddress("v1/events?job=a&job=x/b", BASE).keys, ["default/a", "x/b"]);
  assert.deepEqual(parseAddress("v1/events?job=a&workspace=v&workspace=w", BASE).keys, ["v/a", "w/a"]);
});

for (const [url, what] of /** @type {[string, RegExp][]} */ ([
  ["v1/job/a", /none of/],
  ["v1/jobs", /none of/],
  ["v1/jobs/", /none of/],
  ["v1/events?stat=running", /stat is not known here: known are workspace, state/],
  ["v1/jobs/a?state=running", /state is not known here/],
  ["v1/events?job=a&state=running", /can't be combined/],
  [`v1/events?${Array.from({ length: 201 }, (_, n) => `job=${n}`).join("&")}`, /201 jobs are named; 200 at most/],
  ["ftp://127.0.0.1/v1/jobs/a", /no http address/],
  ["http://[", /no http address/],
])) {
  test(`an address that a gateway would not know is refused at once: ${url.slice(0, 40)}`, () => {
    assert.throws(() => parseAddress(url, BASE), { name: "TypeError", message: what });
  });
}

test("what is asked for is written as the gateway reads it", () => {
  const address = parseAddress("v1/events?label=a:b&omit=steps,details&min_interval=500", BASE);
  assert.equal(
    streamUrl(address.gateway, null, [...address.filter, ...address.form], "k7f3q2ab-1"),
    `${BASE}v1/events?label=a%3Ab&min_interval=500&omit=steps%2Cdetails&after=k7f3q2ab-1`,
  );
  assert.equal(streamUrl(BASE, ["default/a", "w/b"], [], null), `${BASE}v1/events?job=a&job=w%2Fb`);
  assert.equal(listAddress(address, address.filter, 5), `${BASE}v1/jobs?label=a%3Ab&omit=steps%2Cdetails&limit=5`);
  assert.equal(jobAddress(address, "w/ü", "/events", [["after", "x"]]), `${BASE}v1/jobs/%C3%BC/events?workspace=w&omit=steps%2Cdetails&after=x`);
  assert.equal(jobUrl(BASE, "default", "a b"), `${BASE}v1/jobs/a%20b`);
  assert.equal(etagOf(address, "k7f3q2ab-1"), '"k7f3q2ab-1~details.steps"');
  assert.equal(etagOf(parseAddress("v1/jobs/a", BASE), "k7f3q2ab-1"), '"k7f3q2ab-1"');
});

test("so many jobs go into one address as gateways and proxies take", () => {
  const keys = (/** @type {number} */ count, /** @type {number} */ size) =>
    Array.from({ length: count }, (_, n) => `default/${String(n).padStart(size, "x")}`);
  assert.ok(fits(keys(200, 20)));
  assert.ok(!fits(keys(201, 3)));
  assert.ok(fits(keys(140, 36)));
  assert.ok(!fits(keys(200, 36)), "a request line of 8 KiB");
  assert.ok(fits(keys(1, 200)));
});

test("back-off is random up to a bound that doubles to its cap, after what the gateway asks for", () => {
  const most = (/** @type {number} */ failures, /** @type {number | null} */ wished = null) =>
    backoff(failures, { ...TIMING, base: 1000, cap: 30_000 }, wished, () => 1);
  assert.deepEqual([0, 1, 2, 4, 5, 50, 5000].map((n) => most(n)), [1000, 2000, 4000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(backoff(7, TIMING, null, () => 0), 0);
  assert.equal(most(0, 5000), 6000);
  const some = new Set(Array.from({ length: 50 }, () => backoff(5, TIMING, null)));
  assert.ok(some.size > 30, "spread");
});

test("a sleep ends early when it is cut, even before it began", async () => {
  const began = performance.now();
  const abort = new AbortController();
  const long = sleep(60_000, abort.signal);
  abort.abort();
  await long;
  await sleep(60_000, abort.signal);
  assert.ok(performance.now() - began < 10_000);
});
