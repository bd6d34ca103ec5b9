// Keep the parts of a page that are marked data-live="address" up to date. The server
// leaves the mark away once a part is final. Without this the pages still work: they
// reload themselves, or have a link that does.

const PAUSE = 1000;

async function fetched(part) {
  const answer = await fetch(part.dataset.live);
  if (!answer.ok) return null;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.getElementById(part.id);
}

function replaceInside(part, fresh) {
  const action = document.activeElement?.closest("form")?.getAttribute("action");
  const had = part.contains(document.activeElement);
  // The element itself stays: screen readers announce what changes inside it.
  part.replaceChildren(...fresh.childNodes);
  if (had && action) part.querySelector(`form[action="${action}"] button`)?.focus();
}

async function keepFresh(part) {
  while (part.dataset.live) {
    await new Promise((wake) => setTimeout(wake, PAUSE));
    if (document.hidden || part.querySelector("details[open]")) continue;
    const fresh = await fetched(part).catch(() => null);
    if (!fresh) continue;
    if (!fresh.dataset.live) delete part.dataset.live;
    if (fresh.innerHTML !== part.innerHTML) replaceInside(part, fresh);
  }
}

document.documentElement.classList.add("scripted");
document.querySelectorAll("[data-live]").forEach(keepFresh);
