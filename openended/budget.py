"""When a run ends: near its budget, at the end of a round."""

from __future__ import annotations

from typing import NamedTuple


class Budget(NamedTuple):
    """Rounds and environment steps of all purposes together, whichever ends first."""

    rounds: int
    steps: int

    def ended(self, rounds: int, steps: int, last: int) -> bool:
        """Whether no other round begins after ``rounds`` and ``steps``, of which the last round took ``last`` (0: none yet).

        A round is never cut short, since its programs have fixed shapes: one begins while at least half of what the last one
        took is left. So a run ends within half a round of its budget, as far as a round takes what the one before it took.
        """
        left = self.steps - steps
        return rounds >= self.rounds or left <= 0 or 2 * left < last
