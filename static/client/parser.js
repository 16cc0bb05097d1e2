/** The lines of an event stream (WHATWG HTML, section 9.2.6) taken apart. Pure: text in, blocks out. */

const MAX_LINE = 4 * 1024 * 1024; // characters; a document has 256 KiB at most, so whatever is longer is no gateway's

/**
 * What stood between two empty lines. `id` is null where the block has none, `data` where there is no data: then it
 * fires no event, but its id counts.
 * @typedef {{ event: string, data: string | null, id: string | null, retry: number | null }} Block
 */

/** Text may be cut anywhere; a block counts once its empty line is there, so a stream that breaks off loses no id. */
export class Parser {
  #line = "";
  #started = false;
  #afterReturn = false;
  /** @type {Block} */
  #block = empty();
  #touched = false;

  /**
   * @param {string} text the next piece of the stream
   * @returns {Block[]} the blocks that it completes
   */
  push(text) {
    /** @type {Block[]} */
    const blocks = [];
    let from = 0;
    if (!this.#started && text !== "") {
      this.#started = true;
      if (text.startsWith("\ufeff")) from = 1;
    }
    if (this.#afterReturn && text !== "") {
      this.#afterReturn = false;
      if (text[from] === "\n") from += 1;
    }
    const breaks = /\r\n|\n|\r/g;
    breaks.lastIndex = from;
    for (let found = breaks.exec(text); found; found = breaks.exec(text)) {
      this.#end(this.#line + text.slice(from, found.index), blocks);
      this.#line = "";
      from = breaks.lastIndex;
      this.#afterReturn = found[0] === "\r" && from === text.length; // its "\n" may come with the next piece
    }
    this.#line += text.slice(from);
    if (this.#line.length > MAX_LINE) throw new RangeError("a line of the stream is too long for a gateway's");
    return blocks;
  }

  /** @param {string} line @param {Block[]} blocks */
  #end(line, blocks) {
    if (line === "") {
      if (this.#touched) blocks.push(this.#block);
      this.#block = empty();
      this.#touched = false;
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    this.#field(field, value);
  }

  /** @param {string} field @param {string} value */
  #field(field, value) {
    const block = this.#block;
    if (field === "data") block.data = block.data === null ? value : `${block.data}\n${value}`;
    else if (field === "event") block.event = value || "message";
    else if (field === "id" && !value.includes("\0")) block.id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) block.retry = Number(value);
    else return;
    this.#touched = true;
  }
}

/** @returns {Block} */
function empty() {
  return { event: "message", data: null, id: null, retry: null };
}
