"""Control steps per second of planar families in the plane, as spring moves them, and by Brax's own pipeline in space.

    python benchmarks/planar_physics.py [--batch 256] [--repeats 5] [FAMILY ...]

Uniform random tasks and actions, whole control steps with observation and reward, all in one process; calls take turns, a
figure is the median of the processor time. The last columns are seconds of processor time to compile.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import jax
from physics_against_brax import batched, ours

from envs.base import AbstractFamily
from envs.embodied import PIPELINES
from openended import configuration

NAMES = ("cartpole", "navigator", "reacher", "swimmer", "juggler", "walker")


def program(family: AbstractFamily, batch: int):
    """``key -> f32[batch]``: an episode in each of as many random tasks; seconds that it took to compile."""

    start = time.process_time()
    return batched(ours(family), len(family.specs), batch).lower(jax.random.key(0)).compile(), time.process_time() - start


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("names", nargs="*", default=NAMES)
    options = parser.parse_args()
    print("| family | in space | in the plane | ratio | compiled in space | in the plane |\n" + "|---" * 6 + "|")
    for name in options.names:
        families = [configuration.instantiate(configuration.read([f"family=[{name}]"]).families[name]) for _ in range(2)]
        families[0].moves = PIPELINES["spring"]
        programs = [program(family, options.batch) for family in families]
        seconds: list[list[float]] = [[], []]
        for repeat in range(options.repeats + 1):
            for (run, _), times in zip(programs, seconds, strict=True):
                start = time.process_time()
                jax.block_until_ready(run(jax.random.key(repeat)))
                times.append(time.process_time() - start)
        steps = options.batch * families[0].episode_steps
        space, plane = (steps / median(times[1:]) for times in seconds)
        compiled = " | ".join(f"{taken:.0f} s" for _, taken in programs)
        print(f"| {name} | {space:,.0f} | {plane:,.0f} | {plane / space:.1f} | {compiled} |", flush=True)


if __name__ == "__main__":
    main()
