// What every page uses: elements, data, formats, the state of the run, keys.

export const { page, run, base } = document.body.dataset;
export const isStatic = "static" in document.body.dataset;
export const home = `${base}runs/${encodeURIComponent(run)}/`;

/** An element with attributes and children; text is always text, never markup. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);
export const fill = (node, ...children) => { node.replaceChildren(...children.flat().filter(Boolean)); return node; };
export const taskPage = (id) => `${home}task/${encodeURIComponent(id)}.html`;
const thumb = (id) => `${home}thumb/${encodeURIComponent(id)}.svg`;

/** JSON of this server, or an error whose message is the server's sentence. */
export async function get(path) {
  const answer = await fetch(path, { cache: "no-cache" });
  let value = null;
  try { value = await answer.json(); } catch { /* no JSON: handled below */ }
  if (!answer.ok || value === null) throw new Error(value?.error ?? `The server answered ${answer.status} to ${path}.`);
  return value;
}
export const data = (name) => get(`${home}data/${name}`);

/** Show why something is missing, in words. */
export function sorry(error, where = byId("note") ?? byId("main")) {
  const sentence = error instanceof TypeError ? "The server does not answer; is `openended browse` still running?" : error.message;
  if (where.id === "note") where.textContent = sentence; else where.append(el("p", { class: "empty" }, sentence));
  if (!(error instanceof Error) || error instanceof ReferenceError) console.error(error);
}

