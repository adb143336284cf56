"use strict";
// STUDY, from study.js: {study, title, reader, items, hallucination, readings: [{code, aspect, n_volumes, left: [files], right: [files]}]}
const SIDES = ["left", "right"];
const PLACE = `lightning-mri reader study ${STUDY.study} ${STUDY.reader}`;
const element = id => document.getElementById(id);
const views = [...document.querySelectorAll(".view")];
const answers = {}; // code -> {scores: {"left|item": 1...5}, marks: [[side, slice, x, y], ...]}
let keeps = true; // whether this browser has stored all that was answered here
let index = stored()?.index ?? 0;
let slice = 0;
let view = {};

const reading = () => STUDY.readings[index];
const given = code => (answers[code] ??= {scores: {}, marks: []});
const n_missing = code => SIDES.length * STUDY.items.length - Object.keys(given(code).scores).length;

// what this page has stored, here or in another tab; a browser that may keep nothing refuses even to look
function stored() {
  try {
    return JSON.parse(localStorage.getItem(PLACE));
  } catch {
    return null;
  }
}

// every answer is stored at once, so that what is stored is the newest, also where another tab gave it
function restore() {
  if (keeps) Object.assign(answers, stored()?.answers);
}

function change(edit) {
  restore();
  edit(given(reading().code));
  save();
}

function save() {
  try {
    localStorage.setItem(PLACE, JSON.stringify({answers, index}));
    keeps = true;
  } catch (error) {
    keeps = false;
    element("problem").textContent = `This browser keeps nothing (${error.message}): export your scores before you close it.`;
  }
  element("problem").hidden = keeps;
  const open = STUDY.readings.filter(each => n_missing(each.code)).length;
  const said = open ? `${open} of ${STUDY.readings.length} cases open` : "all cases answered: export your scores";
  Object.assign(element("state"), {textContent: `${keeps ? "saved" : "not saved"}; ${said}`, className: keeps ? "" : "problem"});
}

function showSlice() {
  for (const each of views) each.querySelector("img").src = `images/${reading()[each.dataset.side][slice]}`;
  element("slice").value = slice + 1;
  const n = reading().left.length / reading().n_volumes;
  const frame = n < reading().left.length ? `: slice ${slice % n + 1} of frame ${Math.floor(slice / n) + 1}` : "";
  element("slice-number").textContent = `${slice + 1} / ${reading().left.length}${frame}`;
  showMarks();
}

function showMarks() {
  document.querySelectorAll(".mark").forEach(mark => mark.remove());
  for (const each of views) {
    const image = each.querySelector("img");
    for (const entry of given(reading().code).marks.filter(([side, z]) => side === each.dataset.side && z === slice)) {
      const mark = document.createElement("div");
      mark.className = "mark";
      mark.title = STUDY.hallucination;
      mark.style.left = `${100 * (entry[2] + .5) / image.naturalWidth}%`;
      mark.style.top = `${100 * (entry[3] + .5) / image.naturalHeight}%`;
      mark.onclick = event => {
        event.stopPropagation();
        change(answer => { answer.marks = answer.marks.filter(other => other.join() !== entry.join()); });
        showMarks();
      };
      each.querySelector(".sheet").append(mark);
    }
  }
}

function showView() {
  const {width, level, zoom, x, y} = view;
  for (const channel of document.querySelectorAll("#window feComponentTransfer > *")) {
    channel.setAttribute("slope", 1 / width);
    channel.setAttribute("intercept", .5 - level / width);
  }
  for (const each of views) each.firstElementChild.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
}

function resetView() {
  view = {width: 1, level: .5, zoom: 1, x: 0, y: 0};
  showView();
}

function shift(dx, dy) {
  view.x += dx;
  view.y += dy;
  showView();
}

function changeWindow(dx, dy) {
  view.width = Math.max(.02, view.width + dx / 300);
  view.level -= dy / 300;
  showView();
}

function showAnswers() {
  const table = document.createElement("table");
  table.innerHTML = `<thead><tr><th>1 worst ... 5 best</th>${SIDES.map(side => `<th>${side}</th>`).join("")}</tr></thead>`;
  const {scores} = given(reading().code);
  for (const item of STUDY.items) {
    const row = table.insertRow();
    row.insertCell().textContent = item;
    for (const side of SIDES) {
      const fieldset = row.insertCell().appendChild(document.createElement("fieldset"));
      for (let score = 1; score <= 5; score++) {
        const label = fieldset.appendChild(document.createElement("label"));
        const input = label.appendChild(document.createElement("input"));
        Object.assign(input, {type: "radio", name: `${side}|${item}`, value: score, checked: scores[`${side}|${item}`] === score});
        input.setAttribute("aria-label", `${item}, ${side}: ${score}`);
        input.onchange = () => {
          change(answer => { answer.scores[input.name] = score; });
          row.classList.toggle("missing", SIDES.some(each => !given(reading().code).scores[`${each}|${item}`]));
        };
        label.append(score);
      }
    }
    row.classList.toggle("missing", SIDES.some(side => !scores[`${side}|${item}`]));
  }
  element("answers").replaceChildren(table);
}

