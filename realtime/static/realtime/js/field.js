// A field for a message's text: it grows with the text, and Enter hands it over.

/** On a phone Enter breaks the line and the button sends: there is no Shift-Enter under a thumb. */
export const hasKeyboard = matchMedia("(hover: hover) and (pointer: fine)");

const growsItself = CSS.supports("field-sizing", "content");

/** Whether this key hands the text over. */
export function isEnter(event) {
  // While an input method composes, Enter chooses a word.
  const plain = event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
  return plain && (hasKeyboard.matches || event.ctrlKey || event.metaKey);
}

/** After the text has changed. */
export function grow(field) {
  if (!growsItself) {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
  }
}
