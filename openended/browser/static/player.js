// Plays a film: first and last episode side by side, play, pause, scrub, speed, camera, a ghost beside. Keys: space, arrows, home, end.
import { Flat } from "./flat.js";
import { Scene } from "./scene.js";

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];

function hasWebGL() {
  try { return Boolean(document.createElement("canvas").getContext("webgl2")); } catch { return false; }
}
function make(tag, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

export class Player {
  constructor(node) {
    this.node = node;
    this.seconds = 0; this.speed = 1; this.playing = false; this.screens = [];
    node.classList.add("player");
    this.stage = make("div", { class: "screens" });
    this.controls = make("div", { class: "controls", role: "group", "aria-label": "Replay" });
    node.append(this.stage, this.controls);
    this.button = make("button", { type: "button", "aria-label": "Play or pause" }, "▶ play");
    this.button.addEventListener("click", () => this.toggle());
    this.slider = make("input", { type: "range", min: 0, max: 1, step: "any", value: 0, "aria-label": "Time" });
    this.slider.addEventListener("input", () => { this.pause(); this.seek(Number(this.slider.value)); });
    this.clock = make("output", {}, "");
    const rate = make("select", { "aria-label": "Speed" });
    for (const speed of SPEEDS) rate.append(make("option", { value: speed }, `${speed} ×`));
    rate.value = "1";
    rate.addEventListener("input", () => { this.speed = Number(rate.value); });
    this.views = make("select", { "aria-label": "Camera" });
    for (const [value, text] of [["top", "from above"], ["side", "from the side"], ["3d", "oblique"]]) this.views.append(make("option", { value }, text));
    this.views.addEventListener("input", () => { for (const screen of this.screens) screen.scene.look(this.views.value); });
    const follow = make("label", {}, " follow"), box = make("input", { type: "checkbox" });
    follow.prepend(box);
    box.addEventListener("input", () => { for (const screen of this.screens) screen.scene.follow = box.checked; this.followed = box.checked; this.seek(this.seconds); });
    this.note = make("span", { class: "hint" }, "");
    this.controls.append(this.button, this.slider, this.clock, rate, this.views, follow, this.note);
    node.tabIndex = 0;
    node.addEventListener("keydown", (event) => this.key(event));
  }

  /** Show a film; ghost: another film whose last episode is drawn beside, or null. Returns when it is drawn. */
  show(film, ghost = null) {
    this.film = film;
    this.pause();
    const episodes = film.episodes.length > 1 ? [film.episodes[0], film.episodes.at(-1)] : [film.episodes[0]];
    this.three ??= hasWebGL();
    this.fit(episodes.length);
    this.views.value = film.view;
    this.slider.max = film.seconds;
    this.note.textContent = this.three ? "drag: orbit, right drag: move, wheel: zoom" : "drawn flat: this browser has no WebGL";
    this.screens.forEach((screen, i) => {
      const shade = ghost && { film: ghost, episode: ghost.episodes.length > 1 && i === 0 && episodes.length > 1 ? ghost.episodes[0] : ghost.episodes.at(-1) };
      screen.episode = episodes[i];
      screen.scene.load(film, episodes[i], shade);
      screen.scene.follow = Boolean(this.followed);
    });
    this.seek(0);
  }

  fit(count) {
    while (this.screens.length > count) this.screens.pop().box.remove();
    while (this.screens.length < count) {
      const box = make("div", { class: "screen" }), words = make("p", { role: "status" });
      box.append(words);
      this.stage.append(box);
      let scene;
      try { scene = this.three ? new Scene(box) : new Flat(box); } catch { this.three = false; scene = new Flat(box); }
      this.screens.push({ box, words, scene });
    }
  }

  seek(seconds) {
    this.seconds = Math.min(Math.max(seconds, 0), this.film.seconds);
    this.slider.value = this.seconds;
    this.clock.textContent = `${this.seconds.toFixed(2)} of ${this.film.seconds.toFixed(2)} s`;
    for (const { scene, words, episode } of this.screens) {
      const now = scene.draw(this.seconds), { goal } = this.film;
      words.className = now.solved ? "solved" : "";
      const far = (condition, distance) => `${condition.feature} is ${distance.toFixed(2)} ${condition.unit} from its target`;
      const both = goal.second ? `, ${goal.combination} ${far(goal.second, now.second)}` : "";
      const state = now.solved ? `solved at ${episode.solved_at_s.toFixed(2)} s` : far(goal, now.distance) + both;
      words.textContent = `episode ${episode.episode}: ${state}`;
    }
  }

  play() {
    if (this.playing) return;
    if (this.seconds >= this.film.seconds) this.seek(0);
    this.playing = true;
    this.button.textContent = "❚❚ pause";
    let before = performance.now();
    const step = (now) => {
      if (!this.playing) return;
      this.seek(this.seconds + (Math.min(now - before, 200) / 1000) * this.speed);
      before = now;
      if (this.seconds >= this.film.seconds) this.pause(); else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
  pause() { this.playing = false; this.button.textContent = "▶ play"; }
  toggle() { if (this.playing) this.pause(); else this.play(); }

  key(event) {
    if (event.target.closest("select, input:not([type=range])")) return;
    const step = this.film?.dt ?? 0.05;
    const moves = { " ": () => this.toggle(), ArrowRight: () => this.nudge(step), ArrowLeft: () => this.nudge(-step), Home: () => this.nudge(-1e9), End: () => this.nudge(1e9) };
    if (!this.film || !moves[event.key] || (event.key === " " && event.target === this.button)) return;
    event.preventDefault();
    moves[event.key]();
  }
  nudge(step) { this.pause(); this.seek(this.seconds + step); }
}
