"""Objective off: uniform choice among valid candidates, no intrinsic reward."""

from __future__ import annotations

import numpy as np

from openended.objectives.base import AbstractObjective, Known


class Off(AbstractObjective):
    """Ranks at random and learns nothing."""

    intrinsic_weight = 0.0

    def predict(self, ranker: np.ndarray, known: Known, rng: np.random.Generator) -> np.ndarray:
        """Uniform random numbers."""
        return rng.uniform(size=known.successes.size)
