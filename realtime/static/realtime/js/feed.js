// The version rule of docs/protocol.md: a change that is not newer is ignored, the next one applied, and for a gap the
// server is asked. Whatever order frames come in, however often, the timeline ends up the same.

const ANSWER_WITHIN = 10_000; // ms; then the question is asked again
const MOST_HELD = 500; // frames kept while the answer is on its way; beyond it the server is simply asked again

export class Feed {
  #held = [];
  #asking = false;
  #overflowed = false;
  #timer = 0;

  /** `apply(message)` shows one; `resume(version)` asks for later changes; `reset()` loads the room anew. */
  constructor(version, { apply, resume, reset }) {
    Object.assign(this, { version, apply, resume, reset });
  }

  /** The room is left: ask nothing more. */
  stop() {
    clearTimeout(this.#timer);
  }

  /** A `message.new` frame. */
  receive(message) {
    if (message.version <= this.version) {
      return;
    }
    if (message.version === this.version + 1) {
      this.#take(message);
      this.#release();
      return;
    }
    this.#hold(message);
    this.#ask();
  }

  /** A `room.changes` frame: the answer to `resume`, one page of it, or more than it is worth to replay. */
  changes(frame) {
    this.#answered();
    if (frame.reset) {
      this.#held = [];
      this.reset();
      return;
    }
    frame.messages.forEach((message) => this.apply(message));
    this.version = Math.max(this.version, frame.upto);
    this.#release();
    if (frame.more || this.#held.length || this.#overflowed) {
      this.#overflowed = false;
      this.#ask();
    }
  }

  /** After a (re)connect the server says where the room stands; an answer asked for before is lost. */
  connected(version) {
    this.#answered();
    if (version > this.version) {
      this.#ask();
    }
  }

  #take(message) {
    this.apply(message);
    this.version = message.version;
  }

  #hold(message) {
    if (this.#held.length < MOST_HELD) {
      this.#held.push(message);
    } else {
      this.#overflowed = true;
    }
  }

  #release() {
    this.#held.sort((a, b) => a.version - b.version);
    while (this.#held.length && this.#held[0].version <= this.version + 1) {
      const message = this.#held.shift();
      if (message.version > this.version) {
        this.#take(message);
      }
    }
  }

  #answered() {
    this.#asking = false;
    clearTimeout(this.#timer);
  }

  #ask() {
    if (this.#asking) {
      return;
    }
    this.#asking = true;
    this.#timer = setTimeout(() => {
      this.#answered();
      this.#ask();
    }, ANSWER_WITHIN);
    this.resume(this.version);
  }
}
