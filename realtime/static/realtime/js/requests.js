// Edits and deletions on their way: sent again with the same id after a reconnect, until the server has answered. To do
// one twice is to do it once.
import { newId } from "./ids.js";

const ANSWER_WITHIN = 20_000; // ms
const SLOW = "The server has not answered yet. Try again.";

export class Requests {
  #waiting = new Map(); // id → {frame, onAnswer, onAway, timer}

  /** `send(frame)` says whether a frame went out. */
  constructor(send) {
    this.send = send;
  }

  /** `onAnswer(reason)` hears why it was refused, or "" when it is stored; `onAway()` that it waits for a connection. */
  ask(frame, { onAnswer, onAway }) {
    const id = newId();
    this.#waiting.set(id, { frame: { ...frame, id }, onAnswer, onAway, timer: 0 });
    this.#post(id);
    return id;
  }

  /** After a (re)connect. */
  flush() {
    [...this.#waiting.keys()].forEach((id) => this.#post(id));
  }

  /** The connection is gone: what has no answer yet is sent again when it is back. */
  pause() {
    for (const { timer, onAway } of this.#waiting.values()) {
      clearTimeout(timer);
      onAway();
    }
  }

  /** An `ack` or an `error` with this id. */
  answered(id, reason = "") {
    const request = this.#waiting.get(id);
    this.forget(id);
    request?.onAnswer(reason);
  }

  /** Nobody waits for the answer any more, and nothing is sent again. */
  forget(id) {
    clearTimeout(this.#waiting.get(id)?.timer);
    this.#waiting.delete(id);
  }

  #post(id) {
    const request = this.#waiting.get(id);
    clearTimeout(request.timer);
    if (this.send(request.frame)) {
      request.timer = setTimeout(() => this.answered(id, SLOW), ANSWER_WITHIN);
    } else {
      request.onAway();
    }
  }
}
