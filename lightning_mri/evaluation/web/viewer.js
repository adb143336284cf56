// The viewer. It loads slices as they are looked at, from <path>/0000.js and on. Such a file sets `slices`: for each slice
// and layer null, or [PNG as base64, top]; a byte b means top (b / 255)^2.
const GAIN = 5; // of differences
const canvases = [...$("panes").children];
const state = { mode: "a", second: false, zoom: 1, x: 0, y: 0, overlay: false };
const decoded = new Map();
const chunks = new Map();
let shown = null;

// what several runs say of a case stands in its sources, else in the case itself
const cases = page.cases.map((each, number) => {
  const { burnt, flagged, warnings } = each;
  const sources = each.sources.map((source) => ({ unit: 1, burnt, flagged, warnings, ...source }));
  const layers = sources.flatMap((source) =>
    source.layers.map(([name, gain]) => ({ name, gain: gain ?? 1, isStd: gain !== null, source })),
  );
  return { ...each, number, sources, layers };
});

function writeCases() {
  const columns = [...new Set(cases.flatMap((each) => Object.keys(each.scores)))];
  const header = ["case", "warnings", ...columns];
  const cells = (each) => [each.name, String(each.warnings.length || ""), ...columns.map((key) => text(each.scores[key]))];
  const text = (value) => (typeof value === "number" ? value.toPrecision(4) : value ?? "");
  const lines = addTable($("cases"), header, cases.map(cells), 1);
  const body = lines[0].parentElement;
  lines.forEach((line, number) => {
    cases[number].line = line;
    if (cases[number].warnings.length) line.children[1].className = "number warning";
    line.onclick = () => choose(cases[number]);
    inButton(line.firstChild);
    columns.forEach((key, column) => {
      const [words, cell] = [cases[number].scores[key], line.children[2 + column]];
      if (typeof words === "string") cell.replaceChildren(add(cell, "span", words)); // which wraps where it is long
    });
  });
  const value = (each, column) => [each.name, each.warnings.length, ...columns.map((key) => each.scores[key])][column];
  const titles = [...$("cases").querySelectorAll("th")];
  titles.forEach((title, column) => {
    inButton(title);
    title.onclick = () => {
      const sign = title.ariaSort === "ascending" ? -1 : 1;
      for (const each of titles) each.ariaSort = each === title ? (sign > 0 ? "ascending" : "descending") : null;
      const order = [...cases].sort((p, q) => compare(value(p, column), value(q, column), sign));
      body.append(...order.map((each) => each.line));
    };
  });
  $("filter").hidden = cases.length < 8;
  $("filter").oninput = () => {
    for (const each of cases) each.line.hidden = !each.name.toLowerCase().includes($("filter").value.toLowerCase());
  };
}

function choose(chosen) {
  const kept = state.case && [$("a"), $("b")].map((select) => state.case.layers[select.value].name);
  state.case = chosen;
  cases.forEach((each) => (each.line.className = each === chosen ? "chosen" : ""));
  const names = chosen.layers.map((layer) => layer.name);
  [$("a"), $("b")].forEach((select, which) => {
    select.replaceChildren(...names.map((name, index) => new Option(name, index)));
    const same = kept ? names.indexOf(kept[which]) : -1;
    select.value = same >= 0 ? same : which ? chosen.compared : chosen.first;
  });
  $("slice").max = chosen.n_slices - 1;
  $("slice").value = Math.floor(chosen.n_slices / 2);
  $("overlaid").hidden = !chosen.layers.some((each) => each.isStd);
  writeBeside();
  reset();
  shown = null; // no image of another case under this one's name
  draw();
  show();
}

