// A replay in three dimensions: three.js with the camera of a task's family, target, obstacles, the way so far, a ghost.
import * as THREE from "three";
import { OrbitControls } from "./vendor/three/OrbitControls.js";
import { COLOURS, extent, isObject, moment, targets } from "./film.js";

const KINDS = ["capsules", "spheres", "boxes"];
const FROM = { top: [0, -0.45, 1], side: [0.12, -1, 0.22], "3d": [0.55, -1, 0.62] };
const BALL = new THREE.SphereGeometry(1, 32, 20), TUBE = new THREE.CylinderGeometry(1, 1, 1, 32, 1, true), CUBE = new THREE.BoxGeometry(2, 2, 2);
const UP = new THREE.Vector3(0, 1, 0);

export class Scene {
  constructor(node) {
    this.renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
    this.renderer.shadowMap.enabled = true;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio || 1, 2));
    this.canvas = this.renderer.domElement;
    node.append(this.canvas);
    this.camera = new THREE.PerspectiveCamera(32, 4 / 3, 0.01, 400);
    this.camera.up.set(0, 0, 1);
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.controls.addEventListener("change", () => this.render());
    new ResizeObserver(() => this.resize()).observe(node);
    this.node = node;
    this.follow = false;
  }

  load(film, episode, ghost) {
    Object.assign(this, { film, episode, ghost });
    this.world = new THREE.Scene();
    const { low, high } = extent(film);
    this.size = Math.max(...high.map((x, k) => x - low[k]), 0.5);
    this.middle = new THREE.Vector3(...low.map((x, k) => (x + high[k]) / 2));
    this.floor = film.view === "top" ? Math.min(low[2], 0) : 0;
    this.light();
    for (const kind of KINDS) for (const shape of film.fixed[kind]) place(this.add(kind, COLOURS.still), kind, shape);
    this.parts = this.bodies(film, (kind, n) => (isObject(film, kind, n) ? COLOURS.object : COLOURS.body[n % 2]));
    this.shade = ghost ? this.bodies(ghost.film, () => COLOURS.ghost, 0.32) : null;
    for (const aim of targets(this.film)) this.target(...aim);
    this.trail();
    this.look(film.view);
    this.draw(0);
  }

  light() {
    this.world.add(new THREE.HemisphereLight(0xffffff, 0x8c98a6, 2.1));
    const sun = new THREE.DirectionalLight(0xffffff, 2.0), s = this.size;
    sun.position.copy(this.middle).add(new THREE.Vector3(-0.7 * s, -0.9 * s, 2.2 * s));
    sun.target.position.copy(this.middle);
    sun.castShadow = true;
    sun.shadow.mapSize.set(1024, 1024);
    Object.assign(sun.shadow.camera, { left: -s, right: s, top: s, bottom: -s, near: 0.01, far: 6 * s });
    sun.shadow.radius = 4;
    const ground = new THREE.Mesh(new THREE.PlaneGeometry(40 * s, 40 * s), new THREE.ShadowMaterial({ opacity: 0.22 }));
    ground.position.set(this.middle.x, this.middle.y, this.floor - 0.001 * s);
    ground.receiveShadow = true;
    const step = round125(this.size / 9), cells = 2 * Math.ceil((1.6 * s) / step);
    const grid = new THREE.GridHelper(cells * step, cells, 0x8796a5, 0x8796a5);
    grid.rotation.x = Math.PI / 2;
    grid.position.set(Math.round(this.middle.x / step) * step, Math.round(this.middle.y / step) * step, this.floor - 0.002 * s);
    Object.assign(grid.material, { transparent: true, opacity: 0.28 });
    this.world.add(sun, sun.target, ground, grid);
  }

  material(colour, opacity = 1) {
    return new THREE.MeshStandardMaterial({ color: colour, roughness: 0.55, metalness: 0.05, transparent: opacity < 1, opacity, depthWrite: opacity === 1 });
  }

  add(kind, colour, opacity = 1) {
    const material = this.material(colour, opacity), mesh = (geometry) => { const m = new THREE.Mesh(geometry, material); m.castShadow = opacity === 1; return m; };
    const group = new THREE.Group();
    if (kind === "capsules") group.add(mesh(TUBE), mesh(BALL), mesh(BALL));
    else group.add(mesh(kind === "spheres" ? BALL : CUBE));
    this.world.add(group);
    return group;
  }

  bodies(film, colour, opacity = 1) {
    return Object.fromEntries(KINDS.map((kind) => [kind, Array.from({ length: film.columns[kind] }, (_, n) => this.add(kind, colour(kind, n), opacity))]));
  }

  target(goal, axes) {
    const { view } = this.film;
    if (!axes) return;
    const faint = new THREE.MeshBasicMaterial({ color: COLOURS.target, transparent: true, opacity: 0.22, side: THREE.DoubleSide, depthWrite: false });
    const edge = new THREE.LineBasicMaterial({ color: COLOURS.target });
    const at = [this.middle.x, view === "side" ? 0 : this.middle.y, view === "side" ? this.middle.z : this.floor + 0.002 * this.size];
    const group = new THREE.Group();
    if (axes.length === 2) {
      const ring = Array.from({ length: 65 }, (_, i) => new THREE.Vector3(goal.tolerance * Math.cos((i * Math.PI) / 32), goal.tolerance * Math.sin((i * Math.PI) / 32), 0));
      group.add(new THREE.Mesh(new THREE.CircleGeometry(goal.tolerance, 64), faint), new THREE.Line(new THREE.BufferGeometry().setFromPoints(ring), edge));
      if (axes === "xz") group.rotation.x = Math.PI / 2;
      [...axes].forEach((axis, k) => { at["xyz".indexOf(axis)] = goal.target[k]; });
    } else {
      const n = "xyz".indexOf(axes), wide = [3 * this.size, 3 * this.size, 3 * this.size];
      wide[n] = 2 * goal.tolerance;
      if (view === "side") wide[1] = 0.002 * this.size; else if (axes !== "z") wide[2] = 0.002 * this.size;
      group.add(new THREE.Mesh(new THREE.BoxGeometry(...wide), faint), new THREE.LineSegments(new THREE.EdgesGeometry(new THREE.BoxGeometry(...wide)), edge));
      at[n] = goal.target[0];
    }
    group.position.set(...at);
    this.world.add(group);
  }

  trail() {
    this.line = null;
    const { film, episode } = this;
    if (film.target_axes.length !== 2) return;
    const points = Array.from({ length: episode.frames }, (_, i) => {
      const { value } = moment(film, episode, i * film.dt), point = [0, film.view === "side" ? -0.002 : 0, this.floor + 0.004 * this.size];
      [...film.target_axes].forEach((axis, k) => { point["xyz".indexOf(axis)] = value[k]; });
      return new THREE.Vector3(...point);
    });
    this.line = new THREE.Line(new THREE.BufferGeometry().setFromPoints(points), new THREE.LineBasicMaterial({ color: COLOURS.target }));
    this.world.add(this.line);
  }

  /** Look from the top, the side or obliquely, at everything. */
  look(view) {
    const distance = (0.62 * this.size) / Math.tan((this.camera.fov * Math.PI) / 360) / Math.min(1, this.camera.aspect) + 0.2 * this.size;
    this.controls.target.copy(this.middle);
    this.camera.position.copy(this.middle).add(new THREE.Vector3(...FROM[view]).normalize().multiplyScalar(distance));
    this.controls.update();
    this.render();
  }

  draw(seconds) {
    const now = moment(this.film, this.episode, seconds);
    for (const kind of KINDS) now.shapes[kind].forEach((shape, n) => place(this.parts[kind][n], kind, shape));
    if (this.shade) {
      const other = moment(this.ghost.film, this.ghost.episode, seconds);
      for (const kind of KINDS) other.shapes[kind].forEach((shape, n) => place(this.shade[kind][n], kind, shape));
    }
    this.line?.geometry.setDrawRange(0, now.index + 2);
    if (this.follow) {
      const center = new THREE.Vector3(...middleOf(now.shapes)), step = center.sub(this.controls.target);
      this.controls.target.add(step);
      this.camera.position.add(step);
      this.controls.update();
    }
    this.render();
    return now;
  }

  resize() {
    const { width, height } = this.node.getBoundingClientRect();
    if (!width || !height) return;
    const first = !this.sized;
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.sized = true;
    if (first && this.film) this.look(this.film.view); else this.render();
  }

  render() { if (this.world) this.renderer.render(this.world, this.camera); }

  /** Where the camera is: position, what it looks at, field of view in degrees, aspect. For tests and permalinks. */
  eye() { return { position: this.camera.position.toArray(), target: this.controls.target.toArray(), fov: this.camera.fov, aspect: this.camera.aspect }; }
}

