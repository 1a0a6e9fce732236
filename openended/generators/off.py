"""Generator off: domain randomisation."""

from __future__ import annotations

import numpy as np

from openended.generators.base import AbstractGenerator, Proposal, immigrants
from openended.tasks import snap


class Off(AbstractGenerator):
    """Every candidate is an immigrant; nothing is learned."""

    def __init__(self, novelty: float = 0.02):
        self.novelty = novelty

    def init(self, specs, count, seed):
        """No state."""
        return ()

    def propose(self, state, specs, repertoire, count, rng):
        """Tasks without parents."""
        vector = snap(specs, immigrants(specs, count, rng))
        return Proposal(vector, np.full(count, -1, np.int32), ("random",) * count, np.zeros_like(vector)), state

    def update(self, state, proposal, fitness):
        """Nothing to learn."""
        return state