export const percent = (x) => (x === null || x === undefined ? "–" : `${Math.round(100 * x)} %`);
export const number = (x, digits = 3) => (x === null || x === undefined ? "–" : Number.isInteger(x) && Math.abs(x) < 1e15 ? x.toLocaleString("en") : Number(x.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits }));
export function large(x) {
  if (x === null || x === undefined) return "–";
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (Math.abs(x) >= size) return `${(x / size).toPrecision(3)}${unit}`;
  return number(x);
}
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86400)} days`;
}
export const bytes = (x) => (x === null || x === undefined ? "–" : `${(x / 1e9).toFixed(1)} GB`);
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
export const PALETTE = ["#3d8fd1", "#e4703a", "#2f9e77", "#cc79a7", "#e69f00", "#56b4e9", "#8a6fd1", "#7f8c99"];

// Thumbnails are fetched when they come into view, from the top, three at a time: other connections that a browser allows to
// one server stay free for the data. The first of a family may have to be compiled, one family at a time, so that only one
// such is asked for at once, and those of the families that are ready overtake it.
const waiting = [], ready = new Set();
let loading = 0, compiling = 0;
const familyOf = (image) => image.dataset.later.split("/").at(-1).split("-")[0];
function fetchNext() {
  while (loading < 3) {
    const k = waiting.findIndex((image) => !image.isConnected || ready.has(familyOf(image)) || !compiling);
    if (k < 0) return;
    const [image] = waiting.splice(k, 1), family = familyOf(image), first = !ready.has(family);
    if (!image.isConnected) continue;
    loading += 1; compiling += first;
    const done = (drawn) => { loading -= 1; compiling -= first; if (drawn) ready.add(family); image.parentElement?.classList.add(drawn ? "drawn" : "undrawn"); fetchNext(); };
    image.addEventListener("load", () => done(true), { once: true });
    image.addEventListener("error", () => { image.removeAttribute("src"); done(false); }, { once: true });
    image.src = image.dataset.later;
  }
}
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) { watcher.unobserve(target); waiting.push(target); }
  fetchNext();
}, { rootMargin: "200px" });
/** The thumbnail of a task; until it is there, its place is held. */
export function picture(id, width, height) {
  const image = el("img", { alt: "", width, height, "data-later": thumb(id) });
  watcher.observe(image);
  return image;
}

export function status(task) {
  const word = task.forgotten && task.status === "accepted" ? "forgotten" : task.status;
  return el("span", { class: `status ${word}` }, task.kind === "speedup" ? `${word} speed-up` : word);
}

/** A share with its interval as a small bar, and in numbers. */
export function share(k, n, low, high) {
  const bar = el("span", { class: "meter", role: "img", "aria-label": `${k} of ${n}` });
  if (n > 0) {
    const span = el("i"); span.style.left = `${100 * (low ?? 0)}%`; span.style.width = `${100 * ((high ?? 1) - (low ?? 0))}%`;
    const mark = el("b"); mark.style.left = `${(100 * k) / n}%`;
    bar.append(span, mark);
  }
  return bar;
}
export const ends = (low, high) => (low === null || low === undefined ? "" : ` [${low.toFixed(2)}, ${high.toFixed(2)}]`);

/** A table: heads (text, or [text, "n"] for numbers), rows of cells (text or nodes). */
export function table(node, heads, rows) {
  const right = heads.map((head) => Array.isArray(head));
  const head = el("thead", {}, el("tr", {}, heads.map((name, i) => el("th", { scope: "col", class: right[i] ? "n" : null }, right[i] ? name[0] : name))));
  const body = el("tbody", {}, rows.map((row) => row instanceof Node ? row : el("tr", {}, row.map((cell, i) => el("td", { class: right[i] ? "n" : null }, cell instanceof Node ? cell : String(cell))))));
  carry(node);
  return fill(node, head, body);
}

// Every table that is shown can be taken along as it is shown.
const carried = new WeakSet();
function carry(node) {
  if (carried.has(node)) return;
  carried.add(node);
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const forms = {
    csv: (heads, rows) => [heads, ...rows].map((row) => row.map(quote).join(",") + "\n").join(""),
    json: (heads, rows) => JSON.stringify(rows.map((row) => Object.fromEntries(row.map((cell, i) => [heads[i] || `column ${i + 1}`, cell]))), null, 1),
  };
  const save = (form) => {
    const [heads, ...rows] = [...node.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
    const href = URL.createObjectURL(new Blob([forms[form](heads, rows)]));
    el("a", { href, download: `${run || "runs"}-${node.id}.${form}` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 1000);
  };
  (node.closest(".scroll") ?? node).after(el("p", { class: "carry" }, Object.keys(forms).map((form) => el("button", { type: "button", title: "this table as it is shown", onclick: () => save(form) }, form.toUpperCase()))));
}

/** Follow the run: `changed` is called at once, and whenever the archive has changed. */
export async function follow(changed) {
  let seen = null;
  const look = async () => {
    try {
      const health = await data("health.json");
      showState(health);
      document.dispatchEvent(new CustomEvent("health", { detail: health }));
      if (health.changed !== seen) { seen = health.changed; await changed(); }
    } catch (error) { byId("state")?.classList.add("stale"); sorry(error); }
    if (!isStatic) setTimeout(look, document.hidden ? 10000 : 2000);
  };
  await look();
}
function showState(health) {
  const pill = byId("state");
  if (!pill) return;
  const where = health.round === null ? "" : ` · round ${health.round}`;
  const words = { live: `live · ${health.stage}${where}`, stale: `no heartbeat for ${duration(health.heartbeat_age_s)}`, ended: `ended${where}`, unknown: "no heartbeat" };
  pill.className = `pill ${health.state}`;
  pill.textContent = isStatic ? `exported${where}` : words[health.state];
}

/** The query string as state: read it, and write it without a new page. */
export const asked = () => Object.fromEntries(new URLSearchParams(location.search));
export function remember(values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false));
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
}
/** Fill a select; keeps its value. */
export function options(select, names, first) {
  const now = select.value;
  fill(select, ...(first === undefined ? [] : [el("option", { value: "" }, first)]), ...names.map((name) => Array.isArray(name) ? el("option", { value: name[0] }, name[1]) : el("option", { value: name }, name)));
  if ([...select.options].some((option) => option.value === now)) select.value = now;
}
/** Bind a form to the query string; `changed` gets the values. */
export function bind(form, changed) {
  for (const [name, value] of Object.entries(asked())) {
    const field = form.elements[name];
    if (!field) continue;
    if (field.type === "checkbox") field.checked = value !== "0"; else if (field.tagName === "SELECT" && ![...field.options].some((o) => o.value === value)) field.append(el("option", { value }, value)), field.value = value; else field.value = value;
  }
  const values = () => Object.fromEntries([...form.elements].filter((field) => field.name).map((field) => [field.name, field.type === "checkbox" ? (field.checked ? "" : "0") : field.value]));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => changed(values()));
  form.addEventListener("reset", () => setTimeout(() => changed(values())));
  return values;
}

/** A canvas that follows its size and the theme; draw(context, width, height). */
export function canvas(node, draw) {
  const context = node.getContext("2d", { willReadFrequently: true });
  let waiting = false;
  const paint = () => {
    waiting = false;
    const { width, height } = node.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    if (node.width !== Math.round(width * ratio) || node.height !== Math.round(height * ratio)) { node.width = Math.round(width * ratio); node.height = Math.round(height * ratio); }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    draw(context, width, height);
  };
  const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(paint); } };
  new ResizeObserver(redraw).observe(node);
  document.addEventListener("theme", redraw);
  return redraw;
}

function toggle() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* not kept */ }
  document.dispatchEvent(new Event("theme"));
}
byId("theme")?.addEventListener("click", toggle);
document.addEventListener("keydown", (event) => {
  if (event.key === "t" && !event.ctrlKey && !event.metaKey && !event.target.closest("input, select, textarea")) toggle();
});
