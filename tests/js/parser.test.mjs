import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Parser } from "../../static/client/parser.js";

/** @type {{ name: string, text: string, events: { event: string, data: string, id: string }[], last: string,
 *   retry: number | null }[]} */
const VECTORS = JSON.parse(readFileSync(new URL("../vectors/sse/frames.json", import.meta.url), "utf-8"));

/** What an EventSource would make of the blocks. @param {Uint8Array[]} pieces */
function read(pieces) {
  const parser = new Parser();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const found = { events: /** @type {object[]} */ ([]), last: "", retry: /** @type {number | null} */ (null) };
  for (const piece of pieces) {
    for (const { event, data, id, retry } of parser.push(decoder.decode(piece, { stream: true }))) {
      found.last = id ?? found.last;
      found.retry = retry ?? found.retry;
      if (data !== null) found.events.push({ event, data, id: found.last });
    }
  }
  return found;
}

for (const { name, text, events, last, retry } of VECTORS) {
  const bytes = new TextEncoder().encode(text);

  test(`${name}: read as by the standard, whole and byte by byte`, () => {
    assert.deepEqual(read([bytes]), { events, last, retry });
    assert.deepEqual(read(Array.from(bytes, (byte) => Uint8Array.of(byte))), { events, last, retry });
  });

  test(`${name}: cut at every byte`, () => {
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      assert.deepEqual(read([bytes.slice(0, cut), bytes.slice(cut)]), { events, last, retry }, `cut at ${cut}`);
    }
  });
}

test("an end without an empty line completes nothing", () => {
  const parser = new Parser();
  assert.deepEqual(parser.push("id: 1\ndata: a\n"), []);
});

test("a line that no gateway would send is refused before it fills the memory", () => {
  const parser = new Parser();
  parser.push("data: ");
  assert.throws(() => {
    for (let n = 0; n < 100; n += 1) parser.push("x".repeat(100_000));
  }, RangeError);
});
