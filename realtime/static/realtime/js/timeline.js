// The messages of a room as a list in order of their numbers, whatever order they come in. It keeps the reader's place:
// at the bottom it stays there, anywhere else nothing moves and a pill counts what is new.
import { dayKey, dayWords } from "../../intellicolab/js/times.js";
import { adopt, messageRow } from "./message.js";

const GROUP = 5 * 60_000; // ms; as in timeline.py
const NEAR_BOTTOM = 60; // px
const MOST_ROWS = 500; // while one stays at the bottom; older ones are loaded again when scrolled to
const KEEP_ROWS = 400;

const number = (row) => Number(row.dataset.number);
const isRow = (element) => element?.classList.contains("message");
const isStored = (row) => row.dataset.number !== "";

function neighbour(row, direction) {
  let other = row[direction];
  while (other && !isRow(other)) {
    other = other[direction];
  }
  return other;
}

const before = (row) => neighbour(row, "previousElementSibling");
const after = (row) => neighbour(row, "nextElementSibling");

export class Timeline {
  #list;
  #scroller;
  #queue = [];
  #scheduled = false;
  #unseen = 0;

  /** `room` is the section of the page; `onTrim()` hears when old rows were let go, `onView()` when others are in view. */
  constructor(room, { onTrim, onView }) {
    this.#list = room.querySelector(".messages");
    this.#scroller = room.querySelector(".timeline");
    this.pill = room.querySelector(".pill");
    this.onTrim = onTrim;
    this.onView = onView;
    this.#rows().forEach((row) => adopt(row));
    this.#layOut(this.#rows());
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.pill.addEventListener("click", () => this.toBottom());
  }

  get first() {
    const row = this.#list.querySelector('.message:not([data-number=""])');
    return row ? number(row) : null;
  }

  /** The number of the lowest stored message that is at least begun to be seen; 0 where there is none. */
  get newestInView() {
    const edge = this.#scroller.getBoundingClientRect().bottom;
    const below = this.isAtBottom ? null : this.#rowAt((box) => box.top >= edge);
    let row = below ? below.previousElementSibling : this.#list.lastElementChild;
    while (row && !(isRow(row) && isStored(row))) {
      row = row.previousElementSibling;
    }
    return row ? number(row) : 0;
  }

  get isAtBottom() {
    return Math.abs(this.#scroller.scrollTop) < NEAR_BOTTOM;
  }

  toBottom() {
    this.#flush();
    this.#scroller.scrollTop = 0;
    this.#scrolled();
  }

  /** Show a stored message with the next frame drawn; one of a higher version replaces what is there. */
  put(message) {
    this.#queue.push(message);
    if (!this.#scheduled) {
      this.#scheduled = true;
      // A hidden tab draws no frames, but must not pile up messages either.
      document.hidden ? setTimeout(() => this.#flush(), 250) : requestAnimationFrame(() => this.#flush());
    }
  }

  /** A page of older messages, oldest first, above what is there. */
  prepend(messages) {
    const first = this.first ?? Infinity;
    const rows = messages.filter((message) => message.number < first).map(messageRow);
    this.#keepPlace(() => {
      const next = this.#rows()[0];
      this.#list.prepend(...rows);
      this.#layOut([...rows, next]);
    });
  }

  /** Everything anew: more happened than was worth replaying. */
  replace(messages) {
    this.#queue = [];
    this.#list.querySelectorAll('.message:not([data-number=""]), .day').forEach((row) => row.remove());
    messages.forEach((message) => this.#insert(message));
    this.toBottom();
  }

  /** Pending messages stand below all others, in the order they were written. */
  append(row) {
    this.#list.append(row);
    this.#layOut([row]);
  }

  pending(id) {
    return this.#list.querySelector(`.message[data-id="${CSS.escape(id)}"][data-number=""]`);
  }

  remove(row) {
    const next = after(row);
    row.remove();
    this.#removeEmptyDays();
    if (next) {
      this.#layOut([next]);
    }
  }

  #rows() {
    return [...this.#list.querySelectorAll(".message")];
  }

  #flush() {
    const messages = this.#queue;
    this.#queue = [];
    this.#scheduled = false;
    if (!messages.length) {
      return;
    }
    const wasAtBottom = this.isAtBottom;
    let added = 0;
    this.#keepPlace(() => messages.forEach((message) => (added += this.#insert(message) ? 1 : 0)));
    if (wasAtBottom) {
      this.#trim();
    } else {
      this.#unseen += added;
      this.#showPill();
    }
    this.onView();
  }

