// One response: where it came from, its labels, its text, and why it has those labels.

function badges(data, row) {
  const list = make("ul", { class: "badges", "aria-label": "Labels" });
  for (const column of data.columns.values()) {
    if (column.role !== "metric") continue;
    const text = column.labels[column.codes[row]];
    const kind = isNull(column, row) ? "unknown" : ["yes", "present"].includes(text) ? "yes" : "no";
    list.append(
      make("li", { class: `badge ${kind}`, "data-metric": column.name }, `${visible(column.title)}: ${text}`),
    );
  }
  return list;
}

function responseText(data, row, needle) {
  const text = data.text(row);
  const element = make("div", { class: "response-text", dir: "auto" });
  if (text.trim() === "") {
    element.append(make("em", {}, text === "" ? "(an empty response)" : "(only blanks)"));
  }
  appendText(element, text, needle);
  return element;
}

// Built when it is opened: most never are.
function why(data, row) {
  if (!data.judgments.length) return null;
  const element = make("details", { class: "why" }, make("summary", {}, "Why these labels"));
  element.addEventListener(
    "toggle",
    () => element.append(...judgments(data, row)),
    { once: true },
  );
  return element;
}

function judgments(data, row) {
  const parts = data.judgments.map((judgment) => judgmentOf(judgment, row)).filter(Boolean);
  return parts.length ? parts : [make("p", {}, "No judge has a word on this response.")];
}

function judgmentOf({ metric, judge, columns }, row) {
  const [given, confidence, error, evidence, ...pairs] = columns;
  const of = (column) => column.labels[column.codes[row]];
  if ([given, error, evidence].every((column) => isNull(column, row))) return null;
  const line = make("p", {}, make("b", {}, visible(metric)), ", ", make("bdi", {}, visible(judge)), ": ");
  line.append(isNull(given, row) ? "no label" : of(given));
  if (!isNull(confidence, row)) line.append(`, confidence ${of(confidence)}`);
  if (!isNull(error, row)) line.append("; ", make("bdi", {}, of(error)));
  const part = make("div", { class: "judgment" }, line);
  if (!isNull(evidence, row)) {
    part.append(make("blockquote", { dir: "auto" }, of(evidence)));
  }
  const words = make("ul", { class: "words" });
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    if (isNull(pairs[i], row)) continue;
    const weight = of(pairs[i + 1]);
    words.append(make("li", {}, make("bdi", {}, of(pairs[i])), " ", make("span", { class: "weight" }, weight)));
  }
  if (words.children.length) {
    part.append(make("p", { class: "small" }, "Words that decided, and what each added to the log odds of the persona:"), words);
  }
  return part;
}

// A response of the list; `compare` is called when it is to be seen beside others.
function responseCard(data, row, needle, compare) {
  const of = (name) => label(data, name, row);
  const told = [of("training"), of("condition"), `sample ${of("sample")}`, of("category")];
  if (!isNull(data.columns.get("tokens"), row)) told.push(counted(Number(of("tokens")), "token"));
  told.push(of("finish_reason"));
  const facts = make("p", { class: "origin" });
  told.filter(Boolean).forEach((text, i) => facts.append(i ? " \u00b7 " : "", make("bdi", {}, text)));
  const beside = make("button", { type: "button", class: "beside" }, "Compare models on this question");
  beside.addEventListener("click", () => compare(row));
  const heading = make("h3", { dir: "auto" }, of("question") || "(an empty question)");
  return make(
    "article",
    { class: "response", "data-row": row },
    heading,
    facts,
    badges(data, row),
    responseText(data, row, needle),
    make("div", { class: "response-foot" }, why(data, row), beside),
  );
}
