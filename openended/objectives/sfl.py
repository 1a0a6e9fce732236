"""Sampling for learnability: the most learnable known tasks, all alike, beside a share of any.

``p (1 - p)`` of the latest estimate of success: that of the screen, then of learning. Source: Rutherford et al. 2024 (SFL,
arXiv 2408.15099), algorithm 1, where the buffer is filled anew from a large sample and kept for a number of updates; here the
sample is the pool, to which each round adds. Known failure: as `learnability`, noise with p near one half looks attractive.
"""

from __future__ import annotations

import numpy as np

from openended.objectives.base import AbstractObjective, Known, learnability, require_share
from openended.repertoire import Repertoire


class SFL(AbstractObjective):
    """Ranks candidates by p (1 - p); the ``best`` share of the pool gets ``focus`` of the lifetimes, all share the rest."""

    intrinsic_weight = 0.0

    def __init__(self, best: float, focus: float):
        require_share(best=best, focus=focus)
        self.best, self.focus = best, focus

    def predict(self, ranker: np.ndarray, known: Known, rng: np.random.Generator) -> np.ndarray:
        """p (1 - p); ties in random order."""
        return learnability(known) + 1e-6 * rng.uniform(size=known.successes.size)

    def urgency(self, pool: Repertoire) -> np.ndarray:
        """Two values: of the most learnable tasks, and of all others."""
        size = pool.success.size
        top = np.argsort(-pool.success * (1.0 - pool.success), kind="stable")[: int(np.ceil(self.best * size))]
        chance = np.full(size, (1.0 - self.focus) / max(size, 1))
        chance[top] += self.focus / max(top.size, 1)
        return chance
