"""All tasks by column, with their first parents. After the first look only the tasks that changed are read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

EVERY = """SELECT t.id, t.family, t.status, t.kind, t.round, f.reason, f.forgotten FROM task t JOIN fact f ON f.id = t.id
    {where} ORDER BY t.rowid"""
CHANGED = "WHERE t.id IN (SELECT id FROM dirty)"
PARENTS = "SELECT rowid, child, parent, operator FROM parentage WHERE rowid > ? ORDER BY rowid"


class Forest:
    """Columns of equal length in the order of proposal; ``parent``: the row of the first parent, -1 without one."""

    def __init__(self) -> None:
        self.seen = -1  # newest row of parentage; -1: nothing was read yet
        self.id: list[str] = []
        self.parent: list[int] = []
        self.family: list[str] = []
        self.status: list[str] = []
        self.kind: list[str] = []
        self.round: list[int] = []
        self.reason: list[str] = []
        self.forgotten: list[int] = []
        self.operator: list[str | None] = []
        self._place: dict[str, int] = {}
        self._waiting: dict[str, tuple[str, str]] = {}  # first parents of tasks that a later look brings

    def take(self, rows: Iterable[tuple[Any, ...]], parents: Iterable[tuple[int, str, str, str]]) -> None:
        """Rows of `EVERY`, then those of `PARENTS` that are newer than ``seen``; all of one read."""
        place, own = self._place, (self.id, self.family, self.status, self.kind, self.round, self.reason, self.forgotten)
        for row in rows:
            at = place.setdefault(row[0], len(place))
            if at == len(self.id):
                for column, value in zip(own, row, strict=True):
                    column.append(value)  # type: ignore[attr-defined]
                self.parent.append(-1)
                self.operator.append(None)
            else:
                self.status[at], self.kind[at], self.reason[at], self.forgotten[at] = row[2], row[3], row[5], row[6]
        self.seen = max(self.seen, 0)
        for rowid, child, parent, operator in parents:
            self.seen = rowid
            self._waiting.setdefault(child, (parent, operator))
        for child in [child for child in self._waiting if child in place]:
            parent, operator = self._waiting.pop(child)
            if self.operator[place[child]] is None:  # else it is a second parent
                self.parent[place[child]], self.operator[place[child]] = place.get(parent, -1), operator

    def columns(self) -> dict[str, list[Any]]:
        """What the page of the lineage is told of every task."""
        names = ("id", "parent", "family", "status", "kind", "round", "forgotten", "operator")
        return {name: getattr(self, name) for name in names}

    def accepted(self) -> dict[str, str]:
        """Id -> family of the accepted tasks."""
        return {id: name for id, name, status in zip(self.id, self.family, self.status, strict=True) if status == "accepted"}

    def counts(self) -> list[tuple[Any, ...]]:
        """(family, status, kind, reason, forgotten, how many tasks)."""
        found = Counter(zip(self.family, self.status, self.kind, self.reason, self.forgotten, strict=True))
        return [(*key, many) for key, many in sorted(found.items())]
