// The same replay without WebGL: flat shapes on a canvas, seen as envs/drawing.py sees them.
import { COLOURS, extent, isObject, moment, targets } from "./film.js";

const KINDS = ["capsules", "spheres", "boxes"];
const SLANT = [0.3, 0.38];

export class Flat {
  constructor(node) {
    this.canvas = document.createElement("canvas");
    node.append(this.canvas);
    this.node = node;
    new ResizeObserver(() => this.render()).observe(node);
  }
  load(film, episode, ghost) { Object.assign(this, { film, episode, ghost, seconds: 0 }); this.look(film.view); return this.draw(0); }
  look(view) {
    this.view = view;
    const { low, high } = extent(this.film), corners = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => this.flat([i & 1 ? high[0] : low[0], i & 2 ? high[1] : low[1], i & 4 ? high[2] : low[2]]));
    this.low = [0, 1].map((k) => Math.min(...corners.map((c) => c[k]))); this.high = [0, 1].map((k) => Math.max(...corners.map((c) => c[k])));
    this.render();
  }
  flat([x, y, z]) { return this.view === "top" ? [x, y] : this.view === "side" ? [x, z] : [x + SLANT[0] * y, z + SLANT[1] * y]; }
  near([, y, z]) { return this.view === "top" ? z : -y + (this.view === "3d" ? 0.3 * z : 0); }
  draw(seconds) { this.seconds = seconds; this.now = moment(this.film, this.episode, seconds); this.render(); return this.now; }
  eye() { return null; }

  render() {
    const { width, height } = this.node.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    if (!width || !this.now) return;
    this.canvas.width = width * ratio; this.canvas.height = height * ratio;
    const pen = this.canvas.getContext("2d");
    const scale = 0.86 * Math.min(width / (this.high[0] - this.low[0] || 1), height / (this.high[1] - this.low[1] || 1));
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.translate(width / 2, height / 2);
    pen.scale(scale, -scale);
    pen.translate(-(this.low[0] + this.high[0]) / 2, -(this.low[1] + this.high[1]) / 2);
    pen.lineWidth = 1.2 / scale;
    if (this.view !== "top") { pen.strokeStyle = COLOURS.still; this.path(pen, [[-99, 0], [99, 0]]); pen.stroke(); }
    for (const aim of targets(this.film)) this.target(pen, ...aim);
    const { film, ghost, now } = this, marks = [];
    const take = (shapes, colour, alpha) => { for (const kind of KINDS) (shapes[kind] ?? []).forEach((s, n) => marks.push({ kind, s, colour: colour(kind, n), alpha, depth: this.near(kind === "capsules" ? [0, 1, 2].map((k) => (s[k] + s[k + 3]) / 2) : s) })); };
    take(film.fixed, () => COLOURS.still, 1);
    if (ghost) take(moment(ghost.film, ghost.episode, this.seconds).shapes, () => COLOURS.ghost, 0.35);
    take(now.shapes, (kind, n) => (isObject(film, kind, n) ? COLOURS.object : COLOURS.body[n % 2]), 1);
    for (const mark of marks.sort((a, b) => a.depth - b.depth)) this.mark(pen, mark);
  }
  path(pen, points) { pen.beginPath(); points.forEach((p, i) => (i ? pen.lineTo(...p) : pen.moveTo(...p))); }
  mark(pen, { kind, s, colour, alpha }) {
    pen.globalAlpha = alpha; pen.fillStyle = pen.strokeStyle = colour;
    if (kind === "spheres") { const [x, y] = this.flat(s); pen.beginPath(); pen.arc(x, y, s[3], 0, 7); pen.fill(); }
    else if (kind === "capsules") { const wide = pen.lineWidth; pen.lineWidth = 2 * s[6]; pen.lineCap = "round"; this.path(pen, [this.flat(s), this.flat(s.slice(3))]); pen.stroke(); pen.lineWidth = wide; }
    else { // the six faces, the nearer last
      const [w, x, y, z] = s.slice(3, 7), turn = ([a, b, c]) => { const t = [2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)]; return [a + w * t[0] + y * t[2] - z * t[1], b + w * t[1] + z * t[0] - x * t[2], c + w * t[2] + x * t[1] - y * t[0]]; };
      const corner = (signs) => turn(signs.map((sign, k) => sign * s[7 + k])).map((v, k) => v + s[k]);
      for (const axis of [0, 1, 2]) for (const side of [-1, 1]) {
        const face = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map((pair) => { const signs = [...pair]; signs.splice(axis, 0, side); return this.flat(corner(signs)); });
        this.path(pen, face); pen.closePath(); pen.fill();
      }
    }
    pen.globalAlpha = 1;
  }
  target(pen, goal, axes) {
    const tolerance = goal.tolerance, far = 99;
    if (!axes) return;
    pen.fillStyle = `${COLOURS.target}38`; pen.strokeStyle = COLOURS.target;
    const world = (values, names) => { const p = [0, 0, 0]; [...names].forEach((axis, k) => { p["xyz".indexOf(axis)] = values[k]; }); return this.flat(p); };
    if (axes.length === 2) this.path(pen, Array.from({ length: 41 }, (_, i) => world([goal.target[0] + tolerance * Math.cos((i * Math.PI) / 20), goal.target[1] + tolerance * Math.sin((i * Math.PI) / 20)], axes)));
    else {
      const across = axes === "x" ? (this.view === "side" ? "z" : "y") : "x", t = goal.target[0];
      this.path(pen, [[t - tolerance, -far], [t + tolerance, -far], [t + tolerance, far], [t - tolerance, far]].map((pair) => world(pair, axes + across)));
      pen.closePath();
    }
    pen.fill(); pen.stroke();
  }
}
