"""Which accepted task which learner still solved. Only what was written since the last look is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openended.journal import solved_in


class Retention:
    """Tests of every task, from rows in the order in which they were written.

    A test that gave a verdict has an event of the same round and the same counts; otherwise the task stays what it was.
    """

    def __init__(self) -> None:
        self.seen = (0, 0)  # newest row of event and of evaluation
        self._verdicts: dict[tuple[str, int], dict[str, bool]] = {}
        self._tests: dict[str, dict[int, tuple[int, int, bool]]] = {}  # by learner: successes, lifetimes, forgotten
        self._told: dict[str, list[int]] = {}  # a task's tests as the page gets them, until there is a new one
        self._now: dict[str, bool] = {}
        self._accepted_at: dict[str, int] = {}

    def take(self, verdicts: Iterable[tuple[Any, ...]], tests: Iterable[tuple[Any, ...]]) -> None:
        """Verdicts (seq, task, round, reason, kind), tests (rowid, task, learner, purpose, n, k, round); of one read."""
        event, evaluation = self.seen
        for seq, task, round, reason, kind in verdicts:
            event = seq
            self._verdicts.setdefault((task, round), {})[reason] = kind == "forgotten"
        for rowid, task, version, purpose, n, k, round in tests:
            evaluation = rowid
            lost = self._now.get(task, False)
            said = self._verdicts.get((task, round))
            if said is not None:
                lost = said.get(solved_in(k, n), lost)
            self._now[task] = lost
            if purpose == "new":
                self._accepted_at.setdefault(task, version)
            self._tests.setdefault(task, {})[version] = (k, n, lost)
            self._told.pop(task, None)
        self.seen = event, evaluation

    def matrix(self, families: dict[str, str]) -> dict[str, Any]:
        """Of these tasks (id -> family), the one tested first first: what `pages.memory` tells."""
        ids = [task for task in self._tests if task in families]
        return {
            "tasks": ids,
            "accepted_at": [self._accepted_at.get(task) for task in ids],
            "families": [families[task] for task in ids],
            "forgotten_now": [task for task in ids if self._now[task]],
            "cells": [self._told.get(task) or self._tell(task) for task in ids],
        }

    def _tell(self, task: str) -> list[int]:
        told = [x for version, (k, n, lost) in self._tests[task].items() for x in (version, k, n, int(lost))]
        self._told[task] = told
        return told
