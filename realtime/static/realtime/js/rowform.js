// A form in a message's own place: its text to be edited, or the question before it is deleted.

const AWAY = "There is no connection. This is done when it is back.";

export class RowForm {
  #request = "";

  /** `kind` names the template and the class of a row that has it; `onClose(form)` hears that it is gone. */
  constructor(kind, number, { requests, onClose }) {
    Object.assign(this, { kind, number, requests, onClose });
    this.form = document.getElementById(`${kind}-template`).content.firstElementChild.cloneNode(true);
    this.note = this.form.querySelector(".note");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.form.addEventListener("keydown", (event) => this.pressed(event));
    this.form.querySelector('[data-action="cancel"]').addEventListener("click", () => this.close());
  }

  /** Into its message's row, also one that takes the place of another; what has the focus keeps it. */
  attach(row) {
    const focused = this.form.contains(document.activeElement) ? document.activeElement : null;
    row.classList.add(`has-${this.kind}`);
    row.append(this.form);
    queueMicrotask(() => focused?.focus({ preventScroll: true })); // the row may not be in the page yet
  }

  /** Given up or done; a request that is still on its way is not sent again. */
  close() {
    this.requests.forget(this.#request);
    this.putAway();
    this.onClose(this);
  }

  /** Another form is opened: this one is no longer seen, but what it asked for goes on. */
  putAway() {
    this.form.parentElement?.classList.remove(`has-${this.kind}`);
    this.form.remove();
  }

  pressed(event) {
    if (event.key === "Escape" && !event.isComposing) {
      event.preventDefault();
      this.close();
    }
  }

  say(words) {
    this.note.textContent = words;
  }

  /** Ask the server; when it is done, the form closes, and where it is refused, it says why and stays. */
  ask(frame) {
    this.#wait(true);
    this.say("");
    this.#request = this.requests.ask(frame, { onAnswer: (reason) => this.answered(reason), onAway: () => this.say(AWAY) });
  }

  answered(reason) {
    this.#wait(false);
    this.say(reason);
    if (!reason) {
      this.close();
    }
  }

  #wait(isWaiting) {
    this.form.ariaBusy = String(isWaiting);
    this.form.querySelector('[type="submit"]').disabled = isWaiting;
  }
}
