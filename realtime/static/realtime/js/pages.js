// Pages of messages beyond one end of those that are loaded, fetched before one sees that end.

const AHEAD = "1500px"; // some two screens: a page is there before a fast scroll reaches it
const ANSWER_WITHIN = 15_000; // ms; then the page counts as failed

/** The two ends of what is loaded. */
export const OLDER = { edge: ".older", parameter: "before", margin: `${AHEAD} 0px 0px 0px`, words: "Older messages" };
export const NEWER = { edge: ".newer", parameter: "after", margin: `0px 0px ${AHEAD} 0px`, words: "Newer messages" };

/** A page of a room's history; where that fails, the error's message says why. */
export async function fetchPage(address) {
  const options = { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(ANSWER_WITHIN) };
  let response;
  try {
    response = await fetch(address, options);
    if (response.ok) {
      return await response.json();
    }
  } catch (error) {
    // The words of these errors are the browser's, not ours.
    const late = error.name === "TimeoutError";
    throw new Error(late ? "The server did not answer in time." : "There is no connection.");
  }
  const wait = response.headers.get("Retry-After");
  throw new Error(wait ? `The limit of requests is reached; go on in ${wait} s.` : "The server could not answer.");
}

export class Pages {
  #busy = false;

  /**
   * `from()` is the last number at this end; `onPage(page)` takes a page of those beyond it and says through `setMore`
   * whether that is all; `still(change)` makes a change to the edge without moving what is read.
   */
  constructor(room, end, { from, onPage, still }) {
    Object.assign(this, { end, from, onPage, still });
    this.address = room.dataset.messages;
    this.edge = room.querySelector(end.edge);
    this.edge.replaceChildren(); // the link that leads on without a script
    this.observer = new IntersectionObserver((seen) => seen.at(-1).isIntersecting && this.load(), {
      root: room.querySelector(".timeline"),
      rootMargin: end.margin,
    });
    this.observer.observe(this.edge);
  }

  /** Whether there are messages beyond this end: the edge is shown where there are. */
  setMore(more) {
    this.still(() => {
      this.edge.hidden = !more;
      this.edge.replaceChildren();
    });
    // Observing anew reports the edge once more when it is still near after a page was added.
    this.observer.disconnect();
    this.observer.observe(this.edge);
  }

  /** The room is left: a page that is on its way has nowhere to go. */
  stop() {
    this.edge.hidden = true;
    this.observer.disconnect();
  }

  async load() {
    if (this.#busy || this.edge.hidden) {
      return;
    }
    this.#busy = true;
    try {
      const from = this.from();
      this.#take(await fetchPage(`${this.address}?${this.end.parameter}=${from}`), from);
    } catch (error) {
      this.#offerRetry(error.message);
    } finally {
      this.#busy = false;
    }
  }

  // When rows were let go or replaced meanwhile, the page would leave a hole: the next one starts where the rows now do.
  #take(page, from) {
    if (this.edge.hidden) {
      return;
    }
    if (this.from() === from) {
      this.onPage(page);
    } else {
      this.setMore(true);
    }
  }

  #offerRetry(reason) {
    if (this.edge.hidden) {
      return;
    }
    this.observer.disconnect();
    const words = document.createElement("span");
    words.className = "muted small";
    words.textContent = `${this.end.words} could not be loaded. ${reason}`;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button secondary compact";
    button.textContent = "Try again";
    button.addEventListener("click", () => this.load());
    this.still(() => this.edge.replaceChildren(words, button));
  }
}
