"""Learning progress: expected from learnability and kin before learning, realised after it, signed and per cost.

The intrinsic reward is progress of a world model: how much better today's model predicts a transition than its slow
average does. What cannot be predicted gives both the same error and so no reward (Schmidhuber 1991; Oudeyer et al. 2007).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from openended import trees
from openended.objectives.base import AbstractObjective, Known, halfway_first, learnability
from openended.types import Rollout

PRIOR = np.array([0.02, 1.0, 0.5])  # weights of constant, learnability and kin before any evidence


class Models(NamedTuple):
    """World model now, its momentum, and its slow average."""

    now: dict
    momentum: dict
    slow: dict


class LearningProgress(AbstractObjective):
    """Default objective.

    ``predict`` is a linear model of realised progress on (1, p(1-p), progress of the parent), fitted by ridge regression with
    exponential forgetting. The world model is one hidden layer on (observation, action) that predicts the next change.
    """

    def __init__(
        self, intrinsic_weight: float = 0.02, forgetting: float = 0.98, hidden: int = 32, rate: float = 0.05, lag: float = 0.05
    ):
        if intrinsic_weight < 0:
            raise ValueError(f"objective.intrinsic_weight is {intrinsic_weight}; allowed: 0 or more")
        if not 0.0 < forgetting <= 1.0:
            raise ValueError(f"objective.forgetting is {forgetting}; allowed: above 0 and at most 1")
        self.intrinsic_weight, self.forgetting = intrinsic_weight, forgetting
        self.hidden, self.rate, self.lag = hidden, rate, lag

    def urgency(self, success: np.ndarray) -> np.ndarray:
        """p (1 - p), with a floor."""
        return halfway_first(success)

    def init_ranker(self) -> np.ndarray:
        """f64[3, 4]: the regression's matrix X'X and vector X'y, starting at the prior's strength."""
        return np.concatenate([np.eye(3), PRIOR[:, None]], axis=1)

    def predict(self, ranker: np.ndarray, known: Known, rng: np.random.Generator) -> np.ndarray:
        """Expected progress per cost."""
        weights = np.linalg.solve(ranker[:, :3], ranker[:, 3])
        return _inputs(known) @ weights / known.cost + 1e-6 * rng.uniform(size=known.successes.size)

    def learn(self, ranker: np.ndarray, known: Known, realised: np.ndarray) -> np.ndarray:
        """Ridge regression towards the prior, old evidence fading."""
        x = _inputs(known)
        prior = self.init_ranker()
        faded = self.forgetting * (ranker - prior)
        return prior + faded + np.concatenate([x.T @ x, (x.T @ realised)[:, None]], axis=1)

    def init_model(self, key: jax.Array, observation: int, actions: int) -> Models:
        """A small random network and its copy."""
        first, second = jax.random.split(key)
        inputs = observation + actions
        net = {
            "in": jax.random.normal(first, (inputs, self.hidden)) / np.sqrt(inputs),
            "out": 0.01 * jax.random.normal(second, (self.hidden, observation)),
        }
        return Models(net, jax.tree.map(jnp.zeros_like, net), net)

    def intrinsic(self, model: Models, rollout: Rollout) -> jax.Array:
        """weight * clip((error of the slow model - error of today's) / mean error of the slow model, -1, 1)."""
        slow, now = _errors(model.slow, rollout), _errors(model.now, rollout)
        scale = trees.mean(jnp.mean(slow)) + 1e-6
        return self.intrinsic_weight * jnp.clip((slow - now) / scale, -1.0, 1.0)

    def train(self, model: Models, rollout: Rollout) -> Models:
        """One step of momentum gradient descent on a share of the rows of every family; the slow model follows."""
        few = jax.tree.map(lambda x: x[::8], rollout)  # families lie one after the other
        gradient = trees.mean(jax.grad(lambda net: jnp.mean(_errors(net, few)))(model.now))
        momentum = jax.tree.map(lambda m, g: 0.9 * m + jnp.clip(g, -1.0, 1.0), model.momentum, gradient)
        now = jax.tree.map(lambda w, m: w - self.rate * m, model.now, momentum)
        slow = jax.tree.map(lambda s, w: s + self.lag * (w - s), model.slow, now)
        return Models(now, momentum, slow)


def _inputs(known: Known) -> np.ndarray:
    return np.stack([np.ones(known.successes.size), learnability(known), known.kin], axis=1)


def _errors(net: dict, rollout: Rollout) -> jax.Array:
    """Squared error f32[B, T] of the predicted change; zero at the last step and where an episode ends."""
    seen = rollout.percept.observation
    action = jnp.clip(rollout.action, -1.0, 1.0) * rollout.mask
    hidden = jnp.tanh(jnp.concatenate([seen, action], axis=-1) @ net["in"])
    change = seen[:, 1:] - seen[:, :-1]
    error = jnp.mean(jnp.square(5.0 * change - (hidden @ net["out"])[:, :-1]), axis=-1)
    same = (1.0 - rollout.percept.first[:, 1:]) * rollout.running[:, :-1]
    return jnp.pad(error * same, ((0, 0), (0, 1)))
