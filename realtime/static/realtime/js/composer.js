// Where one writes: it grows with the text, keeps a draft a room, and hands the text over on Enter.
import { erase, read, write } from "./store.js";

// On a phone Enter breaks the line and the button sends: there is no Shift-Enter under a thumb.
const hasKeyboard = matchMedia("(hover: hover) and (pointer: fine)");
const growsItself = CSS.supports("field-sizing", "content");
const NEARLY = 0.9; // of the longest message: from here the count is shown

export class Composer {
  /** `onSend(text)` takes what was written; `longest()` is the most characters a message may have. */
  constructor(form, room, { onSend, longest }) {
    Object.assign(this, { form, onSend, longest });
    this.field = form.querySelector("textarea");
    this.count = form.querySelector(".count");
    this.name = `draft:${room}`;
    this.field.value ||= read(this.name) ?? "";
    this.field.addEventListener("input", () => this.#changed());
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

  #key(event) {
    // While an input method composes, Enter chooses a word.
    const plain = event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
    if (plain && (hasKeyboard.matches || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.#send();
    }
  }

  #send() {
    const text = this.field.value.trim() ? this.field.value.trimEnd() : "";
    if (!text || this.#length() > this.longest()) {
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
    if (!growsItself) {
      this.field.style.height = "auto";
      this.field.style.height = `${this.field.scrollHeight}px`;
    }
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
