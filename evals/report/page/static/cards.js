// One question as a card: its images, the right answers, and the answer of every stage.

const LONG = 360; // characters of an answer that are shown before it is unfolded

const pick = {
  benchmark: at("by-benchmark"), stage: at("by-stage"), against: at("by-against"),
  kind: at("by-kind"), category: at("by-category"), text: at("by-text"),
};
let data = null; // the benchmark's index

const PARSED = "ptR"; // flags: p parsed, t parsed but cut off, u unparsed, c cut off, R r refused, e error
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
  return ["wrong", "✗", { u: "unreadable", c: "cut off", t: "cut off", r: "refused", R: "refused" }[flag] || "wrong"];
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
  if (status === "truncated" && words !== "cut off") facts.push("cut off");
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
