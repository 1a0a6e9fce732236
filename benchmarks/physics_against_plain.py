"""Control steps per second of every family as the loop runs it, and of the same pipeline called the plain way, in one process.

    python benchmarks/physics_against_plain.py [--batches 128 256 512 1024 2048] [--repeats 5] [--out FILE] [FAMILY ...]

Plain: Brax's own spring pipeline, which moves every body in space, vmapped on one device. As the loop has it: equations for
what a body does not need left out, split over all devices. Both at the best of the batch sizes, with the same uniform random
tasks and actions, whole control steps with observation and reward. Calls take turns; a figure is the median. The ground of
the crawler is no part of Brax's pipeline: its plain steps are those of a flight, quicker than they would be.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import median
from typing import Any

os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={min(2, os.cpu_count() or 1)}".strip()
)

import jax
from physics_against_brax import ours

from envs import physics
from envs.base import AbstractFamily, Model
from envs.crawler import SUBSTEPS
from envs.embodied import PIPELINES
from openended import configuration, trees
from openended.bench import device, interleave

NAMES = ("navigator", "reacher", "cartpole", "pusher", "swimmer", "juggler", "walker", "crawler")


def flown(model: Model, state: Any, control: jax.Array) -> Any:
    """A control step of the crawler without ground, by Brax's pipeline."""
    return physics.advance(model.system, state, control, SUBSTEPS, then=physics.joint_velocities)


def plain(name: str) -> AbstractFamily:
    """The family as Brax's own pipeline moves it."""
    family = as_it_is(name)
    if name == "crawler":
        family.move = flown
    else:
        family.moves = PIPELINES["spring"]
    return family


def as_it_is(name: str) -> AbstractFamily:
    """The family of the default configuration."""
    return configuration.instantiate(configuration.read([f"family=[{name}]"]).families[name])


def programs(name: str, batch: int) -> list[Any]:
    """``key -> f32[batch]``: an episode in each of as many random tasks, the plain way and as the loop has it."""
    whole = as_it_is(name)
    one = jax.jit(jax.vmap(ours(plain(name))))
    both = trees.OverDevices(jax.vmap(ours(whole)), (trees.ROWS, trees.ROWS), trees.ROWS)
    numbers = len(whole.specs)

    def of(program: Any) -> Any:
        return lambda key: program(jax.random.uniform(key, (batch, numbers)), jax.random.split(key, batch))

    return [of(one), of(both)]


def measure(name: str, batches: list[int], repeats: int) -> dict[str, Any]:
    """Best steps/s of both with their batches, and their ratio."""
    calls = [call for batch in batches for call in programs(name, batch)]
    seconds = [median(times) for times in interleave(calls, repeats, jax.random.key(0))]
    steps = configuration.read([]).space.episode_steps
    rates = [[batch * steps / taken for batch, taken in zip(batches, seconds[way::2], strict=True)] for way in (0, 1)]
    best = [max(zip(way, batches, strict=True)) for way in rates]
    (slow, slow_batch), (quick, quick_batch) = best
    return {
        "plain_steps_per_s": slow,
        "plain_batch": slow_batch,
        "steps_per_s": quick,
        "batch": quick_batch,
        "ratio": quick / slow,
    }


def main() -> None:
    """Print a table, and store it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES)
    options = parser.parse_args()
    sizes = " ".join(map(str, options.batches))
    found: dict[str, Any] = {
        "command": f"python benchmarks/physics_against_plain.py --batches {sizes} --repeats {options.repeats}",
        "device": device(),
        "families": {},
    }
    print("| family | plain, best batch | as it is, best batch | ratio |\n" + "|---" * 4 + "|")
    for name in options.names:
        each = found["families"][name] = measure(name, options.batches, options.repeats)
        rates = " | ".join(f"{each[k + 'steps_per_s']:,.0f} at {each[k + 'batch']}" for k in ("plain_", ""))
        print(f"| {name} | {rates} | {each['ratio']:.1f} |", flush=True)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
