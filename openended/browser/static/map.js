// The task space seen from above: two numbers of the task, or two principal components, moving with the rounds.
import { asked, bind, byId, canvas, colour, data, el, fill, follow, number, options, remember, sorry, taskPage } from "./common.js";
import { principal } from "./principal.js";

const node = byId("map"), form = byId("choose");
const ORDER = ["rejected", "quarantined", "frontier", "accepted"];
const INK = { accepted: "kept", frontier: "accent", rejected: "still", quarantined: "warm" };
let points = null, specs = [], xy = null, names = [], focus = -1, timer = 0;
const values = bind(form, () => arrange());
const paint = canvas(node, draw);

async function choose(family) {
  [points, specs] = await Promise.all([data(`map-${encodeURIComponent(family)}.json`), data(`specs-${encodeURIComponent(family)}.json`).catch(() => [])]);
  const params = specs.length ? specs.map((spec) => spec.name) : (points.vectors[0] ?? []).map((_, k) => `number ${k}`);
  names = ["component 1", "component 2", ...params];
  const wanted = asked();
  options(form.elements.x, names); options(form.elements.y, names);
  form.elements.x.value = names.includes(wanted.x) ? wanted.x : names[0];
  form.elements.y.value = names.includes(wanted.y) ? wanted.y : names[1];
  const top = Math.max(0, ...points.rounds), slider = form.elements.round, atEnd = Number(slider.value) === Number(slider.max);
  slider.max = top;
  if (wanted.round === undefined && atEnd) slider.value = top; else if (wanted.round !== undefined) slider.value = wanted.round;
  points.components = principal(points.vectors);
  points.of = family;
}
async function arrange() {
  try {
    const now = values();
    if (!now.family) { byId("count").textContent = "No task yet."; return; }
    if (points?.of !== now.family) await choose(now.family);
    const { x, y, round } = values(), column = (name) => { const k = names.indexOf(name); return k < 2 ? points.components.scores.map((score) => score[k]) : points.vectors.map((vector) => vector[k - 2]); };
    remember({ ...values(), x: x === names[0] ? "" : x, y: y === names[1] ? "" : y, round: Number(round) === Number(form.elements.round.max) ? "" : round });
    xy = [column(x), column(y)];
    byId("upto").textContent = `up to ${round}`;
    paint();
  } catch (error) { sorry(error, byId("count")); }
}
const shown = (i, now) => points.rounds[i] <= Number(now.round) && now[points.status[i]] !== "0";
function axis(k, size, flip) {
  const all = xy[k]; let low = Infinity, high = -Infinity;
  for (const v of all) { if (v < low) low = v; if (v > high) high = v; }
  const span = high - low || 1, pad = 46;
  return (v) => (flip ? size - pad - ((v - low) / span) * (size - pad - 20) : pad + ((v - low) / span) * (size - pad - 20));
}
function draw(pen, width, height) {
  if (!points || !xy) return;
  const now = values(), sx = axis(0, width, false), sy = axis(1, height, true), newest = Number(now.round);
  const ink = Object.fromEntries(Object.entries(INK).map(([name, variable]) => [name, colour(variable)])), lost = colour("lost");
  pen.strokeStyle = colour("line"); pen.strokeRect(40, 14, width - 54, height - 54);
  pen.fillStyle = colour("soft"); pen.font = "12px system-ui, DejaVu Sans, sans-serif"; pen.textAlign = "center";
  pen.fillText(title(now.x), width / 2, height - 14);
  pen.save(); pen.translate(18, height / 2); pen.rotate(-Math.PI / 2); pen.fillText(title(now.y), 0, 0); pen.restore();
  let count = 0;
  for (const kind of ORDER) for (let i = 0; i < points.ids.length; i++) {
    if (points.status[i] !== kind || !shown(i, now)) continue;
    count += 1;
    const fresh = points.rounds[i] === newest, x = sx(xy[0][i]), y = sy(xy[1][i]);
    pen.globalAlpha = kind === "rejected" || kind === "quarantined" ? 0.45 : 0.85;
    pen.fillStyle = kind === "accepted" && points.forgotten[i] ? lost : ink[kind];
    pen.beginPath();
    if (kind === "rejected" || kind === "quarantined") pen.rect(x - 2, y - 2, 4, 4); else pen.arc(x, y, kind === "accepted" ? 4.2 : 3, 0, 7);
    pen.fill();
    if (fresh) { pen.globalAlpha = 1; pen.strokeStyle = colour("ink"); pen.lineWidth = 1; pen.beginPath(); pen.arc(x, y, 6, 0, 7); pen.stroke(); }
  }
  pen.globalAlpha = 1;
  if (focus >= 0) { pen.strokeStyle = colour("ink"); pen.lineWidth = 2; pen.beginPath(); pen.arc(sx(xy[0][focus]), sy(xy[1][focus]), 8, 0, 7); pen.stroke(); }
  byId("count").replaceChildren(el("span", { class: "legend" }, [["kept", "accepted"], ["lost", "accepted, forgotten"], ["accent", "frontier"], ["still", "rejected"], ["warm", "quarantined"]].flatMap(([variable, text]) => { const i = el("i"); i.style.background = colour(variable); return [i, text]; })), `  ${number(count)} tasks; ringed: proposed in the round shown.`);
}
function title(name) {
  const k = names.indexOf(name), spec = specs[k - 2];
  return k < 2 ? `${name}, ${Math.round(100 * (points.components.shares[k] ?? 0))} % of the variance` : spec ? `${name}: ${spec.meaning} (${number(spec.low)} to ${number(spec.high)} ${spec.unit}${spec.scale === "log" ? ", logarithmic" : ""})` : name;
}
function tell(i) { focus = i; byId("tip").textContent = i < 0 ? "" : `${points.ids[i]}: ${points.forgotten[i] && points.status[i] === "accepted" ? "forgotten" : points.status[i]}, proposed in round ${points.rounds[i]}`; paint(); }
function nearest(mx, my, direction) {
  const { width, height } = node.getBoundingClientRect(), sx = axis(0, width, false), sy = axis(1, height, true), now = values();
  let best = -1, least = direction ? Infinity : 12;
  for (let i = 0; i < points.ids.length; i++) {
    if (!shown(i, now) || (direction && i === focus)) continue;
    const dx = sx(xy[0][i]) - mx, dy = sy(xy[1][i]) - my, along = direction ? dx * direction[0] + dy * direction[1] : 0;
    if (direction && along <= 0.5) continue;
    const far = direction ? along + 3 * Math.abs(dx * direction[1] - dy * direction[0]) : Math.hypot(dx, dy);
    if (far < least) { least = far; best = i; }
  }
  return best;
}
const open = () => { if (focus >= 0) location.href = taskPage(points.ids[focus]); };
node.addEventListener("pointermove", (event) => { if (!xy) return; const box = node.getBoundingClientRect(), i = nearest(event.clientX - box.left, event.clientY - box.top); node.style.cursor = i < 0 ? "" : "pointer"; if (i !== focus) tell(i); });
node.addEventListener("click", open);
node.addEventListener("keydown", (event) => {
  const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
  if (event.key === "Enter") open();
  if (!way || !xy) return;
  event.preventDefault();
  const { width, height } = node.getBoundingClientRect(), sx = axis(0, width, false), sy = axis(1, height, true);
  const i = focus < 0 ? nearest(width / 2, height / 2, way) : nearest(sx(xy[0][focus]), sy(xy[1][focus]), way);
  if (i >= 0) tell(i);
});
byId("play").addEventListener("click", () => {
  const slider = form.elements.round, button = byId("play");
  if (timer) { clearInterval(timer); timer = 0; button.textContent = "Play"; return; }
  if (Number(slider.value) >= Number(slider.max)) slider.value = 0;
  button.textContent = "Pause";
  timer = setInterval(() => { slider.value = Number(slider.value) + 1; arrange(); if (Number(slider.value) >= Number(slider.max)) byId("play").click(); }, 450);
});
follow(async () => {
  try {
    const { family } = await data("facets.json");
    options(form.elements.family, Object.keys(family));
    if (asked().family && family[asked().family]) form.elements.family.value = asked().family;
    if (points) points.of = "";
    await arrange();
  } catch (error) { sorry(error, byId("count")); }
});
