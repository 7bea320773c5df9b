// Moving between sections: the place that the reader went to stays in view while the page grows above it.

// Changes the page at `place`. If the reader is looking at what is below it, that stays where it is
// on the screen: answers may arrive above after the reader has gone further down.
const hold = (place, change) => {
  const below = place.closest("section").nextElementSibling;
  const edge = parseFloat(getComputedStyle(root).scrollPaddingTop) + 1;
  const before = below.getBoundingClientRect().top;
  const isPast = before < edge || place.getBoundingClientRect().bottom < edge;
  const own = root.style.overflowAnchor;
  root.style.overflowAnchor = "none"; // else the browser's own anchoring would move the page a second time
  change();
  if (isPast) scrollBy({ top: below.getBoundingClientRect().top - before, behavior: "instant" });
  root.style.overflowAnchor = own;
};

// The element that the address names.
const named = () => {
  try { return at(decodeURIComponent(location.hash.slice(1).split("?")[0])); } catch { return null; }
};
const land = () => {
  const target = named();
  if (target) target.scrollIntoView();
};
// Shows the named element, even inside details that are closed.
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
