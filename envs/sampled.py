"""Make the suites ``sampled`` and ``stock``: witnessed tasks drawn as a generator draws those without parents, by own seeds.

``python -m envs.sampled [FAMILY ...]`` writes ``suites/SUITE/FAMILY.npy``, f32[N, D] in the unit box under the family's
default options. The same seeds draw the same candidates everywhere; which are witnessed, and where their targets end up,
depends on rounding for a few, which is why the vectors are kept. In ``sampled`` 125 tasks of each of eight families are
1,000; in ``stock`` 12 tasks of each of eight bodies, 4 of them with a hidden goal, are 96.
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
from envs.stock import Stock

SUITES, SEED, CHUNK = ("sampled", "stock"), 20261125, 128
STOCK_CHUNK = 32  # candidates in a body whose timesteps are many
FOLDER = Path(__file__).resolve().parent / "suites"


def count(family: AbstractFamily) -> int:
    """Tasks of a family; the probe, which has no physics, is for tests."""
    return 12 if isinstance(family, Stock) else 16 if isinstance(family, Probe) else 125


def candidates(family: AbstractFamily, chunk: int) -> tuple[np.ndarray, jax.Array]:
    """The vectors f32[N, D] and keys [N] of one chunk of candidates."""
    size = STOCK_CHUNK if isinstance(family, Stock) else CHUNK
    rng = np.random.default_rng([SEED, *family.name.encode(), chunk])
    units = rng.uniform(size=(size, len(family.specs))).astype(np.float32)
    key = jax.random.fold_in(jax.random.key(SEED), int(rng.integers(2**31)))
    return interface.redirect(family.specs, units, rng), jax.random.split(key, size)


def draw(family: AbstractFamily, wanted: int) -> np.ndarray:
    """The first ``wanted`` witnessed tasks, f32[wanted, D]; in a body of Brax's own exactly a third of them hide their goal."""
    run, search = jax.jit(validity.player(family)), validity.Search()
    column, unseen = next((i, spec) for i, spec in enumerate(family.specs) if spec.name == "hidden")
    room = [wanted - wanted // 3, wanted // 3] if isinstance(family, Stock) else [wanted, wanted]  # visible, hidden
    found: list[np.ndarray] = []
    chunk = 0
    while len(found) < wanted:
        units, keys = candidates(family, chunk)
        ground = validity.ground(family, search, run, jnp.asarray(units), keys)
        verdict = np.asarray(ground.verdict)
        for vector in np.asarray(ground.vector)[verdict == 0]:
            kind = int(unseen.on(vector[column]))
            if room[kind]:
                room[kind] -= 1
                found.append(vector)
        judged = zip(validity.VERDICTS, np.bincount(verdict, minlength=len(validity.VERDICTS)), strict=True)
        print(f"{family.name}, chunk {chunk}: " + ", ".join(f"{count} {word}" for word, count in judged), flush=True)
        chunk += 1
    return np.stack(found[:wanted])


def main(names: list[str]) -> None:
    """Write the vectors of these families, of all without any."""
    for suite in SUITES:
        (FOLDER / suite).mkdir(parents=True, exist_ok=True)
        for family in (cls() for cls in FAMILIES[suite]):
            if not names or family.name in names:
                vectors = draw(family, count(family))
                np.save(FOLDER / suite / f"{family.name}.npy", vectors)
                print(f"{suite}, {family.name}: {len(vectors)} tasks", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
