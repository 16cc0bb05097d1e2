/**
 * All lines of one gateway, and who reads which. Readers come and go; what they name is gathered into as few streams as
 * can be, and a stream whose jobs change is opened again from where it stood.
 *
 * Law: a reader is told where its line stands (`joined`) before the line moves on for it, so that it can read aside
 * what came before, and nothing falls between.
 */

import { fits } from "./address.js";
import { Line } from "./line.js";
import { offsetOf, sameEpoch } from "./state.js";

/** @typedef {import("./address.js").Address} Address */
/** @typedef {import("./line.js").LineState} LineState */
/** @typedef {import("./state.js").Frame} Frame */
/**
 * Where a line stands: `fresh`: it begins with snapshots; else at `at`, which is null where that is not known.
 * @typedef {{ fresh: boolean, at: string | null }} Standing
 */
/**
 * What a reader wants: `keys` are those jobs of its address that have not ended.
 * @typedef {{ id: string, address: Address, keys: string[] | null, cursor: string | null }} Wish
 */
/**
 * @typedef {{
 *   joined: (id: string, line: string, standing: Standing, state: LineState) => void,
 *   frames: (line: string, frames: Frame[]) => void, state: (line: string, state: LineState) => void,
 * }} Outlet
 */
/** @typedef {{ wish: Wish, outlet: Outlet, joined: boolean }} Member */

const GATHER = 30; // ms in which readers are gathered before a stream is opened: a page's elements come together
const LINGER = 500; // ms that a line without readers is kept: elements that are moved in a page leave and come back

/** One line with its readers. */
class Post {
  /** @type {Map<string, Member>} */
  members = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;
  opened = false;

  /**
   * @param {string} name
   * @param {Address} address
   * @param {import("./transports.js").Identity} identity
   * @param {import("./timing.js").Timing} timing
   * @param {(members: Member[]) => void} onLate takes those who came when the line was over
   */
  constructor(name, address, identity, timing, onLate) {
    this.name = name;
    this.onLate = onLate;
    this.line = new Line(address, identity, timing, {
      frames: (frames) => {
        for (const outlet of this.#outlets()) outlet.frames(name, frames);
        if (this.#waiting() && this.line.cursor !== null) this.plan(0);
      },
      state: (state) => {
        for (const outlet of this.#outlets()) outlet.state(name, state);
      },
    });
  }

  #outlets() {
    return new Set([...this.members.values()].filter(({ joined }) => joined).map(({ outlet }) => outlet));
  }

  #waiting() {
    return [...this.members.values()].some(({ joined }) => !joined);
  }

  /** The jobs that its readers want. */
  get wanted() {
    return new Set([...this.members.values()].flatMap(({ wish }) => wish.keys ?? []));
  }

  /** @param {number} ms */
  plan(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), ms);
  }

  /** Let those in who have come, and open the stream where it lacks something for them. */
  settle() {
    const { line } = this;
    const added = [...this.members.values()].filter(({ joined }) => !joined);
    if (line.over) this.onLate(added);
    if (added.length === 0 || line.over) return;
    const cursors = added.map(({ wish }) => wish.cursor).filter((cursor) => cursor !== null);
    const unsettled = this.opened && line.cursor === null;
    if (unsettled && cursors.length > 0) return; // snapshots will come, which would hide what these still miss
    const wanted = this.wanted;
    const lacking = line.keys !== null && [...wanted].some((key) => !line.keys?.has(key));
    const least = cursors.reduce((/** @type {string | null} */ one, other) => earlier(one, other), line.cursor);
    const behind = least !== null && line.cursor !== null && least !== line.cursor;
    const standing = { fresh: !this.opened ? least === null : unsettled, at: least };
    if (lacking) line.keys = wanted;
    for (const member of added) {
      member.joined = true;
      member.outlet.joined(member.wish.id, this.name, standing, line.state);
    }
    if (!this.opened || lacking || behind) line.open(least);
    this.opened = true;
  }
}

/** From where a reader that stands at `other` misses nothing, nor what stood at `one`.
 * @param {string | null} one @param {string} other */
function earlier(one, other) {
  return one === null || !sameEpoch(one, other) || offsetOf(other) < offsetOf(one) ? other : one;
}

export class Exchange {
  /** @type {Map<string, Post>} */
  #posts = new Map();
  #count = 0;

  /**
   * @param {string} name of this exchange: the names of its lines begin so, lest they be taken for another's
   * @param {import("./transports.js").Identity} identity
   * @param {import("./timing.js").Timing} timing
   */
  constructor(name, identity, timing) {
    this.name = name;
    this.identity = identity;
    this.timing = timing;
  }

  /** @param {Wish} wish @param {Outlet} outlet */
  join(wish, outlet) {
    this.leave(wish.id);
    const post = this.#postFor(wish);
    post.members.set(wish.id, { wish, outlet, joined: false });
    post.plan(GATHER);
  }

  /** @param {Wish} wish @returns {Post} */
  #postFor({ address, keys }) {
    for (const post of this.#posts.values()) {
      const { line } = post;
      if (line.over || line.address.line !== address.line || line.address.after !== address.after) continue;
      if (address.after !== null) continue; // it starts where nobody else does
      if (!keys || fits(new Set([...post.wanted, ...keys]))) return post;
    }
    const name = `${this.name}.${++this.#count}`;
    const post = new Post(name, { ...address, keys: keys && [] }, this.identity, this.timing, (late) => {
      for (const { wish, outlet } of late) this.join(wish, outlet);
    });
    this.#posts.set(name, post);
    return post;
  }

  /** @param {string} id */
  leave(id) {
    for (const post of this.#posts.values()) {
      if (!post.members.delete(id) || post.members.size > 0) continue;
      clearTimeout(post.timer);
      post.timer = setTimeout(() => this.#drop(post), post.line.over ? 0 : LINGER);
    }
  }

  /** @param {Post} post */
  #drop(post) {
    if (post.members.size > 0) return;
    post.line.close();
    this.#posts.delete(post.name);
  }

  /** @param {string} id */
  has(id) {
    return [...this.#posts.values()].some((post) => post.members.has(id));
  }

  /** Let go of readers that are gone. @param {(id: string) => boolean} isThere */
  keepOnly(isThere) {
    for (const post of this.#posts.values()) {
      for (const id of [...post.members.keys()]) if (!isThere(id)) this.leave(id);
    }
  }

  /** Somebody waits. */
  nudge() {
    for (const { line } of this.#posts.values()) line.nudge();
  }

  /** Do what is overdue. */
  check() {
    for (const { line } of this.#posts.values()) line.check();
  }

  close() {
    for (const post of this.#posts.values()) {
      clearTimeout(post.timer);
      post.line.close();
    }
    this.#posts.clear();
  }
}
