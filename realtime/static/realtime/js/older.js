// Older messages, loaded before one sees the end of those that are there.

const AHEAD = "1500px"; // some two screens: a page is there before a fast scroll reaches it

export class Older {
  #busy = false;

  /** `first()` is the lowest number shown; `onPage(page)` takes a page of lower ones and the version it was made at. */
  constructor(room, { first, onPage }) {
    this.address = room.dataset.older;
    this.first = first;
    this.onPage = onPage;
    this.edge = room.querySelector(".older");
    this.beginning = room.querySelector(".beginning");
    this.more = !this.edge.hidden;
    this.edge.replaceChildren();
    this.observer = new IntersectionObserver((seen) => seen.at(-1).isIntersecting && this.load(), {
      root: room.querySelector(".timeline"),
      rootMargin: `${AHEAD} 0px 0px 0px`,
    });
    this.setMore(this.more);
  }

  setMore(more) {
    this.more = more;
    this.edge.hidden = !more;
    this.beginning.hidden = more;
    this.#watch();
  }

  stop() {
    this.more = false;
    this.observer.disconnect();
  }

  // Observing anew reports the edge once more when it is still near after a page was added.
  #watch() {
    this.observer.disconnect();
    if (this.more) {
      this.observer.observe(this.edge);
    }
  }

  async load() {
    if (this.#busy || !this.more) {
      return;
    }
    this.#busy = true;
    try {
      const before = this.first();
      const response = await fetch(`${this.address}?before=${before}`, { headers: { Accept: "application/json" } });
      if (!response.ok) {
        throw new Error(await this.#reason(response));
      }
      const page = await response.json();
      if (this.more) {
        this.#take(page, before);
      }
    } catch (error) {
      this.#offerRetry(error);
    } finally {
      this.#busy = false;
    }
  }

  // When rows were let go or replaced meanwhile, the page would leave a hole: the next one starts where the rows now do.
  #take(page, before) {
    this.edge.replaceChildren();
    const fits = this.first() === before;
    if (fits) {
      this.onPage(page);
    }
    this.setMore(fits ? page.more : true);
  }

  async #reason(response) {
    const wait = response.headers.get("Retry-After");
    return wait ? `The limit of requests is reached; go on in ${wait} s.` : "The server could not answer.";
  }

  #offerRetry(error) {
    this.observer.disconnect();
    const words = document.createElement("span");
    words.className = "muted small";
    // fetch itself fails with a TypeError whose words are the browser's, not ours.
    const reason = error instanceof TypeError ? "There is no connection." : error.message;
    words.textContent = `Older messages could not be loaded. ${reason}`;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button secondary compact";
    button.textContent = "Try again";
    button.addEventListener("click", () => this.load());
    this.edge.replaceChildren(words, button);
  }
}
