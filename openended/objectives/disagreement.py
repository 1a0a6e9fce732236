"""Disagreement: the variance of what an ensemble of world models predicts.

Reward of a step: weight * min(mean over the observation's numbers of Var_m[predicted change] / power, 1), where m counts the
members and power = mean over the rollout of change^2. Members begin at random apart and learn from different rows.

Source: Pathak et al. 2019 (arXiv 1906.04161). Where nothing can be predicted all members come to predict the mean, so noise
stops to pay, other than with the error itself.

Known failure: members that still learn agree only as far as their data do. On noise each follows the rows that it saw last, and
a small reward stays, in proportion to the learning rate and the noise; where all are wrong alike nothing is rewarded.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from openended import world_model
from openended.objectives.base import AbstractProgress, require_count, require_positive
from openended.types import Rollout

APART = 0.1  # spread of the members' first output weights: where nothing was learned they do not agree


class Ensemble(NamedTuple):
    """World models and their momenta, every leaf with a first axis of members."""

    now: dict
    momentum: dict


class Disagreement(AbstractProgress):
    """Rewards what the members of an ensemble predict differently."""

    def __init__(
        self, intrinsic_weight: float = 0.02, forgetting: float = 0.98, hidden: int = 32, rate: float = 0.05, members: int = 5
    ):
        super().__init__(intrinsic_weight, forgetting)
        require_count(hidden=hidden)
        require_count(2, members=members)
        require_positive(rate=rate)
        self.hidden, self.rate, self.members = hidden, rate, members

    def init_model(self, key: jax.Array, observation: int, actions: int) -> Ensemble:
        """Small random networks, each its own."""
        keys = jax.random.split(key, self.members)
        nets = jax.vmap(lambda each: world_model.init(each, observation, actions, self.hidden, APART))(keys)
        return Ensemble(nets, world_model.still(nets))

    def intrinsic(self, model: Ensemble, rollout: Rollout) -> jax.Array:
        """weight * min(variance of the predictions / power, 1), f32[B, T]."""
        predicted = jax.vmap(world_model.predictions, in_axes=(0, None))(model.now, rollout)
        spread = jnp.mean(jnp.var(predicted, axis=0), axis=-1) * world_model.counted(rollout)
        share = spread / world_model.power(world_model.changes(rollout), rollout)
        return self.intrinsic_weight * jnp.minimum(world_model.by_step(share), 1.0)

    def train(self, model: Ensemble, rollout: Rollout) -> Ensemble:
        """One step of momentum gradient descent of every member, each on other rows of every family."""
        parts = [world_model.few(rollout, member) for member in range(self.members)]
        rows = jax.tree.map(lambda *x: jnp.stack(x), *parts)

        def loss(nets: dict) -> jax.Array:  # a sum, for the gradient of every member to be its own
            return jnp.sum(jax.vmap(lambda net, own: jnp.mean(world_model.errors(net, own)))(nets, rows))

        return Ensemble(*world_model.descend(loss, model.now, model.momentum, self.rate))
