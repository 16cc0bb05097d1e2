import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { matcher } from "../../static/elements/matching.js";
import { explain, missing, readSource, refusal } from "../../static/elements/source.js";

const PAGE = "https://page.example/deep/in/it.html";

/** @param {object} [changes] */
function job(changes = {}) {
  return { id: "a", workspace: "default", name: "tiles", process: null, state: "running", labels: { team: "geo" }, ...changes };
}

test("a job matches if one value of each parameter does, and all of its labels", () => {
  const cases = [
    ["", {}, true],
    ["state=running", {}, true],
    ["state=failed&state=running", {}, true],
    ["state=failed", {}, false],
    ["state=running&workspace=geo", {}, false],
    ["state=running&workspace=geo", { workspace: "geo" }, true],
    ["process=p", {}, false],
    ["process=p&process=q", { process: "q" }, true],
    ["name=tiles", {}, true],
    ["name=other", {}, false],
    ["label=team:geo", {}, true],
    ["label=team:geo&label=tier:1", {}, false],
    ["label=team:geo&label=tier:1:a", { labels: { team: "geo", tier: "1:a" } }, true],
    ["label=constructor:x", { labels: {} }, false],
    ["job=a", {}, true],
    ["job=b&job=a", {}, true],
    ["job=b", {}, false],
    ["job=a", { workspace: "geo" }, false], // an id alone means the workspace default
    ["job=geo/a", { workspace: "geo" }, true],
    ["job=a&workspace=geo", { workspace: "geo" }, true],
    ["omit=steps&min_interval=100", {}, true],
  ];
  for (const [query, changes, expected] of /** @type {[string, object, boolean][]} */ (cases)) {
    assert.equal(matcher(new URLSearchParams(query))(job(changes)), expected, `${query} ${JSON.stringify(changes)}`);
  }
});

test("a job's address is read in every form that people copy", () => {
  const cases = [
    ["http://g:8000/v1/jobs/a", "http://g:8000/v1/jobs/a", "http://g:8000/", "a"],
    ["http://g/v1/jobs/a%3A1/events?workspace=w#x", "http://g/v1/jobs/a%3A1/events?workspace=w", "http://g/", "a:1"],
    ["http://g/mounted/v1/jobs/a", "http://g/mounted/v1/jobs/a", "http://g/mounted/", "a"],
    ["/v1/jobs/a", "https://page.example/v1/jobs/a", "https://page.example/", "a"],
    ["v1/jobs/a", "https://page.example/deep/in/v1/jobs/a", "https://page.example/deep/in/", "a"],
    ["http://g/?job=w/a%3A1", "http://g/v1/jobs/a%3A1?workspace=w", "http://g/", "a:1"],
    ["http://g/mounted/?job=w%2Fa", "http://g/mounted/v1/jobs/a?workspace=w", "http://g/mounted/", "a"],
  ];
  for (const [text, url, base, id] of /** @type {string[][]} */ (cases)) {
    const source = readSource("job", text ?? "", PAGE);
    assert.ok("url" in source, text);
    assert.deepEqual([source.url.href, source.base, source.id], [url, base, id], text);
  }
});

test("a list's address becomes its stream, without what only pages need", () => {
  const cases = [
    ["http://g/v1/events", "http://g/v1/events"],
    ["http://g/v1/events?state=running&label=a:b", "http://g/v1/events?state=running&label=a%3Ab"],
    ["http://g/m/v1/jobs?state=failed&limit=5&after=k7f3q2ab-1", "http://g/m/v1/events?state=failed"],
    ["http://g/?state=running&workspace=w", "http://g/v1/events?state=running&workspace=w"],
  ];
  for (const [text, url] of /** @type {string[][]} */ (cases)) {
    const source = readSource("list", text ?? "", PAGE);
    assert.ok("url" in source, text);
    assert.equal(source.url.href, url, text);
  }
});

test("what is no address of a job or a list is a problem that shows one", () => {
  const wrong = {
    job: ["ftp://g/v1/jobs/a", "http://", "http://u:p@g/v1/jobs/a", "http://g/v1/jobs/", "http://g/v1/jobs/a/cancel", "http://g/v1/jobs/%ff",
      "http://g/v1/events", "http://g/?job=a", "http://g/?job=a/b/c", "http://g/x?job=a/b", "data:,v1/jobs/a"],
    list: ["http://g/v1/jobs/a", "http://g/v1/jobs/a/events", "http://g/index.html", "http://g/?job=w/a", "javascript:1"],
  };
  for (const kind of /** @type {const} */ (["job", "list"])) {
    for (const text of wrong[kind]) {
      const problem = readSource(kind, text, PAGE);
      assert.equal("code" in problem && problem.code, "bad-src", text);
      assert.match("text" in problem ? problem.text : "", /such as http:/);
    }
    for (const text of [null, "", "  "]) {
      const problem = readSource(kind, text, PAGE);
      assert.equal("code" in problem && problem.code, "no-src");
    }
  }
});

test("a refusal is told in the gateway's words, with what to do", () => {
  const said = refusal("unauthorized", { title: "Unauthorized", detail: "this needs a token" });
  assert.match(said.text, /Unauthorized: this needs a token\. .*property token/);
  assert.equal(refusal("refused", { title: "Not found", detail: "no" }).text, "Not found: no");
  assert.match(refusal("refused", null).text, /see its log/);
  assert.match(missing(new URL("http://g:8000/v1/jobs/a"), "a").title, /“a”/);
});

const real = { fetch: globalThis.fetch };
afterEach(() => {
  globalThis.fetch = real.fetch;
});

/** The page that asks, as its browser would tell. @param {string} origin */
function on(origin) {
  const url = new URL(origin);
  Object.assign(globalThis, { location: url, self: { origin: url.origin } });
}

test("a page of https is told that it can't read http, but for this very machine", async () => {
  on("https://page.example");
  globalThis.fetch = () => Promise.reject(new TypeError("Failed to fetch"));
  const codes = [];
  for (const origin of ["http://gateway.example:8000", "http://127.0.0.1:8000", "http://localhost:8000", "https://gateway.example"]) {
    codes.push((await explain(new URL("/v1/jobs/a", origin), `${origin}/`, false)).code);
  }
  assert.deepEqual(codes, ["mixed-content", "unreachable", "unreachable", "unreachable"]);
});

test("a gateway that answers but does not get through is not called absent", async () => {
  on("http://page.example");
  globalThis.fetch = () => Promise.resolve(new Response("ok"));
  const problem = await explain(new URL("http://g:8000/v1/jobs/a"), "http://g:8000/", false);
  assert.equal(problem.code, "interrupted");
});
