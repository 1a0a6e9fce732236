"""The contract of a generator: propose tasks of one family, learn from what became of them."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.interface import redirect
from envs.spec import ParamSpec
from openended.repertoire import Repertoire


class Proposal(NamedTuple):
    """Candidates of one family, one row each."""

    vector: np.ndarray  # f32[N, D]
    parent: np.ndarray  # i32[N] row of the repertoire, -1 without parent
    operator: tuple[str, ...]
    step: np.ndarray  # f32[N, D] the mutation step that was asked for (zero for other operators)


class AbstractGenerator(abc.ABC):
    """Keeps one state per family."""

    novelty: float

    @abc.abstractmethod
    def init(self, specs: Sequence[ParamSpec], count: int, seed: int) -> Any:
        """State for a family whose rounds get ``count`` candidates."""

    @abc.abstractmethod
    def propose(
        self, state: Any, specs: Sequence[ParamSpec], repertoire: Repertoire, count: int, rng: np.random.Generator
    ) -> tuple[Proposal, Any]:
        """``count`` candidates."""

    @abc.abstractmethod
    def update(self, state: Any, proposal: Proposal, fitness: np.ndarray) -> Any:
        """Learn from the fitness f[N] of every candidate (higher is better, -inf for invalid or trivial, NaN: not known)."""


def immigrants(specs: Sequence[ParamSpec], count: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors f32[count, D] without parents: uniform, but that most hidden goals come with straight motors (`redirect`)."""
    return redirect(specs, rng.uniform(size=(count, len(specs))).astype(np.float32), rng)


def mutate(
    specs: Sequence[ParamSpec], vector: np.ndarray, step: np.ndarray, flip: float, rng: np.random.Generator
) -> np.ndarray:
    """Children f[N, D]: sliding genes take the step f[N, D], switching ones are drawn anew with probability ``flip``."""
    switch = np.array([spec.structural for spec in specs])
    flips = switch & (rng.uniform(size=vector.shape) < flip)
    slid = np.where(switch, vector, _reflect(vector + step))
    return np.where(flips, rng.uniform(size=vector.shape), slid)


def _reflect(x: np.ndarray) -> np.ndarray:
    """Into the unit box by reflection, so that mutation does not pile up at the bounds."""
    return 1.0 - np.abs(1.0 - np.mod(x, 2.0))
