// The tree of descent: laid out once by d3-hierarchy, drawn on a canvas, so that ten thousand tasks stay smooth.
import { hierarchy, tree } from "./vendor/d3-hierarchy/d3-hierarchy.mjs";
import { asked, bind, byId, canvas, colour, data, el, fill, follow, home, isStatic, number, options, PALETTE, remember, sorry, taskPage } from "./common.js";

const node = byId("tree"), form = byId("choose");
const view = { x: 0, y: 0, zoom: 1 };
let gap = 150, columns = null, root = null, dots = [], focus = null, folded = new Set(), depth = 1, fitted = false, again = 0;
const known = new Map(); // difficulty in bits, by task

const values = bind(form, () => { fitted = false; build(); if (form.elements.colour.value === "difficulty") measure(); });
const paint = canvas(node, draw);

function build() {
  if (!columns) return;
  const now = values();
  remember({ ...now, show: now.show === "accepted" ? "" : now.show, colour: now.colour === "family" ? "" : now.colour, fold: [...folded].map((i) => columns.id[i]).join(" ") });
  const n = columns.id.length, wanted = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    if (now.family && columns.family[i] !== now.family) continue;
    if (now.show === "all") wanted[i] = 1;
    else if (columns.status[i] === "accepted") for (let j = i; j >= 0 && !wanted[j]; j = columns.parent[j]) wanted[j] = 1;
  }
  const items = Array.from({ length: n }, (_, i) => ({ i, children: [] })), tops = [];
  for (let i = 0; i < n; i++) if (wanted[i]) { const p = columns.parent[i]; (p >= 0 && wanted[p] && p !== i ? items[p].children : tops).push(items[i]); }
  if (tops.length > 400 || now.show === "all") tops.sort((a, b) => b.children.length - a.children.length);
  root = hierarchy({ i: -1, children: tops }, (item) => (folded.has(item.i) ? [] : item.children));
  tree().nodeSize([1, 1]).separation((a, b) => (a.parent === b.parent ? 1 : 1.4))(root);
  dots = root.descendants().filter((d) => d.data.i >= 0);
  depth = Math.max(1, dots.at(-1)?.depth ?? 1); // the dots come generation by generation
  if (!dots.includes(focus)) focus = dots[0] ?? null;
  const count = dots.length, shown = count === 1 ? "1 task" : `${number(count)} tasks`;
  byId("count").textContent = count ? `${shown}, ${number(tops.length)} of them drawn at random, up to ${depth} generations.` : "No task yet.";
  legend(now);
  if (!fitted) fit();
  paint();
}
/** Difficulties are computed by the server when a reader wants to see them; until all are there, ask again. */
async function measure() {
  clearTimeout(again);
  try {
    const { bits, note } = await data("difficulty.json");
    bits.forEach((value, i) => { if (value !== null) known.set(columns.id[i], value); });
    columns.difficulty = columns.id.map((id) => known.get(id) ?? null);
    byId("note").textContent = note;
    paint();
    if (note && !isStatic) again = setTimeout(measure, 1500);
  } catch (error) { sorry(error); }
}
const px = (d) => (d.depth - 1) * gap, py = (d) => d.x * 11;
function fit() {
  const { width, height } = node.getBoundingClientRect();
  if (!dots.length || !width) return;
  let low = Infinity, high = -Infinity;
  for (const d of dots) { low = Math.min(low, py(d)); high = Math.max(high, py(d)); }
  view.zoom = Math.min(1.6, Math.max((height - 40) / (high - low + 20), 0.05));
  gap = (width - 60 - 110 * Math.min(1, view.zoom)) / Math.max(depth - 1, 3) / view.zoom; // the generations fill the width
  view.x = 30; view.y = height / 2 - (view.zoom * (low + high)) / 2;
  fitted = true;
}
function ramp(part) { return `hsl(${250 - 210 * part} 70% ${48 + 8 * part}%)`; }
function ends(values) {
  let low = Infinity, high = -Infinity;
  for (const x of values) if (x !== null) { if (x < low) low = x; if (x > high) high = x; }
  return [low, high - low || 1];
}
function paintOf(now) {
  const c = columns, still = colour("still"), lost = colour("lost"), kept = colour("kept");
  if (now.colour === "round") { const [, top] = ends([0, ...new Set(c.round)]); return (i) => ramp(c.round[i] / top); }
  if (now.colour === "difficulty") { const [low, span] = ends(c.difficulty); return (i) => (c.difficulty[i] === null ? still : ramp((c.difficulty[i] - low) / span)); }
  if (now.colour === "retained") return (i) => (c.status[i] !== "accepted" ? still : c.forgotten[i] ? lost : kept);
  const place = new Map([...new Set(c.family)].sort().map((name, k) => [name, PALETTE[k % PALETTE.length]]));
  return (i) => place.get(c.family[i]);
}
function legend(now) {
  const item = (paint, text) => { const i = el("i"); i.style.background = paint; return [i, text]; };
  const entries = { family: [...new Set(columns.family)].sort().flatMap((name, k) => item(PALETTE[k % PALETTE.length], name)), retained: [...item(colour("kept"), "retained"), ...item(colour("lost"), "forgotten"), ...item(colour("still"), "never accepted")], round: [...item(ramp(0), "early"), ...item(ramp(0.5), ""), ...item(ramp(1), "late")], difficulty: [...item(ramp(0), "easy"), ...item(ramp(0.5), ""), ...item(ramp(1), "hard")] };
  fill(byId("legend"), entries[now.colour], " · filled: accepted, ring: not");
}
function draw(pen, width, height) {
  if (!root) return;
  const ink = paintOf(values()), { x, y, zoom } = view, panel = colour("panel"), dark = colour("ink"), soft = colour("soft");
  const radius = Math.min(7, Math.max(1.6, 4.2 * zoom)), fine = 11 * zoom > 2.5;
  pen.lineWidth = 1; pen.strokeStyle = colour("line"); pen.font = "11px system-ui, DejaVu Sans, sans-serif";
  lines(pen, width, height, fine);
  for (const accepted of [false, true]) { // the accepted above the others; of dots on one another, one
    let row = -1, last = -Infinity;
    for (const d of dots) {
      const { i } = d.data, sx = x + zoom * px(d), sy = y + zoom * py(d);
      if ((columns.status[i] === "accepted") !== accepted || sy < -20 || sy > height + 20 || sx < -20 || sx > width + 20) continue;
      if (d.depth === row && sy - last < 0.6) continue;
      row = d.depth; last = sy;
      pen.fillStyle = accepted ? ink(i) : panel; pen.strokeStyle = ink(i); pen.lineWidth = 1.3;
      if (!fine) { if (accepted) pen.fillRect(sx - radius, sy - radius, 2 * radius, 2 * radius); else pen.strokeRect(sx - radius, sy - radius, 2 * radius, 2 * radius); continue; }
      pen.beginPath(); pen.arc(sx, sy, radius, 0, 7); pen.fill();
      if (!accepted) pen.stroke();
      if (folded.has(i)) { pen.fillStyle = dark; pen.fillText(`+${d.data.children.length}`, sx + radius + 3, sy + 4); }
      else if (zoom > 1.15) { pen.fillStyle = soft; pen.fillText(columns.id[i], sx + radius + 4, sy + 4); }
    }
  }
  if (focus) { pen.strokeStyle = dark; pen.lineWidth = 2; pen.beginPath(); pen.arc(x + zoom * px(focus), y + zoom * py(focus), radius + 3, 0, 7); pen.stroke(); }
}
/** From parents to children; of lines on one another one, and straight where a curve could not be told from it. */
function lines(pen, width, height, fine) {
  const { x, y, zoom } = view;
  let row = -1, last = -Infinity, from = -Infinity;
  pen.beginPath();
  for (const d of dots) {
    const p = d.parent;
    if (p.data.i < 0) continue;
    const y0 = y + zoom * py(p), y1 = y + zoom * py(d), x1 = x + zoom * px(d), x0 = x + zoom * px(p), m = (x0 + x1) / 2;
    if (Math.max(y0, y1) < 0 || Math.min(y0, y1) > height || x1 < 0 || x0 > width) continue;
    if (d.depth === row && y1 - last < 0.6 && y0 - from < 0.6) continue;
    row = d.depth; last = y1; from = y0;
    pen.moveTo(x0, y0);
    if (fine) pen.bezierCurveTo(m, y0, m, y1, x1, y1); else pen.lineTo(x1, y1);
  }
  pen.stroke();
}
function at(event) {
  const box = node.getBoundingClientRect(), mx = event.clientX - box.left, my = event.clientY - box.top;
  let best = null, least = 14;
  for (const d of dots) { const far = Math.hypot(view.x + view.zoom * px(d) - mx, view.y + view.zoom * py(d) - my); if (far < least) { least = far; best = d; } }
  return best;
}
function tell(d) {
  focus = d;
  if (!d) { byId("tip").textContent = ""; paint(); return; }
  const { i } = d.data, c = columns, bits = c.difficulty[i] === null ? "" : `, ${c.difficulty[i].toFixed(1)} bits hard`;
  byId("tip").textContent = `${c.id[i]}: ${c.forgotten[i] && c.status[i] === "accepted" ? "forgotten" : c.status[i]} ${c.kind[i]}, round ${c.round[i]}${bits}, ${c.operator[i] ? `by ${c.operator[i]}, ` : ""}${d.data.children.length} children shown`;
  paint();
}
const open = (d) => { if (d) location.href = taskPage(columns.id[d.data.i]); };
const fold = (d) => { if (!d?.data.children.length) return; const { i } = d.data; if (folded.has(i)) folded.delete(i); else folded.add(i); fitted = true; build(); focus = dots.find((o) => o.data.i === i) ?? null; tell(focus); };
function zoomAt(mx, my, factor) { const zoom = Math.min(8, Math.max(0.02, view.zoom * factor)); view.x = mx - ((mx - view.x) * zoom) / view.zoom; view.y = my - ((my - view.y) * zoom) / view.zoom; view.zoom = zoom; paint(); }

