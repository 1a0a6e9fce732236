"""What one round has to tell the archive; plain data, written by the loop and stored by ``train``."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np


def solved_in(k: int, n: int) -> str:
    """The reason of `forgotten` and `restored`, by which the browser finds the test that gave the verdict."""
    return f"solved in {k} of {n} lifetimes"


class NewTask(NamedTuple):
    """A task that passed the screen (it enters the frontier) or was refused with a verdict worth keeping."""

    id: str
    family: str
    vector: np.ndarray
    kind: str
    learner_version: int
    cost_bits: float
    witness: dict[str, Any] | None
    parent: str | None
    operator: str
    delta: dict[str, float]


@dataclasses.dataclass
class Journal:
    """Rows of one round in the order in which they happened."""

    round: int
    tasks: list[NewTask] = dataclasses.field(default_factory=list)
    statuses: dict[str, str] = dataclasses.field(default_factory=dict)
    events: list[tuple[str | None, str, str]] = dataclasses.field(default_factory=list)
    evaluations: list[tuple[str, int, str, int, int]] = dataclasses.field(default_factory=list)  # id, version, purpose, n, k
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)

    def status(self, task: str, status: str, reason: str) -> None:
        """A change of status is an event and a status."""
        self.statuses[task] = status
        self.events.append((task, status, reason))
