// One question side by side: models down, conditions across, one sample at a time.

// Codes of `name` that the filters let through and that the rows have.
function codesOf(data, state, name, rows) {
  const { codes } = data.columns.get(name);
  const allowed = state.filters.get(name);
  const present = new Set(rows.map((row) => codes[row]));
  return [...present].filter((code) => !allowed || allowed.has(code)).sort((a, b) => a - b);
}

function rowsOfQuestion(data, state) {
  const { codes } = data.columns.get("question");
  const others = ["fraction", "seed", "training"].filter((name) => state.filters.has(name));
  const rows = [];
  for (let row = 0; row < data.n; row++) {
    if (codes[row] !== state.question) continue;
    const passes = (name) => state.filters.get(name).has(data.columns.get(name).codes[row]);
    if (others.every(passes)) rows.push(row);
  }
  return rows;
}

function stepper(id, title, list, at, changed) {
  const choice = make("select", { id });
  list.forEach((text, i) => choice.append(make("option", { value: i }, text)));
  choice.value = at;
  choice.addEventListener("change", () => changed(Number(choice.value)));
  const step = (by, text) => {
    const button = make("button", { type: "button", id: `${id}-${text}`, disabled: !list[at + by] && list[at + by] !== "" },
      text === "previous" ? "\u2190" : "\u2192", make("span", { class: "unseen" }, ` ${text} ${title}`));
    button.addEventListener("click", () => changed(at + by));
    return button;
  };
  return make("div", { class: "field stepper" }, make("label", { for: id }, title),
    make("span", { class: "steps" }, step(-1, "previous"), choice, step(1, "next")));
}

// Fills `parent` and gives a line that says what is seen; `changed` gets what the reader chose.
function showCompare(parent, data, state, changed) {
  const focused = document.activeElement?.id;
  const question = data.columns.get("question");
  const sampleOf = data.columns.get("sample");
  const rows = rowsOfQuestion(data, state);
  const samples = [...new Set(rows.map((row) => sampleOf.codes[row]))].sort((a, b) => a - b);
  const at = Math.max(0, samples.indexOf(state.sample));
  const names = samples.map((code) => sampleOf.labels[code]);
  const controls = make(
    "div",
    { class: "compare-controls" },
    stepper("compare-question", "question", question.labels, state.question, (code) => changed({ question: code })),
    stepper("compare-sample", "sample", names, at, (i) => changed({ sample: samples[i] })),
  );
  const conditions = codesOf(data, state, "condition", rows);
  const trainings = codesOf(data, state, "training", rows);
  const conditionOf = data.columns.get("condition");
  const trainingOf = data.columns.get("training");
  const cells = new Map();
  for (const row of rows) {
    if (sampleOf.codes[row] === samples[at]) {
      cells.set(`${trainingOf.codes[row]} ${conditionOf.codes[row]}`, row);
    }
  }
  const head = make("tr", {}, make("th", { scope: "col" }, "model"),
    ...conditions.map((code) => make("th", { scope: "col", dir: "auto" }, conditionOf.labels[code])));
  const body = trainings.map((training) =>
    make("tr", {}, make("th", { scope: "row", dir: "auto" }, trainingOf.labels[training]),
      ...conditions.map((condition) => compareCell(data, cells.get(`${training} ${condition}`), state.search.toLowerCase()))),
  );
  const caption = make("caption", { dir: "auto" }, question.labels[state.question] ?? "");
  const table = make("table", {}, caption, make("thead", {}, head), make("tbody", {}, ...body));
  const box = make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Responses side by side" }, table);
  parent.replaceChildren(controls, rows.length ? box : make("p", {}, "No responses of this question meet the filters."));
  if (focused?.startsWith("compare-")) {
    const again = document.getElementById(focused);
    (again?.disabled ? document.getElementById(focused.replace(/-(previous|next)$/, "")) : again)?.focus();
  }
  return rows.length
    ? `Sample ${names[at]} (${at + 1} of ${samples.length}); ${counted(trainings.length, "model")}, ${counted(conditions.length, "condition")}`
    : "No responses";
}

function compareCell(data, row, needle) {
  if (row === undefined) return make("td", { class: "absent" }, "no such sample");
  return make("td", { "data-row": row }, badges(data, row), responseText(data, row, needle), why(data, row));
}
