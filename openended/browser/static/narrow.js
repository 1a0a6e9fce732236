// The gallery's filters for the static site, where no server answers: the same meaning as in queries.py.

/** everything: {tasks: rows, vectors: {id: unit vector}}; asked: the form's values. */
export function narrow(everything, asked, specs, page, size) {
  const words = asked.search.toLowerCase().split(/\s+/).filter(Boolean);
  const index = specs.findIndex((spec) => spec.name === asked.parameter);
  const [low, high] = index < 0 ? [null, null] : bounds(specs[index], asked.low, asked.high);
  const fits = (task) => (!asked.family || task.family === asked.family) && (!asked.kind || task.kind === asked.kind)
    && (!asked.status || (asked.status === "forgotten" ? task.forgotten : task.status === asked.status))
    && (!asked.reason || task.reason === asked.reason)
    && words.every((word) => task.description.toLowerCase().includes(word) || task.id.toLowerCase().includes(word))
    && (index < 0 || (task.vector[index] >= low && task.vector[index] <= high));
  const key = asked.sort === "cost" ? "cost" : asked.sort;
  const way = asked.ascending ? 1 : -1;
  const order = (a, b) => (a[key] === null) - (b[key] === null) || way * (a[key] > b[key] ? 1 : a[key] < b[key] ? -1 : a.place - b.place);
  const found = everything.tasks.filter(fits).sort(order);
  return { total: found.length, tasks: found.slice((page - 1) * size, page * size), note: "" };
}
function bounds(spec, low, high) {
  const structural = ["integer", "flag", "rare"].includes(spec.scale);
  const cells = spec.scale === "rare" ? 4 : spec.high - spec.low + 1;
  const unit = (value) => {
    const x = Math.min(Math.max(value, spec.low), spec.high);
    if (spec.scale === "log") return Math.log(x / spec.low) / Math.log(spec.high / spec.low);
    if (spec.scale === "integer") return (x - spec.low + 0.5) / cells;
    if (structural) return (x >= 0.5 ? 1 : 0.5) - 0.5 / cells;
    return (x - spec.low) / (spec.high - spec.low);
  };
  const margin = structural ? 0.5 / cells : 1e-6;
  return [low === "" ? 0 : unit(Number(low)) - margin, high === "" ? 1 : unit(Number(high)) + margin];
}
