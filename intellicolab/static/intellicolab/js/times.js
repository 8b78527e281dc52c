// Times in the reader's zone: a clock beside messages, relative words under a day elsewhere, the whole date on hover.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const formats = new Map();

/** The zone of the person's profile, or the browser's own. */
export function readersZone() {
  return document.body.dataset.timeZone || undefined;
}

// Making a format costs far more than using it, and a page of messages asks for the same ones again and again.
function format(name, options) {
  const key = `${name} ${readersZone()}`;
  if (!formats.has(key)) {
    formats.set(key, new Intl.DateTimeFormat(undefined, { ...options, timeZone: readersZone() }));
  }
  return formats.get(key);
}

/** "14:05" (or as the reader's language has it). */
export const clock = (date) => format("clock", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(date);

/** "Thursday, 1 June 2006 at 14:05:33". */
export const full = (date) => format("full", { dateStyle: "full", timeStyle: "medium" }).format(date);

/** A key that is the same for two moments of one day in the reader's zone. */
export const dayKey = (date) =>
  format("key", { year: "numeric", month: "2-digit", day: "2-digit", calendar: "iso8601" }).format(date);

/** The words of a day line: "Today", "Yesterday", "Thursday, 1 June 2006". */
export function dayWords(date, now = new Date()) {
  if (dayKey(date) === dayKey(now)) {
    return "Today";
  }
  if (dayKey(date) === dayKey(new Date(now.getTime() - DAY))) {
    return "Yesterday";
  }
  return format("day", { dateStyle: "full" }).format(date);
}

/** "just now", "5 minutes ago", "in 3 hours"; beyond a day the date itself. */
export function relative(date, now = new Date()) {
  const gap = date.getTime() - now.getTime();
  const words = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  if (Math.abs(gap) < MINUTE) {
    return "just now";
  }
  if (Math.abs(gap) < HOUR) {
    return words.format(Math.trunc(gap / MINUTE), "minute");
  }
  if (Math.abs(gap) < DAY) {
    return words.format(Math.trunc(gap / HOUR), "hour");
  }
  return format("date", { dateStyle: "medium" }).format(date);
}

function showOne(element) {
  const date = new Date(element.dateTime);
  if (Number.isNaN(date.getTime())) {
    return;
  }
  element.textContent = relative(date);
  element.title = full(date);
}

/** Writes each `<time data-relative datetime=…>` in words, and keeps them true as time goes by. */
export function showTimes(root) {
  const all = () => root.querySelectorAll("time[data-relative]").forEach(showOne);
  all();
  setInterval(all, MINUTE);
}
