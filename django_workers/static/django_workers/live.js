// Keeps the dashboard, or the page of an unfinished job, fresh. Both are whole without it.
//
// Every few seconds the part that changes is fetched and put in place. It waits while
// the tab is hidden, while somebody works inside that part (focus, a selection, a field
// that was filled in), and longer after each answer that did not come. It stops once
// that part asks for no more.

const live = document.getElementById("dw-live");
const line = document.getElementById("dw-refresh");
const state = document.getElementById("dw-refresh-state");
const toggle = document.getElementById("dw-refresh-toggle");

const LONGEST_SECONDS = 120;
const every = Number(live.dataset.seconds);
let wait = every;
let paused = false;
let over = false;
let timer = 0;

function say(word, seconds) {
  const text = state.dataset[word].replace("%s", seconds);
  if (state.textContent !== text) {
    state.textContent = text;
  }
}

function isFilledIn(field) {
  return field.type === "checkbox"
    ? field.checked !== field.defaultChecked
    : field.value !== field.defaultValue;
}

function isBusy() {
  if (live.contains(document.activeElement)) {
    return true;
  }
  if ([...live.querySelectorAll("input:not([type=hidden])")].some(isFilledIn)) {
    return true;
  }
  const selection = document.getSelection();
  return Boolean(
    selection && !selection.isCollapsed && live.contains(selection.anchorNode),
  );
}

function plan(seconds) {
  clearTimeout(timer);
  if (!paused && !over && !document.hidden) {
    timer = setTimeout(refresh, seconds * 1000);
  }
}

function replace(html) {
  const body = new DOMParser().parseFromString(html, "text/html").body;
  // The answer is that part alone, or the whole page with it.
  const fresh = body.querySelector("#dw-live") ?? body;
  for (const old of live.querySelectorAll("details[id]")) {
    fresh.querySelector(`#${old.id}`)?.toggleAttribute("open", old.open);
  }
  if (fresh !== body && !fresh.dataset.url) {
    over = true;
    line.hidden = true;
  }
  live.replaceChildren(...fresh.childNodes);
}

async function refresh() {
  if (isBusy()) {
    say("waiting");
    plan(every);
    return;
  }
  try {
    const answer = await fetch(live.dataset.url, {
      credentials: "same-origin",
      headers: { Accept: "text/html" },
      signal: AbortSignal.timeout(20_000),
    });
    if (answer.redirected || answer.status === 403) {
      say("signedOut");
      return;
    }
    if (!answer.ok) {
      throw new Error(`status ${answer.status}`);
    }
    const html = await answer.text();
    // Somebody may have begun to work here meanwhile.
    if (!isBusy() && !paused) {
      replace(html);
    }
    wait = every;
    if (!paused) {
      say("live", every);
    }
  } catch {
    wait = Math.min(wait * 2, LONGEST_SECONDS);
    say("failing", wait);
  }
  plan(wait);
}

toggle.addEventListener("click", () => {
  paused = !paused;
  toggle.textContent = paused ? toggle.dataset.resume : toggle.dataset.pause;
  if (paused) {
    clearTimeout(timer);
    say("paused");
  } else {
    refresh();
  }
});

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && !paused && !over) {
    refresh();
  }
});

line.hidden = false;
say("live", every);
plan(every);
