// What a page does when its session is over: it goes to sign in.

const NAME = "intellicolab:ended";
const AGAIN_AFTER = 15_000; // ms

/** Whether the page is on its way there. Not twice in a row: where only the socket is refused, it would never rest. */
export function goToSignIn(link) {
  try {
    const last = Number(sessionStorage.getItem(NAME));
    sessionStorage.setItem(NAME, Date.now());
    if (Date.now() - last < AGAIN_AFTER) {
      return false;
    }
  } catch {
    return false; // where nothing can be kept, the person follows the link themselves
  }
  location.replace(link.href); // Back must not lead to what only the signed-in person may read
  return true;
}
