"""Control steps per second of the families beside brax's own environments of the nearest kind, in one process.

    python benchmarks/physics_against_brax.py [--batch 256] [--repeats 5] [--out FILE]

Both sides run on the spring pipeline with as many timesteps in a control step as the family has, on one device, with uniform
random actions, and give observation and reward. Every row of a family has a task of its own (world, body, interface, goal),
and its System is built from it in every call; brax's rows all have the same body. Calls take turns; a figure is the median.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp

from envs.base import AbstractFamily
from envs.physics import quiet
from openended import configuration

with quiet():
    from brax import envs as brax_envs

NEAREST = {
    "navigator": "reacher",
    "reacher": "reacher",
    "cartpole": "inverted_pendulum",
    "walker": "walker2d",
    "crawler": "ant",
    "pusher": "pusher",
}
STEPS = 40  # control steps of a call: an episode


def ours(family: AbstractFamily) -> Callable:
    """``(vector f32[D], key) -> f32[]``: an episode of random actions in one task, and a number that depends on all of it."""

    def episode(vector, key):
        model = family.prepare(vector)
        state, _ = family.reset(model, key)

        def step(state, action):
            state, seen = family.step(model, state, action)
            return state, jnp.sum(seen.observation) + seen.reward

        return jnp.sum(jax.lax.scan(step, state, _actions(key, family.actuators))[1])

    return episode


def theirs(name: str, substeps: int) -> tuple[Callable, int]:
    """The same of brax's environment, and how many numbers its rows take: none."""
    with quiet():
        env = brax_envs.get_environment(name, backend="spring", n_frames=substeps)

    def episode(_, key):
        def step(state, action):
            state = env.step(state, action)
            return state, jnp.sum(state.obs) + state.reward

        return jnp.sum(jax.lax.scan(step, env.reset(key), _actions(key, env.action_size))[1])

    return episode, 0


def _actions(key: jax.Array, size: int) -> jax.Array:
    return jax.random.uniform(jax.random.fold_in(key, 1), (STEPS, size), minval=-1.0, maxval=1.0)


def measure(batch: int, repeats: int) -> dict[str, dict[str, float]]:
    """Medians and their ratio for every pair; all calls of a repeat come one after the other."""
    calls, names = [], []
    for name in NEAREST:
        chosen = configuration.read([f"family=[{name}]"])
        family = configuration.instantiate(chosen.families[name])
        substeps = getattr(importlib.import_module(f"envs.{name}"), "SUBSTEPS", 1)
        for episode, numbers in ((ours(family), len(family.specs)), theirs(NEAREST[name], substeps)):
            calls.append((jax.jit(jax.vmap(episode)), numbers))
        names.append((name, substeps))
    seconds: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats + 1):  # the first compiles
        for index, (call, numbers) in enumerate(calls):
            key = jax.random.key(repeat * len(calls) + index)
            rows = jax.block_until_ready((jax.random.uniform(key, (batch, numbers)), jax.random.split(key, batch)))
            began = time.perf_counter()
            jax.block_until_ready(call(*rows))
            seconds[index].append(time.perf_counter() - began)
    speed = [batch * STEPS / median(each[1:]) for each in seconds]
    return {
        name: {
            "timesteps": substeps,
            "steps_per_s": speed[2 * i],
            NEAREST[name]: speed[2 * i + 1],
            "ratio": speed[2 * i] / speed[2 * i + 1],
        }
        for i, (name, substeps) in enumerate(names)
    }


def main() -> None:
    """Print the table as JSON, and store it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {
        "command": f"python benchmarks/physics_against_brax.py --batch {options.batch} --repeats {options.repeats}",
        "device": f"{jax.default_backend()}, {jax.devices()[0].device_kind}, {os.cpu_count()} cpus",
        "pairs": measure(options.batch, options.repeats),
    }
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
