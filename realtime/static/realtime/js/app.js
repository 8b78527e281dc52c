// Starts chat on a signed-in page and leads frames to whom they concern.
import { closeDrawer, startDrawer } from "../../intellicolab/js/drawer.js";
import { onTryNow, showConnection, signInLink } from "./connection.js";
import { goToSignIn } from "./ended.js";
import { Outbox } from "./outbox.js";
import { askPresence, forgetPresence, presencePage, presenceTold, startPresence } from "./presence.js";
import { followProgress } from "./progress.js";
import { Requests } from "./requests.js";
import { Room } from "./room.js";
import { refreshSidebar, showSidebar } from "./sidebar.js";
import { Socket } from "./socket.js";
import { eraseAll } from "./store.js";
import { arrived, isBehind, isMiscounted, lacksMentions, readElsewhere } from "./unread.js";
import { followViewport } from "./viewport.js";
import { Visits } from "./visits.js";
import { onWake } from "./wake.js";

let room = null;
let longest = Infinity;
let leaving = false; // the sign-out form is on its way: its answer is the next page

const socket = new Socket({ onFrame: receive, onState: connectionChanged });
const send = (frame) => socket.send(frame);
const outbox = new Outbox({ send, onChange: itemChanged });
const requests = new Requests(send);
const visits = new Visits(openPage);

const handlers = {
  hello: begin,
  "message.ack": stored,
  error: refused,
  "room.settings": refreshSidebar, // what it is called, and whether it is archived, stands there too
  "room.added": added,
  "room.removed": removed,
  "room.read": (frame) => read(frame.room, frame.epoch, frame.number),
  "room.mention": (frame) => isMiscounted(frame) && refreshSidebar(),
  presence: presenceTold,
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
  if (frame.reset || frame.changes?.some((change) => change.type === "room.settings")) {
    refreshSidebar();
  }
}

function begin(frame) {
  longest = frame.max_length;
  Object.entries(frame.reads).forEach(([id, [epoch, number]]) => read(Number(id), epoch, number));
  if (room && room.id in frame.rooms) {
    room.connected(frame.rooms[room.id]);
  } else if (room) {
    visits.visit(location.href, { push: false }); // no longer one's own: the page says so
  }
  if (isBehind(frame.rooms) || lacksMentions(frame.mentions)) {
    refreshSidebar();
  }
  outbox.flush();
  requests.flush();
  askPresence();
}

function stored({ id, version }) {
  outbox.stored(id, version);
  requests.answered(id);
}

function refused({ id, detail, retry_after: after }) {
  outbox.failed(id, detail, after);
  requests.answered(id, after ? `${detail} Try again in ${Math.ceil(after)} s.` : detail);
}

// Where something was marked unread, how often one is named there is for the server to count anew.
function read(id, epoch, number) {
  if (readElsewhere(id, epoch, number)) {
    refreshSidebar();
    if (id === room?.id) {
      room.markedUnread();
    }
  }
}

// What the connection did not notice: it may have slept, too.
function wake() {
  if (socket.isOpen) {
    room?.wake();
    askPresence();
  }
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
    requests.pause();
    forgetPresence();
  }
  if (state !== "ended" || !(leaving || goToSignIn(signInLink()))) {
    showConnection(state);
  }
}

function openPage(asked = 0) {
  room?.leave();
  const section = document.querySelector("#main > .room");
  room = null;
  showSidebar(asked); // first: it says how far one has read
  if (section) {
    room = new Room(section, { send, outbox, requests, longest: () => longest });
    askAfterVisit();
  }
  presencePage();
  followProgress(() => visits.visit(location.href, { push: false }));
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
onWake(wake);
startPresence(send);
openPage();
socket.connect();
