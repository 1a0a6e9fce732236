// The gallery: thumbnails, filters that live in the address, paging.
import { asked, bind, byId, data, el, fill, follow, isStatic, number, options, percent, picture, remember, sentence, sorry, status, taskPage } from "./common.js";
import { narrow } from "./narrow.js";

const SIZE = 60;
const form = byId("filter");
let pageNumber = Math.max(1, Number.parseInt(asked().page ?? "1", 10) || 1);
let latest = 0, facets = null, specs = [], everything = null;

const values = bind(form, (now) => { pageNumber = 1; if (specs.family !== now.family) choose(now.family); later(); });
let timer = 0;
const later = () => { clearTimeout(timer); timer = setTimeout(show, 120); };

async function show() {
  const now = values(), mine = ++latest;
  if (!now.family) { now.parameter = now.low = now.high = ""; }
  remember({ ...now, sort: now.sort === "round" ? "" : now.sort, page: pageNumber > 1 ? pageNumber : "" });
  const query = new URLSearchParams(Object.entries({ ...now, page: pageNumber, size: SIZE }).filter(([, value]) => value !== ""));
  try {
    const found = isStatic ? await here(now) : await data(`tasks.json?${query}`);
    if (mine !== latest) return;
    byId("count").textContent = `${number(found.total)} task${found.total === 1 ? "" : "s"}. ${found.note ?? ""}`;
    const pages = Math.max(1, Math.ceil(found.total / SIZE));
    fill(byId("tasks"), found.tasks.map(card));
    if (!found.total) fill(byId("tasks"), el("li", { class: "empty" }, "No task fits."));
    for (const id of ["pager", "pager2"]) pager(byId(id), pages);
    if (found.note && !isStatic) setTimeout(show, 2500);
  } catch (error) { if (mine === latest) { byId("count").textContent = error.message; } }
}
async function here(now) {
  everything ??= await data("everything.json");
  return narrow(everything, now, specs, pageNumber, SIZE);
}
function pager(node, pages) {
  const turn = (to, text, label) => el("button", { type: "button", disabled: to < 1 || to > pages || to === pageNumber, "aria-label": label, onclick: () => { pageNumber = to; show(); scrollTo({ top: 0 }); } }, text);
  fill(node, turn(1, "«", "first page"), " ", turn(pageNumber - 1, "‹ back", "page before"), ` page ${number(pageNumber)} of ${number(pages)} `, turn(pageNumber + 1, "next ›", "next page"), " ", turn(pages, "»", "last page"));
}
function card(task) {
  const facts = [`round ${task.round}`, task.success === null ? null : `solved ${percent(task.success)}`, task.progress === null ? null : `learned ${task.progress >= 0 ? "+" : "−"}${percent(Math.abs(task.progress))}`, task.difficulty === null ? null : `${task.difficulty.toFixed(1)} bits hard`];
  return el("li", {}, el("a", { href: taskPage(task.id) },
    el("span", { class: "picture" }, picture(task.id, 240, 180), status(task)),
    el("span", { class: "about" }, el("span", { class: "facts" }, facts.filter(Boolean).map((fact) => el("span", {}, fact))), el("p", { title: sentence(task.description) }, sentence(task.description)), el("span", { class: "hint" }, `${task.family} · ${task.reason}`))));
}
async function choose(family) {
  specs = []; specs.family = family;
  const parameter = form.elements.parameter;
  byId("range").disabled = !family;
  if (!family) { options(parameter, [], "choose a family first"); byId("unit").textContent = ""; return; }
  const kept = parameter.value;
  try {
    const found = await data(`specs-${encodeURIComponent(family)}.json`);
    found.family = family; specs = found;
    options(parameter, found.map((spec) => spec.name), "any");
    parameter.value = found.some((spec) => spec.name === kept) ? kept : "";
    unit();
  } catch (error) { byId("unit").textContent = error.message; }
}
function unit() {
  const spec = specs.find((one) => one.name === form.elements.parameter.value);
  byId("unit").textContent = spec ? `${number(spec.low)} to ${number(spec.high)} ${spec.unit}: ${spec.meaning}` : "";
}
form.elements.parameter.addEventListener("input", unit);
byId("range").disabled = !form.elements.family.value;

follow(async () => {
  try {
    facets = await data("facets.json");
    for (const name of ["family", "status", "kind", "reason"]) options(form.elements[name], Object.entries(facets[name]).filter(([key]) => key).map(([key, count]) => [key, `${key} (${count})`]), "all");
    if (form.elements.family.value && specs.family !== form.elements.family.value) await choose(form.elements.family.value);
    await show();
  } catch (error) { sorry(error, byId("tasks")); }
});
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select")) return;
  if (event.key === "/") { event.preventDefault(); form.elements.search.focus(); }
  if (event.key === "n") byId("pager").querySelector("[aria-label='next page']").click();
  if (event.key === "p") byId("pager").querySelector("[aria-label='page before']").click();
});
