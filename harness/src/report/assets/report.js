"use strict";
// Everything comes from the JSON in #data and goes into the page as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
// In the order of STATUSES in html.rs, worst first.
const STATUS = [
  { name: "failed", css: "failed", glyph: "✗" }, { name: "errored", css: "errored", glyph: "!" },
  { name: "no verdict", css: "pending", glyph: "…" }, { name: "unknown", css: "unknown", glyph: "?" },
  { name: "flaky", css: "flaky", glyph: "≈" }, { name: "known failure", css: "known", glyph: "◦" },
  { name: "passed", css: "passed", glyph: "✓" }, { name: "skipped", css: "skipped", glyph: "–" },
];
const BAD_BELOW = 4, OPEN_MAX = 30, CHUNK = 200, LABELS_MAX = 300;

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (value !== undefined && value !== null) node.setAttribute(key, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}
function time(us) {
  const s = us / 1e6;
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 60) return s.toFixed(2) + " s";
  return Math.floor(s / 60) + " min " + Math.round(s % 60) + " s";
}
const number = (n) => n.toLocaleString("en");

// A case: [scenario, cell or rest of the name, status, microseconds, detail]
const cases = data.cases.map(([scenario, cell, status, us, detail], at) => ({ at, scenario: data.scenarios[scenario], cell, status, us, detail }));
function suffix(item) {
  if (typeof item.cell === "string") return item.cell;
  if (!item.cell.length) return "";
  return "[" + item.cell.map((label, axis) => item.scenario.axes[axis][0] + "=" + item.scenario.axes[axis][1][label]).join(",") + "]";
}
function haystack(item) {
  const detail = item.detail === undefined ? null : data.details[item.detail];
  return (item.scenario.name + suffix(item) + " " + item.scenario.file + " " + item.scenario.tags.join(" ") + " " + (detail && detail.message || "")).toLowerCase();
}

const counts = STATUS.map(() => 0);
for (const item of cases) counts[item.status]++;
const shown = new Set(STATUS.keys());
let query = [], order = "status", rows = [], next = 0;

function header() {
  const bad = counts.slice(0, BAD_BELOW).reduce((a, b) => a + b, 0);
  const verdict = el("span", { class: "verdict " + (bad ? "s-failed" : "s-passed") }, bad ? "failed" : cases.length ? "passed" : "nothing ran");
  const suites = data.suites.map((suite) => el("div", { class: "facts" },
    [["suite", suite.name], ["package", suite.package], ["seed", suite.seeds.join(", ")], ["took", time(suite.duration)],
     ["started", suite.started ? new Date(suite.started).toISOString().replace("T", " ").slice(0, 19) + " UTC" : ""],
     ["on", suite.hosts.join(", ")], ["arguments", suite.arguments], ["filtered out", suite.filtered || ""],
     ["up to", suite.concurrency > 1 ? suite.concurrency + " cases at a time" : ""], ["interrupted by", suite.interrupted || ""],
    ].filter((fact) => fact[1] !== "").map(([name, value]) => el("span", {}, name + " ", el("b", {}, String(value))))));
  const bar = el("div", { class: "bar", role: "presentation" }, STATUS.map((status, at) =>
    counts[at] ? el("i", { class: "s-" + status.css, style: "flex:" + counts[at], title: counts[at] + " " + status.name }) : null));
  return [el("div", { class: "head" }, el("h1", {}, data.title), verdict, el("span", { class: "dim" }, number(cases.length) + (cases.length === 1 ? " case" : " cases"))), ...suites, bar];
}

const chips = STATUS.map((status, at) => el("button", { class: "chip s-" + status.css, "aria-pressed": "true", title: "show or hide; with Alt: only these", on: { click: (event) => {
  if (event.altKey) { shown.clear(); shown.add(at); } else if (!shown.delete(at)) shown.add(at);
  chips.forEach((chip, n) => chip.setAttribute("aria-pressed", shown.has(n)));
  refresh();
} } }, status.name, el("b", {}, number(counts[at]))));
const search = el("input", { type: "search", placeholder: "filter by name, axis=label, file, tag or message", "aria-label": "filter", on: { input: () => {
  clearTimeout(search.timer);
  search.timer = setTimeout(refresh, 120);
} } });
const sorting = el("select", { "aria-label": "order", on: { change: refresh } },
  el("option", { value: "status" }, "worst first"), el("option", { value: "plan" }, "in order of the plan"), el("option", { value: "time" }, "slowest first"));
const list = el("div", { class: "list" });
const title = el("h2", {});
const sentinel = el("div", {}, " ");

// The cases of a cell of a grid, while one is chosen.
let chosen = null;
const unchoose = el("button", { hidden: "", title: "show the other cases again", on: { click: () => choose(null, "") } });
function choose(items, text) {
  chosen = items && new Set(items);
  unchoose.hidden = !chosen;
  unchoose.textContent = text + "  ×";
  search.value = "";
  STATUS.forEach((_, at) => shown.add(at));
  chips.forEach((chip) => chip.setAttribute("aria-pressed", "true"));
  refresh();
}

