"use strict";
// Sorts, filters and walks through the pictures. Names are only ever compared and read, never made into markup.
const find = (id) => document.getElementById(id);
const list = find("pictures");
const pictures = [...list.children].map((item) => ({
  item, name: item.dataset.name, folded: item.dataset.name.toLowerCase(), values: JSON.parse(item.dataset.values),
}));
const names = new Intl.Collator(undefined, { numeric: true });
let order = pictures, highestFirst = true;

function sort() {
  const key = find("key").value, sign = highestFirst ? -1 : 1;
  const compare = key === "name"
    ? (a, b) => -sign * names.compare(a.name, b.name)
    // What has no value comes last, whatever the direction.
    : (a, b) => (a.values[key] === null) - (b.values[key] === null) || sign * (a.values[key] - b.values[key]);
  order = [...pictures].sort(compare);
  list.replaceChildren(...order.map((picture) => picture.item));
  const words = key === "name" ? ["a to z", "z to a"] : ["highest first", "lowest first"];
  find("direction").textContent = words[highestFirst ? 0 : 1];
  find("direction").setAttribute("aria-pressed", String(!highestFirst));
  const column = key === "name" ? 0 : Number(key);
  document.querySelector(".of").textContent = find("key").options[column].textContent;
  filter();
}

function filter() {
  const key = find("key").value, column = key === "name" ? 0 : Number(key);
  const text = find("text").value.toLowerCase();
  const [from, to] = ["from", "to"].map((id) => (find(id).value === "" ? null : find(id).valueAsNumber));
  let count = 0;
  for (const { item, folded, values } of order) {
    const value = values[column];
    const inside = (from === null || (value !== null && value >= from)) && (to === null || (value !== null && value <= to));
    item.hidden = !(inside && folded.includes(text));
    count += !item.hidden;
  }
  find("status").textContent = `${count} of ${order.length} pictures`;
  enter(shown()[0], false);
}

const shown = () => order.filter(({ item }) => !item.hidden).map(({ item }) => item);

// One picture at a time can be reached by Tab; the arrows go on from there.
function enter(item, focus = true) {
  for (const { item: other } of order) other.tabIndex = -1;
  if (!item) return;
  item.tabIndex = 0;
  if (focus) item.focus();
}

function neighbour(item, key) {
  const items = shown(), place = items.indexOf(item);
  const columns = getComputedStyle(list).gridTemplateColumns.split(" ").length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  if (key === "Home") return items[0];
  if (key === "End") return items[items.length - 1];
  return key in steps ? items[place + steps[key]] : undefined;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, button")) return;
  const item = event.target.closest("#pictures > li");
  if (event.key === "/") find("text").focus();
  else if (item && event.key === "Enter" && event.target === item) item.querySelector("a")?.click();
  else if (item && neighbour(item, event.key)) enter(neighbour(item, event.key));
  else return;
  event.preventDefault();
});
find("direction").addEventListener("click", () => { highestFirst = !highestFirst; sort(); });
find("key").addEventListener("change", sort);
for (const id of ["text", "from", "to"]) find(id).addEventListener("input", filter);
find("controls").addEventListener("submit", (event) => event.preventDefault());
find("all").addEventListener("click", () => { find("controls").reset(); highestFirst = true; sort(); });
for (const link of document.querySelectorAll(".strip a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const item = document.querySelector(link.getAttribute("href"));
    if (item.hidden) {
      for (const id of ["text", "from", "to"]) find(id).value = "";
      filter();
    }
    enter(item);
  });
}
