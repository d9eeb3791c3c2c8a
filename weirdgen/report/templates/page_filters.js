// The filters: check boxes where a property has few values, else a list to choose from.

const FEW = 24;
const GROUPS = [["metric", "Labels"], ["place", "Asked"], ["judging", "Judging"]];
const OF_COMPARE = new Set(["condition", "fraction", "seed", "training"]);

// Builds the filters in `parent`; `changed` is called with a property's name and its chosen codes.
// Gives a function that shows a state, with counts.
function buildFilters(parent, data, changed) {
  const shows = [];
  for (const [role, title] of GROUPS) {
    const columns = offeredColumns(data).filter((column) => column.role === role);
    if (!columns.length) continue;
    const group = make("div", { class: "filter-group" }, make("h3", {}, title));
    for (const column of columns) {
      const build = column.keys.length <= FEW ? buildBoxes : buildChoice;
      const [element, show] = build(column, (codes) => changed(column.name, codes));
      shows.push((state, counts) => {
        element.hidden = state.view === "compare" && !OF_COMPARE.has(column.name);
        show(state.filters.get(column.name) ?? new Set(), counts.get(column.name));
      });
      group.append(element);
    }
    shows.push((state) => {
      group.hidden = state.view === "compare" && role !== "place";
    });
    parent.append(group);
  }
  return (state, counts) => shows.forEach((show) => show(state, counts));
}

function buildBoxes(column, changed) {
  const boxes = column.labels.map((text, code) => {
    const box = make("input", { type: "checkbox", "data-key": column.keys[code] });
    const count = make("span", { class: "hits" });
    const name = make("bdi", {}, text || "(nothing)");
    return { box, count, element: make("label", {}, box, " ", name, " ", count) };
  });
  const chosen = () => new Set([...boxes.keys()].filter((code) => boxes[code].box.checked));
  for (const { box } of boxes) box.addEventListener("change", () => changed(chosen()));
  const element = make(
    "fieldset",
    { "data-filter": column.name },
    make("legend", { dir: "auto" }, visible(column.title)),
    ...boxes.map((each) => each.element),
  );
  const show = (codes, counts) => {
    boxes.forEach(({ box, count, element: of }, code) => {
      box.checked = codes.has(code);
      count.textContent = counts ? counts[code].toLocaleString("en") : "";
      of.classList.toggle("none", Boolean(counts) && counts[code] === 0);
    });
  };
  return [element, show];
}

function buildChoice(column, changed) {
  const id = `filter-${column.name}`;
  const list = make("select", { id }, make("option", { value: "" }, "any"));
  column.labels.forEach((text, code) => list.append(make("option", { value: code }, text)));
  list.addEventListener("change", () => {
    changed(new Set(list.value === "" ? [] : [Number(list.value)]));
  });
  const title = make("label", { for: id, dir: "auto" }, visible(column.title));
  const element = make("div", { class: "field", "data-filter": column.name }, title, list);
  const show = (codes) => {
    list.value = codes.size ? [...codes][0] : "";
  };
  return [element, show];
}
