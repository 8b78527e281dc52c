// Ids that the sender of a frame chooses.

/** crypto.randomUUID exists only on https and localhost; a server on plain http gets the same 122 random bits. */
export function newId() {
  if (crypto.randomUUID) {
    return crypto.randomUUID();
  }
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
