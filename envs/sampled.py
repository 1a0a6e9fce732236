"""Make the suite ``sampled``: witnessed tasks drawn as a generator draws those without parents, from seeds of their own.

``python -m envs.sampled [FAMILY ...]`` writes ``suites/sampled/FAMILY.npy``, f32[N, D] in the unit box under the family's
default options. The same seeds draw the same candidates everywhere; which are witnessed, and where their targets end up,
depends on rounding for a few, which is why the vectors are kept. 125 tasks of each of eight families are 1,000.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from envs import interface, validity
from envs.base import AbstractFamily
from envs.holdout import FAMILIES
from envs.probe import Probe

SUITE, SEED, CHUNK = "sampled", 20261125, 128
FOLDER = Path(__file__).resolve().parent / "suites" / SUITE


def count(family: AbstractFamily) -> int:
    """Tasks of a family; the probe, which has no physics, is for tests."""
    return 16 if isinstance(family, Probe) else 125


def candidates(family: AbstractFamily, chunk: int) -> tuple[np.ndarray, jax.Array]:
    """The vectors f32[CHUNK, D] and keys [CHUNK] of one chunk of candidates."""
    rng = np.random.default_rng([SEED, *family.name.encode(), chunk])
    units = rng.uniform(size=(CHUNK, len(family.specs))).astype(np.float32)
    key = jax.random.fold_in(jax.random.key(SEED), int(rng.integers(2**31)))
    return interface.redirect(family.specs, units, rng), jax.random.split(key, CHUNK)


def draw(family: AbstractFamily, wanted: int) -> np.ndarray:
    """The first ``wanted`` witnessed tasks, f32[wanted, D]."""
    run, search = jax.jit(validity.player(family)), validity.Search()
    found: list[np.ndarray] = []
    chunk = 0
    while len(found) < wanted:
        units, keys = candidates(family, chunk)
        ground = validity.ground(family, search, run, jnp.asarray(units), keys)
        found.extend(np.asarray(ground.vector)[np.asarray(ground.verdict) == 0])
        chunk += 1
    return np.stack(found[:wanted])


def main(names: list[str]) -> None:
    """Write the vectors of these families, of all without any."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for family in (cls() for cls in FAMILIES[SUITE]):
        if not names or family.name in names:
            vectors = draw(family, count(family))
            np.save(FOLDER / f"{family.name}.npy", vectors)
            print(f"{family.name}: {len(vectors)} tasks", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
