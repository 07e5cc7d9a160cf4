"use strict";
// Sorts, filters and marks the pictures, and shows them in full. Names are compared and shown as text, never made into markup.
const find = (id) => document.getElementById(id);
const list = find("pictures"), form = find("controls"), field = form.elements, view = find("view"), panes = find("panes");
const batch = Number(list.dataset.size);
const pictures = [...list.children, ...(find("rest")?.content.children ?? [])].map((item) => {
  const { name, listed, values, stars, raw = null, taken = null, burst = null, fault = null } = item.dataset;
  return {
    item, name, listed, raw, taken, burst, fault, values: JSON.parse(values), place: Number(stars), folded: name.toLowerCase(),
    best: "best" in item.dataset, warned: item.querySelector(".remark") !== null,
  };
});
const pictureOf = new Map(pictures.map((picture) => [picture.item, picture]));
const collator = new Intl.Collator(undefined, { numeric: true });
const firstKey = field.key.value;
const inWords = (count) => count.toLocaleString("en");
let shown = []; // all that fit the filters, in their order; the list holds as many as were scrolled to
let current = pictures[0], highestFirst = true;

// --- which pictures, in which order ----------------------------------------------------------------------------------

const valueBy = (key) => (key === "name" || key === "taken" ? (picture) => picture[key] : ({ values }) => values[key]);
const numberKey = () => (field.key.value === "name" || field.key.value === "taken" ? firstKey : field.key.value);

function fitsMark(picture, wanted) {
  const stars = marks[picture.listed] ?? 0;
  switch (wanted) {
    case "": return true;
    case "unmarked": return stars === 0;
    case "kept": return stars >= 0;
    case "-1": return stars < 0;
    default: return stars >= Number(wanted);
  }
}

function fitsFault({ fault, warned }, wanted) {
  switch (wanted) {
    case "": return true;
    case "none": return !fault && !warned;
    case "warning": return warned;
    default: return `is ${fault}` === wanted;
  }
}

function filter() {
  const text = field.text.value.toLowerCase(), key = numberKey();
  const from = field.from.valueAsNumber, to = field.to.valueAsNumber; // NaN if there is none
  const bounded = from === from || to === to;
  return pictures.filter((picture) => {
    const value = picture.values[key];
    return picture.folded.includes(text)
      && (!bounded || (value !== null && !(value < from) && !(value > to)))
      && fitsFault(picture, field.faults?.value ?? "")
      && fitsMark(picture, field.stars.value);
  });
}

function sort(some, key) {
  const sign = highestFirst ? -1 : 1, valueOf = valueBy(key);
  const compare = key === "name" ? (a, b) => -collator.compare(a, b) : (a, b) => (a < b ? -1 : Number(a > b));
  const known = some.filter((picture) => valueOf(picture) !== null);
  known.sort((a, b) => sign * compare(valueOf(a), valueOf(b)));
  return [...known, ...some.filter((picture) => valueOf(picture) === null)]; // last, whatever the direction
}

// Of each burst its best, or the first if the filters left the best out.
function oneOfEach(some) {
  const chosen = new Map();
  for (const picture of some) if (picture.burst && (picture.best || !chosen.has(picture.burst))) chosen.set(picture.burst, picture);
  return some.filter((picture) => !picture.burst || chosen.get(picture.burst) === picture);
}

function update() {
  const key = field.key.value, sorted = sort(filter(), key);
  shown = field.best?.checked ? oneOfEach(sorted) : sorted;
  const words = { name: ["a to z", "z to a"], taken: ["latest first", "earliest first"] }[key] ?? ["highest first", "lowest first"];
  find("direction").textContent = words[highestFirst ? 0 : 1];
  form.querySelector("legend").textContent = titleOf(numberKey());
  find("status").textContent = `${inWords(shown.length)} of ${inWords(pictures.length)} pictures`;
  list.replaceChildren();
  extend();
  enter(shown[0], false);
}

const titleOf = (key) => field.key.querySelector(`[value="${key}"]`).textContent;

// Beside the leading score, a card shows the one that pictures are sorted by.
function extend() {
  const from = list.childElementCount, key = numberKey();
  for (const picture of shown.slice(from, from + batch)) {
    const place = picture.item.querySelector(".score"), value = picture.values[key];
    place.querySelector("span")?.remove();
    if (key !== "0") {
      const more = document.createElement("span");
      more.textContent = `${titleOf(key)} ${value === null ? "none" : value.toFixed(2)}`;
      place.append(more);
    }
    showMark(picture);
    list.append(picture.item);
  }
}

// --- going from one picture to another in the overview -----------------------------------------------------------------

