"""The tasks of one family that the loop knows: fixed-capacity arrays, one row per task."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EMPTY, FRONTIER, ACCEPTED, SEEN = 0, 1, 2, 3  # SEEN: valid, neither in the frontier nor accepted; material to learn from


class Repertoire(NamedTuple):
    """Rows are tasks; ``status`` says which are used. All arrays share the first axis."""

    vector: np.ndarray  # f32[N, D]
    status: np.ndarray  # i32[N]
    entered: np.ndarray  # i32[N] round in which it was proposed
    success: np.ndarray  # f32[N] latest estimate of success in the last episode
    progress: np.ndarray  # f32[N] latest realised learning progress
    difficulty: np.ndarray  # f32[N] bits
    order: np.ndarray  # i32[N] how many were accepted before it, -1 if it is not accepted
    forgotten: np.ndarray  # bool[N] latest verdict of a retention test
    speedup: np.ndarray  # bool[N] an older task with less time: progress of another kind than a skill

    def rows(self, status: int) -> np.ndarray:
        """Indices with that status, accepted ones in the order of their acceptance."""
        found = np.flatnonzero(self.status == status)
        return found[np.argsort(self.order[found], kind="stable")]

    def skills(self) -> np.ndarray:
        """Indices of the accepted tasks that are not speed-ups, in the order of their acceptance."""
        found = self.rows(ACCEPTED)
        return found[~self.speedup[found]]

    def oldest(self, status: int) -> np.ndarray:
        """Indices with that status, the earliest proposed first."""
        found = np.flatnonzero(self.status == status)
        return found[np.argsort(self.entered[found], kind="stable")]

    def insert(self, **columns: np.ndarray) -> tuple[Repertoire, np.ndarray]:
        """New SEEN rows, as many as fit, in empty places or in those of the oldest SEEN ones; the indices they got."""
        places = np.concatenate([np.flatnonzero(self.status == EMPTY), self.oldest(SEEN)])[: len(columns["vector"])]
        blank = {"status": np.int32(SEEN), "progress": np.float32(0), "order": np.int32(-1), "forgotten": False}
        return self.change(places, **({**blank, "speedup": False} | {k: v[: places.size] for k, v in columns.items()})), places

    def change(self, rows: np.ndarray | int, **columns) -> Repertoire:
        """A copy with the named columns of some rows set."""
        fresh = {}
        for name, value in columns.items():
            fresh[name] = getattr(self, name).copy()
            fresh[name][rows] = value
        return self._replace(**fresh)


def empty(capacity: int, dims: int) -> Repertoire:
    """A repertoire without tasks."""
    return Repertoire(
        vector=np.full((capacity, dims), 0.5, np.float32),
        status=np.zeros(capacity, np.int32),
        entered=np.zeros(capacity, np.int32),
        success=np.zeros(capacity, np.float32),
        progress=np.zeros(capacity, np.float32),
        difficulty=np.zeros(capacity, np.float32),
        order=np.full(capacity, -1, np.int32),
        forgotten=np.zeros(capacity, bool),
        speedup=np.zeros(capacity, bool),
    )
