// The sidebar as a drawer on narrow screens. Without this the address (#sidebar) opens it; with it, focus goes along.

const root = document.documentElement;
const narrow = matchMedia("(max-width: 819px)");

const isOpen = () => root.classList.contains("drawer-is-open");

function open() {
  root.classList.add("drawer-is-open");
  document.getElementById("main").inert = true;
  document.getElementById("sidebar").focus();
}

/** Closes the drawer; focus goes back to the button that opened it when it was inside. */
export function closeDrawer() {
  if (!isOpen()) {
    return;
  }
  const inside = document.getElementById("sidebar").contains(document.activeElement);
  root.classList.remove("drawer-is-open");
  document.getElementById("main").inert = false;
  if (inside) {
    document.querySelector(".drawer-open").focus();
  }
}

function onClick(event) {
  const control = event.target.closest("[data-drawer]");
  if (control) {
    event.preventDefault();
    control.dataset.drawer === "open" ? open() : closeDrawer();
  }
  const menu = document.querySelector(".menu[open]");
  if (menu && !event.target.closest(".menu > summary")) {
    menu.open = false;
  }
}

function onKey(event) {
  if (event.key !== "Escape") {
    return;
  }
  const menu = document.querySelector(".menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  } else {
    closeDrawer();
  }
}

export function startDrawer() {
  document.addEventListener("click", onClick);
  document.addEventListener("keydown", onKey);
  narrow.addEventListener("change", closeDrawer);
}
