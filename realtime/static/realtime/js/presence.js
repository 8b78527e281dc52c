// Who is here. Of the people with whom one shares a small room the server tells who comes and goes; who is in the room
// that is open, it tells on asking. Nothing is shown while nothing is known.

const LARGE_ROOM = 100; // people, as in presence.py: of larger rooms nothing is told unasked
const AGAIN_AFTER = 6_000; // ms; an answer about a room may be five seconds old, and who came since was told before

let send = null;
let around = null; // ids of those who are here; null without a connection
let inRoom = { room: 0, people: new Set(), count: 0 };
let timer = 0;

/** `ask(frame)` leads to the server. */
export function startPresence(ask) {
  send = ask;
}

/** The socket is open (again), or the tab was asleep. */
export function askPresence() {
  around ??= new Set();
  send({ type: "presence.ask" });
  askRoom();
  askRoomSoon();
}

/** The connection is gone, and with it what was known. */
export function forgetPresence() {
  around = null;
  forgetRoom();
  showPresence();
}

/** Another page is open. */
export function presencePage() {
  if (roomOfPage() !== inRoom.room) {
    forgetRoom();
    askRoom();
    askRoomSoon();
  }
  showPresence();
}

/** A `presence` frame of any kind. */
export function presenceTold(frame) {
  if (frame.room) {
    takeRoom(frame);
  } else if (frame.here) {
    around = new Set(frame.here);
  } else if (around) {
    frame.came.forEach((id) => around.add(id));
    frame.went.forEach((id) => around.delete(id));
    frame.went.forEach((id) => inRoom.people.delete(id));
    askRoomSoon();
  }
  showPresence();
}

/** Marks the people on the page, also those of a part that was put in place just now. */
export function showPresence() {
  for (const mark of document.querySelectorAll("[data-presence]")) {
    mark.hidden = !isHere(Number(mark.dataset.presence));
  }
  const count = document.querySelector("#main .here-count");
  if (count) {
    count.hidden = !(around && inRoom.count);
    count.textContent = `${inRoom.count} here`;
  }
}

const me = () => Number(document.body.dataset.user);

// Who is connected is here, whatever the server knows of it yet.
const isHere = (id) => around !== null && (id === me() || around.has(id) || inRoom.people.has(id));

const page = () => document.querySelector("#main [data-presence-room]");

const roomOfPage = () => Number(page()?.dataset.presenceRoom ?? 0);

function forgetRoom() {
  clearTimeout(timer);
  timer = 0;
  inRoom = { room: 0, people: new Set(), count: 0 };
}

function takeRoom({ room, here, count }) {
  if (room === roomOfPage()) {
    const people = new Set(here);
    inRoom = { room, people, count: count + (here.length === count && !people.has(me()) ? 1 : 0) };
  }
}

function askRoom() {
  if (roomOfPage() && around) {
    send({ type: "presence.ask", room: roomOfPage() });
  }
}

function askRoomSoon() {
  if (page() && Number(page().dataset.people) < LARGE_ROOM) {
    timer ||= setTimeout(askRoomAgain, AGAIN_AFTER);
  }
}

function askRoomAgain() {
  timer = 0;
  if (document.visibilityState === "visible") {
    askRoom(); // a hidden tab asks when it wakes
  }
}
