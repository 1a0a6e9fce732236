// The overview of a run: numbers, plots, families, reasons, health; live.
import { byId, bytes, data, duration, el, fill, follow, home, large, number, percent, PALETTE, sorry, table } from "./common.js";
import { plot } from "./plots.js";

const COLOURS = { accepted: PALETTE[0], retained: PALETTE[2], first: PALETTE[4], last: PALETTE[0], hidden: PALETTE[3] };
const PURPOSES = ["learn", "verify", "retention", "screen", "witness", "audit"];
const KINDS = { accepted: PALETTE[2], frontier: PALETTE[0], rejected: PALETTE[7], quarantined: PALETTE[1], forgotten: "#e0452c", restored: PALETTE[4] };
const TASKS = ["accepted", "rejected", "quarantined", "frontier"]; // events whose reason a task keeps
let last = null, health = null, intervals = false;

async function show() {
  try {
    const overview = await data("overview.json");
    last = overview;
    if (health) strip(health);
    byId("note").textContent = overview.rounds < 1 ? "The run has no finished round yet: numbers appear with the first." : "";
    numbers(overview); plots(overview); families(overview); reasons(overview); tables();
    if (!intervals) held(bare(overview.series)); // the intervals need the suite, which the server loads when first asked
    held(await data("heldout.json")); intervals = true;
  } catch (error) { sorry(error); }
}
const tail = (series, key) => (series[key] ?? []).findLast((value) => value !== null) ?? null;

