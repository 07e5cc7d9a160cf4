"use strict";
// Sorts, filters, groups and selects the pictures. Names are only ever compared and shown as text, never made into markup.
const find = (id) => document.getElementById(id);
const list = find("pictures"), form = find("controls"), field = form.elements, selection = find("selection");
const pageSize = Number(list.dataset.size), pagers = document.querySelectorAll(".pager");
const pictures = [...list.children, ...(find("rest")?.content.children ?? [])].map((item) => {
  const { name, listed, taken = null, burst = null, values } = item.dataset;
  return {
    item, name, listed, taken, burst, values: JSON.parse(values), folded: name.toLowerCase(), best: "best" in item.dataset,
    remark: item.querySelector(".remark") !== null, box: item.querySelector("input"),
    file: item.querySelector(".name").lastChild.data,
  };
});
const pictureOf = new Map(pictures.map((picture) => [picture.item, picture]));
const bursts = Map.groupBy(pictures.filter(({ burst }) => burst), ({ burst }) => burst);
const collator = new Intl.Collator(undefined, { numeric: true });
const firstKey = field.key.value;
const inWords = (count) => count.toLocaleString("en");
let shown = pictures; // all that fit the filters, in their order
let page = 0, highestFirst = true, current = pictures[0], clicked = null;

// --- which pictures, in which order ----------------------------------------------------------------------------------

function filter() {
  const text = field.text.value.toLowerCase(), remarks = field.remarks?.value, bursts = field.bursts?.value;
  const bounds = [];
  for (let column = 0; field[`from${column}`]; column++) {
    const [from, to] = ["from", "to"].map((end) => field[end + column].valueAsNumber); // NaN if there is none
    if (from === from || to === to) bounds.push({ column, from, to });
  }
  return pictures.filter(({ folded, values, remark, burst, best, box }) =>
    folded.includes(text)
    && bounds.every(({ column, from, to }) => values[column] !== null && !(values[column] < from) && !(values[column] > to))
    && (!remarks || remark === (remarks === "with"))
    && !(bursts === "only" && !burst)
    && !(bursts === "best" && burst && !best)
    && (!field.selected.checked || box.checked));
}

function sort(some, key, highestFirst) {
  const sign = highestFirst ? -1 : 1, isText = key === "name" || key === "taken";
  const valueOf = isText ? (picture) => picture[key] : ({ values }) => values[key];
  const compare = key === "name" ? (a, b) => -collator.compare(a, b) : (a, b) => (a < b ? -1 : Number(a > b));
  const known = some.filter((picture) => valueOf(picture) !== null);
  known.sort((a, b) => sign * compare(valueOf(a), valueOf(b)));
  return [...known, ...some.filter((picture) => valueOf(picture) === null)]; // last, whatever the direction
}

// The pictures of a burst follow the first of them.
function gather(some) {
  const parts = Map.groupBy(some, ({ burst, item }) => burst ?? item);
  return [...parts.values()].flat();
}

function update() {
  const view = field.view?.value ?? "all", key = field.key.value;
  // By what the best are chosen: the score that pictures are sorted by, or the first one if it is no score.
  const ranking = field.key.selectedOptions[0].className === "ranks" ? key : firstKey;
  shown = filter();
  if (view !== "all") {
    const ranked = shown.filter(({ values }) => values[ranking] !== null);
    shown = sort(ranked, ranking, view === "best").slice(0, 20);
  }
  shown = sort(shown, key, highestFirst);
  if (isGrouped()) shown = gather(shown);
  const words = { name: ["a to z", "z to a"], taken: ["latest first", "earliest first"] }[key] ?? ["highest first", "lowest first"];
  find("direction").textContent = words[highestFirst ? 0 : 1];
  const by = view === "all" ? "" : `, the ${view} by ${field.key.querySelector(`[value="${ranking}"]`).textContent}`;
  find("status").textContent = `${inWords(shown.length)} of ${inWords(pictures.length)} pictures${by}`;
  turnTo(0);
}

// --- showing them ----------------------------------------------------------------------------------------------------

const isGrouped = () => ["groups", "only"].includes(field.bursts?.value);
const onPage = () => shown.slice(page * pageSize, (page + 1) * pageSize);

function turnTo(number) {
  const last = Math.max(0, Math.ceil(shown.length / pageSize) - 1);
  page = Math.min(Math.max(0, number), last);
  const some = onPage(), from = page * pageSize;
  const groups = Map.groupBy(some, ({ burst, item }) => (isGrouped() && burst) || item);
  list.replaceChildren(...[...groups].map(([key, members]) => (typeof key === "string" ? frame(key, members) : key)));
  for (const pager of pagers) {
    pager.hidden = last === 0;
    pager.querySelector("span").textContent = `${inWords(from + 1)} to ${inWords(from + some.length)}`;
    for (const button of pager.querySelectorAll("button")) button.disabled = page === (button.value > 0 ? last : 0);
  }
  enter(some[0], false);
}

function frame(burst, members) {
  const node = document.createElement("li"), heading = document.createElement("h3"), inner = document.createElement("ol");
  const all = bursts.get(burst), best = all.find(({ best }) => best);
  const count = (members.length < all.length ? `${members.length} of ` : "") + `${all.length} pictures`;
  heading.textContent = `Burst ${burst}, ${count}` + (best ? `. The best: ${best.file}` : "");
  node.className = "group";
  node.style.setProperty("--count", members.length);
  inner.setAttribute("aria-label", `burst ${burst}`);
  inner.append(...members.map(({ item }) => item));
  node.append(heading, inner);
  return node;
}

