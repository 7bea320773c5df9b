// The list of examples: which questions pass the filters, and the address that holds the choice.

if (!pick.benchmark) return;
const PAGE = matchMedia("(max-width: 640px)").matches ? 5 : 20; // examples drawn at once
const cards = at("cards");
let shown = ""; // the benchmark whose index is in `data`
let found = []; // numbers of the questions that pass the filters
let drawn = 0;
let waiting = 0; // the timer that waits for the end of typing
let turn = 0; // grows with every search, so that an older one that is still loading stops

const TESTS = {
  all: () => true,
  changed: (a, b) => a.score !== null && b.score !== null && a.score !== b.score,
  won: (a, b) => a.score !== null && b.score !== null && a.score > b.score,
  lost: (a, b) => a.score !== null && b.score !== null && a.score < b.score,
  became: (a, b) => a.score !== null && b.score !== null && b.score < 1 && a.score >= 1,
  ceased: (a, b) => a.score !== null && b.score !== null && b.score >= 1 && a.score < 1,
  rose: (a, b) => a.score !== null && b.score !== null && a.score > b.score && a.score < 1,
  fell: (a, b) => a.score !== null && b.score !== null && a.score < b.score && b.score < 1,
  stated: (a, b) => a.score !== null && b.score !== null && a.content > b.content,
  unstated: (a, b) => a.score !== null && b.score !== null && a.content < b.content,
  parsed: (a, b) => a.score !== null && b.score !== null && a.isParsed && !b.isParsed,
  unparsed: (a, b) => a.score !== null && b.score !== null && !a.isParsed && b.isParsed,
  right: (a, b) => a.score >= 1 && b.score >= 1,
  wrong: (a, b) => a.score === 0 && b.score === 0,
  cut: (a) => a.flag === "t" || a.flag === "c",
  refused: (a) => a.flag === "r" || a.flag === "R",
  error: (a) => a.flag === "e",
  known: (a, b, isKnown) => isKnown,
};
const KINDS = new Map(Array.from(pick.kind.options, (option) => [option.value, option.textContent]));

const tell = (searched) => hold(cards, () => {
  at("more").hidden = drawn >= found.length;
  const all = data.category.length;
  at("found").textContent = searched < all
    ? `${count(found.length)} found, still searching: ${count(searched)} of ${count(all)} questions read`
    : `${count(found.length)} of ${count(all)} questions${found.length ? `, ${count(drawn)} shown` : ""}`;
});
// Draws the next examples, in place of those on the page or below them.
const draw = async (mine, isFresh = false) => {
  const numbers = found.slice(drawn, drawn + PAGE);
  drawn += numbers.length;
  const items = await Promise.all(numbers.map(question));
  if (mine !== turn) return;
  const made = items.map((item, index) => card(numbers[index], item));
  hold(cards, () => (isFresh ? cards.replaceChildren(...made) : cards.append(...made)));
};
const drawMore = async () => {
  await draw(turn);
  tell(data.category.length);
};
const fail = (error) => hold(cards, () => {
  at("found").textContent = `${error.message}. Is the whole report folder here?`;
});

// Says why no question is left, with a button that shows all of them again.
const blank = (left) => {
  const [stage, against] = [pick.stage, pick.against].map((select) => data.stages[Number(select.value)][0]);
  const kind = KINDS.get(pick.kind.value);
  const of = pick.category.value === "*" ? "" : ` of the category ${pick.category.selectedOptions[0].textContent}`;
  const all = count(data.category.length);
  const text = pick.text.value.trim();
  let words = `No question${of} fits “${kind}” for ${stage} compared with ${against}.`;
  if (text && left) {
    const among = left < data.category.length ? `the ${count(left)} questions that the other filters leave` : `the ${all} questions`;
    words = `None of ${among} has “${text}” in the question, its options, the right answers, or the answer of a stage.`;
  } else if (stage === against) {
    words = `${stage} is compared with itself, so nothing rose or fell. Compare it with another stage, or look at all questions.`;
  }
  const button = make("button", "", `Show all ${all} questions`);
  button.type = "button";
  button.addEventListener("click", () => {
    [pick.kind.value, pick.category.value, pick.text.value] = ["all", "*", ""];
    changed();
    pick.kind.focus();
  });
  const box = make("div", "blank");
  box.append(foreign("p", "", words), button);
  hold(cards, () => cards.replaceChildren(box));
};

