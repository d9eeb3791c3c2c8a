// What is shown: the state of search and filters, its link, and the responses that meet it.

const SORTS = new Map([
  ["question", { title: "question", by: ["category", "question", "condition", "training", "sample"] }],
  ["training", { title: "training run", by: ["training", "condition", "category", "question", "sample"] }],
  ["tokens", { title: "length in tokens", by: ["tokens", "question", "condition", "training", "sample"] }],
  ["confidence", { title: "judge's confidence", by: ["confidence", "question", "condition", "training", "sample"] }],
]);
const LINK = "#responses?";

// The properties that tell responses apart, and can be filtered by.
function offeredColumns(data) {
  const listed = data.columns.get("fraction").keys.includes("adapters");
  return [...data.columns.values()].filter(
    (column) =>
      column.keys.length > 1 && column.role !== "detail" && (column.name !== "training" || listed),
  );
}

function newState() {
  return { view: "list", search: "", filters: new Map(), sort: "question", down: false, page: 0, question: 0, sample: 0 };
}

function toHash(data, state) {
  const link = new URLSearchParams();
  if (state.view === "compare") {
    link.set("view", "compare");
    link.set("of", data.columns.get("question").keys[state.question]);
    if (state.sample) link.set("sample", data.columns.get("sample").keys[state.sample]);
  }
  if (state.search) link.set("q", state.search);
  for (const [name, codes] of state.filters) {
    for (const code of codes) link.append(`f.${name}`, data.columns.get(name).keys[code]);
  }
  if (state.sort !== "question") link.set("sort", state.sort);
  if (state.down) link.set("order", "down");
  if (state.page && state.view === "list") link.set("page", state.page + 1);
  const text = link.toString();
  return text ? LINK + text : "#responses";
}

// A link may say anything: what is not of this study is passed over.
function fromHash(data, hash) {
  const state = newState();
  if (!hash.startsWith(LINK)) return state;
  const link = new URLSearchParams(hash.slice(LINK.length));
  const code = (name, key) => (data.columns.get(name)?.keys ?? []).indexOf(key);
  if (link.get("view") === "compare") state.view = "compare";
  state.question = Math.max(0, code("question", link.get("of")));
  state.sample = Math.max(0, code("sample", link.get("sample")));
  state.search = (link.get("q") ?? "").slice(0, 1000);
  for (const { name } of offeredColumns(data)) {
    const codes = link.getAll(`f.${name}`).map((key) => code(name, key)).filter((each) => each >= 0);
    if (codes.length) state.filters.set(name, new Set(codes));
  }
  if (SORTS.has(link.get("sort"))) state.sort = link.get("sort");
  state.down = link.get("order") === "down";
  const page = Number(link.get("page"));
  if (Number.isInteger(page) && page > 0) state.page = page - 1;
  return state;
}

// One byte for each response: 1 where `needle` (in lower case) stands in it; null for no needle.
function found(data, needle) {
  if (!needle) return null;
  if (data.searched?.needle === needle) return data.searched.rows;
  const rows = new Uint8Array(data.n);
  const { lower, lowerStarts } = data;
  let row = 0;
  let at = lower.indexOf(needle);
  while (at >= 0) {
    while (lowerStarts[row + 1] <= at) row++;
    const within = at + needle.length <= lowerStarts[row + 1];
    if (within) rows[row] = 1;
    at = lower.indexOf(needle, within ? lowerStarts[row + 1] : at + 1);
  }
  data.searched = { needle, rows };
  return rows;
}

// All rows in ascending order: a counting sort for each column, the last first.
function ordered(data, sort) {
  data.orders ??= new Map();
  if (data.orders.has(sort)) return data.orders.get(sort);
  let rows = Uint32Array.from({ length: data.n }, (_, row) => row);
  for (const name of SORTS.get(sort).by.toReversed()) {
    const { codes, keys } = data.columns.get(name);
    const next = new Uint32Array(keys.length + 1);
    for (let row = 0; row < data.n; row++) next[codes[row] + 1]++;
    for (let code = 0; code < keys.length; code++) next[code + 1] += next[code];
    const sorted = new Uint32Array(data.n);
    for (const row of rows) sorted[next[codes[row]]++] = row;
    rows = sorted;
  }
  data.orders.set(sort, rows);
  return rows;
}

// The rows that meet everything, in order; and for each column that is offered as a filter how many
// responses each of its values would show, the column's own filter left aside.
function select(data, state, offered) {
  const hit = found(data, state.search.toLowerCase());
  const active = [...state.filters].map(([name, allowed]) => {
    const { codes, keys } = data.columns.get(name);
    const passes = new Uint8Array(keys.length);
    for (const code of allowed) passes[code] = 1;
    return { codes, passes, name };
  });
  const counters = offered.map((column) => ({
    codes: column.codes,
    counts: new Uint32Array(column.keys.length),
  }));
  const position = new Map(offered.map((column, i) => [column.name, i]));
  const keep = new Uint8Array(data.n);
  let kept = 0;
  for (let row = 0; row < data.n; row++) {
    if (hit !== null && !hit[row]) continue;
    let failed = null;
    let failures = 0;
    for (const filter of active) {
      if (!filter.passes[filter.codes[row]]) {
        failed = filter.name;
        failures++;
      }
    }
    if (failures === 0) {
      keep[row] = 1;
      kept++;
      for (const counter of counters) counter.counts[counter.codes[row]]++;
    } else if (failures === 1 && position.has(failed)) {
      const counter = counters[position.get(failed)];
      counter.counts[counter.codes[row]]++;
    }
  }
  const rows = new Uint32Array(kept);
  let next = state.down ? kept - 1 : 0;
  for (const row of ordered(data, state.sort)) {
    if (keep[row]) rows[state.down ? next-- : next++] = row;
  }
  return { rows, counts: new Map(offered.map((column, i) => [column.name, counters[i].counts])) };
}
