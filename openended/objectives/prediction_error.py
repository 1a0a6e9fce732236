"""Plain curiosity: the error of a world model, the known bad example of an ablation.

Reward of a step: weight * min(error / power, 1), where error = mean over the observation's numbers of
(change - predicted change)^2 and power = mean over the rollout of change^2, so that 1 is the error of who predicts nothing.

Source: Pathak et al. 2017 (arXiv 1705.05363), whose error is that of learned features of pixels; here the observations are few
numbers, and the error is theirs. The idea is Schmidhuber's of 1991.

Known failure: the "noisy TV" (Burda et al. 2018, arXiv 1808.04355). What cannot be predicted is rewarded for ever.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from openended import world_model
from openended.objectives.base import AbstractProgress, require_count, require_positive
from openended.types import Rollout


class Learned(NamedTuple):
    """World model and its momentum."""

    now: dict
    momentum: dict


class PredictionError(AbstractProgress):
    """Rewards what the world model does not predict."""

    def __init__(self, intrinsic_weight: float = 0.02, forgetting: float = 0.98, hidden: int = 32, rate: float = 0.05):
        super().__init__(intrinsic_weight, forgetting)
        require_count(hidden=hidden)
        require_positive(rate=rate)
        self.hidden, self.rate = hidden, rate

    def init_model(self, key: jax.Array, observation: int, actions: int) -> Learned:
        """A small random network."""
        net = world_model.init(key, observation, actions, self.hidden)
        return Learned(net, world_model.still(net))

    def intrinsic(self, model: Learned, rollout: Rollout) -> jax.Array:
        """weight * min(error / power, 1), f32[B, T]."""
        share = world_model.errors(model.now, rollout) / world_model.power(world_model.changes(rollout), rollout)
        return self.intrinsic_weight * jnp.minimum(share, 1.0)

    def train(self, model: Learned, rollout: Rollout) -> Learned:
        """One step of momentum gradient descent on a share of the rows of every family."""
        few = world_model.few(rollout)
        loss = lambda net: jnp.mean(world_model.errors(net, few))  # noqa: E731
        return Learned(*world_model.descend(loss, model.now, model.momentum, self.rate))
