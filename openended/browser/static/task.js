// One task: replay, evidence, numbers, kin, and how to take it elsewhere.
import { asked, base, byId, colour, data, el, ends, fill, follow, home, isStatic, number, options, percent, picture, remember, run, sentence, share, sorry, status, table, taskPage, PALETTE } from "./common.js";
import { parse } from "./film.js";
import { plot } from "./plots.js";

const id = byId("task").dataset.task;
const still = asked().play === "0" || matchMedia("(prefers-reduced-motion: reduce)").matches;
let task = null, showing = "", turn = 0, stage = null;
const film = (name, learner, seed, form = "bin") => `${home}replay/${encodeURIComponent(name)}/${learner}-${seed}.${form}`;

/** The player. Its module brings the 2 MB of three.js: they are asked for when the words of the page are there. */
function staged() {
  stage ??= import("./player.js").then(({ Player }) => (window.player = new Player(byId("player"))));
  return stage;
}

async function load(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? (isStatic ? "This replay is not part of the exported site." : "No replay."));
  return parse(await answer.arrayBuffer());
}

async function replay() {
  const learner = byId("learner").value, ghost = byId("ghost").value, seed = Math.min(2 ** 31 - 1, Math.max(0, Math.floor(Number(byId("seed").value) || 0))), mine = ++turn;
  const key = `${learner} ${ghost} ${seed}`;
  if (key === showing) return;
  showing = key;
  remember({ learner: learner === "final" ? "" : learner, ghost, seed: seed || "" });
  const player = await staged();
  byId("player").setAttribute("aria-busy", "true");
  player.note.textContent = "preparing the replay; the first of a family takes a while to compile …";
  try {
    const [other, who] = ghost ? ghost.split("|").reverse() : ["", ""];
    const [main, shade] = await Promise.all([load(film(id, learner, seed)), ghost ? load(film(who || id, other, seed)) : null]);
    if (mine !== turn) return;
    player.show(main, shade);
    byId("player").dataset.ready = key;
    if (!still) player.play();
  } catch (error) { showing = ""; if (mine === turn) player.note.textContent = error.message; }
  byId("player").removeAttribute("aria-busy");
  const links = [["html", "one offline HTML file"], ["gif", "GIF"], ["json", "frames as JSON"]];
  fill(byId("take"), isStatic ? [] : ["Take this replay along: ", ...links.map(([form, text]) => el("a", { href: film(id, learner, seed, form), download: `${id}-${learner}.${form}` }, text))]);
}

function learners() {
  const named = (name) => (name === "final" ? "final learner" : name === "untrained" ? "untrained learner" : `learner ${name}`);
  const list = task.learners.map((name) => [name, named(name)]);
  if (task.has_witness) list.push(["witness", "witness (found by search)"]);
  options(byId("learner"), list);
  const ghosts = list.filter(([name]) => name !== "final").map(([name, text]) => [name, text]);
  if (!ghosts.some(([name]) => name === "final")) ghosts.unshift(["final", "final learner"]);
  for (const { id: parent } of task.parents) ghosts.push([`${parent}|final`, "final learner in the parent task"]);
  options(byId("ghost"), ghosts, "none");
  const wanted = asked();
  if (wanted.learner) byId("learner").value = wanted.learner;
  if (wanted.ghost) byId("ghost").value = wanted.ghost;
  if (wanted.seed) byId("seed").value = wanted.seed;
  if (byId("learner").selectedIndex < 0) byId("learner").selectedIndex = 0;
  if (byId("ghost").selectedIndex < 0) byId("ghost").selectedIndex = 0;
}

function evidence() {
  const of = (...purposes) => task.evaluations.filter((e) => purposes.includes(e.purpose));
  const box = (title, e, words) => el("div", {}, title, el("b", {}, e ? `${e.k} of ${e.n}` : "–"), el("span", { class: "hint" }, e ? `${percent(e.k / e.n)}${ends(e.lower, e.upper)}, learner ${e.learner_version}` : words), e ? el("div", {}, share(e.k, e.n, e.lower, e.upper)) : "");
  fill(byId("verdict"), el("div", { class: "verdict" },
    box("The old learner solved", of("old").at(-1), "not tested"), box("The new learner solved", of("new").at(-1), "not tested"), box("Latest check", of("retention", "audit").at(-1), "not checked since")));
  table(byId("evidence"), ["purpose", ["learner", "n"], ["solved", "n"], "95 % interval", ""], task.evaluations.map((e) => [e.purpose, e.learner_version, `${e.k} of ${e.n}`, ends(e.lower, e.upper).trim(), share(e.k, e.n, e.lower, e.upper)]));
  table(byId("events"), [["round", "n"], "event", "reason"], task.events.map((e) => [e.round, e.kind, e.reason]));
  const checks = task.evaluations.filter((e) => e.n > 0).sort((a, b) => a.learner_version - b.learner_version);
  const merged = [...new Map(checks.map((e) => [e.learner_version, e])).values()];
  plot(byId("curve"), merged.map((e) => e.learner_version), [{ name: "solved", colour: PALETTE[0], values: merged.map((e) => e.k / e.n), low: merged.map((e) => e.lower), high: merged.map((e) => e.upper) }], { label: "learner version", xformat: number, format: percent, range: () => [0, 1], height: 220 });
}

