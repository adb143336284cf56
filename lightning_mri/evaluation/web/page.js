"use strict";
// The page around the viewer: heading, tables, figures and what was run, all from the JSON that the page holds.
const page = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
function add(parent, tag, text = "", name = "") {
  const made = document.createElement(tag);
  made.textContent = text; // never HTML: names come from files
  if (name) made.className = name;
  parent.append(made);
  return made;
}

function addTable(parent, header, rows, nWords, name = "") {
  const table = add(add(parent, "div", "", "scroll"), "table", "", name);
  const isWord = (column) => column < nWords || rows.every((cells) => !/^[+-]?\d|^$/.test(cells[column]));
  const kinds = rows.length ? rows[0].map((_, column) => (isWord(column) ? "" : "number")) : [];
  if (header) {
    const line = add(add(table, "thead"), "tr");
    header.forEach((cell, column) => add(line, "th", cell, kinds[column]));
  }
  const body = add(table, "tbody");
  return rows.map((cells) => {
    const line = add(body, "tr");
    cells.forEach((cell, column) => add(line, "td", cell, kinds[column]));
    return line;
  });
}

// the keyboard reaches what is in a button
const inButton = (cell) => add(cell, "button").append(cell.firstChild);

// what is not known comes last, whichever way the others are sorted
function compare(p, q, sign) {
  if (p == null || q == null) return (p == null) - (q == null);
  return sign * (typeof p === "number" ? p - q : p.localeCompare(q, "en", { numeric: true }));
}

// `others` is folded away: names of which few are read
function addWarning(parent, text, others) {
  if (!others) return add(parent, "p", text, "warning");
  const folded = add(parent, "details", "", "warning");
  add(folded, "summary", text);
  return add(folded, "p", others);
}

function writePage() {
  document.title = $("title").textContent = page.title;
  $("made").textContent = page.made;
  for (const text of page.intro) add($("intro"), "p", text);
  for (const text of page.warnings) addWarning($("warnings"), ...text.split("\n"));
  for (const table of page.tables) {
    add($("tables"), "h2", table.title);
    addTable($("tables"), table.header, table.rows, table.n_words).forEach((line, index) => {
      if (table.best.includes(index)) line.className = "best";
    });
    add($("tables"), "p", table.caption, "small");
  }
  for (const [title, source] of page.figures) {
    add($("figures"), "h2", title);
    const image = add($("figures"), "img");
    Object.assign(image, { src: source, alt: title });
  }
  for (const [title, facts] of page.facts) {
    add($("facts"), "h2", title);
    addTable($("facts"), null, facts, 2, "facts");
  }
}

writePage();