/** 1, 2 or 5 times a power of ten, near x. */
function round125(x) { const ten = 10 ** Math.floor(Math.log10(x)), lead = x / ten; return ten * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10); }

function middleOf(shapes) {
  const all = KINDS.flatMap((kind) => shapes[kind].map((s) => (kind === "capsules" ? [0, 1, 2].map((k) => (s[k] + s[k + 3]) / 2) : s.slice(0, 3))));
  return all.length ? [0, 1, 2].map((k) => all.reduce((sum, s) => sum + s[k], 0) / all.length) : [0, 0, 0];
}

/** Put a mesh where a row of numbers says. */
function place(group, kind, s) {
  if (kind === "spheres") { group.position.set(s[0], s[1], s[2]); group.scale.setScalar(s[3]); return; }
  if (kind === "boxes") { group.position.set(s[0], s[1], s[2]); group.quaternion.set(s[4], s[5], s[6], s[3]); group.scale.set(s[7], s[8], s[9]); return; }
  const a = new THREE.Vector3(s[0], s[1], s[2]), b = new THREE.Vector3(s[3], s[4], s[5]), along = b.clone().sub(a), long = Math.max(along.length(), 1e-9), [tube, from, to] = group.children;
  tube.position.copy(a).add(b).multiplyScalar(0.5);
  tube.quaternion.setFromUnitVectors(UP, along.divideScalar(long));
  tube.scale.set(s[6], long, s[6]);
  for (const [ball, point] of [[from, a], [to, b]]) { ball.position.copy(point); ball.scale.setScalar(s[6]); }
}
