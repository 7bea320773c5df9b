// Making elements, and showing text from models and data: through textContent only.

const MANY_MARKS = 400; // above this number, invisible characters are named without an element each
const at = (id) => document.getElementById(id);
const root = document.documentElement;

const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};
const NAMES = {
  0x00: "NUL", 0x08: "BS", 0x0d: "CR", 0x1b: "ESC", 0x7f: "DEL", 0x061c: "ALM", 0x200e: "LRM", 0x200f: "RLM", 0x202a: "LRE",
  0x202b: "RLE", 0x202c: "PDF", 0x202d: "LRO", 0x202e: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
};
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const nameOf = (mark) => {
  const code = mark.charCodeAt(0);
  return `⟨${NAMES[code] || "U+" + code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
};
// Foreign text is isolated from the text around it. Characters that are invisible, or that change the
// writing direction, are replaced by their names.
const say = (node, text) => {
  const found = text.match(UNSEEN);
  if (!found) {
    node.textContent = text;
  } else if (found.length > MANY_MARKS) {
    node.textContent = text.replace(UNSEEN, nameOf);
  } else {
    node.replaceChildren();
    let from = 0;
    for (const match of text.matchAll(UNSEEN)) {
      node.append(text.slice(from, match.index), make("span", "unseen", nameOf(match[0])));
      from = match.index + match[0].length;
    }
    node.append(text.slice(from));
  }
  return node;
};
const foreign = (tag, name, text) => {
  const node = say(make(tag, name), text);
  node.dir = "auto";
  return node;
};
const fill = (select, entries, chosen) => {
  select.replaceChildren(...entries.map(([value, text]) => {
    const option = say(make("option"), text);
    option.value = value;
    return option;
  }));
  if (entries.some(([value]) => value === chosen)) select.value = chosen;
};
const count = (n) => n.toLocaleString("en");
