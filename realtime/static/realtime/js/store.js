// What this browser keeps for the signed-in person: drafts and messages not yet stored on the server.
// Private windows and full disks make localStorage throw; then it is kept for this page only.

const memory = new Map();

const prefix = () => `intellicolab:${document.body.dataset.user}:`;

export function read(name) {
  if (memory.has(name)) {
    return memory.get(name); // newer than what the browser keeps, or it would be there
  }
  try {
    return localStorage.getItem(prefix() + name);
  } catch {
    return null;
  }
}

export function write(name, value) {
  try {
    localStorage.setItem(prefix() + name, value);
    memory.delete(name);
  } catch {
    memory.set(name, value);
  }
}

export function erase(name) {
  memory.delete(name);
  try {
    localStorage.removeItem(prefix() + name);
  } catch {
    // Nothing was kept there.
  }
}

/** Names below `start`, for example every "outbox:…". */
export function names(start) {
  const all = [...memory.keys()];
  try {
    for (let index = 0; index < localStorage.length; index += 1) {
      const key = localStorage.key(index);
      if (key.startsWith(prefix())) {
        all.push(key.slice(prefix().length));
      }
    }
  } catch {
    // Only the page's own memory is left.
  }
  return [...new Set(all)].filter((name) => name.startsWith(start));
}

/** At sign-out: the next person at this browser finds nothing. */
export function eraseAll() {
  names("").forEach(erase);
}