function numbers() {
  const rows = [];
  let part = "";
  for (const [name, n] of Object.entries(task.numbers)) {
    if (n.part !== part) { part = n.part; rows.push(el("tr", { class: "part" }, el("th", { colspan: 6, scope: "colgroup" }, part))); }
    const differs = n.parent !== null && n.parent !== undefined && Math.abs(n.parent - n.value) > 1e-6 * Math.max(1, Math.abs(n.value));
    const cells = [el("code", {}, name), number(n.value, 4), differs ? number(n.parent, 4) : task.parents.length ? "same" : "", n.unit, `${number(n.low)} to ${number(n.high)}`, n.meaning];
    rows.push(el("tr", { class: differs ? "differs" : null }, cells.map((cell, i) => el("td", { class: i === 1 || i === 2 ? "n" : null }, cell))));
  }
  if (rows.length) table(byId("parameters"), ["number", ["here", "n"], ["parent", "n"], "unit", "allowed", "meaning"], rows);
}

function kin() {
  const chip = (name) => { const known = task.kin[name]; return el("a", { class: "chip", href: taskPage(name), title: name }, picture(name, 32, 24), name, known ? status(known) : ""); };
  const edges = task.parents.map((edge) => el("div", {}, el("span", { class: "kin" }, chip(edge.id)), el("p", { class: "hint" }, `made from it by ${edge.operator}; ${Object.keys(edge.delta).length} numbers changed, ${number(task.cost_bits)} bits`)));
  fill(byId("kin"),
    el("h3", {}, "Parent"), edges.length ? edges : el("p", { class: "hint" }, "None: it was drawn at random."),
    task.ancestors.length > 1 ? [el("h3", {}, "Ancestors, nearest first"), el("div", { class: "kin" }, task.ancestors.slice(1).map((name) => el("a", { class: "chip", href: taskPage(name) }, name)))] : [],
    el("h3", {}, `Children (${task.children.length})`), el("div", { class: "kin" }, task.children.slice(0, 200).map(chip)));
}

function elsewhere() {
  const commands = [`openended task ${run} ${id} --as json --out ${id}.json`, `openended task ${run} ${id} --as brax --out ${id}.py`, `openended task ${run} ${id} --as gymnasium --out ${id}_gym.py`, `openended task ${run} ${id} --as mjcf --out ${id}.xml`, `openended replay ${run} ${id} --gif ${id}.gif`, `openended archive show ${run} ${id}`];
  fill(byId("elsewhere"), commands.map((text) => el("div", { class: "copy" }, el("code", {}, text), el("button", { type: "button", onclick: async (event) => { try { await navigator.clipboard.writeText(text); event.target.textContent = "copied"; } catch { getSelection().selectAllChildren(event.target.previousSibling); event.target.textContent = "selected: copy it"; } } }, "copy"))));
}

for (const name of ["learner", "ghost", "seed"]) byId(name).addEventListener("change", replay);
follow(async () => {
  try {
    const first = task === null;
    task = await data(`task/${encodeURIComponent(id)}.json`);
    fill(byId("title"), id, " ", status({ ...task, forgotten: task.kin[id]?.forgotten }));
    byId("words").textContent = sentence(task.description);
    byId("note").textContent = task.note;
    fill(byId("trail"), el("a", { href: `${home}gallery.html?family=${encodeURIComponent(task.family)}` }, task.family), ` · proposed in round ${task.round} · ${number(task.cost_bits)} bits ${task.parents.length ? "from its parent" : "to describe it"}`);
    evidence(); numbers(); kin(); elsewhere();
    if (first) { learners(); await replay(); }
  } catch (error) { sorry(error); }
});
