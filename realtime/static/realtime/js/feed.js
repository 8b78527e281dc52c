// The version rule of docs/protocol.md: a change that is not newer is ignored, the next one applied, and for a gap the
// server is asked. Whatever order frames come in, however often, the timeline ends up the same.
import { doubling, jittered } from "./backoff.js";

const ANSWER_WITHIN = 10_000; // ms; then the question is asked again
const MOST_HELD = 500; // frames kept while an answer or a page is on its way; for what is beyond, the server is asked
const FIRST_DELAY = 500; // ms, between loads of a page that fail
const LONGEST_DELAY = 30_000;

const pause = (delay) => new Promise((resolve) => setTimeout(resolve, delay));

export class Feed {
  #held = [];
  #known; // the highest version heard of
  #stale = null; // {from, upto}: rows of an older version were added, which missed what changed between these
  #questions = []; // versions asked from on this connection, whose answers are still to come, in this order
  #timer = 0;
  #loading = false;
  #stopped = false;

  /**
   * `apply(change)` shows one; `resume(version)` asks for later changes and says whether that went out; `load()` brings
   * the newest page, or null where that fails; `replace(page)` shows it in place of everything.
   */
  constructor(version, { apply, resume, load, replace }) {
    Object.assign(this, { version, apply, resume, load, replace });
    this.#known = version;
  }

  /** The room is left: ask nothing more. */
  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** A frame with a version: a message, the room's settings, or who is in it. */
  receive(change) {
    if (change.version <= this.version) {
      return;
    }
    this.#known = Math.max(this.#known, change.version);
    if (change.version === this.version + 1 && !this.#loading) {
      this.#take(change);
    } else if (this.#held.length < MOST_HELD) {
      this.#held.push(change);
    }
    this.#goOn();
  }

  /** A `room.changes` frame: the answer to `resume`, one page of it, or more than it is worth to replay. */
  changes(frame) {
    const asked = this.#answered();
    if (frame.reset) {
      this.reload();
      return;
    }
    this.#known = Math.max(this.#known, frame.upto + (frame.more ? 1 : 0));
    if (this.#loading) {
      return; // the page that is on its way replaces it all
    }
    frame.changes.forEach((change) => this.apply(change));
    this.#refreshed(asked, frame.upto);
    this.version = Math.max(this.version, frame.upto);
    this.#goOn();
  }

  /** After a (re)connect the server says where the room stands; answers asked for before are lost. */
  connected(version) {
    this.#questions = [];
    this.#answered();
    this.#known = Math.max(this.#known, version);
    this.#goOn();
  }

  /** The tab was asleep: ask what changed, even if nothing seems to be missing. */
  wake() {
    if (!this.#loading) {
      this.#ask();
    }
  }

  /** Rows as they were at `version` were added. Changes since then came while they were not there to be changed. */
  added(version) {
    if (version < this.version) {
      this.#stale = { from: Math.min(version, this.#stale?.from ?? version), upto: this.version };
      this.#goOn();
    }
  }

  /** Load the room anew, again and again until it is there; one load at a time, and what comes meanwhile is held. */
  async reload() {
    if (this.#loading) {
      return;
    }
    this.#loading = true;
    this.#held = [];
    const page = await this.#loaded();
    this.#loading = false;
    if (page && !this.#stopped) {
      this.#begin(page);
    }
  }

  async #loaded() {
    let page = await this.load();
    for (let failures = 1; !page && !this.#stopped; failures += 1) {
      await pause(jittered(doubling(failures, FIRST_DELAY, LONGEST_DELAY)));
      page = this.#stopped ? null : await this.load();
    }
    return page;
  }

  #begin(page) {
    this.#stale = null;
    this.version = Math.max(this.version, page.version);
    this.replace(page);
    this.added(page.version);
    this.#goOn();
  }

  #take(change) {
    this.apply(change);
    this.version = change.version;
  }

  // An answer tells what happened after the version that was asked from. Up to `stale.upto` is enough: whatever is later
  // than the rows has reached them.
  #refreshed(asked, upto) {
    if (this.#stale && asked <= this.#stale.from) {
      this.#stale.from = Math.max(this.#stale.from, upto);
      this.#stale = upto < this.#stale.upto ? this.#stale : null;
    }
  }

  #goOn() {
    if (this.#loading) {
      return;
    }
    this.#release();
    if (this.#known > this.version || this.#stale) {
      this.#ask();
    }
  }

  #release() {
    this.#held.sort((a, b) => a.version - b.version);
    while (this.#held.length && this.#held[0].version <= this.version + 1) {
      const change = this.#held.shift();
      if (change.version > this.version) {
        this.#take(change);
      }
    }
  }

  // The version that the answer starts from. Frames don't say it, and an `error` answers without taking its place in the
  // order: so the latest of all that it could be, as then nothing is believed to be covered that is not.
  #answered() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const asked = this.#questions.length ? Math.max(...this.#questions) : Infinity;
    this.#questions.shift();
    return asked;
  }

  #ask() {
    if (this.#timer || this.#stopped) {
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#goOn();
    }, ANSWER_WITHIN);
    const from = Math.min(this.version, this.#stale?.from ?? this.version);
    if (this.resume(from)) {
      this.#questions.push(from);
    }
  }
}
