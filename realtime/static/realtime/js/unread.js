// How many messages of each room one has not read: its last number, less the number up to which one has read. Both only
// go up, so it does not matter in which order pages, frames and one's own reading tell of them.

const MOST = 99;
const rooms = new Map(); // id → {version, last, read}

let scheduled = false;

function known(id) {
  if (!rooms.has(id)) {
    rooms.set(id, { version: 0, last: 0, read: 0 });
  }
  return rooms.get(id);
}

function raise(id, news) {
  const room = known(id);
  for (const [name, value] of Object.entries(news)) {
    room[name] = Math.max(room[name], value);
  }
}

/** Takes what the sidebar's links say, and shows in them what is known beyond that. */
export function adoptCounts() {
  for (const { dataset } of links()) {
    const { room, version, last, read } = dataset;
    raise(Number(room), { version: Number(version), last: Number(last), read: Number(read) });
  }
  show();
}

/** A `message.new` frame, of whatever room. Who writes has read what is above. */
export function arrived(frame) {
  const mine = String(frame.author.id) === document.body.dataset.user;
  raise(frame.room, { version: frame.version, last: frame.number, read: mine ? frame.number : 0 });
  schedule();
}

/** One has read a room up to this number. */
export function readUpTo(id, number) {
  raise(id, { last: number, read: number });
  schedule();
}

/** Whether the server knows of changes to one's rooms that never came here: {room id: version}, as in `hello`. */
export function isBehind(versions) {
  return Object.entries(versions).some(([id, version]) => version > (rooms.get(Number(id))?.version ?? -1));
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
  for (const link of links()) {
    const { last, read } = known(Number(link.dataset.room));
    const count = Math.max(last - read, 0);
    const badge = link.querySelector(".badge");
    badge.hidden = !count;
    badge.querySelector(".number").textContent = count > MOST ? `${MOST}+` : count;
    link.classList.toggle("unread", count > 0);
  }
}
