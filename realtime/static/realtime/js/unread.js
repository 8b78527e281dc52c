// What is unread in each room: its last number less the one up to which one has read, and how often one is named there.
// A position is an epoch and a number, the greater one wins, and a last number only goes up: so it does not matter in
// which order pages, frames, other tabs and one's own reading tell of them.
import { showCounts } from "./title.js";

const MOST = 99;
const rooms = new Map(); // id → {version, last, read, counted, named}

let scheduled = false;
let newsAt = -Infinity; // when the server last said that it counts a mention, or no longer

function known(id) {
  if (!rooms.has(id)) {
    const counted = { mentions: 0, upto: 0 }; // by the server, when the room's last number was that
    rooms.set(id, { version: 0, last: 0, read: { epoch: 0, number: 0 }, counted, named: new Set() });
  }
  return rooms.get(id);
}

function isBeyond(one, other) {
  return one.epoch > other.epoch || (one.epoch === other.epoch && one.number > other.number);
}

function move(room, position) {
  if (isBeyond(position, room.read)) {
    room.read = position;
  }
}

function adopt(room, { version, last, read, epoch, mentions }) {
  const position = { epoch: Number(epoch), number: Number(read) };
  if (!isBeyond(room.read, position) || Number(last) > room.counted.upto) {
    room.counted = { mentions: Number(mentions), upto: Number(last) };
    room.named = new Set([...room.named].filter((number) => number > room.counted.upto));
  }
  room.version = Math.max(room.version, Number(version));
  room.last = Math.max(room.last, Number(last));
  move(room, position);
}

/** Takes what the sidebar's links say, and shows in them what is known beyond that. */
export function adoptCounts() {
  for (const { dataset } of links()) {
    adopt(known(Number(dataset.room)), dataset);
  }
  show();
}

/** How far one has read a room: {epoch, number}. */
export const positionIn = (id) => known(id).read;

/** A `message.new` frame, of whatever room. Who writes has read what is above. */
export function arrived(frame) {
  const room = known(frame.room);
  if (frame.number > room.last && frame.author.id === me()) {
    move(room, { epoch: room.read.epoch, number: frame.number });
  }
  room.version = Math.max(room.version, frame.version);
  room.last = Math.max(room.last, frame.number);
  noteMention(room, frame);
  schedule();
}

/** One has read a room up to this number. */
export function readUpTo(id, number) {
  const room = known(id);
  room.last = Math.max(room.last, number);
  move(room, { epoch: room.read.epoch, number });
  schedule();
}

/** How far one has read, as the server has it. Whether that begins a new epoch: something was marked unread. */
export function readElsewhere(id, epoch, number) {
  const room = known(id);
  const isAnew = epoch > room.read.epoch;
  move(room, { epoch, number });
  schedule();
  return isAnew;
}

/** Whether the server knows of changes to one's rooms that never came here: {room id: version}, as in `hello`. */
export function isBehind(versions) {
  return Object.entries(versions).some(([id, version]) => version > (rooms.get(Number(id))?.version ?? -1));
}

/** A `room.mention` frame. Whether the page's count may lack that: of the messages above it the frames themselves tell. */
export function isMiscounted({ room: id, number }) {
  newsAt = performance.now();
  const room = known(id);
  return number <= room.counted.upto && number > room.read.number;
}

/** Whether the server, asked for its counts at `time`, may have answered before it said something new of mentions. */
export const isOlderThanNews = (time) => time < newsAt;

/** Whether the server counts mentions that the page does not: {room id: count}, as in `hello`. Fewer are no sign: it counts later. */
export function lacksMentions(counts = {}) {
  return [...links()].some(({ dataset }) => shown(known(Number(dataset.room))).mentions < counts[dataset.room]);
}

const me = () => Number(document.body.dataset.user);

// An edit may name one, or no longer.
function noteMention(room, { number, mentions, author }) {
  if (mentions?.includes(me()) && author.id !== me()) {
    room.named.add(number);
  } else {
    room.named.delete(number);
  }
}

function shown(room) {
  const unread = Math.max(room.last - room.read.number, 0);
  return { unread, mentions: unread && mentionsIn(room) };
}

function mentionsIn({ read, counted, named }) {
  const above = [...named].filter((number) => number > Math.max(read.number, counted.upto)).length;
  return above + Math.min(counted.mentions, Math.max(counted.upto - read.number, 0));
}

function links() {
  return document.querySelectorAll("#sidebar-lists .room-link[data-room]");
}

// With the next frame drawn, after the timeline's: what is read as it comes never shows as unread.
function schedule() {
  if (!scheduled) {
    scheduled = true;
    document.hidden ? setTimeout(show, 250) : requestAnimationFrame(show);
  }
}

function show() {
  scheduled = false;
  const all = { unread: 0, mentions: 0 };
  for (const link of links()) {
    const { unread, mentions } = shown(known(Number(link.dataset.room)));
    showBadge(link, unread, mentions);
    all.unread += unread;
    all.mentions += mentions;
  }
  showCounts(all.unread, all.mentions);
}

function showBadge(link, unread, mentions) {
  const badge = link.querySelector(".badge");
  badge.hidden = !unread;
  badge.classList.toggle("mentioned", mentions > 0);
  badge.querySelector(".at").textContent = mentions ? "@" : "";
  badge.querySelector(".number").textContent = unread > MOST ? `${MOST}+` : unread;
  badge.querySelector(".words").textContent = mentions ? " unread, you are mentioned" : " unread";
  link.classList.toggle("unread", unread > 0);
}
