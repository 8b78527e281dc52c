// What can be done with a message: one menu, opened at the message's "…" button. The browser opens and closes it, gives
// the focus back, and shows it above everything else.

const GAP = 4; // px

export class Menu {
  #row = null;

  /** `allows(row, action)` says what is offered; `onChoice(action, row)` hears what was chosen. */
  constructor(section, { allows, onChoice }) {
    Object.assign(this, { allows, onChoice });
    this.menu = section.querySelector(".message-menu");
    section.addEventListener("click", (event) => {
      this.#mark(event.target.closest(".message"), event.pointerType === "touch");
      this.#aim(event.target.closest(".more")); // before the browser opens it
    });
    section.querySelector(".timeline").addEventListener("scroll", () => this.menu.hidePopover(), { passive: true });
    this.menu.addEventListener("keydown", (event) => this.#pressed(event));
    this.menu.addEventListener("click", (event) => this.#chosen(event.target.closest("[data-action]")));
  }

  get #items() {
    return [...this.menu.querySelectorAll("button:not([hidden])")];
  }

  // A finger does not hover: the message that it taps shows its button.
  #mark(row, isTouch) {
    if (row && isTouch) {
      row.parentElement.querySelector(".tapped")?.classList.remove("tapped");
      row.classList.add("tapped");
    }
  }

  #aim(button) {
    if (!button) {
      return;
    }
    this.#row = button.closest(".message");
    for (const item of this.menu.children) {
      item.hidden = !this.allows(this.#row, item.dataset.action);
    }
    this.#items.forEach((item, index) => (item.autofocus = index === 0));
    const box = button.getBoundingClientRect();
    const isLow = box.top > innerHeight / 2;
    this.menu.style.right = `${document.documentElement.clientWidth - box.right}px`;
    this.menu.style.top = isLow ? "auto" : `${box.bottom + GAP}px`;
    this.menu.style.bottom = isLow ? `${innerHeight - box.top + GAP}px` : "auto";
  }

  #pressed(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      const items = this.#items;
      items.at((items.indexOf(document.activeElement) + step) % items.length).focus();
    }
  }

  #chosen(item) {
    if (item) {
      this.menu.hidePopover(); // first: the focus goes back, and then where the choice leads it
      this.onChoice(item.dataset.action, this.#row);
    }
  }
}
