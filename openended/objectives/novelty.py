"""Novelty: how far an episode's behaviour is from the nearest of those in an archive.

Behaviour b of an episode: mean and last of (observation - the episode's first observation), in standard deviations; what is
constant in an episode, as its goal, drops out. Reward of its running steps: weight * min(mean over the k nearest archived
behaviours a of sqrt(mean over the numbers that vary of (b - a)^2), 1): one standard deviation in every number pays all.

The archive is a ring: every update puts behaviours of evenly spaced rows of all devices in place of the oldest.

Source: Lehman and Stanley 2011, "Abandoning Objectives: Evolution Through the Search for Novelty Alone", whose archive takes
what is novel enough and never lets go; here it is bounded, since a run does not end.

Known failure: noise that moves many numbers is unlike all that is archived, for ever. What has left the ring is novel again.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from openended import moments, trees
from openended.moments import Moments
from openended.objectives.base import AbstractProgress, require_count
from openended.types import Rollout


class Behaviours(NamedTuple):
    """The archive."""

    kept: jax.Array  # f32[capacity, 2 W] behaviours, not yet in standard deviations
    added: jax.Array  # i32[] so far
    seen: Moments  # of behaviours


class Novelty(AbstractProgress):
    """Rewards episodes that end or dwell where none of the archived ones did."""

    def __init__(
        self,
        intrinsic_weight: float = 0.02,
        forgetting: float = 0.98,
        capacity: int = 1024,
        added: int = 16,
        nearest: int = 5,
    ):
        super().__init__(intrinsic_weight, forgetting)
        require_count(added=added, nearest=nearest)
        require_count(max(added, nearest), capacity=capacity)
        self.capacity, self.added, self.nearest = capacity, added, nearest

    def init_model(self, key: jax.Array, observation: int, actions: int) -> Behaviours:
        """An empty archive: all is novel."""
        kept = jnp.zeros((self.capacity, 2 * observation))
        return Behaviours(kept, jnp.zeros((), jnp.int32), moments.unknown(2 * observation))

    def intrinsic(self, model: Behaviours, rollout: Rollout) -> jax.Array:
        """weight * min(distance, 1) on the running steps of each episode, f32[B, T]."""
        behaviour, _ = _behaviour(rollout)
        novel = jnp.minimum(self._distance(model, behaviour), 1.0)
        steps = rollout.running.shape[1] // novel.shape[1]
        return self.intrinsic_weight * jnp.repeat(novel, steps, axis=1) * rollout.running

    def train(self, model: Behaviours, rollout: Rollout) -> Behaviours:
        """A few more behaviours in the archive, the same on all devices."""
        behaviour, live = _behaviour(rollout)
        flat = behaviour.reshape(-1, behaviour.shape[-1])
        chosen = flat[jnp.arange(self.added) * len(flat) // self.added]
        everywhere = trees.gathered(chosen)  # [devices, added, 2 W]; as many of each device, evenly spaced
        rows = everywhere.reshape(-1, flat.shape[-1])[:: len(everywhere)]
        places = (model.added + jnp.arange(self.added, dtype=jnp.int32)) % self.capacity
        return Behaviours(model.kept.at[places].set(rows), model.added + self.added, moments.seen(model.seen, behaviour, live))

    def _distance(self, model: Behaviours, behaviour: jax.Array) -> jax.Array:
        """Mean distance f32[B, K] to the nearest archived ones; infinite while there are too few."""
        varied = moments.varied(model.seen)
        numbers = jnp.maximum(jnp.sum(varied), 1.0)
        here, there = (moments.standard(model.seen, x) * varied for x in (behaviour, model.kept))
        product = jnp.einsum("bkw,nw->bkn", here, there, precision=jax.lax.Precision.HIGHEST)
        square = jnp.sum(jnp.square(here), axis=-1)[..., None] + jnp.sum(jnp.square(there), axis=-1) - 2.0 * product
        square = jnp.where(jnp.arange(self.capacity) < model.added, jnp.maximum(square, 0.0) / numbers, jnp.inf)
        return jnp.mean(jnp.sqrt(-jax.lax.top_k(-square, self.nearest)[0]), axis=-1)


def _behaviour(rollout: Rollout) -> tuple[jax.Array, jax.Array]:
    """Behaviours f32[B, K, 2 W], and f32[B, K] 1 where an episode had any running step."""
    rows, episodes = rollout.success.shape
    split = lambda x: x.reshape(rows, episodes, -1, *x.shape[2:])  # noqa: E731
    running, seen = split(rollout.running), split(rollout.percept.observation)
    moved = jnp.where(running[..., None], seen - seen[:, :, :1], 0.0)
    steps = jnp.sum(running, axis=-1)
    mean = jnp.sum(moved, axis=2) / jnp.maximum(steps, 1)[..., None]
    last = jnp.take_along_axis(moved, jnp.maximum(steps - 1, 0)[..., None, None], axis=2)[:, :, 0]
    return jnp.concatenate([mean, last], axis=-1), (steps > 0).astype(jnp.float32)
