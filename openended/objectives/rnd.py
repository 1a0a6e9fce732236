"""Random network distillation: the error of predicting what a fixed random network makes of an observation.

Reward of a step: weight * min(|g(o') - f(o')|^2 / power, 1), where o' is the next observation in standard deviations (running
mean and variance, within five), f: R^W -> R^F the fixed random network, g the learned one, power = mean over the rollout of
|f|^2, so that 1 is the error of who knows no observation.

Source: Burda et al. 2018 (arXiv 1810.12894). The target is a function of the observation alone, so nothing random is left to
predict; what is rewarded is that observations like it were seen seldom.

Known failure: a noise that fills many numbers shows ever new observations and pays until its whole range is learned, long after
what moves in few numbers; and what was seen often pays nothing, whether it is understood or not.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from openended import moments, world_model
from openended.moments import Moments
from openended.objectives.base import AbstractProgress, require_count, require_positive
from openended.types import Rollout


class Distilled(NamedTuple):
    """The fixed network f, the learned one g with its momentum, and the units of observations."""

    target: dict
    now: dict
    momentum: dict
    seen: Moments


class RND(AbstractProgress):
    """Rewards observations that are unlike those seen before."""

    def __init__(
        self, intrinsic_weight: float = 0.02, forgetting: float = 0.98, hidden: int = 64, rate: float = 0.05, features: int = 16
    ):
        super().__init__(intrinsic_weight, forgetting)
        require_count(hidden=hidden, features=features)
        require_positive(rate=rate)
        self.hidden, self.rate, self.features = hidden, rate, features

    def init_model(self, key: jax.Array, observation: int, actions: int) -> Distilled:
        """Two random networks of one shape; the learned one begins near zero."""
        first, second, third, fourth = jax.random.split(key, 4)
        inputs, outputs = (observation, self.hidden), (self.hidden, self.features)
        wide, deep = jnp.sqrt(float(observation)), jnp.sqrt(float(self.hidden))
        target = {"in": jax.random.normal(first, inputs) / wide, "out": jax.random.normal(second, outputs) / deep}
        net = {"in": jax.random.normal(third, inputs) / wide, "out": 0.01 * jax.random.normal(fourth, outputs)}
        return Distilled(target, net, world_model.still(net), moments.unknown(observation))

    def intrinsic(self, model: Distilled, rollout: Rollout) -> jax.Array:
        """weight * min(error / power, 1), f32[B, T]."""
        share = _errors(model.now, model, rollout) / world_model.power(_wanted(model, rollout), rollout)
        return self.intrinsic_weight * jnp.minimum(world_model.by_step(share), 1.0)

    def train(self, model: Distilled, rollout: Rollout) -> Distilled:
        """One step of momentum gradient descent on a share of the rows of every family; the units follow all rows."""
        few = world_model.few(rollout)
        known = model._replace(seen=_noted(model.seen, rollout))
        now, momentum = world_model.descend(
            lambda net: jnp.mean(_errors(net, known, few)), model.now, model.momentum, self.rate
        )
        return known._replace(now=now, momentum=momentum)


def _noted(seen: Moments, rollout: Rollout) -> Moments:
    return moments.seen(seen, rollout.percept.observation, rollout.running.astype(jnp.float32))


def _output(net: dict, seen: Moments, rollout: Rollout) -> jax.Array:
    """Of the next observations, f32[B, T - 1, F]."""
    return jnp.tanh(moments.standard(seen, rollout.percept.observation[:, 1:]) @ net["in"]) @ net["out"]


def _wanted(model: Distilled, rollout: Rollout) -> jax.Array:
    return _output(model.target, model.seen, rollout)


def _errors(net: dict, model: Distilled, rollout: Rollout) -> jax.Array:
    """Squared error f32[B, T - 1], zero where no transition is."""
    error = jnp.mean(jnp.square(_output(net, model.seen, rollout) - _wanted(model, rollout)), axis=-1)
    return error * world_model.counted(rollout)
