"""The contract of a learner, and the part that every learner with a :class:`~openended.networks.AbstractPolicy` shares."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from openended.networks import AbstractPolicy
from openended.types import LearnReport, Params, Rollout

Sample = Callable[[Params, Any, jax.Array], Rollout]  # (params, tasks, key) -> lifetimes
Intrinsic = Callable[[Rollout], jax.Array]  # rollout [B, T] -> reward f32[B, T]


class LearnerState(NamedTuple):
    """What a learner carries from update to update."""

    params: Params  # what acts
    optimiser: Any
    updates: jax.Array  # i32[]


class AbstractLearner(abc.ABC):
    """Parameters and an inner learning process. Meta-learning is ``update``; adaptation lives in the policy's memory."""

    policy: AbstractPolicy
    extrinsic_weight: float
    modules: int = 1  # whole sets of the policy's weights, one of which plays a task

    @abc.abstractmethod
    def init(self, key: jax.Array, params: Params | None = None) -> LearnerState:
        """A learner before its first update, new-born or with the weights of another."""

    @abc.abstractmethod
    def update(
        self, state: LearnerState, sample: Sample, tasks: Any, intrinsic: Intrinsic, key: jax.Array
    ) -> tuple[LearnerState, Rollout, LearnReport]:
        """One update on one batch of tasks; runs once per device on that device's rows and agrees by averaging."""

    def lifetimes(self, rows: int) -> int:
        """How many an update plays of a family when it is given so many rows of tasks."""
        return rows

    def acting(self, params: Params, module: Any) -> Params:
        """The policy's weights in the tasks that a module plays, an index or an array of them. Here there is one for all."""
        return params

    def likelihoods(self, params: Params, sights: np.ndarray) -> np.ndarray:
        """log p(module) f[N, modules], by what is seen at the start of tasks f32[N, W]; the likeliest one plays."""
        return np.zeros((len(sights), self.modules))

    def focus(self, state: LearnerState, module: int) -> LearnerState:
        """The learner whose next updates change that module alone."""
        return state

    def assign(self, state: LearnerState, sights: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> LearnerState:
        """The learner after being told which modules i64[N] are best where this f32[N, W] is seen, and how much each counts."""
        return state

    def reward(self, rollout: Rollout, intrinsic: Intrinsic) -> jax.Array:
        """What is maximised: f32[B, T], weighted extrinsic plus intrinsic reward on running steps."""
        total = self.extrinsic_weight * rollout.reward + intrinsic(rollout)
        return jnp.where(rollout.running, total, 0.0)


def report(rollout: Rollout, metrics: dict[str, jax.Array]) -> LearnReport:
    """Success by row and the update's scalars."""
    return LearnReport(rollout.success, rollout.broken, metrics)


def falling(first: float, last: float, steps: int) -> optax.Schedule:
    """A learning rate that falls exponentially from ``first`` to ``last`` over so many steps, and stays there."""
    return optax.exponential_decay(first, steps, last / first, end_value=last)


def require_positive(**numbers: float) -> None:
    """Raises a ValueError naming the first learner setting that is not above zero."""
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"learner.{name} is {value}; allowed: above 0")
