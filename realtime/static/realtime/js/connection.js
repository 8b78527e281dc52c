// The bar that says what happens to what one types while the connection is away.

const WORDS = {
  offline: "Offline: what you type is kept and sent when the connection is back.",
  restarting: "The server is restarting. What you type is kept and sent when it is back.",
  limited: "Chat was opened too often, or in too many tabs: close some. What you type is kept and sent when it is back.",
  ended: "Your session has ended. Sign in again to go on; what you typed is kept.",
};
const PATIENCE = 3_000; // ms; a first connection or a short drop need not alarm anyone

let timer = 0;

function show(state) {
  const bar = document.getElementById("connection");
  bar.hidden = !WORDS[state];
  bar.querySelector("span").textContent = WORDS[state] ?? "";
  bar.querySelector("button").hidden = state !== "offline" && state !== "restarting";
  signInLink().hidden = state !== "ended";
}

/** The bar's way to sign in and then back to the page that is open now. */
export function signInLink() {
  const link = document.querySelector("#connection a");
  link.search = `?next=${encodeURIComponent(location.pathname)}`;
  return link;
}

/** `state` as the socket has it. */
export function showConnection(state) {
  clearTimeout(timer);
  if (state === "connecting") {
    timer = setTimeout(show, PATIENCE, "offline");
  } else {
    show(state);
  }
}

export function onTryNow(action) {
  document.querySelector("#connection button").addEventListener("click", action);
}
