"""``python -m envs.compared [FAMILY ...]``: every family in each pipeline that it allows: speed, compilation, difference.

Physics alone (`begin` and `move`) of random tasks under random commands, all in one process. Per pipeline: control steps per
second of processor time, all cores in use together (the best of three calls), their ratio to spring's, seconds of it to
compile, how far the goal's features are from spring's after 0.2 and 0.5 s in terms of their base tolerances: median and 90th
percentile over tasks of the feature that differs most.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

import jax
import numpy as np

from envs.embodied import EmbodiedFamily

NAMES = ("navigator", "reacher", "cartpole", "pusher", "juggler", "swimmer", "walker", "crawler")
TASKS, STEPS, CALLS = 256, 10, 3


def main(names: list[str]) -> int:
    """Print a table."""
    print(
        "| family | pipeline | control steps/s | of spring's | compiled in | from spring after 0.2 s | 0.5 s |\n"
        + "|---" * 7
        + "|"
    )
    for name in names or NAMES:
        cls = getattr(importlib.import_module(f"envs.{name}"), name.capitalize())
        base = None
        for pipeline in cls.pipelines:
            found = measured(cls(pipeline=pipeline))
            base = base or found
            print(_row(name, pipeline, found, base, [feature.tolerance for feature in cls.features]), flush=True)
    return 0


def measured(family: EmbodiedFamily) -> tuple[float, float, np.ndarray]:
    """Control steps/s, seconds of compilation, features f32[tasks, steps, F, 2]."""
    keys = jax.random.split(jax.random.key(0), 3)
    vectors = jax.random.uniform(keys[0], (TASKS, len(family.specs)))
    commands = jax.random.uniform(keys[1], (TASKS, STEPS, family.actuators), minval=-1.0, maxval=1.0)
    arguments = (vectors, jax.random.split(keys[2], TASKS), commands)

    def one(vector: jax.Array, key: jax.Array, commands: jax.Array) -> jax.Array:
        model = family.prepare(vector)

        def step(state: Any, command: jax.Array) -> tuple[Any, jax.Array]:
            state = family.move(model, state, command * family.active(model))
            return state, family.measure(model, state)

        return jax.lax.scan(step, family.begin(model, key), commands)[1]

    start = time.process_time()
    program = jax.jit(jax.vmap(one)).lower(*arguments).compile()
    compiled, seconds = time.process_time() - start, []
    for _ in range(CALLS):
        start = time.process_time()
        values = jax.block_until_ready(program(*arguments))
        seconds.append(time.process_time() - start)
    return TASKS * STEPS / min(seconds), compiled, np.asarray(values)


def _row(name: str, pipeline: str, found: tuple, base: tuple, tolerances: list[float]) -> str:
    away = np.max(np.abs(found[2] - base[2]), axis=-1) / np.asarray(tolerances)
    ends = [np.quantile(np.max(away[:, step], axis=1), [0.5, 0.9]) for step in (3, 9)]
    differ = " | ".join(f"{median:.2g} ({most:.2g})" for median, most in ends)
    return f"| {name} | {pipeline} | {found[0]:,.0f} | {found[0] / base[0]:.3f} | {found[1]:.0f} s | {differ} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
