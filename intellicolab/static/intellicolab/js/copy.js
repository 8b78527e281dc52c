// Copying text: `<button data-copy="#id">` copies a field's value or an element's text, and so does a code block's button.

// navigator.clipboard exists only on https and localhost; a team's server on plain http still copies the old way.
async function copyText(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text);
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) {
    throw new Error("The browser did not allow copying.");
  }
}

function textOf(button) {
  const target = button.dataset.copy ? document.querySelector(button.dataset.copy) : button.parentElement.querySelector("pre");
  return target ? (target.value ?? target.textContent) : "";
}

function say(button, words) {
  button.dataset.words ??= button.textContent;
  button.textContent = words;
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => (button.textContent = button.dataset.words), 2000);
}

/** One listener for all copy buttons below `root`, also those added later. */
export function copyOnClick(root) {
  root.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy], button.copy-code");
    if (!button) {
      return;
    }
    try {
      await copyText(textOf(button));
      say(button, "Copied");
    } catch {
      say(button, "Select and copy it by hand");
    }
  });
}

/** Gives each code block below `root` its copy button, in a frame that stays put while the code scrolls sideways. */
export function addCodeButtons(root) {
  for (const block of root.querySelectorAll("pre")) {
    if (block.parentElement.classList.contains("code-frame")) {
      continue;
    }
    const frame = document.createElement("div");
    frame.className = "code-frame";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy-code";
    button.textContent = "Copy";
    block.replaceWith(frame);
    frame.append(block, button);
  }
}
