// A tab that comes back: frames may have been lost while it slept, without the connection having noticed.

const SLEPT = 10_000; // ms hidden; a glance at another tab is no sleep

let hiddenAt = 0;

function visibilityChanged(action) {
  if (document.visibilityState === "hidden") {
    hiddenAt = Date.now();
  } else if (Date.now() - hiddenAt > SLEPT) {
    action();
  }
}

/** `action()` runs when the tab is seen again after a while, and when the network is back. */
export function onWake(action) {
  document.addEventListener("visibilitychange", () => visibilityChanged(action));
  addEventListener("online", action);
}