// One picture at a time can be reached by Tab; the arrows go on from there.
function enter(picture, focus = true) {
  if (current) current.item.tabIndex = -1;
  current = picture;
  if (!picture) return;
  picture.item.tabIndex = 0;
  if (!focus) return;
  while (!picture.item.isConnected && list.childElementCount < shown.length) extend();
  picture.item.focus();
}

function neighbour(picture, key) {
  const place = shown.indexOf(picture);
  switch (key) {
    case "Home": return shown[0];
    case "End": return shown[shown.length - 1];
    case "ArrowRight": return shown[place + 1];
    case "ArrowLeft": return shown[place - 1];
    case "ArrowDown": return inNextRow(place, 1);
    case "ArrowUp": return inNextRow(place, -1);
  }
}

// The nearest one of the next row.
function inNextRow(place, step) {
  const here = shown[place].item.getBoundingClientRect();
  let found, row, nearest = Infinity;
  for (let next = place + step; shown[next]?.item.isConnected; next += step) {
    const there = shown[next].item.getBoundingClientRect(), apart = Math.abs(there.left - here.left);
    if (step * (there.top - here.top) < here.height / 2) continue;
    row ??= there.top;
    if (step * (there.top - row) > here.height / 2) break;
    if (apart < nearest) [found, nearest] = [shown[next], apart];
  }
  return found;
}

// --- marks: stars 1-5, or -1 for rejected ------------------------------------------------------------------------------

const storage = `marks of ${location.pathname}`;
let marks = {}, isKept = true;
try {
  marks = JSON.parse(localStorage.getItem(storage)) ?? {};
} catch { /* the browser keeps nothing */ }

function mark(picture, stars) {
  if (!stars || marks[picture.listed] === stars) delete marks[picture.listed];
  else marks[picture.listed] = stars;
  keepMarks();
  showMark(picture);
  if (view.open) describe();
}

function keepMarks() {
  try {
    localStorage.setItem(storage, JSON.stringify(marks));
  } catch {
    isKept = false;
  }
  const marked = pictures.filter(({ listed }) => marks[listed]), rejected = marked.filter(({ listed }) => marks[listed] < 0).length;
  find("marked").hidden = !marked.length;
  find("marked").querySelector("output").textContent = `${inWords(marked.length - rejected)} starred, `
    + `${inWords(rejected)} rejected${isKept ? "" : "; this browser keeps no marks, save them before you close it"}`;
}

function showMark({ item, listed, place }) {
  const own = marks[listed] ?? 0, stars = own || place, text = item.querySelector(".stars");
  item.classList.toggle("rejected", own < 0);
  text.classList.toggle("own", own !== 0);
  text.textContent = own < 0 ? "rejected" : stars ? "★".repeat(stars) + "☆".repeat(5 - stars) : "";
}

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function saveMarks() {
  const all = pictures.filter(({ listed }) => marks[listed]);
  const pairs = all.flatMap(({ listed, raw }) => [listed, raw].filter(Boolean).map((path) => [path, marks[listed]]));
  save("marks.json", `${JSON.stringify({ marks: Object.fromEntries(pairs) }, null, 1)}\n`);
}

function clearMarks() {
  if (!confirm("Take all your stars and rejections away?")) return;
  marks = {};
  keepMarks();
  update();
}

// --- the full view: one picture, two, or a burst ------------------------------------------------------------------------

let open = []; // the pictures in the view
let active = 0, kind = "one", isActual = false, hasFigures = false;
let spot = [0.5, 0.5]; // at 100 %: what part of the pictures is seen, the same of all
let leader = null; // the picture that is scrolled; the others follow
const files = new Map(); // {picture: its file} of the last ones, so that the next one is there at once

function fileOf(picture) {
  const link = picture.item.querySelector("a.frame").href;
  if (!link) return null;
  const file = files.get(picture) ?? Object.assign(new Image(), { src: link, alt: picture.name });
  files.delete(picture);
  files.set(picture, file);
  if (files.size > 12) files.delete(files.keys().next().value);
  return file;
}

function show(some, place = 0, how = "one") {
  [open, active, kind, leader] = [some, place, how, null];
  view.dataset.kind = how;
  panes.style.setProperty("--columns", Math.ceil(Math.sqrt(some.length)));
  panes.replaceChildren(...some.map(paneOf));
  if (!view.open) view.showModal();
  describe();
  seeSpot();
  for (const ahead of kind === "one" ? [1, -1] : []) {
    const next = shown[shown.indexOf(some[0]) + ahead];
    if (next) fileOf(next);
  }
}

