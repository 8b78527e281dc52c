// The question before a message is deleted, in its place.
import { RowForm } from "./rowform.js";

export class Question extends RowForm {
  constructor(room, number, hooks) {
    super("question", number, hooks);
    this.room = room;
  }

  focus() {
    this.form.querySelector("button").focus({ preventScroll: true });
    this.form.scrollIntoView({ block: "nearest" });
  }

  submit() {
    this.ask({ type: "message.delete", room: this.room, number: this.number });
  }
}
