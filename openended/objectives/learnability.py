"""Learnability: p (1 - p) per cost. Known failure: unlearnable noise with p near one half looks attractive for ever."""

from __future__ import annotations

import numpy as np

from openended.objectives.base import AbstractObjective, Known, halfway_first, learnability
from openended.repertoire import Repertoire


class Learnability(AbstractObjective):
    """Ranks by the variance of success at the screen; ties in random order."""

    intrinsic_weight = 0.0

    def urgency(self, pool: Repertoire) -> np.ndarray:
        """p (1 - p), with a floor."""
        return halfway_first(pool.success)

    def predict(self, ranker: np.ndarray, known: Known, rng: np.random.Generator) -> np.ndarray:
        """p (1 - p) / cost."""
        return learnability(known) / known.cost + 1e-6 * rng.uniform(size=known.successes.size)
