"""Modular: a pool of modules, each a whole set of the policy's weights, and a controller that picks one for each task.

Source: Kirsch, Kunze and Barber 2018 (arXiv 1811.05249), with a single layer and K = 1. The controller is a softmax of a linear
map of what is seen at the start of a task,

    p(m | s) = softmax(s W + b)_m,      a task is played with argmax_m p(m | s), its route.

Hard expectation-maximisation. E: of a new task a second module is sampled from p, and the one that solves more lifetimes, or of
equals the likelier one, is its label. M: the controller takes steps up sum log p(label | s), and the module in focus learns in
the tasks whose route it is. `openended.routes` drives both. No term balances the loads of modules; two entropies tell whether
they collapse.

All modules begin as copies of one policy. The updates of a round change the module in focus alone: what another one plays is
played as before, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from openended.learners.base import AbstractLearner, Intrinsic, LearnerState, Sample
from openended.types import LearnReport, Params, Rollout


class Pool(NamedTuple):
    """What is learned with: of every module, and which of them learns."""

    focus: jax.Array  # i32[]
    learning: Any  # the optimisers of the inner learners, leaves [M, ...]
    updates: jax.Array  # i32[M]


class Modular(AbstractLearner):
    """One learner, ``inner`` with its own settings, in every module; see above.

    ``steps`` of ``rate`` are taken by the controller in every round.
    """

    def __init__(
        self, inner: Callable[..., AbstractLearner], modules: int = 8, rate: float = 0.5, steps: int = 100, **settings: Any
    ):
        self.inner = inner(**settings)
        self.policy, self.extrinsic_weight = self.inner.policy, self.inner.extrinsic_weight
        for name, value, least in (("modules", modules, 2), ("steps", steps, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"learner.{name} is {value}; allowed: a whole number of at least {least}")
        if not rate > 0:
            raise ValueError(f"learner.rate is {rate}; allowed: above 0")
        self.modules, self.rate, self.steps = modules, rate, steps

    def init(self, key: jax.Array, params: Params | None = None) -> LearnerState:
        """Copies of a new-born learner, or of one with these weights."""
        one = self.inner.init(key, params)
        learning = self._copies(one.optimiser)
        controller = {"w": jnp.zeros((self.policy.observation, self.modules)), "b": jnp.zeros(self.modules)}
        pool = Pool(jnp.zeros((), jnp.int32), learning, jnp.zeros(self.modules, jnp.int32))
        return LearnerState({"modules": self._copies(one.params), "controller": controller}, pool, one.updates)

    def update(
        self, state: LearnerState, sample: Sample, tasks: Any, intrinsic: Intrinsic, key: jax.Array
    ) -> tuple[LearnerState, Rollout, LearnReport]:
        """An update of the module in focus."""
        pool, stack = state.optimiser, state.params["modules"]
        one = LearnerState(*_taken((stack, pool.learning, pool.updates), pool.focus))
        one, rollout, told = self.inner.update(one, sample, tasks, intrinsic, key)
        stack, learning, updates = _put((stack, pool.learning, pool.updates), pool.focus, tuple(one))
        after = LearnerState(state.params | {"modules": stack}, Pool(pool.focus, learning, updates), state.updates + 1)
        return after, rollout, told

    def acting(self, params: Params, module: Any) -> Params:
        """The module's weights; of an array of modules, with its shape in front."""
        return _taken(params["modules"], module)

    def likelihoods(self, params: Params, sights: np.ndarray) -> np.ndarray:
        """log p(m | s), f[N, M]."""
        logits = sights @ np.asarray(params["controller"]["w"]) + np.asarray(params["controller"]["b"])
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)

    def focus(self, state: LearnerState, module: int) -> LearnerState:
        """The learner with that module in focus."""
        return state._replace(optimiser=state.optimiser._replace(focus=jnp.asarray(module, jnp.int32)))

    def assign(self, state: LearnerState, sights: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> LearnerState:
        """The controller after some steps up the weighted mean of log p(label | sight)."""
        if not len(labels):
            return state
        controller = {name: np.asarray(part) for name, part in state.params["controller"].items()}
        wanted, share = np.eye(self.modules)[labels], (weight / weight.sum())[:, None]
        for _ in range(self.steps):
            error = share * (wanted - np.exp(self.likelihoods({"controller": controller}, sights)))
            change = {"w": sights.T @ error, "b": error.sum(axis=0)}
            controller = {name: controller[name] + self.rate * change[name] for name in controller}
        controller = {name: part.astype(np.float32) for name, part in controller.items()}
        return state._replace(params=state.params | {"controller": controller})

    def _copies(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.repeat(jnp.asarray(leaf)[None], self.modules, axis=0), tree)


def _taken(stack: Any, module: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[module], stack)


def _put(stack: Any, module: jax.Array, values: Any) -> Any:
    return jax.tree.map(lambda leaf, value: leaf.at[module].set(value), stack, values)
