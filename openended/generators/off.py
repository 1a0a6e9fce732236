"""Generator off: domain randomisation over the whole unit box."""

from __future__ import annotations

import numpy as np

from openended.generators.base import AbstractGenerator, Proposal
from openended.tasks import snap


class Off(AbstractGenerator):
    """Every candidate is uniform and has no parent; nothing is learned."""

    def __init__(self, novelty: float = 0.02):
        self.novelty = novelty

    def init(self, specs, count, seed):
        """No state."""
        return ()

    def propose(self, state, specs, repertoire, count, rng):
        """Uniform vectors."""
        vector = snap(specs, rng.uniform(size=(count, len(specs))))
        return Proposal(vector, np.full(count, -1, np.int32), ("random",) * count, np.zeros_like(vector)), state

    def update(self, state, proposal, fitness):
        """Nothing to learn."""
        return state
