// Runs side by side: curves with intervals, the held-out table, what differs in their configurations.
import { asked, base, byId, el, fill, get, isStatic, large, number, percent, PALETTE, remember, sorry, table } from "./common.js";
import { plot } from "./plots.js";

const of = (run, name) => get(`${base}runs/${encodeURIComponent(run)}/data/${name}.json`);
let chosen = (asked().runs ?? "").split(",").filter(Boolean), all = [];

async function show() {
  remember({ runs: chosen.join(",") });
  const found = [], problems = [];
  await Promise.all(chosen.map(async (run) => {
    try { const [overview, heldout, config] = await Promise.all([of(run, "overview"), of(run, "heldout"), of(run, "config")]); found.push({ run, overview, heldout, config }); } catch (error) { problems.push(`${run}: ${error.message}`); }
  }));
  byId("note").textContent = problems.join(" ");
  found.sort((a, b) => chosen.indexOf(a.run) - chosen.indexOf(b.run));
  const ink = (run) => PALETTE[Math.max(0, all.indexOf(run)) % PALETTE.length];
  const steps = [...new Set(found.flatMap((one) => one.heldout.steps))].filter((x) => x !== null).sort((a, b) => a - b);
  const lined = (xs, values) => { const place = new Map(xs.map((x, i) => [x, i])); return steps.map((x) => (place.has(x) ? values[place.get(x)] ?? null : null)); };
  plot(byId("heldout"), steps, found.filter((one) => one.heldout.success.heldout_last).map((one) => { const rows = one.heldout.success.heldout_last, xs = one.heldout.steps; return { name: one.run, colour: ink(one.run), values: lined(xs, rows.map((r) => r[0])), low: found.length < 5 ? lined(xs, rows.map((r) => r[1])) : null, high: lined(xs, rows.map((r) => r[2])) }; }), { format: percent, range: () => [0, 1], height: 300 });
  plot(byId("retained"), steps, found.filter((one) => one.overview.series.retained).map((one) => ({ name: one.run, colour: ink(one.run), values: lined(one.overview.series.steps_total ?? [], one.overview.series.retained) })), { height: 300, range: (_, low, high) => [0, Math.max(1, high * 1.08)] });
  heldout(found); config(found);
}
function heldout(found) {
  const keys = [...new Set(found.flatMap((one) => Object.keys(one.heldout.success)))].sort((a, b) => b.includes("last") - a.includes("last") || a.localeCompare(b));
  const last = (one, key) => one.heldout.success[key]?.findLast((row) => row[0] !== null);
  const cell = (row) => (row ? `${row[0].toFixed(2)}${row[1] === null ? "" : ` [${row[1].toFixed(2)}, ${row[2].toFixed(2)}]`}` : "–");
  const words = (key) => { const [, episode, group] = key.match(/^heldout_([^_]+)_?(.*)$/) ?? [null, key, ""]; return `${group ? (group === "hidden" ? "hidden goals" : group) : "visible goals, mean of the families"}, ${episode} episode`; };
  const facts = [["environment steps", (one) => large(one.overview.series.steps_total?.at(-1))], ["rounds", (one) => number(one.overview.rounds)], ["accepted", (one) => number(one.overview.series.accepted?.at(-1))], ["retained", (one) => number(one.overview.series.retained?.at(-1))]];
  table(byId("table"), ["", ...found.map((one) => [one.run, "n"])], [...facts.map(([name, value]) => [name, ...found.map(value)]), ...keys.map((key) => [words(key), ...found.map((one) => cell(last(one, key)))])]);
}
function flat(value, key = "", into = {}) {
  if (value && typeof value === "object" && !Array.isArray(value)) for (const [name, inner] of Object.entries(value)) flat(inner, key ? `${key}.${name}` : name, into); else into[key] = JSON.stringify(value);
  return into;
}
function config(found) {
  const sides = found.map((one) => flat(one.config)), keys = [...new Set(sides.flatMap((side) => Object.keys(side)))];
  const rows = keys.filter((key) => new Set(sides.map((side) => side[key])).size > 1).map((key) => [el("code", {}, key), ...sides.map((side) => (side[key] === undefined ? "–" : side[key]))]);
  table(byId("config"), ["key", ...found.map((one) => one.run)], rows);
  if (!rows.length) fill(byId("config"), el("tbody", {}, el("tr", {}, el("td", {}, found.length < 2 ? "Choose at least two runs." : "Nothing differs."))));
}
async function start() {
  try {
    all = (await get(`${base}data/runs.json`)).map((run) => run.run);
    chosen = chosen.filter((run) => all.includes(run));
    if (!chosen.length) chosen = all.slice(0, 4);
    const box = (run) => { const field = el("input", { type: "checkbox", value: run }); field.checked = chosen.includes(run); field.addEventListener("input", () => { chosen = all.filter((name) => (name === run ? field.checked : chosen.includes(name))); show(); }); return el("label", {}, field, ` ${run}`); };
    byId("choose").append(...all.map(box));
    await show();
    if (!isStatic) setInterval(() => { if (!document.hidden) show(); }, 5000);
  } catch (error) { sorry(error); }
}
start();
