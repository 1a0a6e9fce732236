"""What the memories of a policy cost: a gradient of PPO's loss and acting, each beside fast weights.

    python benchmarks/memories.py [--rows 32] [--acting 256] [--steps 120] [--repeats 20] [--json]

Seconds of the processor, the least of several, in turns within one process: other work on the machine counts for little.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from openended import ppo
from openended.networks import HISTORY, Policy
from openended.types import Percept, Rollout

OBSERVATION, ACTIONS, DEAD = 25, 3, 0.05  # those of puck and arm; the share of percepts that do not count
POLICIES: dict[str, dict[str, Any]] = {
    "none": {"memory": "none"},
    "fast_weights": {"memory": "fast_weights"},
    "gru": {"memory": "gru"},
    "transformer": {"memory": "transformer"},
    "transformer, 2 heads of 16": {"memory": "transformer", "heads": 2, "head": 16},
    "transformer, 2 layers": {"memory": "transformer", "layers": 2},
}
BESIDE = "fast_weights"
SETTINGS = ppo.Settings(2, 8, 0.97, 0.95, 0.2, 0.002, 0.15, 0.1)


def percepts(rows: int, steps: int) -> Percept:
    """Random percepts [rows, steps, ...]."""
    keys = jax.random.split(jax.random.key(0), 5)
    shapes = [(rows, steps, OBSERVATION)] * 2 + [(rows, steps, HISTORY * ACTIONS), (rows, steps)]
    numbers = [0.5 * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=False)]
    live = jax.random.uniform(keys[4], (rows, steps)) >= DEAD
    return Percept(*numbers, first=jnp.zeros((rows, steps)), live=live.astype(jnp.float32))


def batch(rows: int, steps: int) -> ppo.Batch:
    """What a gradient step learns from."""
    seen, flat = percepts(rows, steps), jnp.zeros((rows, steps))
    action = jax.random.normal(jax.random.key(1), (rows, steps, ACTIONS))
    nothing = jnp.zeros((rows, 3), bool), jnp.zeros(rows, bool)
    rollout = Rollout(seen, action, flat - 3.0, flat, flat, seen.live > 0, jnp.ones_like(action), *nothing)
    return ppo.Batch(rollout, jax.random.normal(jax.random.key(2), flat.shape), flat, seen.live)


def calls(policy: Policy, learned: ppo.Batch, acted: Percept) -> dict[str, Callable[[], Any]]:
    """A gradient, and whole lifetimes step by step."""
    params, rows = jax.jit(policy.init)(jax.random.key(0)), len(acted.live)
    gradient = jax.jit(jax.grad(lambda params, batch: ppo.loss(params, policy, batch, SETTINGS)[0]))
    birth = policy.births(params, rows)
    in_turn = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), acted)

    @jax.jit
    def act(params: Any, birth: Any, in_turn: Percept) -> jax.Array:
        def step(memory: Any, percept: Percept) -> Any:
            memory, output = jax.vmap(policy.step, in_axes=(None, 0, 0))(params, memory, percept)
            return memory, output.mean

        return jax.lax.scan(step, birth, in_turn)[1]

    return {"gradient": functools.partial(gradient, params, learned), "acting": functools.partial(act, params, birth, in_turn)}


def main() -> None:
    """Print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rows", 32), ("acting", 256), ("steps", 120), ("repeats", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    learned, acted = batch(given.rows, given.steps), percepts(given.acting, given.steps)
    timed = {name: calls(Policy(OBSERVATION, ACTIONS, **kind), learned, acted) for name, kind in POLICIES.items()}
    least = {name: dict.fromkeys(each, float("inf")) for name, each in timed.items()}
    for repeat in range(given.repeats + 1):  # the first compiles
        for name, each in timed.items():
            for what, call in each.items():
                start = time.process_time()
                jax.block_until_ready(call())
                if repeat:
                    least[name][what] = min(least[name][what], time.process_time() - start)
    rows = {
        name: {f"{what}_ratio": each[what] / least[BESIDE][what] for what in each}
        | {f"{what}_ms": 1e3 * each[what] for what in each}
        for name, each in least.items()
    }
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    for name, row in rows.items():
        print(f"{name:28s} " + "  ".join(f"{key} {value:7.2f}" for key, value in row.items()))


if __name__ == "__main__":
    main()
