// How long to wait before trying again.

/** Half fixed, half random, in ms: a crowd that lost its server together doesn't come back in one instant. */
export const jittered = (delay) => delay / 2 + (Math.random() * delay) / 2;

/** Doubles with each failure after the first, up to `longest`. */
export const doubling = (failures, first, longest) => Math.min(longest, first * 2 ** (failures - 1));
