// How a row stands to the one before it: under a new day's line, under a name of its own, or as one more of a group.
import { dayKey, dayWords } from "../../intellicolab/js/times.js";

const GROUP = 5 * 60_000; // ms; as in timeline.py

export const isRow = (element) => element?.classList.contains("message");

function neighbour(row, direction) {
  let other = row[direction];
  while (other && !isRow(other)) {
    other = other[direction];
  }
  return other;
}

const before = (row) => neighbour(row, "previousElementSibling");

/** The next row, day lines left out; null after the last. */
export const after = (row) => neighbour(row, "nextElementSibling");

/** Rows that are new or have got another one before them, from above; null is nothing. */
export function layOut(rows) {
  rows.filter(isRow).forEach(layOutOne);
}

function layOutOne(row) {
  const previous = before(row);
  const date = new Date(row.dataset.time);
  const newDay = !previous || dayKey(new Date(previous.dataset.time)) !== dayKey(date);
  dayLine(row, newDay ? date : null);
  row.classList.toggle("head", newDay || !continues(previous, row, date));
}

function continues(previous, row, date) {
  const gap = date - new Date(previous.dataset.time);
  const samePerson = previous.dataset.author === row.dataset.author;
  const text = !previous.classList.contains("kind-action") && !row.classList.contains("kind-action");
  return samePerson && text && gap >= 0 && gap <= GROUP;
}

function dayLine(row, date) {
  const line = row.previousElementSibling;
  const has = line?.classList.contains("day");
  if (!date) {
    if (has) {
      line.remove();
    }
    return;
  }
  const day = has ? line : document.createElement("li");
  day.className = "day";
  day.dataset.day = dayKey(date);
  const words = document.createElement("span");
  words.textContent = dayWords(date);
  day.replaceChildren(words);
  if (!has) {
    row.before(day);
  }
}

/** After rows were taken away: no line without a message below it. */
export function removeEmptyDays(list) {
  for (const line of list.querySelectorAll(".day")) {
    if (!isRow(line.nextElementSibling)) {
      line.remove();
    }
  }
}
