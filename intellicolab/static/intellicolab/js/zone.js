// The browser knows the reader's time zone: forms that ask for one start with it.

/** Fills each `[data-browser-zone]` field that holds no choice of the person's own. */
export function offerZone(root) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const field of root.querySelectorAll("[data-browser-zone]")) {
    if (!field.value || field.value === "UTC") {
      const before = field.value;
      field.value = zone;
      // A select that doesn't list the zone goes blank; keep what it had.
      field.value ||= before;
    }
  }
}