  // Whether a message was added that is not one's own.
  #insert(message) {
    const row = messageRow(message);
    const next = this.#rowFrom(message.number);
    const there = next && number(next) === message.number ? next : null;
    this.pending(message.id)?.remove();
    if (there) {
      if (Number(there.dataset.version) < message.version) {
        there.replaceWith(row);
        this.#layOut([row, after(row)]);
      }
      return false;
    }
    this.#list.insertBefore(row, this.#placeFor(row, next));
    this.#layOut([row, after(row)]);
    return String(message.author.id) !== document.body.dataset.user;
  }

  // The first stored row whose number is not below; looked for from the end, where nearly all messages go.
  #rowFrom(wanted) {
    let found = null;
    for (let row = this.#list.lastElementChild; row; row = row.previousElementSibling) {
      if (!isRow(row) || !isStored(row)) {
        continue;
      }
      if (number(row) < wanted) {
        break;
      }
      found = row;
    }
    return found;
  }

  // Before the next message, but after the day line that belongs to the one before; after all: before what is pending.
  #placeFor(row, next) {
    if (!next) {
      return this.#rows().find((other) => !isStored(other)) ?? null;
    }
    const line = next.previousElementSibling;
    const isLine = line?.classList.contains("day");
    return isLine && line.dataset.day === dayKey(new Date(row.dataset.time)) ? next : (isLine ? line : next);
  }

  #layOut(rows) {
    for (const row of rows) {
      if (isRow(row)) {
        this.#layOutOne(row);
      }
    }
  }

  #layOutOne(row) {
    const previous = before(row);
    const date = new Date(row.dataset.time);
    const newDay = !previous || dayKey(new Date(previous.dataset.time)) !== dayKey(date);
    this.#dayLine(row, newDay ? date : null);
    row.classList.toggle("head", newDay || !this.#continues(previous, row, date));
  }

  #continues(previous, row, date) {
    const gap = date - new Date(previous.dataset.time);
    const samePerson = previous.dataset.author === row.dataset.author;
    const text = !previous.classList.contains("kind-action") && !row.classList.contains("kind-action");
    return samePerson && text && gap >= 0 && gap <= GROUP;
  }

  #dayLine(row, date) {
    const line = row.previousElementSibling;
    const has = line?.classList.contains("day");
    if (!date) {
      if (has) {
        line.remove();
      }
      return;
    }
    const day = has ? line : document.createElement("li");
    day.className = "day";
    day.dataset.day = dayKey(date);
    const words = document.createElement("span");
    words.textContent = dayWords(date);
    day.replaceChildren(words);
    if (!has) {
      row.before(day);
    }
  }

  #removeEmptyDays() {
    for (const line of this.#list.querySelectorAll(".day")) {
      if (!isRow(line.nextElementSibling)) {
        line.remove();
      }
    }
  }

  #keepPlace(change) {
    const anchor = this.isAtBottom ? null : this.#firstVisible();
    const top = anchor?.getBoundingClientRect().top;
    change();
    if (anchor?.isConnected) {
      this.#scroller.scrollTop += anchor.getBoundingClientRect().top - top;
    }
  }

  #firstVisible() {
    const edge = this.#scroller.getBoundingClientRect().top;
    return this.#rowAt((box) => box.bottom > edge);
  }

  // The first row, from above, whose box is where it is looked for, as are all below it; else the last row.
  #rowAt(isThere) {
    const rows = this.#list.children;
    let [low, high] = [0, rows.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isThere(rows[middle].getBoundingClientRect())) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return rows[low] ?? null;
  }

  #trim() {
    const rows = this.#rows();
    if (rows.length <= MOST_ROWS) {
      return;
    }
    rows.slice(0, rows.length - KEEP_ROWS).forEach((row) => row.remove());
    this.#removeEmptyDays();
    this.#layOut([this.#rows()[0]]);
    this.onTrim();
  }

  #scrolled() {
    if (this.isAtBottom) {
      this.#unseen = 0;
    }
    this.#showPill();
    this.onView();
  }

  #showPill() {
    const far = Math.abs(this.#scroller.scrollTop) > this.#scroller.clientHeight;
    this.pill.hidden = this.isAtBottom || !(this.#unseen || far);
    this.pill.classList.toggle("plain", !this.#unseen);
    const words = this.#unseen ? `${this.#unseen} new ${this.#unseen === 1 ? "message" : "messages"}` : "";
    this.pill.querySelector("span").textContent = words;
    this.pill.ariaLabel = words || "To the newest message";
  }
}
