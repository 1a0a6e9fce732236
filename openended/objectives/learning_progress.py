"""Learning progress: expected from learnability and kin before learning, realised after it, signed and per cost.

The intrinsic reward is progress of a world model: how much better today's model predicts a transition than its slow
average does. What cannot be predicted gives both the same error and so no reward (Schmidhuber 1991; Oudeyer et al. 2007).

Known failure: errors are squared, so loud noise in a rollout makes its scale large and the reward for quiet structure small.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from openended import trees, world_model
from openended.objectives.base import AbstractProgress, require, require_count, require_positive
from openended.types import Rollout


class Models(NamedTuple):
    """World model now, its momentum, and its slow average."""

    now: dict
    momentum: dict
    slow: dict


class LearningProgress(AbstractProgress):
    """Default objective. The world model is that of :mod:`openended.world_model`."""

    def __init__(
        self, intrinsic_weight: float = 0.02, forgetting: float = 0.98, hidden: int = 32, rate: float = 0.05, lag: float = 0.05
    ):
        super().__init__(intrinsic_weight, forgetting)
        require_count(hidden=hidden)
        require_positive(rate=rate)
        require("0 to 1", lambda value: 0 <= value <= 1, lag=lag)
        self.hidden, self.rate, self.lag = hidden, rate, lag

    def init_model(self, key: jax.Array, observation: int, actions: int) -> Models:
        """A small random network and its copy."""
        net = world_model.init(key, observation, actions, self.hidden)
        return Models(net, world_model.still(net), net)

    def intrinsic(self, model: Models, rollout: Rollout) -> jax.Array:
        """weight * clip((error of the slow model - error of today's) / mean error of the slow model, -1, 1)."""
        slow, now = world_model.errors(model.slow, rollout), world_model.errors(model.now, rollout)
        scale = trees.mean(jnp.mean(slow)) + 1e-6
        return self.intrinsic_weight * jnp.clip((slow - now) / scale, -1.0, 1.0)

    def train(self, model: Models, rollout: Rollout) -> Models:
        """One step of momentum gradient descent on a share of the rows of every family; the slow model follows."""
        few = world_model.few(rollout)
        now, momentum = world_model.descend(
            lambda net: jnp.mean(world_model.errors(net, few)), model.now, model.momentum, self.rate
        )
        slow = jax.tree.map(lambda s, w: s + self.lag * (w - s), model.slow, now)
        return Models(now, momentum, slow)
