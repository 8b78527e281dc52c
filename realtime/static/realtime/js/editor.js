// A message's text, to be edited in its place. What is typed is kept in the browser until it is stored or given up.
import { grow, isEnter } from "./field.js";
import { fetchPage } from "./pages.js";
import { RowForm } from "./rowform.js";
import { erase, read, write } from "./store.js";

export class Editor extends RowForm {
  /** `address` is where the room's messages are. */
  constructor(room, address, number, hooks) {
    super("editor", number, hooks);
    Object.assign(this, { room, address: `${address}/${number}`, draft: `edit:${room}:${number}` });
    this.field = this.form.querySelector("textarea");
    this.field.addEventListener("input", () => this.#changed());
    this.#load();
  }

  focus() {
    this.field.focus({ preventScroll: true });
    this.form.scrollIntoView({ block: "nearest" });
  }

  submit() {
    const text = this.field.value.trimEnd();
    if (!this.field.value.trim()) {
      this.say("The message is empty. To take it away, delete it.");
    } else if (!this.field.readOnly) {
      this.field.readOnly = true; // what is on its way is what stands here
      this.ask({ type: "message.edit", room: this.room, number: this.number, text });
    }
  }

  answered(reason) {
    this.field.readOnly = false;
    super.answered(reason);
  }

  close() {
    erase(this.draft);
    super.close();
  }

  pressed(event) {
    if (event.target === this.field && isEnter(event)) {
      event.preventDefault();
      this.submit();
    } else {
      super.pressed(event);
    }
  }

  #changed() {
    write(this.draft, this.field.value);
    this.say("");
    grow(this.field);
  }

  // What the author typed; what was begun and not finished before goes above it.
  async #load() {
    this.field.value = read(this.draft) ?? "";
    if (!this.field.value) {
      this.field.readOnly = true;
      try {
        this.field.value = (await fetchPage(this.address)).text;
        this.field.readOnly = false;
      } catch (error) {
        this.say(`The text could not be loaded. ${error.message}`);
      }
    }
    grow(this.field);
  }
}
