// Counts down on the page of who was refused, and says when it is over. The page says all of it without this, too.
const place = document.querySelector("[data-countdown]");
const again = document.querySelector("[data-again]");
const over = Date.now() + Number(place.dataset.seconds) * 1000;
const units = [
  [3600, "hour"],
  [60, "minute"],
  [1, "second"],
];

// "1 minute 5 seconds": at most two units, so that it can be read at a glance.
function spoken(seconds) {
  const parts = [];
  let rest = seconds;
  for (const [length, name] of units) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count && parts.length < 2) {
      parts.push(`${count} ${name}${count === 1 ? "" : "s"}`);
    }
  }
  return parts.join(" ");
}

function show() {
  const left = Math.ceil((over - Date.now()) / 1000);
  place.replaceChildren(left > 0 ? "in " : "now");
  if (left > 0) {
    const strong = document.createElement("strong");
    strong.textContent = spoken(left);
    place.append(strong);
    setTimeout(show, (over - Date.now()) % 1000 || 1000);
  }
  again.setAttribute("aria-disabled", String(left > 0));
}

again.addEventListener("click", (event) => {
  event.preventDefault();
  if (again.getAttribute("aria-disabled") === "false") {
    location.reload();
  }
});
show();
