"""ACCEL-like: edits of easy tasks out of those that are worth replaying, from simple ones on; nothing is tested.

Source: Parker-Holder et al. 2022 (arXiv 2203.01302), algorithm 1 with the edits of its "easy" batches. It goes with
`openended.objectives.plr`, whose estimate of regret says what is worth replaying.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.spec import ParamSpec
from openended.generators.base import AbstractGenerator, Proposal, immigrants, mutate
from openended.repertoire import SEEN, Repertoire, by_rank
from openended.tasks import snap

GROUP = 4  # of so many drawn by regret the easiest becomes the parent: the four easiest of a batch of sixteen are edited there


class Accel(AbstractGenerator):
    """Children of the pool; the first tasks, and the share ``immigrants`` of all, have every switch off and every count low."""

    def __init__(self, novelty: float, sigma: float, flip: float, immigrants: float, temperature: float):
        for name, value in (("flip", flip), ("immigrants", immigrants)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"generator.{name} is {value}; allowed: 0 to 1")
        for name, value in (("sigma", sigma), ("temperature", temperature)):
            if not value > 0.0:
                raise ValueError(f"generator.{name} is {value}; allowed: above 0")
        self.novelty, self.sigma, self.flip = novelty, sigma, flip
        self.immigrants, self.temperature = immigrants, temperature

    def init(self, specs, count, seed):
        """No state."""
        return ()

    def propose(
        self, state: tuple, specs: Sequence[ParamSpec], repertoire: Repertoire, count: int, rng: np.random.Generator
    ) -> tuple[Proposal, tuple]:
        """Simple tasks and children, in this order."""
        pool = repertoire.rows(SEEN)
        pool = pool[np.isfinite(repertoire.regret[pool])]
        children = count - round(self.immigrants * count) if pool.size else 0
        parent = self._parents(repertoire, pool, children, rng)
        step = self.sigma * rng.standard_normal((children, len(specs))).astype(np.float32)
        edited = mutate(specs, repertoire.vector[parent], step, self.flip, rng)
        fresh = count - children
        vector = snap(specs, np.concatenate([simple(specs, fresh, rng), edited]).astype(np.float32))
        steps = np.concatenate([np.zeros((fresh, len(specs)), np.float32), step])
        parents = np.concatenate([np.full(fresh, -1), parent]).astype(np.int32)
        return Proposal(vector, parents, ("random",) * fresh + ("mutate",) * children, steps), state

    def update(self, state, proposal, fitness):
        """Nothing to learn."""
        return state

    def _parents(self, repertoire: Repertoire, pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Rows i64[count]: the most often solved of a few that were drawn by regret."""
        if not count:
            return np.zeros(0, np.int64)
        drawn = rng.choice(pool, (count, GROUP), p=by_rank(repertoire.regret[pool], self.temperature))
        return drawn[np.arange(count), np.argmax(repertoire.success[drawn], axis=1)]


def simple(specs: Sequence[ParamSpec], count: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors f32[count, D] without parents: switches off and counts at their least, the other numbers uniform."""
    vector = immigrants(specs, count, rng)
    switch = np.array([spec.structural for spec in specs])
    cells = np.array([spec.cells if spec.structural else 1 for spec in specs])
    return np.where(switch, 0.5 / cells, vector).astype(np.float32)