// The thumbnail, and the file in its place once the browser has read it; some, such as raw files, it cannot show.
function paneOf(picture) {
  const pane = document.createElement("figure"), stage = document.createElement("div"), caption = document.createElement("figcaption");
  const small = picture.item.querySelector("img"), file = fileOf(picture);
  pane.className = "pane";
  stage.className = "stage";
  if (small) stage.append(Object.assign(small.cloneNode(), { alt: picture.name }));
  else if (!file) stage.append(picture.item.querySelector(".missing").cloneNode(true));
  const put = () => {
    stage.replaceChildren(file);
    goToSpot(stage);
  };
  if (file?.complete && file.naturalWidth) put();
  else file?.decode().then(put, () => caption.classList.add("small"));
  pane.append(stage, caption);
  return pane;
}

// What is said of the pictures in the view, and which of its buttons are pressed.
function describe() {
  for (const [place, pane] of [...panes.children].entries()) {
    const { item, name } = open[place], caption = pane.querySelector("figcaption"), title = document.createElement("bdi");
    title.textContent = name;
    pane.classList.toggle("active", place === active);
    showMark(open[place]);
    caption.replaceChildren(title, item.querySelector(".caption").cloneNode(true));
    if (hasFigures) caption.append(tones(item.querySelector("img")), item.querySelector(".figures").cloneNode(true));
  }
  const picture = open[active], stars = marks[picture.listed] ?? 0;
  panes.classList.toggle("actual", isActual);
  view.classList.toggle("with-figures", hasFigures);
  find("where").textContent = kind === "burst" ? `${active + 1} of ${open.length}`
    : `${inWords(shown.indexOf(picture) + 1)} of ${inWords(shown.length)}`;
  for (const button of find("rating").children) {
    const value = Number(button.value);
    button.setAttribute("aria-pressed", value < 0 ? stars < 0 : stars >= value);
  }
  const pressed = { compare: kind === "two", burst: kind === "burst", zoom: isActual, figures: hasFigures };
  for (const [id, on] of Object.entries(pressed)) find(id)?.setAttribute("aria-pressed", on);
  if (find("burst")) find("burst").disabled = !picture.burst;
}

// How much of a picture is dark and how much is light, in red, green and blue.
function tones(image) {
  const chart = Object.assign(document.createElement("canvas"), { width: 256, height: 80, className: "tones" });
  if (!image) return chart;
  const small = Object.assign(document.createElement("canvas"), { width: 160, height: 160 }).getContext("2d");
  small.drawImage(image, 0, 0, 160, 160);
  const levels = small.getImageData(0, 0, 160, 160).data, pen = chart.getContext("2d");
  const counts = [0, 1, 2].map(() => new Array(64).fill(0));
  for (let place = 0; place < levels.length; place++) if (place % 4 < 3) counts[place % 4][levels[place] >> 2]++;
  const most = Math.max(...counts.flatMap((of) => of.slice(1, -1)), 1);
  pen.globalCompositeOperation = "screen";
  for (const [channel, colour] of ["#d33", "#3a3", "#36d"].entries()) {
    pen.fillStyle = colour;
    counts[channel].forEach((count, level) => pen.fillRect(4 * level, 80, 4, -80 * Math.min(1, count / most)));
  }
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", "histogram of red, green and blue, from dark to light");
  return chart;
}

function go(by) {
  if (kind === "burst") {
    active = Math.min(Math.max(0, active + by), open.length - 1);
    panes.children[active].scrollIntoView({ block: "nearest" });
    return describe();
  }
  let place = shown.indexOf(open[active]) + by;
  while (open.includes(shown[place])) place += by;
  if (shown[place]) show(open.with(active, shown[place]), active, kind);
}

function compare() {
  if (kind === "two") return show([open[active]]);
  const picture = open[active], place = shown.indexOf(picture), other = shown[place + 1] ?? shown[place - 1];
  if (other) show([picture, other], 1, "two");
}

function showBurst(picture = open[active]) {
  if (kind === "burst" && view.open) return show([picture]);
  if (!picture.burst) return;
  const all = pictures.filter(({ burst }) => burst === picture.burst);
  show(all, all.indexOf(picture), "burst");
}

function back() {
  if (kind !== "one") return show([open[active]]);
  view.close();
}

function goToSpot(stage) {
  stage.scrollTo(spot[0] * (stage.scrollWidth - stage.clientWidth), spot[1] * (stage.scrollHeight - stage.clientHeight));
}

function seeSpot() {
  for (const stage of panes.querySelectorAll(".stage")) if (stage !== leader) goToSpot(stage);
}

function zoom(at = [0.5, 0.5]) {
  isActual = !isActual;
  spot = at;
  leader = null;
  describe();
  seeSpot();
}

const toggleFigures = () => { hasFigures = !hasFigures; describe(); };

