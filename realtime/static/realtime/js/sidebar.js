// The sidebar's lists, fetched again when the server says that one's rooms have changed.

import { showPresence } from "./presence.js";
import { adoptCounts, isOlderThanNews } from "./unread.js";

const TOGETHER = 300; // ms; several changes at once are one request

let timer = 0;

async function refresh() {
  timer = 0;
  const lists = document.getElementById("sidebar-lists");
  const asked = performance.now();
  const fresh = await fetched(lists.dataset.url);
  if (fresh !== null) {
    lists.innerHTML = fresh;
    showSidebar(asked);
  }
}

// Null where nothing came: the next page brings them.
async function fetched(address) {
  try {
    const response = await fetch(address);
    return response.ok && !response.redirected ? await response.text() : null;
  } catch {
    return null; // no connection, or it broke half-way
  }
}

/** Marks the link of the page that is open, what is unread, and who is here; of lists that were asked for at that time. */
export function showSidebar(asked) {
  adoptCounts();
  if (isOlderThanNews(asked)) {
    refreshSidebar();
  }
  showPresence();
  for (const link of document.querySelectorAll("#sidebar-lists :is(.room-link, .more-link)")) {
    link.ariaCurrent = link.pathname === location.pathname ? "page" : null;
  }
}

export function refreshSidebar() {
  timer ||= setTimeout(refresh, TOGETHER);
}
