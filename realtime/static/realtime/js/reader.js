// Tells the server how far one has read: up to the newest message that was seen while the page was visible.
import { readUpTo } from "./unread.js";

const BETWEEN = 1_000; // ms; scrolling over a hundred messages is two frames

export class Reader {
  #seen = 0;
  #told = 0;
  #timer = 0;
  #stopped = new AbortController();

  /** `timeline` says what is in view; `send(frame)` whether it went out. */
  constructor(room, timeline, send) {
    Object.assign(this, { room, timeline, send });
    const options = { signal: this.#stopped.signal };
    document.addEventListener("visibilitychange", () => this.look(), options);
    addEventListener("pagehide", () => this.#tell(), options);
  }

  /** Something came, or was scrolled. */
  look() {
    const newest = document.visibilityState === "visible" ? this.timeline.newestInView : 0;
    if (newest > this.#seen) {
      this.#seen = newest;
      readUpTo(this.room, newest);
    }
    if (this.#seen > this.#told && !this.#timer) {
      this.#tell();
      this.#timer = setTimeout(() => this.#again(), BETWEEN);
    }
  }

  /** After a reconnect: what was told may have been lost with the connection. */
  connected() {
    this.#told = 0;
    this.#tell();
  }

  stop() {
    this.#stopped.abort();
    clearTimeout(this.#timer);
    this.#tell();
  }

  #again() {
    this.#timer = 0;
    this.#tell();
  }

  #tell() {
    const number = this.#seen;
    if (number > this.#told && this.send({ type: "room.read", room: this.room, number })) {
      this.#told = number;
    }
  }
}
