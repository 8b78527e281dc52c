// Messages on their way: kept until the server says that they are stored, sent again with the same id after a
// reconnect or a reload. The server knows a message by its sender and id, so sending again never doubles it.
import { newId } from "./ids.js";
import { erase, names, read, write } from "./store.js";

const ANSWER_WITHIN = 20_000; // ms; the server promises a commit or a refusal well before
const SLOW = "The server has not answered yet.";

export class Outbox {
  #items = new Map();
  #timers = new Map();

  /** `send(frame)` says whether a frame went out; `onChange(item)` hears of every item that is added or changes. */
  constructor({ send, onChange }) {
    this.send = send;
    this.onChange = onChange;
    for (const name of names("outbox:")) {
      this.#restore(name);
    }
  }

  /** The items of a room, in the order they were written. */
  of(room) {
    return [...this.#items.values()].filter((item) => item.room === room).sort((a, b) => a.at - b.at);
  }

  add(room, text) {
    const item = { id: newId(), room, text, at: Date.now(), state: "waiting" };
    this.#items.set(item.id, item);
    this.#changed(item);
    this.#post(item);
  }

  /** After a (re)connect: everything that is not known to be stored or refused, oldest first. */
  flush() {
    const waiting = [...this.#items.values()].filter((item) => item.state === "waiting");
    waiting.sort((a, b) => a.at - b.at).forEach((item) => this.#post(item));
  }

  /** The connection is gone: an answer can't come, so none is late. */
  pause() {
    this.#timers.forEach(clearTimeout);
    this.#timers.clear();
  }

  /** The server has stored it. The item goes when its message shows up in the timeline. */
  stored(id, version) {
    const item = this.#items.get(id);
    if (item) {
      this.#forget(item);
      Object.assign(item, { state: "stored", version });
      this.onChange(item);
    }
  }

  /** Its message has come back: the timeline shows it in place of the pending one. */
  settle(id) {
    const item = this.#items.get(id);
    if (item) {
      this.#forget(item);
      this.#items.delete(id);
    }
  }

  failed(id, reason, retryAfter = 0) {
    const item = this.#items.get(id);
    if (item && item.state === "waiting") {
      clearTimeout(this.#timers.get(id));
      Object.assign(item, { state: "failed", reason, retryAt: retryAfter ? Date.now() + retryAfter * 1000 : 0 });
      this.#changed(item);
    }
  }

  retry(id) {
    const item = this.#items.get(id);
    Object.assign(item, { state: "waiting", reason: "", retryAt: 0 });
    this.#changed(item);
    this.#post(item);
  }

  /** Take it away, pending row included: the timeline is past it, or the person gave it up. */
  drop(id) {
    const item = this.#items.get(id);
    if (item) {
      this.settle(id);
      item.state = "gone";
      this.onChange(item);
    }
  }

  #restore(name) {
    try {
      const item = JSON.parse(read(name));
      this.#items.set(item.id, item);
    } catch {
      erase(name);
    }
  }

  #changed(item) {
    write(`outbox:${item.id}`, JSON.stringify(item));
    this.onChange(item);
  }

  #forget(item) {
    clearTimeout(this.#timers.get(item.id));
    this.#timers.delete(item.id);
    erase(`outbox:${item.id}`);
  }

  #post(item) {
    if (this.send({ type: "message.send", id: item.id, room: item.room, text: item.text })) {
      clearTimeout(this.#timers.get(item.id));
      this.#timers.set(item.id, setTimeout(() => this.failed(item.id, SLOW), ANSWER_WITHIN));
    }
  }
}
