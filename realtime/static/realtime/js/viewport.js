// iOS keeps the page's height when its keyboard comes up; the part that is seen is known, so the composer stays above it.

export function followViewport() {
  const seen = window.visualViewport;
  if (!seen || !CSS.supports("-webkit-touch-callout", "none")) {
    return;
  }
  const set = () => document.documentElement.style.setProperty("--viewport-height", `${seen.height}px`);
  seen.addEventListener("resize", set);
  set();
}
