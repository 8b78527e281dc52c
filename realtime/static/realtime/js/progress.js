// Shows how far an export is, and has the page made anew when something else is to be said of it.

const PAUSE = 1_000; // ms between two questions
const LONGEST = 30_000; // between two while the server doesn't answer

let stop = () => {};

/** Begins for the page that is there now, and ends for the one before. `renew()` loads the page anew. */
export function followProgress(renew) {
  stop();
  const section = document.querySelector("[data-export]");
  if (!section) {
    return;
  }
  let timer = 0;
  let failures = 0;
  let going = true;
  const ask = async () => {
    const found = document.hidden ? {} : await standing(section.dataset.export);
    if (!going) {
      return;
    }
    failures = found ? 0 : failures + 1;
    if (found?.state && found.state !== section.dataset.state) {
      renew();
      return;
    }
    show(section, found ?? {});
    timer = setTimeout(ask, Math.min(PAUSE * 2 ** failures, LONGEST));
  };
  stop = () => {
    going = false;
    clearTimeout(timer);
  };
  timer = setTimeout(ask, PAUSE);
}

// What the server says, or null where it says nothing of use. Who may not ask any more learns so from the page itself.
async function standing(address) {
  try {
    const response = await fetch(address, { headers: { Accept: "application/json" } });
    if (response.redirected || response.status === 404) {
      return { state: "gone" };
    }
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

function show(section, { percent, doing }) {
  if (percent === undefined || !section.querySelector("[data-percent]")) {
    return;
  }
  section.querySelector("progress").value = percent;
  section.querySelector("[data-percent]").textContent = percent;
  section.querySelector("[data-doing]").textContent = doing || "the data";
}
