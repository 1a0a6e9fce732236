"""Which accepted task which learner still solved. Only what was written since the last look is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """The latest test of a task by one learner."""

    k: int
    n: int
    forgotten: bool


class Retention:
    """Tests of every task, from rows in the order in which they were written.

    A test that gave a verdict has an event of the same round and the same counts; otherwise the task stays what it was.
    """

    def __init__(self) -> None:
        self.seen = (0, 0)  # newest row of event and of evaluation
        self._verdicts: dict[tuple[str, int, str], bool] = {}
        self._cells: dict[str, dict[int, Cell]] = {}
        self._now: dict[str, bool] = {}
        self._accepted_at: dict[str, int] = {}

    def take(self, verdicts: Iterable[tuple[Any, ...]], tests: Iterable[tuple[Any, ...]]) -> None:
        """Verdicts (seq, task, round, reason, kind), tests (rowid, task, learner, purpose, n, k, round); of one read."""
        event, evaluation = self.seen
        for seq, task, round, reason, kind in verdicts:
            event = seq
            self._verdicts[task, round, reason] = kind == "forgotten"
        for rowid, task, version, purpose, n, k, round in tests:
            evaluation = rowid
            lost = self._verdicts.get((task, round, f"solved in {k} of {n} lifetimes"), self._now.get(task, False))
            self._now[task] = lost
            if purpose == "new":
                self._accepted_at.setdefault(task, version)
            self._cells.setdefault(task, {})[version] = Cell(k, n, lost)
        self.seen = event, evaluation

    def matrix(self, families: dict[str, str]) -> dict[str, Any]:
        """Of these tasks (id -> family), the one tested first first: what `pages.memory` tells."""
        ids = [task for task in self._cells if task in families]
        return {
            "tasks": ids,
            "accepted_at": [self._accepted_at.get(task) for task in ids],
            "families": [families[task] for task in ids],
            "forgotten_now": [task for task in ids if self._now[task]],
            "cells": [[i, at, c.k, c.n, int(c.forgotten)] for i, task in enumerate(ids) for at, c in self._cells[task].items()],
        }
