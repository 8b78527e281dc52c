// The sidebar's lists, fetched again when the server says that one's rooms have changed.

import { adoptCounts } from "./unread.js";

const TOGETHER = 300; // ms; several changes at once are one request

let timer = 0;

async function refresh() {
  timer = 0;
  const lists = document.getElementById("sidebar-lists");
  const response = await fetch(lists.dataset.url);
  if (!response.ok || response.redirected) {
    return; // the next page brings them
  }
  lists.innerHTML = await response.text();
  showSidebar();
}

/** Marks the link of the page that is open, and what is unread. */
export function showSidebar() {
  adoptCounts();
  for (const link of document.querySelectorAll("#sidebar-lists :is(.room-link, .more-link)")) {
    link.ariaCurrent = link.pathname === location.pathname ? "page" : null;
  }
}

export function refreshSidebar() {
  timer ||= setTimeout(refresh, TOGETHER);
}
