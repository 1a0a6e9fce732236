"""Lifetimes: K episodes in one task with one memory, vectorised over tasks and split over the devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from envs.base import AbstractFamily
from openended import networks
from openended.networks import HISTORY, Policy
from openended.types import Outcome, Params, Percept, Rollout


def lifetime(
    family: AbstractFamily,
    policy: Policy,
    params: Params,
    vector: jax.Array,
    key: jax.Array,
    episodes: int,
    wipe: bool = False,
) -> Rollout:
    """One lifetime of the stochastic policy.

    Args:
        vector: f32[D] task. key: decides resets, sensor noise and the policy's noise. wipe: clear the memory at the start
            of every episode, the control that shows what is remembered across episodes.
    Returns:
        Rollout with T = episodes * family.episode_steps.
    """
    model = family.prepare(vector)
    mask = family.action_mask(model)
    birth, unheard = policy.initial_memory(), (jnp.zeros((HISTORY, policy.actions)), jnp.zeros(()))

    def episode(memory, episode_key):
        memory = birth if wipe else memory
        reset_key, noise_key = jax.random.split(episode_key)
        state, timestep = family.reset(model, reset_key)
        noise = jax.random.normal(noise_key, (family.episode_steps, policy.actions))
        first = jnp.zeros(family.episode_steps).at[0].set(1.0)

        def step(inner, step_input):
            (memory, actions, reward), state, timestep, before = inner
            noise, first = step_input
            seen, live = timestep.observation, timestep.running.astype(jnp.float32)
            percept = Percept(seen, seen - before, actions.reshape(-1), reward, first, live)
            memory, output = policy.step(params, memory, percept)
            action = output.mean + jnp.exp(output.log_std) * noise
            log_prob = networks.log_prob(output, action, mask)
            state, following = family.step(model, state, action)
            outcome = (following.reward, following.running, following.success, following.broken)
            record = (percept, action, log_prob, output.value, *outcome)
            actions = jnp.concatenate([jnp.clip(action, -1.0, 1.0)[None], actions[:-1]])
            heard = (memory, actions, following.reward)
            return (heard, state, following, seen), record

        start: Any = ((memory, *unheard), state, timestep, timestep.observation)
        ((memory, *_), *_), record = jax.lax.scan(step, start, (noise, first))
        return memory, record

    _, record = jax.lax.scan(episode, birth, jax.random.split(key, episodes))
    *by_step, success, broken = record
    success, broken = success[:, -1], jnp.any(broken)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), by_step)
    percept, action, log_prob, value, reward, running = flat
    running = running & ~broken  # a lifetime that broke teaches nothing
    masks = jnp.broadcast_to(mask, action.shape)
    return Rollout(percept, action, log_prob, value, reward, running, masks, success & ~broken, broken)


def lifetimes(
    families: dict[str, AbstractFamily],
    policy: Policy,
    params: Params,
    tasks: dict[str, jax.Array],
    key: jax.Array,
    episodes: int,
) -> Rollout:
    """Lifetimes of every family's tasks {name: f32[B, D]}, joined along the rows in the order of ``families``."""
    parts = []
    for index, (name, family) in enumerate(families.items()):
        rows = tasks[name]
        keys = jax.random.split(jax.random.fold_in(key, index), rows.shape[0])

        def one(vector, row_key, family=family):
            return lifetime(family, policy, params, vector, row_key, episodes)

        parts.append(jax.vmap(one)(rows, keys))
    return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


def outcomes(family: AbstractFamily, policy: Policy, episodes: int, wipe: bool = False) -> Callable:
    """``(params, f32[B, D] tasks, [B] keys) -> Outcome`` of one lifetime per row, to be compiled."""

    def one(params: Params, vector: jax.Array, key: jax.Array) -> Outcome:
        rollout = lifetime(family, policy, params, vector, key, episodes, wipe)
        return Outcome(rollout.success, rollout.broken)

    return jax.vmap(one, in_axes=(None, 0, 0))
