// Starts chat on a signed-in page and leads frames to whom they concern.
import { closeDrawer, startDrawer } from "../../intellicolab/js/drawer.js";
import { onTryNow, showConnection, signInLink } from "./connection.js";
import { goToSignIn } from "./ended.js";
import { Outbox } from "./outbox.js";
import { Room } from "./room.js";
import { refreshSidebar, showSidebar } from "./sidebar.js";
import { Socket } from "./socket.js";
import { eraseAll } from "./store.js";
import { arrived, isBehind } from "./unread.js";
import { followViewport } from "./viewport.js";
import { Visits } from "./visits.js";

let room = null;
let longest = Infinity;
let leaving = false; // the sign-out form is on its way: its answer is the next page

const socket = new Socket({ onFrame: receive, onState: connectionChanged });
const outbox = new Outbox({ send: (frame) => socket.send(frame), onChange: itemChanged });
const visits = new Visits(openPage);

const handlers = {
  hello: begin,
  "message.ack": (frame) => outbox.stored(frame.id, frame.version),
  error: (frame) => outbox.failed(frame.id, frame.detail, frame.retry_after),
  "room.settings": refreshSidebar, // what it is called, and whether it is archived, stands there too
  "room.added": added,
  "room.removed": removed,
};

function receive(frame) {
  handlers[frame.type]?.(frame);
  if (frame.room === room?.id) {
    room?.receive(frame);
  }
  if (frame.type === "message.new") {
    arrived(frame); // after the room, where it may be read already
  }
  frame.changes?.filter((change) => change.type === "message.new").forEach(arrived);
  if (frame.reset) {
    refreshSidebar();
  }
}

function begin(frame) {
  longest = frame.max_length;
  if (room && room.id in frame.rooms) {
    room.connected(frame.rooms[room.id]);
  } else if (room) {
    visits.visit(location.href, { push: false }); // no longer one's own: the page says so
  }
  if (isBehind(frame.rooms)) {
    refreshSidebar();
  }
  outbox.flush();
}

function itemChanged(item) {
  if (item.room === room?.id) {
    room.itemChanged(item);
  } else if (item.state === "stored") {
    outbox.settle(item.id); // its room's page will bring it
  }
}

function added(frame) {
  socket.send({ type: "room.join", room: frame.room });
  refreshSidebar();
}

function removed(frame) {
  refreshSidebar();
  if (frame.room === room?.id) {
    visits.visit(location.href, { push: false });
  }
}

function connectionChanged(state) {
  if (state !== "open") {
    outbox.pause();
  }
  if (state !== "ended" || !(leaving || goToSignIn(signInLink()))) {
    showConnection(state);
  }
}

function openPage() {
  room?.leave();
  const section = document.querySelector("#main > .room");
  room = null;
  if (section) {
    room = new Room(section, { send: (frame) => socket.send(frame), outbox, longest: () => longest });
    askAfterVisit();
  }
  showSidebar();
  closeDrawer();
}

// The page may be older than the socket's last word: ask once for what lies between.
function askAfterVisit() {
  if (socket.isOpen) {
    socket.send({ type: "room.join", room: room.id });
  }
}

document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-sign-out]")) {
    leaving = true;
    eraseAll();
  }
});

startDrawer();
followViewport();
onTryNow(() => socket.connectNow());
openPage();
socket.connect();