// Counts the questions of every kind that pass the other filters; a kind without questions cannot
// be chosen. Returns the numbers of the chosen kind.
const sift = () => {
  const [stage, against] = [Number(pick.stage.value), Number(pick.against.value)];
  const category = pick.category.value === "*" ? null : Number(pick.category.value);
  const known = new Set(data.known);
  const kinds = Object.entries(TESTS).map(([kind, test]) => ({ kind, test, numbers: [] }));
  for (let number = 0; number < data.category.length; number++) {
    if (category !== null && data.category[number] !== category) continue;
    const [a, b, isKnown] = [verdict(stage, number), verdict(against, number), known.has(number)];
    for (const { test, numbers } of kinds) if (test(a, b, isKnown)) numbers.push(number);
  }
  const left = new Map(kinds.map(({ kind, numbers }) => [kind, numbers]));
  for (const option of pick.kind.options) {
    const { length } = left.get(option.value);
    option.textContent = `${KINDS.get(option.value)} (${count(length)})`;
    option.disabled = length === 0;
  }
  for (const option of pick.against.options) {
    option.disabled = option.value === pick.stage.value && pick.against.options.length > 1;
  }
  return left.get(pick.kind.value);
};

const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
const matcher = (text) => {
  const words = text.trim();
  return words ? new RegExp(escaped(words), "iu") : null;
};
const holds = (item, needle, long) => needle.test(item[0]) || needle.test(item[1])
  || item[2].some((reference) => needle.test(reference)) || item[4].some((option) => needle.test(option))
  || item[5].some((answer) => answer && (needle.test(answer[0]) || (answer[2] && needle.test(answer[2]))))
  || (long && long.some((entry) => needle.test(entry[2])));

const search = async () => {
  const mine = ++turn;
  const kept = sift();
  const needle = matcher(pick.text.value);
  drawn = 0;
  try {
    if (!needle) {
      found = kept;
      await draw(mine, true);
    } else {
      found = [];
      hold(cards, () => cards.replaceChildren());
      await searchText(kept, needle, mine);
    }
    if (mine === turn) {
      tell(data.category.length);
      if (!found.length) blank(kept.length);
    }
  } catch (error) {
    if (mine === turn) fail(error);
  }
  performance.mark("plumbline-filtered");
};
const searchText = async (kept, needle, mine) => {
  const pieces = new Map();
  for (const number of kept) {
    const piece = pieceOf(number);
    if (!pieces.has(piece)) pieces.set(piece, []);
    pieces.get(piece).push(number);
  }
  const names = Array.from(pieces.keys());
  names.slice(0, 4).forEach((piece) => load(pieceName(piece)));
  for (const [index, piece] of names.entries()) {
    if (index + 4 < names.length) load(pieceName(names[index + 4]));
    const items = await load(pieceName(piece));
    if (mine !== turn) return;
    const start = data.starts[piece];
    const numbers = pieces.get(piece);
    const hasLong = numbers.some((number) => items[number - start][5].some((answer) => answer && answer[1] > answer[0].length));
    const long = hasLong ? await load(`${pieceName(piece)}-long`) : null;
    if (mine !== turn) return;
    for (const number of numbers) {
      const rest = long && long.filter((entry) => entry[0] === number);
      if (holds(items[number - start], needle, rest)) found.push(number);
    }
    if (drawn < PAGE) await draw(mine);
    if (mine !== turn) return;
    tell(piece + 1 < data.starts.length ? data.starts[piece + 1] - 1 : data.category.length - 1);
  }
};

const useParent = () => {
  const parent = data.stages[Number(pick.stage.value)][1];
  if (parent >= 0) pick.against.value = String(parent);
  else if (pick.against.value === pick.stage.value && data.stages.length > 1) {
    pick.against.value = pick.stage.value === "0" ? "1" : "0";
  }
};
const fillControls = (wanted) => {
  const names = data.stages.map((stage) => stage[0]);
  const stages = names.map((name, index) => [String(index), name]);
  const stage = names.includes(wanted.stage) ? names.indexOf(wanted.stage) : stages.length - 1;
  fill(pick.stage, stages, String(stage));
  fill(pick.against, stages, "0");
  useParent();
  if (names.includes(wanted.against)) pick.against.value = String(names.indexOf(wanted.against));
  const categories = data.categories.map((name, index) => [String(index), name || "no category"]);
  const category = data.categories.indexOf(wanted.category);
  fill(pick.category, [["*", "all"], ...categories], category < 0 ? "*" : String(category));
  const usual = stages.length < 2 ? "all" : "changed";
  pick.kind.value = KINDS.has(wanted.kind) ? wanted.kind : usual;
};
// Sets every control, and the list, to a choice. What the choice leaves open is set as when the
// page is opened.
const show = async (wanted, done = () => {}) => {
  const mine = ++turn;
  clearTimeout(waiting);
  const benchmarks = Array.from(pick.benchmark.options, (option) => option.value);
  pick.benchmark.value = benchmarks.includes(wanted.benchmark) ? wanted.benchmark : benchmarks[0];
  pick.text.value = wanted.text || "";
  try {
    const index = await load(`${pick.benchmark.value}/index`);
    if (mine !== turn) return;
    data = index;
    shown = pick.benchmark.value;
    hold(at("filters"), () => fillControls(wanted));
    done();
    await search();
  } catch (error) {
    if (mine === turn) fail(error);
  }
};

