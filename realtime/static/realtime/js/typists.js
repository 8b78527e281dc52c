// Who is typing in the open room. News of it may be lost, so each holds for some seconds only.

const HOLDS = 5_000; // ms, as docs/protocol.md has it

function words(names) {
  if (names.length > 2) {
    return "Several people are typing…";
  }
  return names.length ? `${names.join(" and ")} ${names.length === 1 ? "is" : "are"} typing…` : "";
}

export class Typists {
  #people = new Map(); // id → {name, timer}

  /** `line` is the place above the composer, which an archived room has not. It is not read out: it would never end. */
  constructor(line) {
    this.line = line;
  }

  typing({ id, name }) {
    this.#forget(id);
    this.#people.set(id, { name, timer: setTimeout(() => this.stopped(id), HOLDS) });
    this.#show();
  }

  /** The time is over, or what they typed has come. */
  stopped(id) {
    this.#forget(id);
    this.#show();
  }

  /** The room is left, or the connection is gone. */
  clear() {
    [...this.#people.keys()].forEach((id) => this.stopped(id));
  }

  #forget(id) {
    clearTimeout(this.#people.get(id)?.timer);
    this.#people.delete(id);
  }

  #show() {
    if (this.line) {
      this.line.textContent = words([...this.#people.values()].map(({ name }) => name));
    }
  }
}
