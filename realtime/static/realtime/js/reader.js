// Tells the server how far one has read: up to the newest message that was seen while the page was visible.
import { readUpTo } from "./unread.js";

const TOGETHER = 1_000; // ms; scrolling over a hundred messages is one frame

export class Reader {
  #seen = 0;
  #told = 0;
  #timer = 0;
  #watch = () => this.look();

  /** `timeline` says what is in view; `send(frame)` whether it went out. */
  constructor(room, timeline, send) {
    Object.assign(this, { room, timeline, send });
    document.addEventListener("visibilitychange", this.#watch);
  }

  /** Something came, or was scrolled. */
  look() {
    const newest = document.visibilityState === "visible" ? this.timeline.newestInView : 0;
    if (newest > this.#seen) {
      this.#seen = newest;
      readUpTo(this.room, newest);
    }
    if (this.#seen > this.#told) {
      this.#timer ||= setTimeout(() => this.#tell(), TOGETHER);
    }
  }

  /** What has not been told yet is told now, after a reconnect too: a frame may have been lost with the connection. */
  connected() {
    this.#told = 0;
    this.#tell();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.#watch);
    this.#tell();
  }

  #tell() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const number = this.#seen;
    if (number > this.#told && this.send({ type: "room.read", room: this.room, number })) {
      this.#told = number;
    }
  }
}
