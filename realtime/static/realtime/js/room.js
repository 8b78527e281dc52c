// The open room: its timeline, composer and place in the stream of changes.
import { announce } from "./announcer.js";
import { Composer } from "./composer.js";
import { Feed } from "./feed.js";
import { Header } from "./header.js";
import { pendingRow, showState } from "./message.js";
import { fetchPage, NEWER, OLDER, Pages } from "./pages.js";
import { Reader } from "./reader.js";
import { Revisions } from "./revisions.js";
import { Timeline } from "./timeline.js";
import { Typists } from "./typists.js";
import { positionIn } from "./unread.js";

/** Oneself, as an author of messages that the server has not sent back yet. */
function me() {
  const { user, name, initials, tint, avatar } = document.body.dataset;
  return { id: Number(user), name, initials, tint, avatar };
}

export class Room {
  // What happens to each kind of change, once its turn has come.
  #changes = {
    "message.new": (change) => this.#show(change),
    "room.settings": (change) => this.#settings(change),
    "room.member": (change) => this.header.member(change),
  };

  /** `section` is the page's room; `send(frame)`, `outbox` and `requests` lead to the server. */
  constructor(section, { send, outbox, requests, longest }) {
    this.id = Number(section.dataset.room);
    this.address = section.dataset.messages;
    this.outbox = outbox;
    this.header = new Header(section);
    this.timeline = new Timeline(section, {
      onView: () => this.reader.look(),
      onNewest: () => this.#toNewest(),
      onRow: (row) => this.revisions.dress(row),
    });
    this.reader = new Reader(this.id, this.timeline, send);
    this.typists = new Typists(section.querySelector(".typing"));
    this.revisions = new Revisions(section, {
      requests,
      timeline: this.timeline,
      onUnread: (number) => this.reader.markUnread(number),
      onClose: () => this.composer?.focus(),
    });
    this.older = this.#pages(section, OLDER, () => this.timeline.first, (page) => this.#addOlder(page));
    this.newer = this.#pages(section, NEWER, () => this.timeline.last, (page) => this.#addNewer(page));
    this.feed = new Feed(Number(section.dataset.version), {
      apply: (change) => this.#apply(change),
      resume: (version) => send({ type: "room.resume", room: this.id, version }),
      load: () => this.#newest(),
      replace: (page) => this.#replace(page),
    });
    this.#compose(section, longest, send);
    outbox.of(this.id).forEach((item) => this.itemChanged(item));
    section.addEventListener("click", (event) => this.#act(event));
    this.#markUnread();
    this.reader.look();
  }

  leave() {
    this.reader.stop();
    this.typists.clear();
    this.older.stop();
    this.newer.stop();
    this.feed.stop();
  }

  /** The socket is open (again), and the room stands at this version. */
  connected(version) {
    this.feed.connected(version);
    this.reader.connected();
  }

  /** The tab was asleep, or the network away: frames may be missing without a sign. */
  wake() {
    this.feed.wake();
  }

  /** Something was marked unread, here or in another tab. */
  markedUnread() {
    this.#markUnread();
  }

  /** A frame that concerns this room. */
  receive(frame) {
    if (frame.type === "typing") {
      this.#typing(frame.user);
    } else if (frame.type in this.#changes) {
      this.feed.receive(frame);
    } else if (frame.type === "room.changes") {
      this.feed.changes(frame);
    } else if (frame.type === "room.joined") {
      this.feed.connected(frame.version);
    }
  }

  /** A message of one's own was written, stored, refused or is gone. */
  itemChanged(item) {
    if (item.state === "stored" && item.version <= this.feed.version) {
      this.outbox.drop(item.id); // a resend of what is in the timeline already, or above what is loaded
      return;
    }
    const row = this.timeline.pending(item.id);
    if (item.state === "gone") {
      if (row) {
        this.timeline.remove(row);
      }
    } else if (row) {
      showState(row, item);
    } else {
      this.timeline.addPending(pendingRow(item, me()));
    }
  }

  #pages(section, end, from, onPage) {
    return new Pages(section, end, { from, onPage, still: (change) => this.timeline.still(change) });
  }

  // The first unread message stands under a line; what comes after the room was opened does not move it.
  #markUnread() {
    this.timeline.markNew(positionIn(this.id).number + 1);
  }

  #typing(user) {
    if (user.id !== me().id) {
      this.typists.typing(user);
    }
  }

  #settings(change) {
    this.header.settings(change);
    if (change.archived) {
      this.typists.clear();
      this.header.archived(this.composer?.close());
    }
  }

  #compose(section, longest, send) {
    const form = section.querySelector(".composer");
    if (form) {
      this.composer = new Composer(form, this.id, {
        longest,
        onSend: (text) => this.#send(text),
        onTyping: () => send({ type: "typing", room: this.id }),
        onEditLast: () => this.revisions.editLast(),
      });
      this.composer.focus();
    }
  }

  #apply(change) {
    this.#changes[change.type]?.(change);
  }

  // The message stands at the bottom at once, also while the newest ones are not loaded and can't be.
  #send(text) {
    this.outbox.add(this.id, text);
    this.#toNewest();
  }

  #toNewest() {
    this.timeline.toBottom();
    if (this.timeline.isDetached) {
      this.feed.reload();
    }
  }

  #show(message) {
    this.timeline.put(message);
    this.outbox.settle(message.id);
    const isNews = message.version > this.feed.version; // and not asked for once more after an older page
    if (isNews && !message.edited && !message.deleted) {
      this.#said(message);
    }
  }

  // Not read out: edits, and what one wrote oneself, in whichever tab.
  #said({ author, html }) {
    this.typists.stopped(author.id);
    if (author.id === me().id) {
      this.reader.resume();
    } else {
      const plain = new DOMParser().parseFromString(html, "text/html").body.textContent;
      announce(`${author.name}: ${plain}`);
    }
  }

  // A page is as old as its version: what changed since then, while its messages were not loaded, was dropped.
  #addOlder(page) {
    this.older.setMore(page.more); // first: rows that are let go as these come make it true again
    this.timeline.addOlder(page.messages);
    this.feed.added(page.version);
  }

  // The newest are there only when all that was dropped while this page was on its way is there, too.
  #addNewer(page) {
    this.timeline.addNewer(page.messages);
    this.newer.setMore(page.more || !this.timeline.reachesNewest);
    this.feed.added(page.version);
  }

  async #newest() {
    try {
      return await fetchPage(this.address);
    } catch {
      return null; // tried again by who asked
    }
  }

  #replace(page) {
    this.newer.setMore(false);
    this.older.setMore(page.more);
    this.timeline.replace(page.messages);
    page.messages.forEach((message) => this.outbox.settle(message.id));
    this.outbox.of(this.id).forEach((item) => this.itemChanged(item)); // stored above this page: nothing more will come
  }

  #act(event) {
    const action = event.target.closest("[data-action]")?.dataset.action;
    const id = event.target.closest(".message")?.dataset.id;
    if (action === "retry") {
      this.outbox.retry(id);
    } else if (action === "discard") {
      this.outbox.drop(id);
      this.composer?.focus();
    }
  }
}
