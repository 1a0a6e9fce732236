"""Proximal policy optimisation over whole lifetimes (Schulman et al. 2017, arXiv 1707.06347), one update as one function."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from openended import networks, returns, trees
from openended.networks import AbstractPolicy
from openended.types import Params, Rollout


class Settings(NamedTuple):
    """Numbers of the update; see configs/learner/rl2.yaml."""

    epochs: int
    minibatches: int
    discount: float
    decay: float
    clip: float
    entropy: float
    value_weight: float
    averaging: float


class Batch(NamedTuple):
    """What the loss needs, axes [B, T]."""

    rollout: Rollout
    advantage: jax.Array
    target: jax.Array
    live: jax.Array  # f32, 1 where the step was running


def prepare(rollout: Rollout, reward: jax.Array, settings: Settings) -> Batch:
    """Advantages normalised over the whole batch, and value targets."""
    estimate = jax.vmap(returns.advantages, in_axes=(0, 0, 0, None, None))
    advantage = estimate(reward, rollout.value, rollout.running, settings.discount, settings.decay)
    live = rollout.running.astype(jnp.float32)
    return Batch(rollout, returns.normalise(advantage, live, trees.mean), advantage + rollout.value, live)


def loss(params: Params, policy: AbstractPolicy, batch: Batch, settings: Settings) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Clipped surrogate + value error - entropy bonus, averaged over running steps."""
    rollout = batch.rollout
    output = policy.sequence(params, rollout.percept)
    ratio = jnp.exp(networks.log_prob(output, rollout.action, rollout.mask) - rollout.log_prob)
    clipped = jnp.clip(ratio, 1.0 - settings.clip, 1.0 + settings.clip)
    gain = jnp.minimum(ratio * batch.advantage, clipped * batch.advantage)
    error = 0.5 * jnp.square(output.value - batch.target)
    spread = networks.entropy(output, rollout.mask)
    total = jnp.sum(batch.live) + 1e-8

    def average(x):
        return jnp.sum(jnp.where(batch.live > 0, x, 0.0)) / total

    policy_loss, value_loss, entropy = -average(gain), average(error), average(spread)
    full = policy_loss + settings.value_weight * value_loss - settings.entropy * entropy
    return full, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}


def improve(
    policy: AbstractPolicy,
    optimiser: optax.GradientTransformation,
    settings: Settings,
    start: tuple,
    batch: Batch,
    key: jax.Array,
) -> tuple[tuple, dict[str, jax.Array]]:
    """``epochs`` passes over the batch in ``minibatches``; start and result are (params, optimiser state)."""
    rows = batch.advantage.shape[0]
    minibatches = min(settings.minibatches, rows)
    part = rows // minibatches

    def step(carry, index):
        params, opt_state = carry
        piece = jax.tree.map(lambda x: x[index], batch)
        (_, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params, policy, piece, settings)
        gradient = trees.mean(gradient)
        metrics["gradient_norm"] = optax.global_norm(gradient)
        updates, opt_state = optimiser.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), metrics

    keys = jax.random.split(key, settings.epochs)
    order = jax.vmap(lambda k: jax.random.permutation(k, rows)[: part * minibatches])(keys)
    carry, metrics = jax.lax.scan(step, start, order.reshape(-1, part))
    return carry, jax.tree.map(jnp.mean, metrics)
