"""The world model of the objectives: one hidden layer on (observation, action) that predicts the next change.

An objective keeps the network in its state and says what it makes of the errors. Rollouts have axes [B, T]; a transition is
counted where both of its observations belong to one episode and the first of them is still running.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from openended import trees
from openended.networks import SCALE
from openended.types import Rollout

_KEPT = 0.9  # of the momentum in an update


def init(key: jax.Array, observation: int, actions: int, hidden: int, spread: float = 0.01) -> dict[str, jax.Array]:
    """A random network: ``in`` f32[W + A, H] and ``out`` f32[H, W], whose numbers are about ``spread``."""
    first, second = jax.random.split(key)
    inputs = observation + actions
    return {
        "in": jax.random.normal(first, (inputs, hidden)) / np.sqrt(inputs),
        "out": spread * jax.random.normal(second, (hidden, observation)),
    }


def features(net: dict[str, jax.Array], rollout: Rollout) -> jax.Array:
    """The hidden layer f32[B, T, H] on what was seen and done."""
    action = jnp.clip(rollout.action, -1.0, 1.0) * rollout.mask
    return jnp.tanh(jnp.concatenate([rollout.percept.observation, action], axis=-1) @ net["in"])


def predictions(net: dict[str, jax.Array], rollout: Rollout) -> jax.Array:
    """Expected scaled changes f32[B, T - 1, W]."""
    return (features(net, rollout) @ net["out"])[:, :-1]


def changes(rollout: Rollout) -> jax.Array:
    """What is to be predicted, f32[B, T - 1, W]: SCALE * (next observation - observation)."""
    seen = rollout.percept.observation
    return SCALE * (seen[:, 1:] - seen[:, :-1])


def counted(rollout: Rollout) -> jax.Array:
    """f32[B, T - 1], 1 where a transition is one."""
    return (1.0 - rollout.percept.first[:, 1:]) * rollout.running[:, :-1]


def by_step(values: jax.Array) -> jax.Array:
    """Values of transitions f32[B, T - 1] as those of steps f32[B, T]: the last step has none."""
    return jnp.pad(values, ((0, 0), (0, 1)))


def errors(net: dict[str, jax.Array], rollout: Rollout) -> jax.Array:
    """Squared error f32[B, T] of the predicted change; zero at the last step and where an episode ends."""
    error = jnp.mean(jnp.square(changes(rollout) - predictions(net, rollout)), axis=-1)
    return by_step(error * counted(rollout))


def power(values: jax.Array, rollout: Rollout) -> jax.Array:
    """Mean square f32[] of f32[B, T - 1, N] over the counted transitions of all devices, never quite zero."""
    live = counted(rollout)
    total, number = trees.mean((jnp.sum(jnp.mean(jnp.square(values), axis=-1) * live), jnp.sum(live)))
    return total / jnp.maximum(number, 1.0) + 1e-6


def few(rollout: Rollout, offset: int = 0) -> Rollout:
    """Every eighth row, of every family: they lie one after the other."""
    return jax.tree.map(lambda x: (jnp.roll(x, -offset, axis=0) if offset else x)[::8], rollout)


def descend(loss: Callable[[Any], jax.Array], net: Any, momentum: Any, rate: float) -> tuple[Any, Any]:
    """One step of momentum gradient descent on the mean loss over the devices -> (network, momentum)."""
    gradient = trees.mean(jax.grad(loss)(net))
    momentum = jax.tree.map(lambda m, g: _KEPT * m + jnp.clip(g, -1.0, 1.0), momentum, gradient)
    return jax.tree.map(lambda w, m: w - rate * m, net, momentum), momentum


def still(net: Any) -> Any:
    """The momentum of a network that has not moved."""
    return jax.tree.map(jnp.zeros_like, net)
