// New messages for those who listen: polite, and in batches, so that a lively room can still be followed.

const BATCH = 1_500; // ms
const READ_OUT = 3; // messages; more than these are only counted

let waiting = [];
let timer = 0;

function speak() {
  const region = document.getElementById("announcer");
  region.textContent = waiting.length > READ_OUT ? `${waiting.length} new messages` : waiting.join(". ");
  waiting = [];
  timer = 0;
}

export function announce(words) {
  waiting.push(words);
  timer ||= setTimeout(speak, BATCH);
}
