"""What modules spare: how much of the archive a finished run tested again in each round, and what its audits say.

    python benchmarks/modules.py RUN [RUN ...] [--root runs] [--json]
    python benchmarks/modules.py --speed navigator [--rows 1024] [--modules 8] [--json]

Every run is a row; the first is what the others' steps and seconds are divided by. ``retested``: tasks played for retention
over accepted ones, the median over rounds with an archive; an ordinary learner's is what its certificates sample. ``audit``:
of all accepted tasks, played anew, those that are still solved. ``--speed``: control steps/s of evaluating with modules over
those of one policy, which plays the same rows, and of one as large as all modules together; by seconds of the processor, the
least of several.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from hydra.utils import instantiate

from openended import configuration
from openended.acceptance import AbstractAcceptance
from openended.archive import Archive
from openended.locate import find_run, stored_config
from openended.metrics import read_metrics

BESIDE = "steps_retention", "seconds", "seconds_verify"
REPEATS = 4  # the first compiles


def row(folder: Path) -> dict[str, Any]:
    """The facts of a run."""
    rounds, config = read_metrics(folder), stored_config(folder)
    with Archive(folder / "archive.db", readonly=True) as archive:
        repaired, returned = ([e.round for e in archive.events(kind)] for kind in ("repaired", "rolled_back"))
    last = rounds[-1]
    audit = next((entry for entry in reversed(rounds) if "audit_tasks" in entry), {})
    found = {
        "learner": str(config.learner["_target_"]).rpartition(".")[2],
        "rounds": len(rounds),
        "accepted": int(last["accepted"]),
        "retested": _median(sampled(rounds, instantiate(config.acceptance), repaired)),
        "reused": _median([entry["reused"] for entry in rounds if "reused" in entry]),
        "rerouted": sum(entry.get("rerouted", 0.0) for entry in rounds),
        **{key: _median([entry[key] for entry in rounds if key in entry]) for key in ("selection_entropy", "batch_entropy")},
        "repaired": len(repaired),
        "rolled_back": len(returned),
        "audit": [int(audit.get("audit_solved", 0)), int(audit.get("audit_tasks", 0))],
        "heldout_last": next((entry["heldout_last"] for entry in reversed(rounds) if "heldout_last" in entry), None),
        "steps": last["steps_total"],
        "steps_retention": last["steps_retention"],
        "seconds": sum(entry["seconds"] for entry in rounds),
        "seconds_verify": sum(entry["seconds_verify"] for entry in rounds),
    }
    return found


def sampled(rounds: list[dict[str, Any]], acceptance: AbstractAcceptance, repaired: list[int]) -> list[float]:
    """Of every round with an archive, the tasks played for retention over accepted ones; tasks at risk are left out."""
    found, known = [], 0
    for number, entry in enumerate(rounds, start=1):
        if known:
            tries = 1 + repaired.count(number)
            of = [acceptance.certificate(known, number, attempt)[0].sample / known for attempt in range(tries)]
            found.append(entry.get("retested", sum(of)))
        known = int(entry["accepted"] + entry["speedups"])
    return found


def speeds(family: str, rows: int, modules: int) -> dict[str, float]:
    """Control steps/s: one policy, one of about as many weights as all modules, one module for all rows, modules at random."""
    rng = np.random.default_rng(0)
    dense = configuration.build(configuration.read([f"family=[{family}]"]))
    pool = configuration.build(configuration.read([f"family=[{family}]", "learner=modular", f"learner.modules={modules}"]))
    width = round(dense.learner.policy.width * modules**0.5)  # weights grow with its square
    wide = configuration.build(configuration.read([f"family=[{family}]", f"learner.policy.width={width}"]))
    vectors = rng.uniform(size=(rows, len(dense.families[family].specs))).astype(np.float32)
    nought, mixed = np.zeros(rows, np.int64), rng.integers(0, modules, rows)
    arms = {"one policy": (dense, nought), f"one policy, width {width}": (wide, nought)}
    arms |= {"one module": (pool, nought), "all modules": (pool, mixed)}
    params = {name: loop.init().learner.params for name, (loop, _) in arms.items()}
    least = dict.fromkeys(arms, float("inf"))
    for repeat in range(REPEATS):
        for name, (loop, route) in arms.items():
            start = time.process_time()
            loop.programs.evaluate(family, params[name], vectors, jax.random.key(0), "speed", route=route)
            if repeat:
                least[name] = min(least[name], time.process_time() - start)
    steps = rows * dense.settings.episodes * dense.families[family].episode_steps
    return {name: steps / seconds for name, seconds in least.items()}


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def main() -> None:
    """Print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--root", default="runs")
    parser.add_argument("--speed", metavar="FAMILY")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--modules", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: dict[str, Any] = {run: row(find_run(run, given.root)) for run in given.runs}
    for each in found.values():
        first = found[given.runs[0]]
        each |= {f"{key}_ratio": each[key] / first[key] for key in BESIDE if first[key]}
    if given.speed:
        fast = speeds(given.speed, given.rows, given.modules)
        found["speed"] = {name: {"steps_per_s": x, "ratio": x / fast["one policy"]} for name, x in fast.items()}
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for name, facts in found.items():
        print(name)
        for key, value in facts.items():
            print(f"  {key:22s} {value:.4g}" if isinstance(value, float) else f"  {key:22s} {value}")


if __name__ == "__main__":
    main()
