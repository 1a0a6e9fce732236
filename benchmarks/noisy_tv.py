"""The "noisy TV" by objective: intrinsic rewards on noise that nobody can predict and on motion that can be learned.

    python benchmarks/noisy_tv.py [--updates 1000] [--seeds 5] [--loud 1] [--only NAME ...] [--out FILE]

Physics-free rollouts of random actions. Half of the rows are *structure*: two of four numbers move by what the actions say. The
other half are the *TV*: all four numbers walk at random, whatever is done. A fifth number tells which is which. One model of
each objective sees both in every update, gives its rewards and then learns, as in the loop. The table has mean rewards in
shares of ``intrinsic_weight``, the most there can be: early over updates 5 to 50, late over the last 50; mean +- standard
deviation over seeds. ``--loud``: the TV's noise in steps of the motion.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hydra.utils import instantiate
from jax.sharding import PartitionSpec

from openended import configuration, trees
from openended.types import Percept, Rollout

OBJECTIVES = ("learning_progress", "compression_progress", "disagreement", "rnd", "novelty", "prediction_error")
ROWS, STEPS, NUMBERS, ACTIONS = 64, 20, 4, 2
WIDTH = NUMBERS + 1
EARLY, LATE = slice(5, 50), slice(-50, None)


def rollout(key: jax.Array, loud: float = 1.0) -> Rollout:
    """Lifetimes of one episode [ROWS, STEPS], rows of structure and TV in turns."""
    first, second = jax.random.split(key)
    action = jax.random.uniform(first, (ROWS, STEPS, ACTIONS), minval=-1.0, maxval=1.0)
    noise = loud / np.sqrt(3.0) * jax.random.normal(second, (ROWS, STEPS, NUMBERS))  # as wide as the actions
    tv = is_tv()[:, None, None]
    moves = jnp.where(tv, noise, jnp.pad(action, ((0, 0), (0, 0), (0, NUMBERS - ACTIONS))))
    walk = jnp.cumsum(jnp.pad(0.1 * moves, ((0, 0), (1, 0), (0, 0)))[:, :-1], axis=1)
    seen = jnp.concatenate([walk, jnp.broadcast_to(tv, (ROWS, STEPS, 1)).astype(jnp.float32)], axis=-1)
    zeros, ones = jnp.zeros((ROWS, STEPS)), jnp.ones((ROWS, STEPS))
    percept = Percept(seen, seen, action, zeros, zeros.at[:, 0].set(1.0), ones)
    live, masks = jnp.ones((ROWS, STEPS), bool), jnp.ones((ROWS, STEPS, ACTIONS))
    return Rollout(percept, action, zeros, zeros, zeros, live, masks, jnp.ones((ROWS, 1), bool), jnp.zeros(ROWS, bool))


def is_tv() -> np.ndarray:
    """bool[ROWS]; blocks of eight, since objectives learn from every eighth row."""
    return np.arange(ROWS) // 8 % 2 == 1


def watched(objective: Any, updates: int, seeds: int = 1, loud: float = 1.0) -> np.ndarray:
    """Rewards f32[seeds, updates, 2] in shares of the weight: mean of the rows of structure and of the TV."""

    def one(model: Any, each: Rollout) -> tuple:
        return objective.train(model, each), objective.intrinsic(model, each)

    rows, found = PartitionSpec(None, trees.AXIS), []
    program = trees.OverDevices(lambda *x: jax.lax.scan(one, *x), (trees.SAME, rows), (trees.SAME, rows))
    play = jax.jit(jax.vmap(lambda key: rollout(key, loud)))
    for seed in range(seeds):
        born, seen = jax.random.split(jax.random.key(seed))
        model = trees.replicate(objective.init_model(born, WIDTH, ACTIONS))
        _, reward = program(model, play(jax.random.split(seen, updates)))
        share = np.asarray(reward)[:, :, :-1].mean(axis=2) / objective.intrinsic_weight  # the last step has no transition
        found.append(np.stack([share[:, ~is_tv()].mean(axis=1), share[:, is_tv()].mean(axis=1)], axis=1))
    return np.stack(found)


def measure(name: str, updates: int, seeds: int, loud: float) -> dict[str, list[float]]:
    """Of one objective with its defaults: mean and standard deviation by kind and time."""
    objective = instantiate(configuration.read([f"objective={name}"]).objective)
    found = watched(objective, updates, seeds, loud)
    columns = {"structure early": (EARLY, 0), "TV early": (EARLY, 1), "structure late": (LATE, 0), "TV late": (LATE, 1)}
    means = {column: found[:, when, kind].mean(axis=1) for column, (when, kind) in columns.items()}
    return {column: [float(values.mean()), float(values.std())] for column, values in means.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--loud", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=OBJECTIVES, default=OBJECTIVES)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    table = {}
    for name in given.only:
        table[name] = measure(name, given.updates, given.seeds, given.loud)
        if len(table) == 1:
            print("| objective | " + " | ".join(table[name]) + " |\n|---|" + "---|" * len(table[name]))
        print(
            f"| `{name}` | " + " | ".join(f"{mean:.3f} +- {spread:.3f}" for mean, spread in table[name].values()) + " |",
            flush=True,
        )
    if given.out:
        about = {"updates": given.updates, "seeds": given.seeds, "loud": given.loud, "shares": table}
        given.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
