"""The tasks of one family that the loop knows: fixed-capacity arrays, one row per task."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNKNOWN = {"regret": (np.inf, np.float32), "returns": (-np.inf, np.float32), "visited": (0, np.int32)}  # before an appraisal
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
    regret: np.ndarray  # f32[N] latest estimate by an objective that appraises, infinite before the first
    returns: np.ndarray  # f32[N] the highest Appraisal.returns so far
    visited: np.ndarray  # i32[N] round in which it was last appraised, 0 before
    # Of a learner of several modules, else 0:
    label: np.ndarray  # i32[N] the best module: at the screen, or the last one by which a test found it solved
    failed: np.ndarray  # i32[N] the module that failed it at entry
    seal: np.ndarray  # i64[N] of what gave the verdict ``forgotten``, 0 before any: it holds while the seal stays the same

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
        unknown = ("progress", "order", "forgotten", "speedup", "label", "failed", "seal", *UNKNOWN)
        blank = {name: getattr(empty(1, 0), name)[0] for name in unknown}
        given = {name: column[: places.size] for name, column in columns.items()}
        return self.change(places, **(blank | {"status": np.int32(SEEN)} | given)), places

    def at(self, rows: np.ndarray) -> Repertoire:
        """These rows alone."""
        return Repertoire(*(column[rows] for column in self))

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
        label=np.zeros(capacity, np.int32),
        failed=np.zeros(capacity, np.int32),
        seal=np.zeros(capacity, np.int64),
        **{name: np.full(capacity, *unknown) for name, unknown in UNKNOWN.items()},
    )


def by_rank(regret: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities f64[N] proportional to rank^(-1/temperature), the highest regret first; equals share by order."""
    rank = np.empty(regret.size)
    rank[np.argsort(-regret, kind="stable")] = np.arange(1, regret.size + 1)
    weight = rank ** (-1.0 / temperature)
    return weight / weight.sum()