function numbers({ series, rounds }) {
  const accepted = tail(series, "accepted"), retained = tail(series, "retained");
  const facts = [
    ["rounds", number(rounds)], ["environment steps", large(tail(series, "steps_total"))], ["tasks accepted", number(accepted)],
    ["still retained", number(retained), accepted ? percent(retained / accepted) : ""], ["speed-ups", number(tail(series, "speedups"))], ["in the frontier", number(tail(series, "frontier"))],
    ["held-out, last episode", percent(tail(series, "heldout_last"))], ["steps per second", large(tail(series, "steps_per_s"))],
  ];
  fill(byId("numbers"), facts.map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, " ", el("small", {}, more ?? "")))));
}
function plots({ series, happenings }) {
  const x = series.steps_total ?? [];
  const lines = ["accepted", "retained"].map((name) => ({ name, values: series[name] ?? [], colour: COLOURS[name] }));
  plot(byId("accepted"), x, lines, { range: (_, low, high) => [0, Math.max(1, high * 1.08)] });
  const parts = PURPOSES.filter((name) => series[`steps_${name}`]).map((name, i) => ({ name, values: series[`steps_${name}`], colour: PALETTE[i] }));
  plot(byId("steps"), x, parts, { format: large });
  const rounds = [...new Set(happenings.map((row) => row[0]))].sort((a, b) => a - b);
  const place = new Map(rounds.map((round, i) => [round, i]));
  const counts = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, rounds.map(() => 0)]));
  for (const [round, kind, , count] of happenings) if (counts[kind]) counts[kind][place.get(round)] += count;
  const changes = Object.entries(counts).filter(([, values]) => values.some(Boolean)).map(([name, values]) => ({ name, values, colour: KINDS[name] }));
  plot(byId("happenings"), rounds, changes, { label: "round", xformat: number });
}
/** What heldout.json tells, without intervals. */
const bare = (series) => ({ steps: series.steps_total ?? [], lifetimes: {}, success: Object.fromEntries(Object.entries(series).filter(([key]) => key.startsWith("heldout_")).map(([key, values]) => [key, values.map((value) => [value, null, null])])) });
function held({ steps, success, lifetimes }) {
  const lines = [];
  for (const [key, name, colour, dash] of [["heldout_last", "last episode", COLOURS.last], ["heldout_first", "first episode", COLOURS.first, [6, 4]], ["heldout_last_hidden", "hidden goals, last", COLOURS.hidden], ["heldout_first_hidden", "hidden goals, first", COLOURS.hidden, [6, 4]]]) {
    const rows = success[key];
    if (!rows) continue;
    const known = rows.some((row) => row[1] !== null) && key.includes("_last");
    lines.push({ name, colour, dash, values: rows.map((row) => row[0]), low: known ? rows.map((row) => row[1]) : null, high: known ? rows.map((row) => row[2]) : null });
  }
  plot(byId("heldout"), steps, lines, { format: percent, range: () => [0, 1] });
  const n = lifetimes.heldout_last;
  byId("heldout-hint").textContent = n ? `Bands: 95 % binomial intervals over ${n} held-out lifetimes (visible goals) and ${lifetimes.heldout_last_hidden ?? 0} (hidden).` : "";
}
function families({ families }) {
  table(byId("families"), ["family", ["tasks", "n"], ["accepted skills", "n"], ["forgotten", "n"], ["speed-ups", "n"], ["frontier", "n"], ["rejected", "n"], ["quarantined", "n"], ""], families.map((f) => [
    f.family, number(f.tasks), number(f.skills), number(f.forgotten ?? 0), number(f.speedups), number(f.frontier), number(f.rejected), number(f.quarantined),
    el("a", { href: `gallery.html?family=${encodeURIComponent(f.family)}` }, "gallery"),
  ]));
}
function reasons({ happenings }) {
  const sums = new Map();
  for (const [round, kind, reason, count] of happenings) {
    const key = `${kind}\n${reason}`, sum = sums.get(key) ?? { kind, reason, count: 0, first: round, last: round };
    sum.count += count; sum.last = Math.max(sum.last, round); sums.set(key, sum);
  }
  const rows = [...sums.values()].sort((a, b) => b.count - a.count);
  overTime(happenings, rows.filter((r) => r.reason).slice(0, PALETTE.length));
  table(byId("reasons"), ["what", "reason", ["how often", "n"], ["first round", "n"], ["last round", "n"]], rows.map((r) => [r.kind, TASKS.includes(r.kind) ? el("a", { href: `gallery.html?reason=${encodeURIComponent(r.reason)}` }, r.reason) : r.reason, number(r.count), r.first, r.last]));
}
/** The most frequent reasons, how often in each round. */
function overTime(happenings, rows) {
  const rounds = [...new Set(happenings.map((row) => row[0]))].sort((a, b) => a - b), place = new Map(rounds.map((round, i) => [round, i]));
  const lines = rows.map(({ kind, reason }, i) => ({ kind, reason, name: reason === kind ? kind : `${kind}: ${reason}`, colour: PALETTE[i], values: rounds.map(() => 0) }));
  for (const [round, kind, reason, count] of happenings) { const line = lines.find((one) => one.kind === kind && one.reason === reason); if (line) line.values[place.get(round)] += count; }
  plot(byId("why"), rounds, lines, { label: "round", xformat: number });
}
function tables() {
  const links = ["tasks", "events", "evaluations", "parentage", "metrics"].flatMap((name) => ["csv", "json"].map((form) => el("a", { href: `${home}table/${name}.${form}` }, `${name}.${form}`)));
  fill(byId("tables"), links);
}
document.addEventListener("health", ({ detail }) => { health = detail; strip(health); });
function strip(h) {
  const facts = [
    ["state", h.state, h.state === "stale"], ["heartbeat", h.heartbeat_age_s === null ? "none" : `${duration(h.heartbeat_age_s)} ago`, h.state === "stale"],
    ["last good checkpoint", h.checkpoint_round === null ? "none yet" : `round ${h.checkpoint_round}, ${duration(h.checkpoint_age_s)} ago`],
    ["disk left", bytes(h.disk_free_bytes), h.disk_free_bytes < 2e9], ["quarantined tasks", number(last?.quarantined ?? null)],
    ["recompilations after warming up", number(last?.recompilations ?? null), last?.recompilations > 0],
  ];
  fill(byId("health"), facts.map(([name, value, bad]) => el("div", {}, el("dt", {}, name), el("dd", { class: bad ? "bad" : null }, value))));
}
follow(show);
