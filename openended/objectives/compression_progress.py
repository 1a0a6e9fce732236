"""Compression progress: the bits that a world model saves on a rollout by learning from it.

The model predicts every number of a change as a Gaussian, mean and variance from observation and action. With z the change in
standard deviations (running mean and variance, within five), which need not be learned, it tells the change with

    L = (ln(2 pi variance) + (z - mean)^2 / variance) / (2 ln 2)   bits, but for the precision of the numbers.

Reward of a step: weight * clip((L before the update - L after it) / unit, -1, 1), L averaged over the numbers that vary and
the update being the one that ``train`` makes of this very rollout. One row of eight is learned from, so nearly all bits are
saved on rows that the model has not learned from, where learning by heart saves none. Where noise is told with its own variance
nothing is left to save.

Source: Schmidhuber 2009, "Driven by Compression Progress" (arXiv 0812.4360). Hou et al. 2025 (arXiv 2509.25438, "learning
progress monitoring") reward a kindred difference: the error that a second network expects of the previous world model, less
today's error. Here the model before is at hand, and both tell the same transition, so most of its noise falls out.

Known failure: what is saved in an update is small and fades fast, so the reward ends long before the policy has made use of
it. Bits have no worth: how loud noise is counts, until it is known, as much as a law of motion.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from openended import moments, world_model
from openended.moments import Moments
from openended.objectives.base import AbstractProgress, require_count, require_positive
from openended.types import Rollout

PRECISION = 0.1  # standard deviations: to know a change better saves nothing
_FARTHEST = 10.0  # of log variances


class Coder(NamedTuple):
    """World model with ``wide`` f32[H, W] and ``level`` f32[W] for the log variance, and its momentum."""

    now: dict
    momentum: dict
    seen: Moments  # of changes


class CompressionProgress(AbstractProgress):
    """Rewards what the update just made cheaper to tell."""

    def __init__(
        self,
        intrinsic_weight: float = 0.02,
        forgetting: float = 0.98,
        hidden: int = 32,
        rate: float = 0.02,
        unit: float = 0.05,
    ):
        super().__init__(intrinsic_weight, forgetting)
        require_count(hidden=hidden)
        require_positive(rate=rate, unit=unit)
        self.hidden, self.rate, self.unit = hidden, rate, unit

    def init_model(self, key: jax.Array, observation: int, actions: int) -> Coder:
        """A small random network that takes every variance for 1."""
        net = world_model.init(key, observation, actions, self.hidden)
        net |= {"wide": jnp.zeros((self.hidden, observation)), "level": jnp.zeros(observation)}
        return Coder(net, world_model.still(net), moments.unknown(observation))

    def intrinsic(self, model: Coder, rollout: Rollout) -> jax.Array:
        """weight * clip(bits saved / unit, -1, 1), f32[B, T]."""
        after = self.train(model, rollout)
        before = after._replace(now=model.now)
        saved = code_length(before, rollout) - code_length(after, rollout)
        return self.intrinsic_weight * jnp.clip(world_model.by_step(saved) / self.unit, -1.0, 1.0)

    def train(self, model: Coder, rollout: Rollout) -> Coder:
        """One step of momentum gradient descent on a share of the rows: the mean by squared error, the variance by code length.

        Code length alone would hardly move means where the variance is large (Seitzer et al. 2022, arXiv 2203.09168).
        """
        few = world_model.few(rollout)
        seen = moments.seen(model.seen, world_model.changes(rollout), world_model.counted(rollout))

        def loss(net: dict) -> jax.Array:
            error, variance = _told(Coder(net, {}, seen), few)
            nats = _nats(jax.lax.stop_gradient(error), variance)
            return jnp.mean(_averaged(error + nats, seen, few))

        return Coder(*world_model.descend(loss, model.now, model.momentum, self.rate), seen)


def code_length(coder: Coder, rollout: Rollout) -> jax.Array:
    """Bits per number f32[B, T - 1], zero where no transition is."""
    return _averaged(_nats(*_told(coder, rollout)), coder.seen, rollout) / np.log(2.0)


def _told(coder: Coder, rollout: Rollout) -> tuple[jax.Array, jax.Array]:
    """Squared errors and expected variances of the changes, f32[B, T - 1, W]."""
    features = world_model.features(coder.now, rollout)[:, :-1]
    error = jnp.square(moments.standard(coder.seen, world_model.changes(rollout)) - features @ coder.now["out"])
    spread = jnp.clip(coder.now["level"] + features @ coder.now["wide"], -_FARTHEST, _FARTHEST)
    return error, jnp.exp(spread) + PRECISION**2


def _nats(error: jax.Array, variance: jax.Array) -> jax.Array:
    return 0.5 * (jnp.log(2.0 * np.pi * variance) + error / variance)


def _averaged(values: jax.Array, seen: Moments, rollout: Rollout) -> jax.Array:
    """Mean over the numbers that vary, f32[B, T - 1], zero where no transition is."""
    varied = moments.varied(seen)
    return jnp.sum(values * varied, axis=-1) / jnp.maximum(jnp.sum(varied), 1.0) * world_model.counted(rollout)
