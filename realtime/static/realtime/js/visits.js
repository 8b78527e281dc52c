// From page to page without a reload: the address changes, Back works, and the socket stays.
import { showTitle } from "./title.js";

const SKELETON_AFTER = 150; // ms; a page that comes sooner needs no stand-in

export class Visits {
  #current = location.pathname + location.search;
  #running = null;

  /** `onPage(asked)` hears of every page that was put in place, and when it was asked for. */
  constructor(onPage) {
    this.onPage = onPage;
    document.addEventListener("click", (event) => this.#click(event));
    addEventListener("popstate", () => {
      // Also fires for a change of the fragment alone, such as the skip link's.
      if (location.pathname + location.search !== this.#current) {
        this.visit(location.href, { push: false });
      }
    });
  }

  async visit(address, { push = true } = {}) {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    const asked = performance.now();
    const skeleton = setTimeout(showSkeleton, SKELETON_AFTER);
    try {
      const response = await fetch(address, { signal: running.signal, headers: { Accept: "text/html" } });
      this.#show(await response.text(), response.url, push, asked);
    } catch (error) {
      if (error.name === "AbortError") {
        return;
      }
      location.assign(address); // the browser's own words for what is wrong
    } finally {
      clearTimeout(skeleton);
      hideSkeleton();
    }
  }

  #click(event) {
    const link = event.target.closest("a[data-visit]");
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (link && plain && !event.defaultPrevented) {
      event.preventDefault();
      this.visit(link.href);
    }
  }

  #show(html, address, push, asked) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const main = page.querySelector("body.shell > main");
    if (!main) {
      location.assign(address); // signed out, or an error page of another kind
      return;
    }
    if (push) {
      history.pushState(null, "", address);
    }
    this.#current = location.pathname + location.search;
    showTitle(page.title);
    document.getElementById("main").replaceWith(document.adoptNode(main));
    document.getElementById("sidebar-lists").replaceWith(document.adoptNode(page.getElementById("sidebar-lists")));
    main.focus({ preventScroll: true });
    this.onPage(asked);
  }
}

function showSkeleton() {
  const main = document.getElementById("main");
  main.ariaBusy = "true";
  main.append(document.getElementById("skeleton").content.cloneNode(true));
}

function hideSkeleton() {
  const main = document.getElementById("main");
  main.ariaBusy = null;
  main.querySelector(":scope > .skeleton")?.remove();
}
