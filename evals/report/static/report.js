// The browser of answers. Text from models and data reaches the page through textContent only.
"use strict";
(() => {
  const PAGE = 20;
  const LONG = 360;
  const at = (id) => document.getElementById(id);
  const blocks = Array.from(document.querySelectorAll("script.data"));
  if (!blocks.length) return;

  const parsed = new Map();
  const load = (index) => {
    if (!parsed.has(index)) {
      const data = JSON.parse(blocks[index].textContent);
      for (const item of data.items) {
        item.haystack = [item.question, item.category, item.id, ...item.references,
          ...item.answers.map((answer) => (answer ? answer.text : ""))].join("\n").toLowerCase();
      }
      parsed.set(index, data);
    }
    return parsed.get(index);
  };

  const pick = {
    benchmark: at("by-benchmark"), stage: at("by-stage"), against: at("by-against"),
    kind: at("by-kind"), category: at("by-category"), text: at("by-text"),
  };
  let found = [];
  let drawn = 0;

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  // Foreign text. A block is its own paragraph, so direction marks end with it. Inside a line an unclosed mark would
  // swallow the end of its own element and turn what follows: there the marks that open or close are shown as \ufffd.
  const foreign = (tag, name, text) => {
    const isBlock = tag === "p";
    const node = make(tag, name, isBlock ? text : text.replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd"));
    node.dir = "auto";
    return node;
  };
  const fill = (select, entries, chosen) => {
    select.replaceChildren(...entries.map(([value, text]) => {
      const option = make("option", "", text);
      option.value = value;
      return option;
    }));
    if (entries.some(([value]) => value === chosen)) select.value = chosen;
  };

  const isScored = (answer) => answer !== null && answer.score !== null;
  const isUnparsed = (answer) => isScored(answer) && [null, "", "other"].includes(answer.parsed);
  const TESTS = {
    all: () => true,
    changed: (mine, other) => isScored(mine) && isScored(other) && mine.score !== other.score,
    won: (mine, other) => isScored(mine) && isScored(other) && mine.score > other.score,
    lost: (mine, other) => isScored(mine) && isScored(other) && mine.score < other.score,
    parsed: (mine, other) => isScored(mine) && !isUnparsed(mine) && isUnparsed(other),
    unparsed: (mine, other) => isUnparsed(mine) && isScored(other) && !isUnparsed(other),
    right: (mine, other) => isScored(mine) && isScored(other) && mine.score >= 1 && other.score >= 1,
    wrong: (mine, other) => isScored(mine) && isScored(other) && mine.score <= 0 && other.score <= 0,
  };

  const mark = (answer) => {
    if (answer === null) return ["missing", "–", "no answer"];
    if (answer.score === null) return ["error", "!", answer.status || "not scored"];
    if (answer.score >= 1) return ["right", "✓", "right"];
    if (answer.score > 0) return ["partly", answer.score.toFixed(2), "partly right"];
    return ["wrong", "✗", answer.status === "unparsed" ? "unparsed" : "wrong"];
  };

  const longText = (text) => {
    const box = foreign("p", "said", text.length > LONG ? text.slice(0, LONG) + "…" : text || "(empty answer)");
    if (!text) box.classList.add("quiet");
    if (text.length <= LONG) return [box];
    const button = make("button", "link", `Show all ${text.length.toLocaleString("en")} characters`);
    button.type = "button";
    button.addEventListener("click", () => {
      box.textContent = text;
      button.remove();
    });
    return [box, button];
  };

  const shortened = (text) => (text.length > 80 ? text.slice(0, 80) + "…" : text);

  const answerBox = (stage, answer, role) => {
    const [kind, sign, words] = mark(answer);
    const box = make("div", `answer ${kind} ${role}`);
    const head = make("p", "who");
    head.append(foreign("b", "", stage.name), make("span", "mark", `${sign} `));
    head.lastChild.append(make("span", "word", words));
    box.append(head);
    if (answer === null) return box;
    box.append(...longText(answer.error || answer.text));
    const facts = [];
    if (answer.finish === "length") facts.push("cut off");
    if (Number.isFinite(answer.tokens)) facts.push(`${answer.tokens} tokens`);
    const small = make("p", "read", facts.join(" · "));
    if (answer.parsed !== null && answer.parsed !== answer.text) {
      small.prepend("read as ", foreign("bdi", "", shortened(answer.parsed)), facts.length ? " · " : "");
    }
    box.append(small);
    return box;
  };

  const card = (data, item) => {
    const box = make("article", "example");
    const shown = make("div", "pictures");
    item.images.forEach((sha, index) => {
      if (sha === null) {
        shown.append(make("span", "gone", "image not kept"));
        return;
      }
      const image = make("img");
      image.src = `images/${sha}.png`;
      image.loading = "lazy";
      image.alt = `Image ${index + 1} of question ${item.id}`;
      shown.append(image);
    });
    if (!item.images.length) shown.append(make("span", "gone", "no image"));
    const body = make("div", "body");
    const where = make("p", "where");
    where.append(foreign("bdi", "", item.category || "no category"), " · ", foreign("bdi", "", item.id));
    const wanted = make("p", "wanted", "wanted ");
    item.references.forEach((reference, index) => {
      if (index) wanted.append(" ");
      wanted.append(foreign("bdi", "reference", reference));
    });
    const answers = make("div", "answers");
    data.stages.forEach((stage, index) => {
      const role = String(index) === pick.stage.value ? "mine" : String(index) === pick.against.value ? "other" : "";
      answers.append(answerBox(stage, item.answers[index], role));
    });
    body.append(where, foreign("p", "question", item.question), wanted, answers);
    box.append(shown, body);
    return box;
  };

  const draw = () => {
    const data = load(Number(pick.benchmark.value));
    const cards = document.createDocumentFragment();
    for (const item of found.slice(drawn, drawn + PAGE)) cards.append(card(data, item));
    drawn = Math.min(found.length, drawn + PAGE);
    at("cards").append(cards);
    at("more").hidden = drawn >= found.length;
    const few = data.items.length < data.total;
    const number = (n) => n.toLocaleString("en").replace(/,/g, "\u202f");
    at("found").textContent = `${number(found.length)} found, ${number(drawn)} shown; the page holds `
      + (few ? `${number(data.items.length)} of ${number(data.total)} questions, those that tell stages apart first.`
        : `all ${number(data.total)} questions.`);
  };

  const search = () => {
    const data = load(Number(pick.benchmark.value));
    const test = TESTS[pick.kind.value];
    const needle = pick.text.value.trim().toLowerCase();
    const mine = Number(pick.stage.value);
    const other = Number(pick.against.value);
    found = data.items.filter((item) => test(item.answers[mine], item.answers[other])
      && (pick.category.value === "*" || "=" + item.category === pick.category.value)
      && (!needle || item.haystack.includes(needle)));
    drawn = 0;
    at("cards").replaceChildren();
    draw();
  };

  const useParent = (data) => {
    const parent = data.stages[Number(pick.stage.value)].parent;
    if (parent !== null) pick.against.value = String(parent);
  };

  const useBenchmark = (stageName) => {
    const data = load(Number(pick.benchmark.value));
    const stages = data.stages.map((stage, index) => [String(index), stage.name]);
    let last = stages.length - 1;
    const wanted = data.stages.findIndex((stage) => stage.name === stageName);
    if (wanted >= 0) last = wanted;
    fill(pick.stage, stages, String(last));
    fill(pick.against, stages, "0");
    useParent(data);
    const categories = Array.from(new Set(data.items.map((item) => item.category))).sort();
    fill(pick.category, [["*", "all"], ...categories.map((name) => ["=" + name, name || "no category"])], pick.category.value);
    if (data.stages.length < 2) pick.kind.value = "all";
  };

  pick.benchmark.addEventListener("change", () => { useBenchmark(); search(); });
  pick.stage.addEventListener("change", () => { useParent(load(Number(pick.benchmark.value))); search(); });
  for (const select of [pick.against, pick.kind, pick.category]) select.addEventListener("change", search);
  let waiting = 0;
  pick.text.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
  at("more").addEventListener("click", draw);
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      pick.text.focus();
    }
  });
  for (const link of document.querySelectorAll("a.jump")) {
    link.addEventListener("click", () => {
      const names = Array.from(pick.benchmark.options, (option) => option.textContent);
      pick.benchmark.selectedIndex = Math.max(0, names.indexOf(link.dataset.benchmark));
      useBenchmark(link.dataset.stage);
      pick.category.value = "*";
      pick.text.value = "";
      pick.kind.value = link.dataset.kind;
      search();
    });
  }

  at("filters").hidden = false;
  useBenchmark();
  search();
})();