function show(number) {
  restore();
  index = Math.min(Math.max(number, 0), STUDY.readings.length - 1);
  slice = reading().left.length >> 1;
  element("images").style.setProperty("--aspect", reading().aspect);
  element("slice").max = reading().left.length;
  element("where").textContent = `reader ${STUDY.reader}, case ${index + 1} of ${STUDY.readings.length}, code ${reading().code}`;
  element("previous").disabled = index === 0;
  element("next").disabled = index === STUDY.readings.length - 1;
  showSlice();
  showAnswers();
  resetView();
  save();
}

function move(step) {
  slice = Math.min(Math.max(slice + step, 0), reading().left.length - 1);
  showSlice();
}

// the file asked for is what is seen; until it has loaded, its size is unknown and the slice before may still be seen
const isShown = each => each.querySelector("img").complete && each.querySelector("img").naturalWidth > 0;

// x and y in pixels of the image, wherever zoom and shift have brought it
function pixelAt(each, event) {
  const image = each.querySelector("img"), box = image.getBoundingClientRect();
  return [Math.floor((event.clientX - box.left) / box.width * image.naturalWidth), Math.floor((event.clientY - box.top) / box.height * image.naturalHeight)];
}

for (const each of views) {
  each.querySelector("img").onload = showMarks;
  each.querySelector("img").onerror = event => { // what cannot be seen cannot be scored
    const text = `${event.target.getAttribute("src")} is missing or damaged: unpack the whole folder again. Until then this case cannot be scored.`;
    element("answers").replaceChildren(Object.assign(document.createElement("p"), {className: "problem", textContent: text}));
  };
  each.onclick = event => {
    if (!element("mark").checked || !isShown(each)) return;
    const image = each.querySelector("img"), [x, y] = pixelAt(each, event);
    if (!(x >= 0 && y >= 0 && x < image.naturalWidth && y < image.naturalHeight)) return; // beside an image that was moved
    change(answer => answer.marks.push([each.dataset.side, slice, x, y]));
    showMarks();
  };
  const zoom = (factor, event) => { // about the place under the hand
    const box = each.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    const next = Math.min(Math.max(view.zoom * factor, 1), 16);
    Object.assign(view, {x: px - (px - view.x) * next / view.zoom, y: py - (py - view.y) * next / view.zoom, zoom: next});
    showView();
  };
  hands(each, {move: shift, zoom, step: move, window: changeWindow, reset: resetView}, () => element("mark").checked);
}

// as zlib.crc32
function crc32(text) {
  let sum = -1;
  for (const byte of new TextEncoder().encode(text)) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >>> 1 ^ 0xedb88320 : sum >>> 1;
  }
  return ((sum ^ -1) >>> 0).toString(16).padStart(8, "0");
}

function csv() {
  restore();
  const lines = ["study,reader,code,side,item,score,slice,x,y"];
  for (const {code} of STUDY.readings) {
    const {scores, marks} = given(code);
    for (const item of STUDY.items)
      for (const side of SIDES)
        if (scores[`${side}|${item}`]) lines.push([STUDY.study, STUDY.reader, code, side, `"${item.replaceAll('"', '""')}"`, scores[`${side}|${item}`], "", "", ""].join());
    for (const [side, z, x, y] of marks) lines.push([STUDY.study, STUDY.reader, code, side, STUDY.hallucination, "", z + 1, x, y].join());
  }
  const body = lines.join("\n") + "\n";
  return `${body}# crc32 ${crc32(body)}\n`;
}

element("export").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], {type: "text/csv"}));
  link.download = `scores-reader-${STUDY.reader}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
};
element("previous").onclick = () => show(index - 1);
element("next").onclick = () => show(index + 1);
element("slice").oninput = event => move(event.target.value - 1 - slice);
arrows(move); // never a score: nobody would see that it has changed
document.addEventListener("keydown", event => {
  if (event.target.type !== "radio" || event.altKey || event.ctrlKey || event.metaKey) return;
  const scored = [...document.getElementsByName(event.target.name)].find(input => input.value === event.key);
  scored?.focus();
  scored?.click();
});
window.addEventListener("storage", event => {
  if (event.key !== PLACE) return; // of another study
  restore();
  showMarks();
  showAnswers();
});
element("title").textContent = document.title = STUDY.title;
show(index);
for (const part of document.querySelectorAll("header, main")) part.hidden = false;