function writeBeside() {
  const beside = $("beside");
  beside.replaceChildren();
  add(beside, "h2", state.case.name);
  const { burnt, sources, n_slices, n_volumes } = state.case;
  for (const line of burnt) add(beside, "p", line, sources.length === 1 && line === burnt[0] ? "big" : "");
  if (n_volumes > 1) add(beside, "p", `${n_volumes} frames of ${n_slices / n_volumes} slices each, numbered from 0`);
  for (const warning of state.case.warnings) add(beside, "p", warning, "warning");
  if (!state.case.warnings.length) add(beside, "p", "No warnings.", "small");
  addTable(beside, null, state.case.facts, 2, "facts");
}

const layer = (index) => state.case.layers[index];
const uncertainty = (index) => state.case.layers.findIndex((each) => each.isStd && each.source === layer(index).source);

// Slices

const damaged = (path) => new Error(`${path} is damaged: copy the folder again`);

function script(path) {
  return new Promise((done, fail) => {
    const tag = document.createElement("script");
    tag.src = path.split("/").map(encodeURIComponent).join("/");
    tag.onload = () => {
      const { slices } = window;
      window.slices = undefined; // else a file that is damaged shows what the one before it has set
      tag.remove();
      slices ? done(slices) : fail(damaged(path));
    };
    tag.onerror = () => (tag.remove(), fail(new Error(`${path} is missing: keep it beside this page`)));
    document.head.append(tag);
  });
}

async function decode(encoded, unit) {
  if (encoded === null) return null;
  const image = new Image();
  image.src = `data:image/png;base64,${encoded[0]}`;
  await image.decode();
  const { width, height } = image;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  return { width, height, values: Float32Array.from({ length: width * height }, (_, i) => unit * encoded[1] * (pixels[4 * i] / 255) ** 2) };
}

function remember(memory, key, limit, make) {
  if (!memory.has(key)) {
    memory.set(key, make());
    memory.get(key).catch(() => memory.delete(key)); // it may be there the next time
  }
  if (memory.size > limit) memory.delete(memory.keys().next().value);
  return memory.get(key);
}

function load(chosen, index) {
  const number = Math.floor(index / chosen.chunk);
  const file = `${String(number).padStart(4, "0")}.js`;
  const read = () => Promise.all(chosen.sources.map((source) => script(`${source.path}/${file}`)));
  return remember(decoded, `${chosen.number} ${index}`, 48, async () => {
    const key = `${chosen.number} ${number}`;
    const parts = await remember(chunks, key, 8, read);
    const encoded = parts.flatMap((part) => part[index % chosen.chunk]);
    return Promise.all(
      chosen.layers.map(({ source }, each) =>
        decode(encoded[each], source.unit).catch(() => {
          chunks.delete(key);
          throw damaged(`${source.path}/${file}`);
        }),
      ),
    );
  });
}

// which slice it is of all, counted from 0, and of its frame
function nameOf({ n_slices, n_volumes = 1 }, index, among = "") {
  const n = n_slices / n_volumes;
  return `slice ${index}${among}` + (n_volumes > 1 ? `: slice ${index % n} of frame ${Math.floor(index / n)}` : "");
}

async function show() {
  const { case: chosen } = state;
  const index = Number($("slice").value);
  const isWanted = () => chosen === state.case && index === Number($("slice").value);
  $("place").textContent = nameOf(chosen, index, ` (0 to ${chosen.n_slices - 1})`);
  try {
    const loaded = await load(chosen, index);
    if (!isWanted()) return;
    shown = loaded;
    state.at = index;
    draw();
    if (index + 1 < chosen.n_slices) load(chosen, index + 1).catch(() => {});
  } catch (error) {
    if (!isWanted()) return;
    shown = null;
    $("place").textContent = error.message;
    draw();
    canvases[0].getContext("2d").fillText(error.message, 10, 20);
  }
}

// Drawing

function reset() {
  Object.assign(state, { low: 0, high: state.case.white, zoom: 1, x: 0, y: 0 });
}

