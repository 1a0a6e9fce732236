"""Identity and distance of tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from envs.spec import ParamSpec


def task_id(family: str, vector: np.ndarray) -> str:
    """Deterministic id: the family's name and 12 hex digits of the vector's float32 bytes."""
    digest = hashlib.sha256(np.ascontiguousarray(vector, np.float32).tobytes()).hexdigest()
    return f"{family}-{digest[:12]}"


def snap(specs: Sequence[ParamSpec], vectors: np.ndarray) -> np.ndarray:
    """Vectors [N, D] with switches at the middle of their cell and pinned numbers at 0.5: equal tasks get equal vectors."""
    out = np.clip(np.asarray(vectors, np.float32), 0.0, 1.0).copy()
    for i, spec in enumerate(specs):
        if spec.pinned:
            out[:, i] = 0.5
        elif spec.structural:
            out[:, i] = (np.minimum(np.floor(out[:, i] * spec.cells), spec.cells - 1) + 0.5) / spec.cells
    return out


def nearest(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Normalised distance f[N] to the nearest of ``others`` [M, D]: root mean square over the unit box; inf without any."""
    if len(others) == 0:
        return np.full(len(vectors), np.inf)
    square = np.sum(vectors**2, 1)[:, None] - 2.0 * vectors @ others.T + np.sum(others**2, 1)[None]
    return np.sqrt(np.maximum(square.min(axis=1), 0.0) / vectors.shape[1])


def novel(vectors: np.ndarray, known: np.ndarray, least: float) -> np.ndarray:
    """bool[N]: at least ``least`` from every known vector and from every earlier novel one of this call."""
    fine = nearest(vectors, known) >= least
    for i in np.flatnonzero(fine):
        before = vectors[:i][fine[:i]]
        fine[i] = bool(nearest(vectors[i : i + 1], before)[0] >= least)
    return fine


def cost_bits(child: np.ndarray, parent: np.ndarray | None, resolution: float = 1 / 64) -> float:
    """Description length of the change from the parent: for each changed number its index and its step, in bits.

    A task without parent pays for every number at the resolution.
    """
    dims = child.size
    if parent is None:
        return float(dims * np.log2(1.0 / resolution))
    change = np.abs(child - parent)
    moved = change > resolution / 2
    return float(np.sum(moved * (np.log2(dims) + 1.0 + np.log2(1.0 + change / resolution))))
