// The browser of answers.

const PAGE = 20; // examples drawn at once
const LONG = 360; // characters of an answer that are shown folded

const pick = {
  benchmark: at("by-benchmark"), stage: at("by-stage"), against: at("by-against"),
  kind: at("by-kind"), category: at("by-category"), text: at("by-text"),
};
if (!pick.benchmark) return;
const cards = at("cards");
let data = null; // the benchmark's index
let found = []; // numbers of the questions that the filters leave
let drawn = 0;
let turn = 0; // grows with every search: an older one that is still loading gives up

const PARSED = "ptR"; // flags: p parsed, t parsed but cut off, u unparsed, c cut off, R r refused, e error
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
const verdict = (stage, number) => {
  const flag = data.flags[stage][number];
  const score = data.score[stage][number];
  return { score, content: data.content ? data.content[stage][number] : score, flag, isParsed: PARSED.includes(flag) };
};

const pieceOf = (number) => {
  let low = 0;
  let high = data.starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (data.starts[middle] <= number) low = middle;
    else high = middle - 1;
  }
  return low;
};
const pieceName = (piece) => `${pick.benchmark.value}/${String(piece).padStart(3, "0")}`;
const question = async (number) => {
  const piece = pieceOf(number);
  return (await load(pieceName(piece)))[number - data.starts[piece]];
};
const wholeText = async (number, stage) => {
  const long = await load(`${pieceName(pieceOf(number))}-long`);
  return long.find((entry) => entry[0] === number && entry[1] === stage)[2];
};

const SIGNS = {
  missing: ["–", "no answer"], error: ["!", "not scored"], right: ["✓", "right"], wrong: ["✗", "wrong"],
};
const markOf = (stage, number, status) => {
  const { score, flag } = verdict(stage, number);
  if (flag === "-") return ["missing", ...SIGNS.missing];
  if (score === null) return ["error", "!", status || "not scored"];
  if (score >= 1) return ["right", ...SIGNS.right];
  if (score > 0) return ["partly", score.toFixed(2), "partly right"];
  return ["wrong", "✗", { u: "unparsed", c: "cut off", r: "refused", R: "refused" }[flag] || "wrong"];
};

const answerText = (number, stage, text, size) => {
  const box = foreign("p", "said", text.length > LONG ? text.slice(0, LONG) + "…" : text || "(empty answer)");
  if (!text) box.classList.add("quiet");
  if (text.length <= LONG) return [box];
  const button = make("button", "link", `Show all ${count(size)} characters`);
  button.type = "button";
  button.addEventListener("click", async () => {
    button.disabled = true;
    let whole = text;
    try { if (size > text.length) whole = await wholeText(number, stage); } catch { whole = text + "… (the rest is missing)"; }
    say(box, whole);
    box.tabIndex = 0;
    box.focus();
    button.remove();
  });
  return [box, button];
};

const answerBox = (number, stage, answer, role) => {
  const [kind, sign, words] = markOf(stage, number, answer ? answer[3] : "");
  const box = make("div", `answer ${kind} ${role}`);
  const head = make("p", "who");
  head.append(foreign("b", "", data.stages[stage][0]), make("span", "mark", `${sign} `));
  head.lastChild.append(make("span", "word", words));
  box.append(head);
  if (answer === null) return box;
  const [text, size, parsed, status, tokens, error] = answer;
  box.append(...answerText(number, stage, error === null ? text : error, error === null ? size : error.length));
  const small = make("p", "read");
  const facts = [];
  if (status === "truncated") facts.push("cut off");
  if (tokens !== null) facts.push(`${count(tokens)} token${tokens === 1 ? "" : "s"}`);
  if (parsed !== null) {
    const shown = parsed.length > 80 ? parsed.slice(0, 80) + "…" : parsed;
    small.append("read as ", foreign("bdi", "", shown), facts.length ? " · " : "");
  }
  small.append(facts.join(" · "));
  box.append(small);
  return box;
};