function draw() {
  const [a, b] = [Number($("a").value), Number($("b").value)];
  const one = state.mode === "b" || (state.mode === "flicker" && state.second) ? b : a;
  canvases[1].hidden = state.mode !== "both";
  paint(canvases[0], one, state.mode === "difference" ? b : null);
  if (state.mode === "both") paint(canvases[1], b, null);
  for (const button of $("modes").children) button.setAttribute("aria-pressed", button.dataset.mode === state.mode);
}

function paint(canvas, index, other) {
  const [rows, columns] = state.case.size;
  const [dy, dx] = state.case.pixel ?? [1, 1];
  const ratio = window.devicePixelRatio || 1;
  canvas.style.aspectRatio = `${columns * dx} / ${rows * dy}`;
  Object.assign(canvas, { width: canvas.clientWidth * ratio, height: canvas.clientHeight * ratio });
  const context = canvas.getContext("2d");
  context.fillStyle = "#ddd";
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  if (!shown) return;
  const scale = Math.min(canvas.width / (columns * dx), canvas.height / (rows * dy)) * state.zoom;
  const [width, height] = [columns * dx * scale, rows * dy * scale];
  const left = (canvas.width - width) / 2 + state.x * ratio;
  const top = (canvas.height - height) / 2 + state.y * ratio;
  context.imageSmoothingEnabled = scale * Math.min(dx, dy) < 4 * ratio;
  const spread = uncertainty(index);
  for (const picture of [grey(index, other), state.overlay && spread >= 0 && index !== spread && heat(spread)])
    if (picture) context.drawImage(picture, left, top, width, height);
  annotate(context, canvas, ratio, index, other, state.case.pixel && scale);
}