// A group is no wider than the list.
new ResizeObserver(() => {
  list.style.setProperty("--columns", 1);
  list.style.setProperty("--columns", getComputedStyle(list).gridTemplateColumns.split(" ").length);
}).observe(list);

// One picture at a time can be reached by Tab; the arrows go on from there.
function enter(picture, focus = true) {
  if (current) current.item.tabIndex = -1;
  current = picture;
  if (!picture) return;
  if (focus && !picture.item.isConnected) {
    turnTo(Math.floor(shown.indexOf(picture) / pageSize));
    return enter(picture);
  }
  picture.item.tabIndex = 0;
  if (focus) picture.item.focus();
}

function neighbour(picture, key) {
  const place = shown.indexOf(picture);
  switch (key) {
    case "Home": return shown[0];
    case "End": return shown[shown.length - 1];
    case "ArrowRight": return shown[place + 1];
    case "ArrowLeft": return shown[place - 1];
    case "ArrowDown": return inNextRow(picture, onPage(), 1) ?? shown[(page + 1) * pageSize];
    case "ArrowUp": return inNextRow(picture, onPage(), -1) ?? shown[page * pageSize - 1];
  }
}

// The nearest one of the next row; cards in groups stand a little lower than those beside them.
function inNextRow(picture, some, step) {
  const here = picture.item.getBoundingClientRect();
  let found, row, nearest = Infinity;
  for (let next = some.indexOf(picture) + step; some[next]; next += step) {
    const there = some[next].item.getBoundingClientRect(), apart = Math.abs(there.left - here.left);
    if (step * (there.top - here.top) < here.height / 2) continue;
    row ??= there.top;
    if (step * (there.top - row) > here.height / 2) break;
    if (apart < nearest) [found, nearest] = [some[next], apart];
  }
  return found;
}

// --- the selection ---------------------------------------------------------------------------------------------------

const storage = `selection of ${location.pathname}`;
const [said, area] = [selection.querySelector("output"), selection.querySelector("textarea")];

function select(some, on) {
  for (const { item, box } of some) {
    box.checked = on;
    item.classList.toggle("selected", on);
  }
  const paths = pictures.filter(({ box }) => box.checked).map(({ listed }) => listed);
  selection.hidden = !paths.length;
  said.textContent = `${inWords(paths.length)} selected`;
  area.value = paths.map((path) => `${path}\n`).join("");
  try { // it outlives a reload
    sessionStorage.setItem(storage, JSON.stringify(paths));
  } catch { /* the browser keeps nothing */ }
}

function restore() {
  let kept = [];
  try {
    kept = JSON.parse(sessionStorage.getItem(storage)) ?? [];
  } catch { /* the browser keeps nothing */ }
  const paths = new Set(kept);
  select(pictures.filter(({ listed }) => paths.has(listed)), true);
}

async function copy() {
  try {
    await navigator.clipboard.writeText(area.value);
    said.textContent = "copied";
  } catch {
    selection.querySelector("details").open = true;
    area.select();
    said.textContent = document.execCommand("copy") ? "copied" : "press Ctrl-C to copy";
  }
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([area.value], { type: "text/plain" }));
  link.download = "selection.txt";
  link.click();
  URL.revokeObjectURL(link.href);
}

// --- keys and clicks -------------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, button, textarea, summary")) return;
  const picture = pictureOf.get(event.target), next = picture && neighbour(picture, event.key);
  if (event.key === "/") field.text.focus();
  else if (!picture) return;
  else if (event.key === "Enter") picture.item.querySelector("a")?.click();
  else if (event.key === " ") select([picture], !picture.box.checked);
  else if (next) {
    if (event.shiftKey) select([picture, next], true);
    enter(next);
  } else return;
  event.preventDefault();
});
list.addEventListener("focusin", (event) => enter(pictureOf.get(event.target.closest(".picture")), false));
list.addEventListener("click", (event) => {
  if (event.target.type !== "checkbox") return;
  const picture = pictureOf.get(event.target.parentElement), here = shown.indexOf(picture);
  const from = event.shiftKey && shown.includes(clicked) ? shown.indexOf(clicked) : here; // with Shift, all between two clicks
  select(shown.slice(Math.min(from, here), Math.max(from, here) + 1), event.target.checked);
  clicked = picture;
  enter(picture);
});
for (const pager of pagers) {
  pager.addEventListener("click", (event) => {
    if (!event.target.value) return;
    turnTo(page + Number(event.target.value));
    list.scrollIntoView();
  });
}
form.addEventListener("input", (event) => {
  if (event.target.name === "view") highestFirst = event.target.value !== "worst";
  update();
});
form.addEventListener("submit", (event) => event.preventDefault());
field.selected.addEventListener("input", update);
const onClick = {
  direction: () => { highestFirst = !highestFirst; update(); },
  unfilter: () => { form.reset(); highestFirst = true; update(); },
  pick: () => select(shown, true),
  clear: () => { field.selected.checked = false; select(pictures, false); update(); },
  copy, download,
};
for (const [id, act] of Object.entries(onClick)) find(id).addEventListener("click", act);
restore();
update();
