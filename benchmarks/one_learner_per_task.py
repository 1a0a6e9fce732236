"""What a learner can reach that has one held-out task to itself: the upper reference for one learner of all tasks.

    python benchmarks/one_learner_per_task.py family=[navigator] [--updates 96] [--groups visible,hidden_goal] [--out FILE]

Each task of the suite gets a fresh learner of the configuration, which learns from nothing else. Success is that of fresh
lifetimes afterwards, first and last episode, with no choice among updates. What stays unsolved here cannot be held against
the learner of all tasks; what is solved here and not there can. ``--run FILE`` puts such a one beside it: what
`openended eval RUN --json` printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.holdout import HeldOut
from openended import configuration, recording, suites
from openended.loop import Loop

LIFETIMES = 128  # of an evaluation


def alone(loop: Loop, task: HeldOut, updates: int, seed: int) -> dict[str, Any]:
    """Train a fresh learner on the task, and evaluate it."""
    state, programs, rows = loop.init(), loop.programs, loop.settings.rows
    passes = -(-updates // loop.settings.updates)
    vectors = np.broadcast_to(task.vector, (passes, loop.settings.updates, rows, task.vector.size))
    key, test = jax.random.split(jax.random.key(seed))
    learner, _, _ = programs.learn(state.learner, state.model, {task.family: vectors}, key)
    tests = np.repeat(task.vector[None], LIFETIMES, axis=0)
    success = programs.evaluate(task.family, learner.params, tests, test, "test").success.mean(axis=0)
    said = recording.describe(loop.families[task.family], task.vector)
    steps = passes * programs.pass_steps(loop.settings.updates, rows)
    return {
        "family": task.family,
        "group": task.group,
        "description": said,
        "first": success[0],
        "last": success[-1],
        "steps": steps,
    }


def beside(found: list[dict[str, Any]], stored: Path) -> None:
    """Add what a run's learner reached in the same tasks."""
    rows = json.loads(stored.read_text(encoding="utf-8"))["per_task"]
    known = {(row["family"], row["description"]): row["trained_last"] for row in rows}
    for row in found:
        row["of_all_tasks"] = known.get((row["family"], row["description"]))


def lines(found: list[dict[str, Any]]) -> list[str]:
    """Of every family and group: mean success of the specialists, how many solve theirs by half, and the other learner's."""
    out = []
    for family, group in dict.fromkeys((row["family"], row["group"]) for row in found):
        rows = [row for row in found if (row["family"], row["group"]) == (family, group)]
        last = np.array([row["last"] for row in rows])
        other = [row["of_all_tasks"] for row in rows if row.get("of_all_tasks") is not None]
        told = f", a learner of all tasks {np.mean(other):.2f}" if other else ""
        solved = f"{np.count_nonzero(last > 0.5)} of {len(rows)} above one half"
        out.append(f"{family:10s} {group:12s} alone {last.mean():.2f} ({solved}){told}")
    return out


def main() -> None:
    """Read the arguments, learn every task, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--updates", type=int, default=96)
    parser.add_argument("--suite", default="handmade-v2")
    parser.add_argument("--groups", default="visible,hidden_goal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    common = [f"learner.decay_updates={options.updates}", "objective=off", *options.overrides]
    found: list[dict[str, Any]] = []
    for name in list(configuration.read(common).families):
        loop = configuration.build(configuration.read([*common, f"family=[{name}]"]))
        tasks, _ = suites.held_out(options.suite, loop.families)
        for task in (task for task in tasks if task.group in options.groups.split(",")):
            began, row = time.monotonic(), alone(loop, task, options.updates, options.seed)
            print(f"{row['last']:.2f} {row['description']} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
            found.append(row)
    if options.run:
        beside(found, options.run)
    print("\n".join(lines(found)))
    if options.out:
        answer = {"suite": options.suite, "updates": options.updates, "overrides": options.overrides, "tasks": found}
        options.out.write_text(json.dumps(answer, default=float, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