// --- the address: every entry of the history has its choice, so that Back finds it again ------------

const fromAddress = () => {
  const [place, query] = location.hash.split("?");
  return place === "#examples" && query ? Object.fromEntries(new URLSearchParams(query)) : null;
};
const toAddress = (choice) => `#examples?${new URLSearchParams(choice)}`;
const write = (how, address) => {
  try { history[how]({ choice }, "", address); } catch { /* not allowed on this address */ }
};
const isWritten = () => Boolean(history.state && "choice" in history.state);
let choice = isWritten() ? history.state.choice : fromAddress(); // null: nothing was chosen yet

const keep = () => {
  const [stage, against] = [pick.stage, pick.against].map((select) => data.stages[Number(select.value)][0]);
  const category = pick.category.value === "*" ? "*" : data.categories[Number(pick.category.value)];
  choice = { benchmark: pick.benchmark.value, stage, against, kind: pick.kind.value, category, text: pick.text.value };
  write("replaceState", toAddress(choice));
};
const changed = () => {
  if (shown === pick.benchmark.value) {
    keep();
    search();
  } else { // its index is still loading
    show({ ...choice, benchmark: pick.benchmark.value, kind: pick.kind.value, text: pick.text.value }, keep);
  }
};
// The reader went to another entry of the history: by Back, Forward, a link, or a new address in the
// same tab.
const follow = async () => {
  const isNew = !isWritten();
  const wanted = isNew ? fromAddress() || choice : history.state.choice;
  const isSame = JSON.stringify(wanted) === JSON.stringify(choice);
  choice = wanted;
  if (isNew) write("replaceState");
  if (!isSame) await show(wanted || {});
  if (!isSame || (isNew && fromAddress())) requestAnimationFrame(land);
};
addEventListener("popstate", follow);
addEventListener("hashchange", follow); // in browsers where a changed hash sends no popstate

pick.benchmark.addEventListener("change", () => {
  const stage = data ? data.stages[Number(pick.stage.value)][0] : undefined;
  show({ benchmark: pick.benchmark.value, stage, kind: pick.kind.value, text: pick.text.value }, keep);
});
pick.stage.addEventListener("change", () => { if (data) useParent(); changed(); });
for (const select of [pick.against, pick.kind, pick.category]) select.addEventListener("change", changed);
pick.text.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(changed, 120);
});
at("more").addEventListener("click", drawMore);
for (const link of document.querySelectorAll("a.jump")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { benchmark, stage, kind, category } = link.dataset;
    const option = Array.from(pick.benchmark.options).find((one) => one.textContent === benchmark);
    choice = { benchmark: option ? option.value : "", stage, kind, ...(category === undefined ? {} : { category }) };
    write(location.hash === toAddress(choice) ? "replaceState" : "pushState", toAddress(choice));
    show(choice);
    at("examples").scrollIntoView();
    at("examples").querySelector("h2").focus({ preventScroll: true });
  });
}

// --- keys ---------------------------------------------------------------------------------------

const step = async (by) => {
  const all = Array.from(cards.children);
  const here = document.activeElement && document.activeElement.closest(".example");
  let next = here ? all.indexOf(here) + by : by > 0 ? 0 : -1;
  if (next >= all.length && drawn < found.length) {
    await drawMore();
  }
  next = Math.min(Math.max(next, 0), cards.children.length - 1);
  if (cards.children[next]) cards.children[next].focus();
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const focus = document.activeElement;
  if (event.key === "Escape" && focus === pick.text) {
    pick.text.blur();
    return;
  }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(focus.tagName)) return;
  const onCard = focus.classList.contains("example");
  if (event.key === "/") {
    event.preventDefault();
    pick.text.focus();
  } else if (event.key === "j" || (onCard && event.key === "ArrowDown")) {
    event.preventDefault();
    step(1);
  } else if (event.key === "k" || (onCard && event.key === "ArrowUp")) {
    event.preventDefault();
    step(-1);
  }
});

// --- start: when the section comes near, or at once where the address names a choice ----------------

write("replaceState");
at("filters").hidden = false;
if (fromAddress() || !("IntersectionObserver" in window)) {
  show(choice || {});
  land();
} else {
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    if (turn === 0) show(choice || {});
  }, { rootMargin: "800px" });
  near.observe(at("examples"));
}
