// One message as an element, from the page's own template. Only `html`, which the server has sanitised, is set as markup.
import { addCodeButtons } from "../../intellicolab/js/copy.js";
import { clock, full } from "../../intellicolab/js/times.js";

function portrait(author) {
  if (author.avatar) {
    const image = document.createElement("img");
    image.src = author.avatar;
    image.alt = "";
    image.loading = "lazy";
    image.className = "avatar medium";
    return image;
  }
  const initials = document.createElement("span");
  initials.className = `avatar medium tint-${author.tint}`;
  initials.ariaHidden = "true";
  initials.textContent = author.initials;
  return initials;
}

function tombstone() {
  const words = document.createElement("p");
  words.className = "tombstone";
  words.textContent = "This message was deleted.";
  return words;
}

function edited() {
  const words = document.createElement("span");
  words.className = "edited";
  words.textContent = "(edited)";
  return words;
}

// What the server's HTML needs a script for: buttons that copy code, and which of the people named is oneself.
function enrich(root) {
  addCodeButtons(root);
  for (const name of root.querySelectorAll(".mention")) {
    name.classList.toggle("me", name.dataset.person.split(" ").includes(document.body.dataset.user));
  }
}

function fillTime(element, date) {
  element.dateTime = date.toISOString();
  element.textContent = clock(date);
  element.title = full(date);
}

function blank(author, date) {
  const row = document.getElementById("message-template").content.firstElementChild.cloneNode(true);
  row.querySelector(".portrait").append(portrait(author));
  row.querySelector(".author").textContent = author.name;
  row.querySelector(".author").href = `/people/${author.id}/`;
  row.dataset.author = author.id;
  row.dataset.time = date.toISOString();
  fillTime(row.querySelector("time"), date);
  return row;
}

/** The element of a message as frames and history pages carry it. */
export function messageRow(message) {
  const row = blank(message.author, new Date(message.time));
  Object.assign(row.dataset, { number: message.number, version: message.version, id: message.id });
  row.classList.add(`kind-${message.kind}`);
  const text = row.querySelector(".text");
  if (message.deleted) {
    row.classList.add("deleted");
    text.replaceChildren(tombstone());
  } else {
    text.innerHTML = message.html;
    enrich(text);
    if (message.edited) {
      text.append(edited());
    }
  }
  return row;
}

/** What the server rendered, in the reader's own clock and with what needs a script. */
export function adopt(row) {
  fillTime(row.querySelector("time"), new Date(row.dataset.time));
  enrich(row);
}

function button(words, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button secondary compact";
  made.textContent = words;
  made.dataset.action = action;
  return made;
}

/** The element of a message that is not stored yet: its text as typed. */
export function pendingRow(item, me) {
  const row = blank(me, new Date(item.at));
  row.dataset.id = item.id;
  const text = row.querySelector(".text");
  text.classList.add("plain-text");
  text.textContent = item.text;
  const state = document.createElement("div");
  state.className = "state";
  row.append(state);
  showState(row, item);
  return row;
}

/** Pending, stored or failed, as the item now is. */
export function showState(row, item) {
  const state = row.querySelector(".state");
  row.classList.toggle("pending", item.state !== "stored");
  row.classList.toggle("failed", item.state === "failed");
  if (item.state === "failed") {
    const reason = document.createElement("span");
    reason.setAttribute("role", "alert");
    reason.textContent = `Not sent. ${item.reason}`;
    state.replaceChildren(reason, button("Retry", "retry"), button("Discard", "discard"));
    countDown(state, item);
  } else {
    state.textContent = item.state === "waiting" ? "Sending…" : "";
  }
}

function countDown(state, item) {
  const left = Math.ceil((item.retryAt - Date.now()) / 1000);
  const [reason, retry] = state.children;
  retry.disabled = left > 0;
  if (left > 0) {
    reason.textContent = `Not sent. You can send again in ${left} s.`;
    setTimeout(() => state.contains(retry) && countDown(state, item), 1000);
  } else if (item.retryAt) {
    reason.textContent = "Not sent. You can send again now.";
  }
}
