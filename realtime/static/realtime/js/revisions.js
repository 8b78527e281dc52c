// What one does to messages that are there: edit one's own, delete one's own or, as an owner of the room, anybody's. One
// form is open at a time, and stays with its message whatever becomes of the row.
import { Editor } from "./editor.js";
import { Menu } from "./menu.js";
import { Question } from "./question.js";

const isMine = (row) => row.dataset.author === document.body.dataset.user;
const isDeleted = (row) => row.classList.contains("deleted");

export class Revisions {
  #open = null;

  /** `onUnread(number)` is asked to mark a message unread; `onClose()` hears that a form is gone. */
  constructor(section, { requests, timeline, onUnread, onClose }) {
    Object.assign(this, { section, timeline, onUnread });
    this.room = Number(section.dataset.room);
    this.hooks = { requests, onClose: (form) => this.#closed(form, onClose) };
    this.menu = new Menu(section, {
      allows: (row, action) => this.#allows(row, action),
      onChoice: (action, row) => this.#chosen(action, row),
    });
  }

  /** A row came, or came anew. */
  dress(row) {
    if (this.#open && Number(row.dataset.number) === this.#open.number) {
      this.#open.attach(row);
    }
  }

  /** Whether there was a message of one's own to edit. */
  editLast() {
    const row = this.timeline.lastWhere((each) => this.#allows(each, "edit"));
    if (row) {
      this.#chosen("edit", row);
    }
    return Boolean(row);
  }

  #allows(row, action) {
    if (action === "unread") {
      return true;
    }
    const isOpen = this.section.querySelector(".archived-note").hidden;
    const isOwner = this.section.dataset.role === "owner";
    return !isDeleted(row) && (action === "edit" ? isMine(row) && isOpen : isMine(row) || isOwner);
  }

  #chosen(action, row) {
    const number = Number(row.dataset.number);
    if (action === "unread") {
      this.onUnread(number);
    } else if (action === "edit") {
      this.#show(new Editor(this.room, this.section.dataset.messages, number, this.hooks), row);
    } else {
      this.#show(new Question(this.room, number, this.hooks), row);
    }
  }

  #show(form, row) {
    this.#open?.putAway();
    this.#open = form;
    this.timeline.still(() => form.attach(row));
    form.focus();
  }

  #closed(form, onClose) {
    if (form === this.#open) {
      this.#open = null;
      onClose();
    }
  }
}
