// All runs as cards.
import { base, byId, duration, el, fill, get, isStatic, large, number, percent, sorry } from "./common.js";

async function show() {
  try {
    const runs = await get(`${base}data/runs.json`);
    fill(byId("runs"), runs.map(card));
    if (!runs.length) fill(byId("runs"), el("p", { class: "empty" }, "No run here yet. `openended train experiment=demo` makes one; this page will show it."));
  } catch (error) { sorry(error, byId("runs")); }
  if (!isStatic) setTimeout(show, 3000);
}
function card(run) {
  const words = { live: `live: ${run.stage}`, stale: `no heartbeat for ${duration(run.heartbeat_age_s)}`, ended: "ended", unknown: "no heartbeat" }[run.state];
  const facts = run.problem
    ? el("p", { class: "hint" }, run.problem)
    : el("dl", { class: "strip" }, [["rounds", number(run.rounds)], ["steps", large(run.steps_total)], ["accepted", number(run.accepted)], ["retained", number(run.retained)], ["held-out, last episode", percent(run.heldout_last)]].map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  return el("a", { class: "panel card", href: `${base}runs/${encodeURIComponent(run.run)}/index.html` }, el("h2", {}, run.run, el("span", { class: `pill ${run.state}` }, words)), facts, el("p", { class: "hint" }, run.families.join(", ")));
}
show();
