// Moving between sections: where the reader has landed stays in sight while the page grows above it.

// Changes the page at `place`. What lies below it in the page stays where it is on the screen, if
// that is what the reader sees: the answers above may arrive after he has landed.
const hold = (place, change) => {
  const below = place.closest("section").nextElementSibling;
  const edge = parseFloat(getComputedStyle(root).scrollPaddingTop) + 1;
  const before = below.getBoundingClientRect().top;
  const isPast = before < edge || place.getBoundingClientRect().bottom < edge;
  const own = root.style.overflowAnchor;
  root.style.overflowAnchor = "none"; // the browser's own anchoring would move the page once more
  change();
  if (isPast) scrollBy({ top: below.getBoundingClientRect().top - before, behavior: "instant" });
  root.style.overflowAnchor = own;
};

// What the address names.
const named = () => {
  try { return at(decodeURIComponent(location.hash.slice(1).split("?")[0])); } catch { return null; }
};
const land = () => {
  const target = named();
  if (target) target.scrollIntoView();
};
// What is named lies in sight, even in details that are closed.
const reveal = () => {
  const target = named();
  let isClosed = false;
  for (let box = target && target.closest("details"); box; box = box.parentElement.closest("details")) {
    isClosed = isClosed || !box.open;
    box.open = true;
  }
  if (isClosed) target.scrollIntoView();
};
reveal();
addEventListener("hashchange", reveal);

const bar = document.querySelector("nav");
if (bar) {
  const places = Array.from(bar.children).map((link) => [link, at(link.hash.slice(1))]);
  let current = null;
  const mark = () => {
    const below = parseFloat(getComputedStyle(root).scrollPaddingTop) + 60;
    const [link] = places.findLast(([, place]) => place.getBoundingClientRect().top < below) || [null];
    if (link === current) return;
    if (current) current.removeAttribute("aria-current");
    current = link;
    if (!link) return;
    link.setAttribute("aria-current", "true");
    bar.scrollLeft = link.offsetLeft - (bar.clientWidth - link.offsetWidth) / 2;
  };
  let isWaiting = false;
  addEventListener("scroll", () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => { isWaiting = false; mark(); });
  }, { passive: true });
  requestAnimationFrame(mark);
}
