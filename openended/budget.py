"""When a run ends, and what its last round may learn: near the budget, at the end of a round."""

from __future__ import annotations

from typing import NamedTuple

_NO_LIMIT = 2**62


class Budget(NamedTuple):
    """Rounds and environment steps of all purposes together, whichever ends first.

    Steps are met by the passes of learning in the last round, since the programs of a round have fixed shapes: within half a
    pass, as far as a round's tests take what those before it took.
    """

    rounds: int = _NO_LIMIT
    steps: int = _NO_LIMIT

    def ended(self, rounds: int, steps: int, least: float) -> bool:
        """Whether no other round begins after ``rounds`` and ``steps``; ``least``: what one with a single pass takes."""
        left = self.steps - steps
        return rounds >= self.rounds or left <= 0 or 2 * left < least

    def passes(self, steps: float, one: int, least: float, most: int) -> int:
        """Passes of a round that takes ``steps`` in all without them, ``one`` pass so many: what is left, if no other fits."""
        left = self.steps - steps
        return most if left - most * one >= least else max(1, round(left / one))


UNLIMITED = Budget()
