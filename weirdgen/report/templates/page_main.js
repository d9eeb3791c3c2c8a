// The page: theme, copying, printing, and the browser of responses.

const PAGE_SIZE = 25;
const PAUSE = 40; // ms without a key before a search begins
const byId = (id) => document.getElementById(id);

function setUpTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();
  button.hidden = false;
}

async function copy(text, status) {
  try {
    await navigator.clipboard.writeText(text);
    status.textContent = "Copied.";
    return true;
  } catch {
    status.textContent = "The browser does not allow it: copy it by hand.";
    return false;
  }
}

function setUpMethods() {
  const button = byId("copy-methods");
  if (!button) return;
  const text = byId("methods-text");
  button.addEventListener("click", async () => {
    if (!(await copy(text.textContent, byId("copied")))) getSelection().selectAllChildren(text);
  });
  button.hidden = false;
}

// On paper everything is open.
function setUpPrinting() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main details:not([open])")];
    for (const element of opened) element.open = true;
  });
  addEventListener("afterprint", () => {
    for (const element of opened) element.open = false;
  });
}

function setUpBrowser(data) {
  let state = fromHash(data, location.hash);
  const offered = offeredColumns(data);
  const showFilters = buildFilters(byId("filter-list"), data, (name, codes) => {
    if (codes.size) state.filters.set(name, codes);
    else state.filters.delete(name);
    change({ page: 0 });
  });
  for (const [value, { title }] of SORTS) byId("sort").append(make("option", { value }, title));

  function change(what) {
    Object.assign(state, what);
    render();
    history.replaceState(null, "", toHash(data, state));
  }

  function compare(row) {
    const code = (name) => data.columns.get(name).codes[row];
    change({ view: "compare", question: code("question"), sample: code("sample") });
    byId("view-compare").focus();
  }

  function render() {
    const comparing = state.view === "compare";
    const { rows, counts } = select(data, state, offered);
    showFilters(state, comparing ? new Map() : counts);
    if (byId("search").value !== state.search) byId("search").value = state.search;
    byId("sort").value = state.sort;
    byId("direction").value = state.down ? "down" : "up";
    for (const view of ["list", "compare"]) {
      byId(`view-${view}`).setAttribute("aria-pressed", String(state.view === view));
    }
    for (const id of ["sort", "direction"]) byId(id).closest(".field").hidden = comparing;
    byId("list").hidden = byId("pages").hidden = comparing;
    byId("compare").hidden = !comparing;
    byId("link-copied").textContent = "";
    if (comparing) byId("count").textContent = showCompare(byId("compare"), data, state, change);
    else renderList(rows);
  }

  function renderList(rows) {
    const pages = Math.max(1, Math.ceil(rows.length / PAGE_SIZE));
    state.page = Math.min(state.page, pages - 1);
    const shown = rows.subarray(state.page * PAGE_SIZE, (state.page + 1) * PAGE_SIZE);
    const needle = state.search.toLowerCase();
    const cards = [...shown].map((row) => responseCard(data, row, needle, compare));
    byId("list").replaceChildren(...(cards.length ? cards : [make("p", {}, "No response meets the search and the filters.")]));
    byId("count").textContent = `${rows.length.toLocaleString("en")} of ${data.n.toLocaleString("en")} responses`;
    byId("page-of").textContent = `Page ${(state.page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
    byId("previous").disabled = state.page === 0;
    byId("next").disabled = state.page === pages - 1;
    byId("pages").hidden = pages === 1;
  }

  function turn(by) {
    change({ page: state.page + by });
    byId("responses").focus({ preventScroll: true });
    byId("responses").scrollIntoView();
  }

  let pause = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => change({ search: byId("search").value, page: 0 }), PAUSE);
  });
  byId("search-form").addEventListener("submit", (event) => event.preventDefault());
  byId("sort").addEventListener("change", () => change({ sort: byId("sort").value, page: 0 }));
  byId("direction").addEventListener("change", () => change({ down: byId("direction").value === "down", page: 0 }));
  byId("view-list").addEventListener("click", () => change({ view: "list" }));
  byId("view-compare").addEventListener("click", () => change({ view: "compare" }));
  byId("clear").addEventListener("click", () => change({ filters: new Map(), search: "", page: 0 }));
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  byId("copy-link").addEventListener("click", () => copy(location.href.split("#")[0] + toHash(data, state), byId("link-copied")));
  addEventListener("hashchange", () => {
    if (!location.hash.startsWith(LINK)) return;
    state = fromHash(data, location.hash);
    render();
  });
  if (matchMedia("(max-width: 60rem)").matches) byId("filters").open = false;
  render();
  byId("loading").textContent = "";
  byId("browser").hidden = false;
  // What was laid out since has moved everything below it.
  if (location.hash.startsWith("#responses")) byId("responses").scrollIntoView({ behavior: "instant" });
}

setUpTheme();
setUpMethods();
setUpPrinting();
byId("loading").textContent = "Reading the responses\u2026";
// The rest of the page is drawn before the responses are unpacked.
requestAnimationFrame(() =>
  setTimeout(async () => {
    try {
      const element = byId("responses-data");
      const data = await unpack(element.textContent);
      element.remove();
      if (data.n) setUpBrowser(data);
      else byId("loading").textContent = "There are no responses.";
    } catch (error) {
      byId("loading").textContent = `The responses cannot be shown: ${error}`;
    }
  }),
);
