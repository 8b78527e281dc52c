// Tells the server how far one has read: up to the newest message that was seen while the page was visible. When something
// was marked unread, here or elsewhere, it tells nothing more until one leaves the room, or writes there.
import { positionIn, readUpTo } from "./unread.js";

const PATIENCE = 5_000; // ms; the server has refused by then to mark something unread, or will never say
const BETWEEN = 1_000; // ms; scrolling over a hundred messages is two frames

export class Reader {
  #epoch; // the one in which the room was opened: a later one was begun by marking something unread
  #marking = false; // the server has not said yet that a new one has begun
  #seen = 0;
  #told = 0;
  #timer = 0;
  #patience = 0;
  #stopped = new AbortController();

  /** `timeline` says what is in view; `send(frame)` whether it went out. */
  constructor(room, timeline, send) {
    Object.assign(this, { room, timeline, send });
    this.#epoch = positionIn(room).epoch;
    const options = { signal: this.#stopped.signal };
    document.addEventListener("visibilitychange", () => this.look(), options);
    addEventListener("pagehide", () => this.#tell(), options);
  }

  get #isHeld() {
    return this.#marking || positionIn(this.room).epoch !== this.#epoch;
  }

  /** Something came, or was scrolled. */
  look() {
    if (this.#isHeld) {
      return;
    }
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

  /** The message and all above it are to count as unread. */
  markUnread(number) {
    this.#marking = this.send({ type: "room.unread", room: this.room, number });
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => (this.#marking = false), PATIENCE);
  }

  /** One wrote here, so one is reading again. */
  resume() {
    if (this.#isHeld) {
      this.#marking = false;
      this.#epoch = positionIn(this.room).epoch;
      this.#seen = this.#told = 0;
    }
  }

  /** After a reconnect, whose `hello` has said where one stands: what was told may have been lost with the connection. */
  connected() {
    this.#marking = false;
    this.#told = 0;
    this.#tell();
  }

  stop() {
    this.#stopped.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#patience);
    this.#tell();
  }

  #again() {
    this.#timer = 0;
    this.#tell();
  }

  #tell() {
    const number = this.#seen;
    const frame = { type: "room.read", room: this.room, number, epoch: this.#epoch };
    if (!this.#isHeld && number > this.#told && this.send(frame)) {
      this.#told = number;
    }
  }
}
