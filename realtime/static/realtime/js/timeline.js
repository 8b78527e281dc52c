// The messages of a room as a list in order of their numbers, whatever order they come in. It holds a stretch of them, and
// an edge that is shown says that there are more beyond that end. It keeps the reader's place: at the bottom it stays
// there, anywhere else nothing moves and a pill counts what is new.
import { dayKey } from "../../intellicolab/js/times.js";
import { after, isRow, layOut, removeEmptyDays } from "./layout.js";
import { adopt, messageRow } from "./message.js";

const NEAR_BOTTOM = 60; // px
const MOST_ROWS = 500; // stored messages in the page; beyond that those far from what is read are let go
const KEEP_ROWS = 400; // when some are let go; the others are loaded again when scrolled to

const number = (row) => Number(row.dataset.number);
const isStored = (row) => row.dataset.number !== "";
const isMine = (message) => String(message.author.id) === document.body.dataset.user;

// The number of the nearest stored message from here on upwards; 0 without any.
function numberFrom(row) {
  while (row && !(isRow(row) && isStored(row))) {
    row = row.previousElementSibling;
  }
  return row ? number(row) : 0;
}

// The index of the first element, from above, whose box is where it is looked for, as are those of all below; else their
// count.
function indexFrom(elements, isThere) {
  let [low, high] = [0, elements.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isThere(elements[middle].getBoundingClientRect())) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

function newLine() {
  const line = document.createElement("li");
  line.className = "new-line";
  const words = document.createElement("span");
  words.textContent = "New";
  line.append(words);
  return line;
}

export class Timeline {
  #list;
  #scroller;
  #older; // the edges
  #newer;
  #newest; // the highest number heard of, loaded or not
  #queue = [];
  #scheduled = false;
  #unseen = 0;
  #firstNew = 0; // the number of the message that the "new" line stands before; 0 for none

  /**
   * `room` is the section of the page; `onView()` hears when other rows are in view, `onNewest()` is the way there, and
   * `onRow(row)` gets each row that is made.
   */
  constructor(room, { onView, onNewest, onRow }) {
    this.#list = room.querySelector(".messages");
    this.#scroller = room.querySelector(".timeline");
    this.#older = room.querySelector(".older");
    this.#newer = room.querySelector(".newer");
    this.#newest = Number(room.dataset.last);
    this.pill = room.querySelector(".pill");
    Object.assign(this, { onView, onRow });
    this.#rows().forEach((row) => adopt(row));
    layOut(this.#rows());
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#scroller.addEventListener("keydown", (event) => this.#pressed(event, onNewest));
    this.pill.addEventListener("click", onNewest);
  }

  /** This message and what is below it is new to the reader: it stands under a line that says so. */
  markNew(wanted) {
    this.#firstNew = wanted <= this.#newest ? wanted : 0; // what comes later is new without being told so
    this.#keepPlace(() => this.#placeNewLine());
  }

  /** The lowest stored row of which `holds(row)` is true, if any. */
  lastWhere(holds) {
    return this.#rows().filter(isStored).findLast(holds);
  }

  /** The lowest number there is; null without any. */
  get first() {
    const row = this.#list.querySelector('.message:not([data-number=""])');
    return row ? number(row) : null;
  }

  /** The highest number there is; 0 without any. */
  get last() {
    return numberFrom(this.#list.lastElementChild);
  }

  /** Whether what is loaded ends below the newest messages: these are not shown as they come. */
  get isDetached() {
    return !this.#newer.hidden;
  }

  /** Whether every message heard of is loaded, or above what is. */
  get reachesNewest() {
    return this.last >= this.#newest;
  }

  /** The number of the lowest stored message that is at least begun to be seen; 0 where there is none. */
  get newestInView() {
    const edge = this.#scroller.getBoundingClientRect().bottom;
    const rows = this.#rows();
    const below = this.isAtBottom ? null : rows[indexFrom(rows, (box) => box.top >= edge)];
    return numberFrom(below ? below.previousElementSibling : this.#list.lastElementChild);
  }

  /** At the newest message; the lower end of a detached timeline is not. */
  get isAtBottom() {
    return !this.isDetached && Math.abs(this.#scroller.scrollTop) < NEAR_BOTTOM;
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
  addOlder(messages) {
    const first = this.first ?? Infinity;
    const rows = messages.filter((message) => message.number < first).map((message) => this.#row(message));
    this.#keepPlace(() => {
      const next = this.#rows()[0];
      this.#list.prepend(...rows);
      layOut([...rows, next]);
      this.#placeNewLine();
    });
    this.#trim();
  }

  /** A page of newer messages, oldest first, below what is there. */
  addNewer(messages) {
    this.#keepPlace(() => {
      messages.forEach((message) => this.#insert(message));
      this.#placeNewLine();
    });
    this.#trim();
  }

  /** Make a change to the edges that moves no row. */
  still(change) {
    this.#keepPlace(change);
    this.#scrolled();
  }

  /** Everything anew: more happened than was worth replaying. */
  replace(messages) {
    this.#queue = [];
    this.#list.querySelectorAll('.message:not([data-number=""]), .day').forEach((row) => row.remove());
    messages.forEach((message) => this.#insert(message));
    this.#placeNewLine();
    this.toBottom();
  }

  /** Pending messages stand below all others and the newer edge, in the order they were written. */
  addPending(row) {
    this.#list.append(row);
    layOut([row]);
  }

  pending(id) {
    return this.#list.querySelector(`.message[data-id="${CSS.escape(id)}"][data-number=""]`);
  }

  remove(row) {
    const next = after(row);
    row.remove();
    removeEmptyDays(this.#list);
    if (next) {
      layOut([next]);
    }
  }

  #row(message) {
    const row = messageRow(message);
    this.onRow(row);
    return row;
  }

  // Above the day line of its message; while that is not loaded, nowhere.
  #placeNewLine() {
    const row = this.#firstNew && this.#list.querySelector(`.message[data-number="${this.#firstNew}"]`);
    const line = this.#list.querySelector(".new-line") ?? newLine();
    if (!row) {
      line.remove();
      return;
    }
    const above = row.previousElementSibling;
    const place = above?.classList.contains("day") ? above : row;
    if (place.previousElementSibling !== line) {
      place.before(line);
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
    const isRead = this.isAtBottom;
    let added = 0;
    this.#keepPlace(() => {
      messages.forEach((message) => (added += this.#show(message) ? 1 : 0));
      this.#placeNewLine();
    });
    this.#trim();
    if (!isRead) {
      this.#unseen += added;
      this.#showPill();
    }
    this.onView();
  }

  // Whether a message was added, here or beyond what is loaded, that is not one's own. What is outside comes with its page.
  #show(message) {
    const isNews = message.number > this.#newest;
    if (this.#isOutside(message.number)) {
      this.#newest = Math.max(this.#newest, message.number);
      this.#dropPending(message.id);
      return isNews && !isMine(message);
    }
    return this.#insert(message) && !isMine(message);
  }

  #isOutside(wanted) {
    const isAbove = !this.#older.hidden && wanted < (this.first ?? 0);
    return isAbove || (this.isDetached && wanted > this.last);
  }

  // Whether it was not there yet.
  #insert(message) {
    this.#newest = Math.max(this.#newest, message.number);
    const row = this.#row(message);
    const next = this.#rowFrom(message.number);
    const there = next && number(next) === message.number ? next : null;
    this.#dropPending(message.id);
    if (there) {
      if (Number(there.dataset.version) < message.version) {
        there.replaceWith(row);
        layOut([row, after(row)]);
      }
      return false;
    }
    this.#list.insertBefore(row, this.#placeFor(row, next));
    layOut([row, after(row)]);
    return true;
  }

  // With its day line, if it was the only row of that day below the newer edge.
  #dropPending(id) {
    const row = this.pending(id);
    if (row) {
      this.remove(row);
    }
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

  // Before the next message, but after the day line that belongs to the one before; after all: above what is pending.
  #placeFor(row, next) {
    if (!next) {
      return this.#newer;
    }
    const line = next.previousElementSibling;
    const isLine = line?.classList.contains("day");
    return isLine && line.dataset.day === dayKey(new Date(row.dataset.time)) ? next : (isLine ? line : next);
  }

  // By the lower end of the row that is seen first: its upper one moves when it gets or loses its name or day line. An
  // edit puts another element in the row's place.
  #keepPlace(change) {
    const anchor = this.isAtBottom ? null : this.#firstVisible();
    const bottom = anchor?.getBoundingClientRect().bottom;
    change();
    const there = anchor?.isConnected ? anchor : anchor && this.#byId(anchor.dataset.id);
    if (there) {
      this.#scroller.scrollTop += there.getBoundingClientRect().bottom - bottom;
    }
  }

  #byId(id) {
    return this.#list.querySelector(`.message[data-id="${CSS.escape(id)}"]`);
  }

  #firstVisible() {
    const rows = this.#rows();
    return rows[this.#firstVisibleOf(rows)];
  }

  #firstVisibleOf(rows) {
    const edge = this.#scroller.getBoundingClientRect().top;
    return indexFrom(rows, (box) => box.bottom > edge);
  }

  // Rows around the reader are kept, on both sides as many. So what is let go is pages away from the view, whichever way
  // one scrolls, and not loaded again at once.
  #trim() {
    const rows = this.#rows().filter(isStored);
    if (rows.length <= MOST_ROWS) {
      return;
    }
    const spare = rows.length - KEEP_ROWS;
    const above = this.#firstVisibleOf(rows) - KEEP_ROWS / 2;
    const start = this.isAtBottom ? spare : Math.min(Math.max(above, 0), spare);
    this.#keepPlace(() => {
      this.#letGo(rows.slice(0, start), this.#older);
      this.#letGo(rows.slice(start + KEEP_ROWS), this.#newer);
      removeEmptyDays(this.#list);
      layOut([rows[start], after(rows[start + KEEP_ROWS - 1])]);
      this.#placeNewLine();
    });
  }

  #letGo(rows, edge) {
    if (!rows.length) {
      return;
    }
    edge.hidden = false;
    if (rows.some((row) => row.contains(document.activeElement))) {
      this.#scroller.focus({ preventScroll: true }); // or keys would scroll nothing any more
    }
    rows.forEach((row) => row.remove());
  }

  #scrolled() {
    if (this.isAtBottom) {
      this.#unseen = 0;
    }
    this.#showPill();
    this.onView();
  }

  // End leads to the end of the room, not to that of what is loaded.
  #pressed(event, onNewest) {
    if (event.key === "End" && this.isDetached) {
      event.preventDefault();
      onNewest();
    }
  }

  #showPill() {
    const far = this.isDetached || Math.abs(this.#scroller.scrollTop) > this.#scroller.clientHeight;
    this.pill.hidden = this.isAtBottom || !(this.#unseen || far);
    this.pill.classList.toggle("plain", !this.#unseen);
    const words = this.#unseen ? `${this.#unseen} new ${this.#unseen === 1 ? "message" : "messages"}` : "";
    this.pill.querySelector("span").textContent = words;
    this.pill.ariaLabel = words || "To the newest message";
  }
}
