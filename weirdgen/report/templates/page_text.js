// Foreign text. It reaches the page as text nodes only, and what cannot be seen in it is written out.

const UNSEEN =
  /(?![\n\t])[\p{C}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0d\u{e0100}-\u{e01ef}]/gu;

function escaped(char) {
  const code = char.codePointAt(0);
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\u{${hex}}`;
}

// For where there is only plain text: options, labels, counts.
function visible(text) {
  return text.replace(UNSEEN, escaped);
}

function counted(n, word) {
  return `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
}

// An element; strings among the children become text nodes, null is left out.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Start and end of every place in `text` where `needle` (in lower case) stands.
function hitsIn(text, needle) {
  const hits = [];
  if (!needle) return hits;
  let lower = text.toLowerCase();
  let origin = null;
  if (lower.length !== text.length) {
    // A letter such as U+0130 has a longer lower case: remember where each unit came from.
    origin = [];
    lower = "";
    let at = 0;
    for (const char of text) {
      const small = char.toLowerCase();
      for (let unit = 0; unit < small.length; unit++) origin.push(at);
      lower += small;
      at += char.length;
    }
    origin.push(at);
  }
  for (let at = lower.indexOf(needle); at >= 0; at = lower.indexOf(needle, at + needle.length)) {
    const end = at + needle.length;
    if (origin === null) hits.push([at, end]);
    else hits.push([origin[at], Math.max(origin[end], origin[end - 1] + 1)]);
  }
  return hits;
}

function appendVisible(parent, text, plain) {
  if (plain) {
    parent.append(text);
    return;
  }
  let done = 0;
  for (const match of text.matchAll(UNSEEN)) {
    if (match.index > done) parent.append(text.slice(done, match.index));
    parent.append(make("span", { class: "unseen-char" }, escaped(match[0])));
    done = match.index + match[0].length;
  }
  if (done < text.length) parent.append(text.slice(done));
}

// `text` in `parent`, the places of `needle` marked.
function appendText(parent, text, needle = "") {
  const plain = text.search(UNSEEN) < 0;
  let done = 0;
  for (const [start, end] of hitsIn(text, needle)) {
    if (start > done) appendVisible(parent, text.slice(done, start), plain);
    const mark = make("mark");
    appendVisible(mark, text.slice(start, end), plain);
    parent.append(mark);
    done = end;
  }
  if (done < text.length) appendVisible(parent, text.slice(done), plain);
}
