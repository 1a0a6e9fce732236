// The retention matrix: a row per accepted task, a column per learner version; what was forgotten stands out.
import { asked, bind, byId, canvas, colour, data, el, fill, follow, number, options, percent, remember, sorry, table, taskPage } from "./common.js";

const node = byId("matrix"), form = byId("choose");
let memory = null, rows = [], versions = [], spot = null;
let cells = new Map(); // row of memory.tasks -> learner version -> [successes, lifetimes, forgotten]
const LEFT = 52, TOP = 22, LISTED = 300;
const values = bind(form, () => order());
const paint = canvas(node, draw);

function order() {
  if (!memory) return;
  const now = values();
  remember({ ...now, order: now.order === "accepted" ? "" : now.order });
  const lost = new Set(memory.forgotten_now), times = new Array(memory.tasks.length).fill(0);
  for (const [row, tests] of cells) for (const cell of tests.values()) times[row] += cell[2];
  rows = memory.tasks.map((_, i) => i).filter((i) => !now.family || memory.families[i] === now.family);
  if (now.order === "forgotten") rows.sort((a, b) => lost.has(memory.tasks[b]) - lost.has(memory.tasks[a]) || times[b] - times[a]);
  if (now.order === "family") rows.sort((a, b) => memory.families[a].localeCompare(memory.families[b]) || a - b);
  const place = new Map(memory.tasks.map((id, i) => [id, i])), n = times.length && [...cells.values()].reduce((sum, tests) => sum + tests.size, 0), sum = times.reduce((a, b) => a + b, 0);
  byId("count").textContent = n ? `${number(rows.length)} tasks, ${number(versions.length)} learners, ${number(n)} tests, of which ${number(sum)} found a task forgotten; ${number(lost.size)} are forgotten now.` : "No accepted task was tested yet.";
  table(byId("forgotten"), ["task", "family", ["tests", "n"], ["found forgotten", "n"], ["latest", "n"]], memory.forgotten_now.slice(-LISTED).reverse().map((id) => {
    const i = place.get(id), own = [...(cells.get(i) ?? [])], last = own.at(-1);
    return [el("a", { href: taskPage(id) }, id), memory.families[i], own.length, times[i], last ? `${last[1][0]} of ${last[1][1]}, learner ${last[0]}` : "–"];
  }));
  byId("more").textContent = lost.size > LISTED ? `The newest ${LISTED} of ${number(lost.size)}; the gallery shows all with the status forgotten.` : "";
  if (!memory.forgotten_now.length) fill(byId("forgotten"), el("tbody", {}, el("tr", {}, el("td", {}, "No accepted task is forgotten."))));
  paint();
}
const size = (width, height) => ({ w: Math.max(1, (width - LEFT - 8) / versions.length), h: (height - TOP - 8) / Math.max(1, rows.length) });

function draw(pen, width, height) {
  if (!memory || !rows.length) return;
  const { w, h } = size(width, height), ink = { kept: colour("kept"), weak: colour("weak"), lost: colour("lost"), none: colour("none") };
  pen.fillStyle = ink.none; pen.fillRect(LEFT, TOP, w * versions.length, h * rows.length);
  const gap = h > 4 ? 0.5 : 0, column = new Map(versions.map((v, k) => [v, k]));
  const losses = [];
  for (const [r, i] of rows.entries()) for (const [version, cell] of cells.get(i) ?? []) {
    const x = LEFT + column.get(version) * w, y = TOP + r * h;
    if (cell[2]) { losses.push([x, y]); continue; }
    pen.fillStyle = cell[0] / cell[1] >= 0.75 ? ink.kept : ink.weak;
    pen.fillRect(x + gap, y + gap, Math.max(1, w - 2 * gap), Math.max(1, h - 2 * gap));
  }
  pen.fillStyle = ink.lost; // last, and never thinner than can be seen
  for (const [x, y] of losses) pen.fillRect(x + gap, y - Math.max(0, (3 - h) / 2), Math.max(2, w - 2 * gap), Math.max(3, h - 2 * gap));
  pen.fillStyle = colour("soft"); pen.font = "11px system-ui, DejaVu Sans, sans-serif"; pen.textAlign = "center";
  const every = Math.ceil(34 / w);
  versions.forEach((version, k) => { if (k % every === 0) pen.fillText(version, LEFT + (k + 0.5) * w, TOP - 7); });
  pen.textAlign = "right";
  const step = Math.max(1, Math.ceil(16 / h));
  for (let r = 0; r < rows.length; r += step) pen.fillText(r + 1, LEFT - 6, TOP + r * h + Math.min(h / 2 + 4, 12));
  pen.textAlign = "left"; pen.fillText("learner", 4, TOP - 7);
  if (spot) { pen.strokeStyle = colour("ink"); pen.lineWidth = 1.5; pen.strokeRect(LEFT + spot.k * w, TOP + spot.r * h, w, Math.max(2, h)); }
}
function tell(r, k) {
  spot = r >= 0 && r < rows.length && k >= 0 && k < versions.length ? { r, k } : null;
  if (!spot) { byId("tip").textContent = ""; paint(); return; }
  const i = rows[r], version = versions[k], cell = cells.get(i)?.get(version);
  byId("tip").textContent = `${memory.tasks[i]}, learner ${version}: ${cell ? `${cell[2] ? "forgotten" : "kept"}, solved ${cell[0]} of ${cell[1]} (${percent(cell[0] / cell[1])})` : memory.accepted_at[i] !== null && version < memory.accepted_at[i] ? "not accepted yet" : "not tested"}`;
  paint();
}
const open = () => { if (spot) location.href = taskPage(memory.tasks[rows[spot.r]]); };
node.addEventListener("pointermove", (event) => { const box = node.getBoundingClientRect(), { w, h } = size(box.width, box.height); tell(Math.floor((event.clientY - box.top - TOP) / h), Math.floor((event.clientX - box.left - LEFT) / w)); node.style.cursor = spot ? "pointer" : ""; });
node.addEventListener("click", open);
node.addEventListener("keydown", (event) => {
  const moves = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [20, 0], PageUp: [-20, 0] }, move = moves[event.key];
  if (move) { const { r, k } = spot ?? { r: 0, k: -move[1] }; tell(Math.min(rows.length - 1, Math.max(0, r + move[0])), Math.min(versions.length - 1, Math.max(0, k + move[1]))); event.preventDefault(); }
  if (event.key === "Enter") open();
});
follow(async () => {
  try {
    memory = await data("memory.json");
    cells = new Map(memory.cells.map((row, i) => [i, new Map(Array.from({ length: row.length / 4 }, (_, k) => [row[4 * k], row.slice(4 * k + 1, 4 * k + 4)]))]));
    versions = [...new Set([...cells.values()].flatMap((tests) => [...tests.keys()]))].sort((a, b) => a - b);
    options(form.elements.family, [...new Set(memory.families)].sort(), "all");
    if (asked().family) form.elements.family.value = asked().family;
    order();
  } catch (error) { sorry(error, byId("count")); }
});
