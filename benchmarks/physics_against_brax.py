"""Control steps per second of the families beside brax's own environments of the nearest kind, in one process.

    python benchmarks/physics_against_brax.py [--batch 256] [--repeats 5] [--out FILE]

Both sides run on the spring pipeline with as many timesteps in a control step as the family has, on one device, with uniform
random actions, and give observation and reward. Every row of a family has a task of its own (world, body, interface, goal),
and its System is built from it in every call; brax's rows all have the same body. Calls take turns; a figure is the median.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp

from envs import validity
from envs.base import AbstractFamily
from envs.physics import quiet
from openended import configuration
from openended.bench import device, interleave

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


def ours(family: AbstractFamily) -> Callable:
    """``(vector f32[D], key) -> f32[]``: an episode of random actions in one task, and a number that depends on all of it."""

    def episode(vector, key):
        steps = validity.play_at_random(family, family.prepare(vector), key)
        return jnp.sum(steps.observation) + jnp.sum(steps.reward)

    return episode


def theirs(name: str, substeps: int, steps: int) -> Callable:
    """The same of brax's environment, for so many control steps; it has no vector, f32[0]."""
    with quiet():
        env = brax_envs.get_environment(name, backend="spring", n_frames=substeps)

    def episode(_, key):
        def step(state, action):
            state = env.step(state, action)
            return state, jnp.sum(state.obs) + state.reward

        reset_key, action_key = jax.random.split(key)
        actions = jax.random.uniform(action_key, (steps, env.action_size), minval=-1.0, maxval=1.0)
        return jnp.sum(jax.lax.scan(step, env.reset(reset_key), actions)[1])

    return episode


def batched(episode: Callable, numbers: int, batch: int) -> Callable:
    """``key -> f32[batch]``: episodes of as many random tasks f32[numbers]."""

    def run(key):
        return jax.vmap(episode)(jax.random.uniform(key, (batch, numbers)), jax.random.split(key, batch))

    return jax.jit(run)


def measure(batch: int, repeats: int) -> dict[str, dict[str, float]]:
    """Medians and their ratio for every pair."""
    calls, sizes = [], []
    for name, nearest in NEAREST.items():
        family = configuration.instantiate(configuration.read([f"family=[{name}]"]).families[name])
        numbers, steps = len(family.specs), family.episode_steps
        model = family.prepare(jnp.full(numbers, 0.5))
        substeps = round(family.control_dt / float(model.system.opt.timestep))
        calls += [batched(ours(family), numbers, batch), batched(theirs(nearest, substeps, steps), 0, batch)]
        sizes.append((substeps, steps))
    seconds = [median(each) for each in interleave(calls, repeats, jax.random.key(0))]
    found = {}
    for (name, nearest), (substeps, steps), own, other in zip(NEAREST.items(), sizes, seconds[::2], seconds[1::2], strict=True):
        speeds = {"steps_per_s": batch * steps / own, f"brax_{nearest}_steps_per_s": batch * steps / other}
        found[name] = {"timesteps": substeps, **speeds, "ratio": other / own}
    return found


def main() -> None:
    """Print the table as JSON, and store it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {
        "command": f"python benchmarks/physics_against_brax.py --batch {options.batch} --repeats {options.repeats}",
        "device": device(),
        "pairs": measure(options.batch, options.repeats),
    }
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
