// The document's title: before the name of the page stands how much is unread, and how often one is named there.

let base = document.title; // without the counts
let counts = "";

function show() {
  document.title = counts + base;
}

/** "(3) General · Site", or with mentions "(3, @1) General · Site". */
export function showCounts(unread, mentions) {
  const words = [unread, mentions && `@${mentions}`].filter(Boolean).join(", ");
  counts = words && `(${words}) `;
  show();
}

/** Another page was put in place. */
export function showTitle(title) {
  base = title;
  show();
}

/** The page that is open is called something else now; the site's name stays behind it. */
export function rename(name) {
  base = name + base.slice(base.lastIndexOf(" · "));
  show();
}
