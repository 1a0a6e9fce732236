"""Evolve: children of frontier and archive tasks; evosax adapts the distribution of mutation steps of each family."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import SNES

from envs.spec import ParamSpec
from openended.generators.base import AbstractGenerator, Proposal, immigrants, mutate
from openended.repertoire import ACCEPTED, FRONTIER, Repertoire
from openended.tasks import snap


class EvolveState(NamedTuple):
    """The search distribution over steps (mean, standard deviation f32[D]) and how often it restarted."""

    mean: np.ndarray
    std: np.ndarray
    restarts: np.ndarray  # i32[]


class Evolve(AbstractGenerator):
    """Steps come from a separable natural evolution strategy (Wierstra et al. 2014) over the sliding genes.

    Switching genes have their own operator: each flips with probability ``flip``. ``immigrants`` is the share of candidates
    without parents (all of them while there are none), ``speedups`` the share of accepted tasks with a shorter limit.
    evosax minimises, so members are told their rank from best (0) to worst; the fitness moves with the learner, so the
    standard deviation has a floor and the strategy restarts when it has sat on it.
    """

    def __init__(
        self,
        novelty: float = 0.02,
        sigma: float = 0.15,
        sigma_floor: float = 0.03,
        flip: float = 0.08,
        immigrants: float = 0.5,
        speedups: float = 0.05,
    ):
        for name, value in (("flip", flip), ("immigrants", immigrants), ("speedups", speedups)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"generator.{name} is {value}; allowed: 0 to 1")
        if immigrants + speedups > 1.0:
            raise ValueError(f"generator.speedups is {speedups}; allowed: at most 1 - generator.immigrants={1 - immigrants:g}")
        if not 0.0 < sigma_floor <= sigma:
            raise ValueError(f"generator.sigma_floor is {sigma_floor}; allowed: above 0 and at most generator.sigma={sigma}")
        self.novelty, self.sigma, self.sigma_floor = novelty, sigma, sigma_floor
        self.flip, self.immigrants, self.speedups = flip, immigrants, speedups

    def init(self, specs: Sequence[ParamSpec], count: int, seed: int) -> EvolveState:
        """A fresh step distribution."""
        dims = len(specs)
        return EvolveState(np.zeros(dims, np.float32), np.full(dims, self.sigma, np.float32), np.zeros((), np.int32))

    def propose(
        self, state: EvolveState, specs: Sequence[ParamSpec], repertoire: Repertoire, count: int, rng: np.random.Generator
    ) -> tuple[Proposal, EvolveState]:
        """Immigrants, speed-ups and mutated children, in this order."""
        frontier, accepted = repertoire.rows(FRONTIER), repertoire.rows(ACCEPTED)
        parents = np.concatenate([frontier, accepted])
        quick = round(self.speedups * count) if accepted.size else 0
        # The number of mutated children never changes once there are parents: the strategy is compiled for one size.
        children = round((1.0 - self.immigrants - self.speedups) * count) if parents.size else 0
        fresh = count - quick - children
        chosen = self._parents(repertoire, parents, children, rng)
        step = (state.mean + state.std * rng.standard_normal((chosen.size, len(specs)))).astype(np.float32)
        mutated = mutate(specs, repertoire.vector[chosen], step, self.flip, rng)
        old = rng.choice(accepted, quick) if quick else np.zeros(0, np.int64)
        vector = np.concatenate([immigrants(specs, fresh, rng), _shortened(specs, repertoire.vector[old], rng), mutated])
        parent = np.concatenate([np.full(fresh, -1), old, chosen]).astype(np.int32)
        steps = np.concatenate([np.zeros((fresh + quick, len(specs)), np.float32), step])
        operator = ("random",) * fresh + ("speedup",) * quick + ("mutate",) * chosen.size
        return Proposal(snap(specs, vector), parent, operator, steps), state

    def update(self, state: EvolveState, proposal: Proposal, fitness: np.ndarray) -> EvolveState:
        """Tell the strategy the rank of every mutated child; floor and restart its standard deviation."""
        rows = np.flatnonzero([operator == "mutate" for operator in proposal.operator])
        known = rows[~np.isnan(fitness[rows])]
        if known.size < 4 or not np.any(np.isfinite(fitness[known])):
            return state
        rows = np.resize(known, rows.size)  # repeated in the place of the others: the strategy is compiled for one size
        rank = np.argsort(np.argsort(-fitness[rows], kind="stable"), kind="stable")
        mean, std = _tell(proposal.step[rows], rank.astype(np.float32), state.mean, state.std)
        std = np.clip(std, self.sigma_floor, 2.0 * self.sigma)
        if np.mean(std <= self.sigma_floor * 1.01) > 0.5:
            return EvolveState(np.zeros_like(mean), np.full_like(std, self.sigma), np.asarray(state.restarts + 1, np.int32))
        return EvolveState(np.clip(mean, -self.sigma, self.sigma), std, state.restarts)

    def _parents(self, repertoire: Repertoire, parents: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Parents in proportion to their latest positive learning progress, plus an equal share for all."""
        if count <= 0 or parents.size == 0:
            return np.zeros(0, np.int64)
        weight = np.maximum(repertoire.progress[parents], 0.0) + 0.1
        return rng.choice(parents, count, p=weight / weight.sum())


def _shortened(specs: Sequence[ParamSpec], vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same tasks with a shorter time limit."""
    out = vector.copy()
    out[:, [s.name for s in specs].index("limit")] *= rng.uniform(0.2, 0.8, len(vector))
    return out


@functools.lru_cache
def _strategy(members: int, dims: int) -> SNES:
    """One object for each size: evosax compiles anew for every object."""
    return SNES(population_size=members, solution=jnp.zeros(dims))


def _tell(steps: np.ndarray, rank: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One generation of evosax' SNES: the mean and standard deviation after these steps and their ranks."""
    strategy = _strategy(len(steps), mean.size)
    state = strategy.init(jax.random.key(0), jnp.asarray(mean), strategy.default_params)
    state = state.replace(std=jnp.asarray(std))
    state, _ = strategy.tell(jax.random.key(0), jnp.asarray(steps), jnp.asarray(rank), state, strategy.default_params)
    return np.asarray(state.mean), np.asarray(state.std)