function refresh() {
  query = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  order = sorting.value;
  rows = cases.filter((item) => {
    if (!shown.has(item.status) || (chosen && !chosen.has(item))) return false;
    if (!query.length) return true;
    const text = haystack(item);
    return query.every((word) => text.includes(word));
  });
  if (order === "status") rows.sort((a, b) => a.status - b.status || a.at - b.at);
  if (order === "time") rows.sort((a, b) => b.us - a.us || a.at - b.at);
  title.textContent = rows.length === cases.length ? "Cases" : "Cases: " + number(rows.length) + " of " + number(cases.length);
  next = 0;
  list.replaceChildren();
  if (!rows.length) list.append(el("div", { class: "empty" }, cases.length ? "No case matches." : "This run had no cases."));
  more();
}
function more() {
  const end = Math.min(rows.length, next + CHUNK), fragment = document.createDocumentFragment();
  for (; next < end; next++) fragment.append(row(rows[next], next));
  list.append(fragment);
}
function row(item, at) {
  const status = STATUS[item.status], scenario = item.scenario;
  const [module, name] = [scenario.name.slice(0, scenario.name.lastIndexOf("::") + 2), scenario.name.slice(scenario.name.lastIndexOf("::") + 2)];
  const cell = typeof item.cell === "string" ? item.cell
    : item.cell.map((label, axis) => el("span", { class: "axis" }, el("span", { class: "dim" }, scenario.axes[axis][0] + "="), scenario.axes[axis][1][label]));
  const node = el("details", { class: "case s-" + status.css },
    el("summary", {}, el("span", { class: "status", "data-glyph": status.glyph }, status.name),
      el("span", { class: "name" }, el("span", { class: "dim" }, module), name, cell),
      el("span", { class: "time" }, item.us ? time(item.us) : "")));
  const fill = () => { if (node.open && !node.filled) { node.filled = true; node.append(body(item)); } };
  node.addEventListener("toggle", fill);
  if (item.status < BAD_BELOW && item.detail !== undefined && at < OPEN_MAX) { node.open = true; fill(); }
  return node;
}
function body(item) {
  const detail = item.detail === undefined ? {} : data.details[item.detail];
  const block = (label, text) => text ? [el("div", { class: "label" }, label), el("pre", {}, text)] : [];
  const parts = [];
  if (detail.message) parts.push(el("div", { class: "message" }, (detail.class ? detail.class + ": " : "") + detail.message));
  if (detail.details) parts.push(el("pre", {}, detail.details));
  if (detail.parts) parts.push(...partsOf(detail.parts));
  for (const [at, attempt] of (detail.earlier || []).entries())
    parts.push(...block("attempt " + (at + 1) + " did not pass: " + attempt.class, attempt.text), ...block("its output", attempt.output));
  if (detail.bytes && !detail.output) parts.push(el("div", { class: "label" }, "output: " + number(detail.bytes) + " bytes, in events.jsonl"));
  parts.push(...block("output" + (detail.bytes ? " (" + number(detail.bytes) + " bytes in all)" : ""), detail.output));
  if (detail.reproduce) {
    const button = el("button", { on: { click: () => copy(detail.reproduce, button) } }, "Copy");
    parts.push(el("div", { class: "label" }, "run it again"), el("div", { class: "command" }, el("pre", {}, detail.reproduce), button));
  }
  if ((detail.attachments || []).length || detail.artifacts)
    parts.push(el("div", { class: "label" }, "kept"), el("div", {}, (detail.attachments || []).map(([text, href]) => el("div", {}, el("a", { href }, text))),
      detail.artifacts ? el("div", {}, el("a", { href: detail.artifacts[1] }, detail.artifacts[0])) : null));
  const facts = [["seed", detail.seed], ["root seed", detail.root], ["runs", detail.runs], ["axes", detail.axes], ["variants", detail.variants], ["tags", item.scenario.tags.join(", ")],
    ["at", item.scenario.file ? item.scenario.file + ":" + item.scenario.line : ""]].filter((fact) => fact[1]);
  parts.push(el("div", { class: "facts" }, facts.map(([name, value]) => el("span", {}, name + " ", el("b", {}, String(value))))));
  return el("div", { class: "body" }, parts);
}
// Sub-cases: those that did not pass, then the others, which are folded away.
function partsOf(all) {
  const [other, passed] = [all.filter((part) => STATUS[part.status].css !== "passed"), all.filter((part) => STATUS[part.status].css === "passed")];
  const one = (part) => el("div", { class: "s-" + STATUS[part.status].css },
    el("div", {}, el("span", { class: "status", "data-glyph": STATUS[part.status].glyph }, STATUS[part.status].name), " ", part.name, " ", el("span", { class: "time" }, time(part.us))),
    part.text ? el("pre", {}, part.text) : null);
  const label = number(all.length) + " sub-cases, " + number(passed.length) + " of them passed";
  return [el("div", { class: "label" }, label), ...other.map(one), passed.length ? el("details", {}, el("summary", {}, number(passed.length) + " passed"), passed.map(one)) : null].filter(Boolean);
}
function copy(text, button) {
  const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
  const old = () => { // where the page is a file, some browsers have no clipboard
    const area = el("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    done();
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, old); else old();
}

// A grid a scenario: two axes are seen, cells stand for the worst of what the others have.
function grids() {
  const byScenario = new Map();
  for (const item of cases) if (Array.isArray(item.cell) && item.cell.length > 1) {
    if (!byScenario.has(item.scenario)) byScenario.set(item.scenario, []);
    byScenario.get(item.scenario).push(item);
  }
  if (!byScenario.size) return [];
  const worst = (items) => items.reduce((a, b) => Math.min(a, b.status), 99);
  const all = [...byScenario].sort((a, b) => worst(a[1]) - worst(b[1]));
  return [el("h2", {}, "Matrix"), el("div", { class: "grids" }, all.map(([scenario, items], at) => {
    const bad = items.filter((item) => item.status < BAD_BELOW).length;
    const node = el("details", {}, el("summary", {}, el("span", { class: "name" }, scenario.name), " ",
      el("span", { class: "dim" }, number(items.length) + " cases" + (bad ? ", " : "")), bad ? el("span", { class: "count s-failed" }, number(bad) + " bad") : null));
    const fill = () => { if (node.open && !node.filled) { node.filled = true; node.append(grid(scenario, items)); } };
    node.addEventListener("toggle", fill);
    if (at < 3 && (bad || at === 0)) { node.open = true; fill(); }
    return node;
  }))];
}
function grid(scenario, items) {
  const axes = scenario.axes.map(([name]) => name);
  let across = axes.length - 1, down = 0;
  const node = el("div", {}), table = el("div", { class: "scroll" });
  const pick = (chosen, change) => el("select", { on: { change: (event) => { change(+event.target.value); draw(); } } },
    axes.map((name, at) => el("option", { value: at, selected: at === chosen ? "" : null }, name)));
  if (axes.length > 2) node.append(el("div", { class: "pick dim" }, "rows", pick(down, (at) => { down = at; }), "columns", pick(across, (at) => { across = at; })));
  function draw() {
    const cells = new Map(), seen = [new Set(), new Set()];
    for (const item of items) {
      const key = item.cell[down] + "," + item.cell[across];
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(item);
      seen[0].add(item.cell[down]);
      seen[1].add(item.cell[across]);
    }
    const [rowLabels, columnLabels] = seen.map((set) => [...set].sort((a, b) => a - b).slice(0, LABELS_MAX));
    const left = Math.max(seen[0].size, seen[1].size) > LABELS_MAX;
    const label = (axis, at) => scenario.axes[axis][1][at];
    table.replaceChildren(el("table", {}, el("tr", {}, el("th", { class: "dim" }, axes[down] + " \\ " + axes[across]), columnLabels.map((at) => el("th", { title: label(across, at) }, label(across, at)))),
      rowLabels.map((r) => el("tr", {}, el("th", { class: "row", title: label(down, r) }, label(down, r)), columnLabels.map((c) => {
        const found = cells.get(r + "," + c);
        if (!found) return el("td", {});
        const status = found.reduce((a, b) => Math.min(a, b.status), 99);
        const same = found.filter((item) => item.status === status).length;
        const text = STATUS[status].glyph + (found.length > 1 && same < found.length ? " " + same + "/" + found.length : "");
        const words = axes[down] + "=" + label(down, r) + ", " + axes[across] + "=" + label(across, c);
        return el("td", {}, el("button", { class: "cell s-" + STATUS[status].css, title: same + " of " + found.length + " " + STATUS[status].name + ": show", on: { click: () => {
          choose(found, scenario.name.slice(scenario.name.lastIndexOf("::") + 2) + ": " + words);
          title.scrollIntoView({ behavior: "smooth" });
        } } }, text));
      })))), left ? el("div", { class: "dim" }, "The first " + LABELS_MAX + " of " + number(Math.max(seen[0].size, seen[1].size)) + " labels; filter the cases below for the others.") : "");
  }
  draw();
  node.append(table);
  return node;
}

document.querySelector("main").replaceChildren(...header(), ...grids(), title, el("div", { class: "tools" }, unchoose, search, chips.filter((_, at) => counts[at]), sorting), list, sentinel);
refresh();
new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting) && next < rows.length) more(); }, { rootMargin: "1500px" }).observe(sentinel);