const middle = (factor) => { const { width, height } = node.getBoundingClientRect(); zoomAt(width / 2, height / 2, factor); };
byId("in").addEventListener("click", () => middle(1.5));
byId("out").addEventListener("click", () => middle(1 / 1.5));
byId("whole").addEventListener("click", () => { fit(); paint(); });

let drag = null;
node.addEventListener("wheel", (event) => { event.preventDefault(); const box = node.getBoundingClientRect(); zoomAt(event.clientX - box.left, event.clientY - box.top, Math.exp(-event.deltaY / 400)); }, { passive: false });
node.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, y: event.clientY, far: 0 }; node.setPointerCapture(event.pointerId); });
node.addEventListener("pointermove", (event) => {
  if (!drag) { const d = at(event); if (d && d !== focus) tell(d); node.style.cursor = d ? "pointer" : "grab"; return; }
  view.x += event.clientX - drag.x; view.y += event.clientY - drag.y; drag.far += Math.abs(event.clientX - drag.x) + Math.abs(event.clientY - drag.y);
  drag.x = event.clientX; drag.y = event.clientY; paint();
});
node.addEventListener("pointerup", (event) => { const still = drag && drag.far < 4; drag = null; if (!still) return; const d = at(event); if (event.shiftKey) fold(d); else open(d); });
node.addEventListener("keydown", (event) => {
  const siblings = focus?.parent?.children ?? [], k = siblings.indexOf(focus), { width, height } = node.getBoundingClientRect();
  const moves = { ArrowRight: () => focus?.children?.[0], ArrowLeft: () => (focus?.parent?.data.i >= 0 ? focus.parent : focus), ArrowDown: () => siblings[k + 1], ArrowUp: () => siblings[k - 1] };
  if (moves[event.key]) { const d = moves[event.key](); if (d) { tell(d); const sx = view.x + view.zoom * px(d), sy = view.y + view.zoom * py(d); if (sx < 20 || sx > width - 20) view.x += width / 2 - sx; if (sy < 20 || sy > height - 20) view.y += height / 2 - sy; paint(); } }
  else if (event.key === "Enter") open(focus);
  else if (event.key === " ") fold(focus);
  else if (event.key === "+" || event.key === "=") zoomAt(width / 2, height / 2, 1.25);
  else if (event.key === "-") zoomAt(width / 2, height / 2, 0.8);
  else return;
  event.preventDefault();
});

fill(byId("tables"), el("a", { href: `${home}table/parentage.csv` }, "parentage.csv"), el("a", { href: `${home}table/parentage.json` }, "parentage.json"));
follow(async () => {
  try {
    columns = await data("lineage.json");
    options(form.elements.family, [...new Set(columns.family)].sort(), "all");
    if (asked().family) form.elements.family.value = asked().family;
    columns.difficulty = columns.id.map((id) => known.get(id) ?? null);
    const named = new Set((asked().fold ?? "").split(" ")); // a roll-back may have given a task another row
    folded = new Set(columns.id.flatMap((id, i) => (named.has(id) ? [i] : [])));
    build();
    if (values().colour === "difficulty") await measure();
  } catch (error) { sorry(error, byId("count")); }
});
