// Where one writes: it grows with the text, keeps a draft a room, and hands the text over on Enter.
import { grow, hasKeyboard, isEnter } from "./field.js";
import { erase, read, write } from "./store.js";

const NEARLY = 0.9; // of the longest message: from here the count is shown
const TYPING_EVERY = 3_000; // ms: so often others are told that one goes on typing

export class Composer {
  #told = 0; // when others heard last that one is typing

  /**
   * `onSend(text)` takes what was written; `onTyping()` tells that one is typing, and says whether that went out;
   * `onEditLast()` says whether there was a message to edit; `longest()` is the most characters a message may have.
   */
  constructor(form, room, { onSend, onTyping, onEditLast, longest }) {
    Object.assign(this, { form, onSend, onTyping, onEditLast, longest });
    this.field = form.querySelector("textarea");
    this.count = form.querySelector(".count");
    this.name = `draft:${room}`;
    this.field.value ||= read(this.name) ?? "";
    this.field.addEventListener("input", () => {
      this.#changed();
      this.#tellTyping();
    });
    this.field.addEventListener("keydown", (event) => this.#key(event));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#changed();
  }

  focus() {
    if (hasKeyboard.matches) {
      this.field.focus({ preventScroll: true });
    }
  }

  /** Nobody can write here any more: what was typed stays to be copied. Whether there is anything. */
  close() {
    this.field.readOnly = true;
    this.form.querySelector(".send")?.remove();
    return Boolean(this.field.value);
  }

  #key(event) {
    if (isEnter(event)) {
      event.preventDefault();
      this.#send();
    } else if (event.key === "ArrowUp" && !this.field.value && this.onEditLast()) {
      event.preventDefault();
    }
  }

  // To empty the field is not typing.
  #tellTyping() {
    if (this.field.value && Date.now() - this.#told >= TYPING_EVERY && this.onTyping()) {
      this.#told = Date.now();
    }
  }

  #send() {
    const text = this.field.value.trim() ? this.field.value.trimEnd() : "";
    if (!text || this.field.readOnly || this.#length() > this.longest()) {
      this.field.focus();
      return;
    }
    this.field.value = "";
    this.#changed();
    this.onSend(text);
    this.field.focus();
  }

  #changed() {
    this.field.value ? write(this.name, this.field.value) : erase(this.name);
    grow(this.field);
    this.#showCount();
  }

  // In characters as the server counts them, not in UTF-16 units.
  #length() {
    return [...this.field.value].length;
  }

  #showCount() {
    const most = this.longest();
    const length = this.field.value.length < most * NEARLY ? 0 : this.#length();
    this.count.hidden = length < most * NEARLY;
    this.count.classList.toggle("over", length > most);
    const excess = (length - most).toLocaleString();
    this.count.textContent = length > most ? `${excess} characters too many: send it in parts` : `${(most - length).toLocaleString()} characters left`;
  }
}