function image(layer, colour) {
  const pixels = new ImageData(layer.width, layer.height);
  for (let i = 0; i < layer.values.length; i++) pixels.data.set(colour(layer.values[i], i), 4 * i);
  const canvas = new OffscreenCanvas(layer.width, layer.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function grey(index, other) {
  const layer = shown[index];
  const base = other === null ? null : shown[other];
  if (!layer || (other !== null && !base)) return null;
  const gain = gainOf(index, other);
  const scale = 255 / (state.high - state.low);
  return image(layer, (value, i) => {
    const level = (gain * (base ? Math.abs(value - base.values[i]) : value) - state.low) * scale;
    return [level, level, level, 255];
  });
}

function heat(index) {
  const scale = state.case.layers[index].gain / state.case.white;
  return shown[index] && image(shown[index], (value) => {
    const level = Math.min(1, value * scale);
    return [255, 220 * (1 - level), 0, 230 * level ** 1.5];
  });
}

const gainOf = (index, other) => (other === null ? state.case.layers[index].gain : GAIN);

function annotate(context, canvas, ratio, index, other, scale) {
  const size = (canvas.clientWidth < 300 ? 10 : 13) * ratio;
  const edge = 6 * ratio;
  const { at, case: chosen, case: { layers } } = state;
  const sources = [...new Set([index, other ?? index].map((each) => layers[each].source))];
  const flagged = sources.some((source) => source.flagged.includes(at));
  const n_warnings = sources.reduce((sum, source) => sum + source.warnings.length, 0);
  const burnt = new Set(sources.flatMap((source) => source.burnt));
  context.font = `${size}px system-ui, sans-serif`;
  Object.assign(context, { lineJoin: "round", lineWidth: 3 * ratio, strokeStyle: "#000" });
  const write = (text, line, right = false, bottom = false, colour = "#fff") => {
    context.textAlign = right ? "right" : "left";
    const x = right ? canvas.width - edge : edge;
    const y = bottom ? canvas.height - edge - line * size * 1.25 : edge + size * (0.9 + line * 1.25);
    context.fillStyle = colour;
    context.strokeText(text, x, y, canvas.width * (line || bottom ? 0.55 : 0.7));
    context.fillText(text, x, y, canvas.width * (line || bottom ? 0.55 : 0.7));
  };
  const gain = gainOf(index, other);
  const name = other === null ? layers[index].name : `|${layers[index].name} \u2212 ${layers[other].name}|`;
  write(gain === 1 ? name : `${name} \u00d7 ${gain}`, 0);
  write(nameOf(chosen, at), 1);
  const notes = flagged ? ["\u26a0 warning on this slice"] : n_warnings ? [`\u26a0 warnings: ${n_warnings}`] : [];
  if (!shown[index] || (other !== null && !shown[other])) notes.push("not known for this slice");
  notes.forEach((text, line) => write(text, 2 + line, false, false, "#ffb454"));
  [...burnt].forEach((line, number) => write(line, number, true));
  const percent = (value) => `${Math.round((100 * value) / chosen.white)} %`;
  write(`W ${percent(state.high - state.low)} L ${percent((state.high + state.low) / 2)}`, 0, true, true);
  if (state.overlay && uncertainty(index) >= 0)
    write(`red: sd of ${(100 / layer(uncertainty(index)).gain).toPrecision(2)} % of white`, 1, true, true, "#ff8a65");
  if (scale) bar(context, canvas, ratio, scale, write);
  else write("size of pixels not known", 0, false, true);
  if (flagged) {
    Object.assign(context, { strokeStyle: "#ffb454" });
    context.strokeRect(0, 0, canvas.width, canvas.height);
  }
}

function bar(context, canvas, ratio, scale, write) {
  const length = [200, 100, 50, 20, 10, 5, 2, 1].find((mm) => mm * scale < 0.3 * canvas.width) ?? 0.5;
  const [x, y] = [6 * ratio, canvas.height - 6 * ratio];
  context.fillStyle = "#fff";
  context.fillRect(x, y - 3 * ratio, length * scale, 3 * ratio);
  write(`${length} mm`, 0.6, false, true);
}

// Hands

function zoom(factor) {
  const next = Math.min(20, Math.max(1, state.zoom * factor));
  [state.x, state.y] = [state.x, state.y].map((value) => (value * next) / state.zoom);
  state.zoom = next;
  if (next === 1) state.x = state.y = 0;
  draw();
}

function move(dx, dy) {
  state.x += dx;
  state.y += dy;
  draw();
}

function changeWindow(dx, dy) {
  const unit = state.case.white / 300;
  const half = Math.max(unit, (state.high - state.low) / 2 + dx * unit);
  const level = (state.high + state.low) / 2 - dy * unit;
  Object.assign(state, { low: level - half, high: level + half });
  draw();
}

function step(by) {
  const next = Math.min(state.case.n_slices - 1, Math.max(0, Number($("slice").value) + by));
  if (next === Number($("slice").value)) return;
  $("slice").value = next;
  show();
}

function setMode(mode) {
  state.mode = mode;
  clearInterval(state.timer);
  if (mode === "flicker") state.timer = setInterval(() => ((state.second = !state.second), draw()), 500);
  draw();
}

function listen() {
  const act = { move, zoom, step, window: changeWindow, reset: () => (reset(), draw()) };
  canvases.forEach((canvas) => hands(canvas, act));
  $("slice").oninput = show;
  $("a").onchange = $("b").onchange = draw;
  $("overlay").onchange = () => ((state.overlay = $("overlay").checked), draw());
  $("closer").onclick = () => zoom(1.3);
  $("farther").onclick = () => zoom(1 / 1.3);
  $("reset").onclick = () => (reset(), draw());
  for (const button of $("modes").children) button.onclick = () => setMode(button.dataset.mode);
  window.onresize = draw;
  arrows(step);
  // what was pressed lets go of the space bar; what is reached by Tab keeps it
  document.onclick = (event) => event.target.closest("button, [type=checkbox]")?.blur();
  document.onkeydown = (event) => {
    if (event.key !== " " || event.target.closest("button, select, [type=search], [type=checkbox]")) return;
    event.preventDefault();
    setMode(state.mode === "a" ? "b" : "a");
  };
}

if (cases.length) {
  $("viewer").hidden = false;
  writeCases();
  listen();
  choose(cases[0]);
}