// --- keys and clicks -------------------------------------------------------------------------------------------------

const viewKeys = {
  ArrowRight: () => go(1), ArrowLeft: () => go(-1), " ": () => go(1), Escape: back, c: compare, b: () => showBurst(), z: () => zoom(),
  h: toggleFigures, Enter: () => (kind === "one" ? back() : show([open[active]])),
};

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, summary")) return;
  if (event.target.closest("button") && [" ", "Enter"].includes(event.key)) return;
  const picture = view.open ? open[active] : pictureOf.get(event.target), next = !view.open && picture && neighbour(picture, event.key);
  const stars = { x: -1, 0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5 }[event.key];
  if (event.key === "/" && !view.open) field.text.focus();
  else if (picture && stars !== undefined) mark(picture, stars);
  else if (view.open && viewKeys[event.key]) viewKeys[event.key]();
  else if (next) enter(next);
  else if (picture && !view.open && [" ", "Enter"].includes(event.key)) show([picture]);
  else return;
  event.preventDefault();
});
list.addEventListener("focusin", (event) => enter(pictureOf.get(event.target.closest(".picture")), false));
list.addEventListener("click", (event) => {
  const picture = pictureOf.get(event.target.closest(".picture"));
  if (event.target.closest(".burst")) showBurst(picture);
  if (!event.target.closest(".frame") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  show([picture]);
});
view.addEventListener("close", () => {
  panes.replaceChildren();
  enter(shown.includes(open[active]) ? open[active] : current);
});
view.addEventListener("cancel", (event) => { // a phone's way back
  event.preventDefault();
  back();
});

// In the view, a click chooses one of several pictures, the next zooms; at 100 % the pointer drags all of them.
let pressedAt = null;
panes.addEventListener("pointerdown", (event) => {
  leader = event.target.closest(".stage");
  pressedAt = leader && { x: event.clientX, y: event.clientY, type: event.pointerType };
});
panes.addEventListener("pointerover", (event) => { leader = event.target.closest(".stage"); });
panes.addEventListener("pointermove", (event) => {
  if (isActual && pressedAt && event.buttons && event.pointerType === "mouse") leader?.scrollBy(-event.movementX, -event.movementY);
});
panes.addEventListener("pointerup", (event) => {
  if (!pressedAt) return;
  const [across, down] = [event.clientX - pressedAt.x, event.clientY - pressedAt.y];
  const place = [...panes.children].indexOf(event.target.closest(".pane"));
  const isSwipe = event.pointerType !== "mouse" && !isActual && Math.abs(across) > Math.max(40, 2 * Math.abs(down));
  if (isSwipe) setTimeout(go, 0, across < 0 ? 1 : -1); // not before the touch is over, since what was touched goes
  else if (Math.hypot(across, down) < 5 && place >= 0) {
    if (place !== active) {
      active = place;
      describe();
    } else if (leader) {
      const box = leader.firstChild.getBoundingClientRect();
      zoom([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
    }
  }
  pressedAt = null;
});
panes.addEventListener("dragstart", (event) => event.preventDefault());
panes.addEventListener("scroll", ({ target }) => {
  if (!isActual || target !== leader) return;
  const wide = target.scrollWidth - target.clientWidth, high = target.scrollHeight - target.clientHeight;
  spot = [wide ? target.scrollLeft / wide : spot[0], high ? target.scrollTop / high : spot[1]];
  seeSpot();
}, true);

form.addEventListener("input", (event) => {
  if (event.target === field.key) field.from.value = field.to.value = "";
  update();
});
form.addEventListener("submit", (event) => event.preventDefault());
find("rating").addEventListener("click", ({ target }) => { if (target.value) mark(open[active], Number(target.value)); });
const onClick = {
  direction: () => { highestFirst = !highestFirst; update(); },
  unfilter: () => { form.reset(); highestFirst = true; update(); },
  filter: ({ target }) => target.setAttribute("aria-expanded", target.getAttribute("aria-expanded") !== "true"),
  list: () => save("pictures.txt", shown.map(({ listed }) => `${listed}\n`).join("")),
  save: saveMarks, clear: clearMarks, back, previous: () => go(-1), next: () => go(1), compare, burst: () => showBurst(),
  zoom: () => zoom(), figures: toggleFigures,
};
for (const [id, act] of Object.entries(onClick)) find(id)?.addEventListener("click", act);
const end = new IntersectionObserver(([entry]) => {
  if (!entry.isIntersecting || list.childElementCount === shown.length) return;
  extend();
  end.unobserve(find("more")); // it is called again if the end is still near
  end.observe(find("more"));
}, { rootMargin: "1500px" });
end.observe(find("more"));
keepMarks();
update();
