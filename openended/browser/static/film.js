// Replays as binary frames (frames.py has the format), and what is in a frame at any moment.

const KINDS = ["capsules", "spheres", "boxes"];
export const WIDTHS = { capsules: 7, spheres: 4, boxes: 10 };

/** A film: the header's fields, and `episodes` each with `rows` (Float32Array), `width` and `frames`. */
export function parse(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0, false) !== 0x4f455231) throw new Error("This is no replay.");
  const length = view.getUint32(4, true);
  const film = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const { columns } = film;
  film.offsets = {};
  let width = 0;
  for (const kind of KINDS) { film.offsets[kind] = width; width += columns[kind] * WIDTHS[kind]; }
  film.offsets.value = width; film.offsets.distance = width + columns.value; film.offsets.reward = film.offsets.distance + 1; film.offsets.solved = film.offsets.distance + 2; film.offsets.second = film.offsets.distance + 3;
  film.width = width + columns.value + 3 + columns.second;
  let at = 8 + length;
  for (const episode of film.episodes) {
    episode.rows = new Float32Array(buffer, at, episode.frames * film.width);
    at += episode.rows.byteLength;
  }
  film.seconds = Math.max(...film.episodes.map((episode) => (episode.frames - 1) * film.dt));
  return film;
}

/** One frame of an episode at a time in seconds, between frames by straight lines; `shapes[kind]` are rows of numbers. */
export function moment(film, episode, seconds) {
  const last = episode.frames - 1, at = Math.min(Math.max(seconds / film.dt, 0), last), i = Math.floor(at), part = at - i, j = Math.min(i + 1, last);
  const row = (k) => episode.rows.subarray(k * film.width, (k + 1) * film.width), a = row(i), b = row(j);
  const mix = (k) => a[k] + (b[k] - a[k]) * part;
  const shapes = {};
  for (const kind of KINDS) {
    const width = WIDTHS[kind];
    shapes[kind] = Array.from({ length: film.columns[kind] }, (_, n) => Array.from({ length: width }, (_, k) => mix(film.offsets[kind] + n * width + k)));
  }
  for (const [n, box] of shapes.boxes.entries()) { // the shorter way between two turns
    const from = film.offsets.boxes + n * 10 + 3;
    const sign = [0, 1, 2, 3].reduce((sum, k) => sum + a[from + k] * b[from + k], 0) < 0 ? -1 : 1;
    const turn = [0, 1, 2, 3].map((k) => a[from + k] + (sign * b[from + k] - a[from + k]) * part), size = Math.hypot(...turn) || 1;
    for (let k = 0; k < 4; k++) box[3 + k] = turn[k] / size;
  }
  const { offsets: o } = film;
  return { shapes, value: Array.from({ length: film.columns.value }, (_, k) => mix(o.value + k)), distance: mix(o.distance), reward: a[o.reward], solved: a[o.solved] > 0.5, second: film.columns.second ? mix(o.second) : null, index: i };
}

/** Lowest and highest x, y, z of everything that is drawn, target included. */
export function extent(film) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  const take = (point, radius) => point.forEach((x, k) => { low[k] = Math.min(low[k], x - radius); high[k] = Math.max(high[k], x + radius); });
  const shape = (kind, s) => {
    if (kind === "spheres") take(s.slice(0, 3), s[3]);
    else if (kind === "capsules") { take(s.slice(0, 3), s[6]); take(s.slice(3, 6), s[6]); }
    else take(s.slice(0, 3), Math.min(Math.hypot(s[7], s[8], s[9]), 3));
  };
  for (const kind of KINDS) for (const s of film.fixed[kind] ?? []) shape(kind, s);
  for (const episode of film.episodes) for (let i = 0; i < episode.frames; i += 2) { const now = moment(film, episode, i * film.dt).shapes; for (const kind of KINDS) for (const s of now[kind]) shape(kind, s); }
  for (const [{ target, tolerance }, axes] of targets(film)) [...axes].forEach((axis, k) => { const n = "xyz".indexOf(axis); low[n] = Math.min(low[n], target[k] - tolerance); high[n] = Math.max(high[n], target[k] + tolerance); });
  return low.every(Number.isFinite) ? { low, high } : { low: [-1, -1, -1], high: [1, 1, 1] };
}

/** The conditions of the goal, each with the axes along which its target lies. */
export const targets = ({ goal, target_axes, second_axes }) => [[goal, target_axes], ...(goal.second ? [[goal.second, second_axes]] : [])];

/** Whether row n of a kind is something that the body moves. */
export const isObject = (film, kind, n) => (film.objects[kind] ?? []).includes(n);
export const COLOURS = { body: ["#3d8fd1", "#6bb7ea"], object: "#cc79a7", still: "#98a2ad", target: "#e4703a", ghost: "#8a6fd1" };
