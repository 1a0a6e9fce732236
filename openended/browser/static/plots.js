// Line plots with intervals: uPlot with this site's colours, legends and units.
import uPlot from "./vendor/uplot/uPlot.esm.js";
import { colour, el, fill, large, number } from "./common.js";

const drawn = new Map();

/**
 * x: numbers; lines: [{name, values, low, high, colour, dash, steps}]; y: {min, max, format}. Replaces what `node` showed;
 * the cursor's place is kept. Every plot can be read by keyboard through its table of values (`details`).
 */
export function plot(node, x, lines, { label = "environment steps", format = number, range = null, height = 250, xformat = large } = {}) {
  const shown = lines.filter((line) => line.values.some((value) => value !== null && value !== undefined));
  drawn.get(node)?.destroy();
  drawn.delete(node);
  if (!x.length || !shown.length) { fill(node, el("p", { class: "empty" }, "Nothing measured yet.")); return; }
  const series = [{ label: label.replace("environment ", ""), value: (_, v) => (v === null ? "–" : xformat(v)) }];
  const columns = [x], bands = [];
  for (const line of shown) {
    const dots = x.length < 40;
    series.push({ label: line.name, stroke: line.colour, width: 2, dash: line.dash, spanGaps: true, points: { show: dots, size: 5, fill: line.colour }, value: (_, v) => (v === null ? "–" : format(v)) });
    columns.push(line.values);
    if (!line.low) continue;
    const hidden = { stroke: "transparent", width: 0, points: { show: false }, label: "" };
    series.push({ ...hidden, class: "sr" }, { ...hidden, class: "sr" });
    columns.push(line.high, line.low);
    bands.push({ series: [columns.length - 2, columns.length - 1], fill: `${line.colour}33` });
  }
  const axis = { stroke: colour("soft"), grid: { stroke: colour("faint"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, DejaVu Sans, sans-serif" };
  const made = new uPlot({
    width: Math.max(260, node.clientWidth), height, series, bands,
    scales: { x: { time: false }, y: range ? { range } : {} },
    axes: [{ ...axis, label, labelSize: 20, labelFont: axis.font, values: (_, ticks) => ticks.map((t) => xformat(t)) }, { ...axis, size: 52, values: (_, ticks) => ticks.map((t) => format(t)) }],
    legend: { live: true }, cursor: { drag: { x: true, y: false } },
  }, columns, fill(node));
  for (const row of node.querySelectorAll("tr.sr")) row.remove();
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", shown.map((line) => `${line.name}: ${format(line.values.findLast((value) => value !== null) ?? null)} at the end`).join("; "));
  drawn.set(node, made);
  node.redraw = () => plot(node, x, lines, { label, format, range, height, xformat });
}
addEventListener("resize", () => { for (const [node, made] of drawn) made.setSize({ width: Math.max(260, node.clientWidth), height: made.height }); });
document.addEventListener("theme", () => { for (const node of [...drawn.keys()]) node.redraw(); });