const picture = (sha, index, id) => {
  if (sha === null) return make("span", "gone", "image not kept");
  const image = make("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = `Image ${index + 1} of question ${id}`;
  image.addEventListener("error", () => image.replaceWith(make("span", "gone", "image not found")));
  image.src = `images/${sha}.png`;
  return image;
};

const card = (number, item) => {
  const [id, text, references, images, options, answers, flags] = item;
  const box = make("article", "example");
  box.tabIndex = -1;
  box.setAttribute("aria-label", `Question ${id}`);
  const shown = make("div", "pictures");
  shown.append(...images.map((sha, index) => picture(sha, index, id)));
  if (!images.length) shown.append(make("span", "gone", "no image"));
  const body = make("div", "body");
  const where = make("p", "where");
  const category = data.categories[data.category[number]];
  where.append(foreign("bdi", "", category || "no category"), " · ", foreign("bdi", "", id));
  if (flags.length) where.append(" · ", foreign("b", "alarm", `known from training: ${flags.join(", ")}`));
  body.append(where, foreign("p", "question", text));
  if (options.length) {
    const list = make("p", "options");
    options.forEach((option, index) => list.append(make("b", "", ` ${String.fromCharCode(65 + index)} `), foreign("bdi", "", option)));
    body.append(list);
  }
  const wanted = make("p", "wanted", references.length > 1 ? "right answers " : "right answer ");
  references.forEach((reference, index) => wanted.append(index ? " " : "", foreign("bdi", "reference", reference)));
  const boxes = make("div", "answers");
  answers.forEach((answer, stage) => {
    const role = String(stage) === pick.stage.value ? "mine" : String(stage) === pick.against.value ? "other" : "";
    boxes.append(answerBox(number, stage, answer, role));
  });
  body.append(wanted, boxes);
  box.append(shown, body);
  return box;
};

const tell = (searched) => {
  at("more").hidden = drawn >= found.length;
  const all = data.category.length;
  at("found").textContent = searched < all
    ? `${count(found.length)} found, still searching: ${count(searched)} of ${count(all)} questions read`
    : `${count(found.length)} of ${count(all)} questions${found.length ? `, ${count(drawn)} shown` : ""}`;
};
const draw = async (mine) => {
  const numbers = found.slice(drawn, drawn + PAGE);
  const items = await Promise.all(numbers.map(question));
  if (mine !== turn) return;
  cards.append(...items.map((item, index) => card(numbers[index], item)));
  drawn += numbers.length;
};
const fail = (error) => { at("found").textContent = `${error.message}. Is the whole report folder here?`; };

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
  const test = TESTS[pick.kind.value];
  const [stage, against] = [Number(pick.stage.value), Number(pick.against.value)];
  const category = pick.category.value === "*" ? null : Number(pick.category.value);
  const kept = [];
  const known = new Set(data.known);
  for (let number = 0; number < data.category.length; number++) {
    if (category !== null && data.category[number] !== category) continue;
    if (test(verdict(stage, number), verdict(against, number), known.has(number))) kept.push(number);
  }
  keep();
  const needle = matcher(pick.text.value);
  try {
    if (!needle) {
      found = kept;
      drawn = 0;
      await draw(clear(mine));
    } else {
      found = [];
      drawn = 0;
      clear(mine);
      await searchText(kept, needle, mine);
    }
    if (mine === turn) tell(data.category.length);
  } catch (error) {
    if (mine === turn) fail(error);
  }
  performance.mark("plumbline-filtered");
};
const clear = (mine) => {
  cards.replaceChildren();
  return mine;
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

// What is chosen stands in the address: it survives a reload and can be sent.
const keep = () => {
  const chosen = new URLSearchParams();
  for (const key of ["benchmark", "stage", "against", "kind", "category", "text"]) {
    const { value } = pick[key];
    chosen.set(key, key === "stage" || key === "against" ? data.stages[Number(value)][0]
      : key === "category" && value !== "*" ? data.categories[Number(value)] : value);
  }
  if (!hasChosen) return;
  try { history.replaceState(null, "", `#examples?${chosen}`); } catch { /* not allowed on this address */ }
};
let hasChosen = false;

const useParent = () => {
  const parent = data.stages[Number(pick.stage.value)][1];
  if (parent >= 0) pick.against.value = String(parent);
};
const useBenchmark = async (wanted = {}) => {
  data = await load(`${pick.benchmark.value}/index`);
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
  if (stages.length < 2 && !wanted.kind) pick.kind.value = "all";
};
const choose = async (wanted) => {
  try {
    if (wanted.kind in TESTS) pick.kind.value = wanted.kind;
    pick.text.value = wanted.text || "";
    await useBenchmark(wanted);
    await search();
  } catch (error) {
    fail(error);
  }
};

const chosen = () => { hasChosen = true; };
pick.benchmark.addEventListener("change", () => { chosen(); choose({ stage: data && data.stages[Number(pick.stage.value)][0], kind: pick.kind.value, text: pick.text.value }); });
pick.stage.addEventListener("change", () => { chosen(); useParent(); search(); });
for (const select of [pick.against, pick.kind, pick.category]) select.addEventListener("change", () => { chosen(); search(); });
let waiting = 0;
pick.text.addEventListener("input", () => { chosen(); clearTimeout(waiting); waiting = setTimeout(search, 120); });
at("more").addEventListener("click", async () => { await draw(turn); tell(data.category.length); });
for (const link of document.querySelectorAll("a.jump")) {
  link.addEventListener("click", () => {
    const options = Array.from(pick.benchmark.options);
    const wanted = options.find((option) => option.textContent === link.dataset.benchmark);
    if (wanted) pick.benchmark.value = wanted.value;
    chosen();
    choose({ stage: link.dataset.stage, kind: link.dataset.kind, category: link.dataset.category });
  });
}

// --- keys ---------------------------------------------------------------------------------------

const step = async (by) => {
  const all = Array.from(cards.children);
  const here = document.activeElement && document.activeElement.closest(".example");
  let next = here ? all.indexOf(here) + by : by > 0 ? 0 : -1;
  if (next >= all.length && drawn < found.length) {
    await draw(turn);
    tell(data.category.length);
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

// --- begin: when the section comes near, or at once where the address names a choice ----------------

const [, query] = location.hash.split("?");
const wanted = Object.fromEntries(new URLSearchParams(query || ""));
const begin = () => {
  if (wanted.benchmark && Array.from(pick.benchmark.options).some((option) => option.value === wanted.benchmark)) {
    pick.benchmark.value = wanted.benchmark;
  }
  at("filters").hidden = false;
  choose(wanted);
  if (query) {
    hasChosen = true;
    at("examples").scrollIntoView();
  }
};
if (query || !("IntersectionObserver" in window)) {
  begin();
} else {
  at("filters").hidden = false;
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    if (!data) begin();
  }, { rootMargin: "800px" });
  near.observe(at("examples"));
}
