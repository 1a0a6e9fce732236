"""Lifetimes: K episodes in one task with one memory, vectorised over tasks and split over the devices.

All families take their steps together, each in its own physics, and the policy acts for all rows at once: on CPUs a product of
matrices costs little more for four families than for one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.base import AbstractFamily, TimeStep
from openended import networks
from openended.networks import HISTORY, AbstractPolicy
from openended.types import Outcome, Params, Percept, Rollout


class Crowd(NamedTuple):
    """Rows of one family."""

    family: AbstractFamily
    tasks: jax.Array  # f32[B, D]
    keys: jax.Array  # [B] decide resets, sensor noise and the policy's noise


class Body(NamedTuple):
    """What of the common layout N rows have."""

    sensed: jax.Array  # f32[N, W] 1 where it is a number of theirs
    motors: jax.Array  # f32[N, A]


class Heard(NamedTuple):
    """What N rows carry from step to step beside their physics."""

    memory: Any
    actions: jax.Array  # f32[N, HISTORY, A] newest first
    reward: jax.Array  # f32[N]
    before: jax.Array  # f32[N, W] observation of the previous step of the episode, at its start the present one


class Seen(NamedTuple):
    """What a step gives of a TimeStep to N rows: all but the goal's features, which a policy does not see."""

    observation: jax.Array  # f32[N, W]
    reward: jax.Array  # f32[N]
    running: jax.Array  # bool[N]
    success: jax.Array  # bool[N]
    broken: jax.Array  # bool[N]


def together(crowds: Sequence[Crowd], policy: AbstractPolicy, params: Params, episodes: int, wipe: bool = False) -> Rollout:
    """One lifetime of the stochastic policy in every row of the crowds, whose episodes are equally long.

    Args:
        wipe: clear the memory at the start of every episode, the control that shows what is remembered across episodes.
    Returns:
        Rollout [N, T] with T = episodes * family.episode_steps, rows in the order of the crowds.
    """
    models = [jax.vmap(crowd.family.prepare)(crowd.tasks) for crowd in crowds]
    mask = _joined(jax.vmap(crowd.family.action_mask)(model) for crowd, model in zip(crowds, models, strict=True))
    steps, rows = crowds[0].family.episode_steps, len(mask)
    sensed = jnp.concatenate([jnp.broadcast_to(crowd.family.sensed, (len(crowd.keys), policy.observation)) for crowd in crowds])
    body = Body(sensed, mask)
    birth = policy.births(params, rows)
    first = jnp.zeros((steps, rows)).at[0].set(1.0)

    def draw(key: jax.Array) -> jax.Array:  # in a row, for the same numbers: XLA needs ten times as long to compile a table
        return jax.random.normal(key, (steps * policy.actions,)).reshape(steps, policy.actions)

    def episode(memory: Any, keys: Any) -> Any:
        pairs = [jax.vmap(jax.random.split)(each) for each in keys]
        begun = [
            jax.vmap(crowd.family.reset)(model, pair[:, 0]) for crowd, model, pair in zip(crowds, models, pairs, strict=True)
        ]
        states, present = [state for state, _ in begun], _seen(timestep for _, timestep in begun)
        noise = jnp.concatenate([jax.vmap(draw, out_axes=1)(pair[:, 1]) for pair in pairs], axis=1)
        unheard = jnp.zeros((rows, HISTORY, policy.actions)), jnp.zeros(rows)
        memory = jax.vmap(policy.renew, in_axes=(None, 0, 0))(params, birth if wipe else memory, mask)
        heard = Heard(memory, *unheard, present.observation)

        def step(inner: Any, step_input: Any) -> Any:
            heard, states, present = inner
            heard, action, record = _acted(policy, params, heard, present, body, step_input)
            moved = [
                jax.vmap(crowd.family.step)(model, state, part)
                for crowd, model, state, part in zip(crowds, models, states, _parted(crowds, action), strict=True)
            ]
            states, following = [state for state, _ in moved], _seen(timestep for _, timestep in moved)
            outcome = (following.reward, following.running, following.success, following.broken)
            return (heard._replace(reward=following.reward), states, following), (*record, *outcome)

        start: Any = (heard, states, present)
        (heard, *_), record = jax.lax.scan(step, start, (noise, first))
        return heard.memory, record

    keys = [jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, episodes))(crowd.keys), 1, 0) for crowd in crowds]
    _, record = jax.lax.scan(episode, birth, keys)
    return _rollout(record, body)


def lifetime(
    family: AbstractFamily,
    policy: AbstractPolicy,
    params: Params,
    vector: jax.Array,
    key: jax.Array,
    episodes: int,
    wipe: bool = False,
) -> Rollout:
    """One lifetime in a task f32[D]: the Rollout [T] of one row."""
    crowd = Crowd(family, vector[None], key[None])
    return jax.tree.map(lambda x: x[0], together([crowd], policy, params, episodes, wipe))


def lifetimes(
    families: dict[str, AbstractFamily],
    policy: AbstractPolicy,
    params: Params,
    tasks: dict[str, jax.Array],
    key: jax.Array,
    episodes: int,
) -> Rollout:
    """Lifetimes of every family's tasks {name: f32[B, D]}, joined along the rows in the order of ``families``."""
    keys = [jax.random.split(jax.random.fold_in(key, i), tasks[name].shape[0]) for i, name in enumerate(families)]
    crowds = [Crowd(family, tasks[name], own) for (name, family), own in zip(families.items(), keys, strict=True)]
    return together(crowds, policy, params, episodes)


def outcomes(family: AbstractFamily, policy: AbstractPolicy, episodes: int, wipe: bool = False) -> Callable:
    """``(params, f32[B, D] tasks, [B] keys) -> Outcome`` of one lifetime per row, to be compiled."""

    def run(params: Params, vectors: jax.Array, keys: jax.Array) -> Outcome:
        rollout = together([Crowd(family, vectors, keys)], policy, params, episodes, wipe)
        return Outcome(rollout.success, rollout.broken)

    return run


def _acted(
    policy: AbstractPolicy, params: Params, heard: Heard, present: Seen, body: Body, step_input: tuple
) -> tuple[Heard, jax.Array, tuple]:
    """What the rows carry on, their actions f32[N, A], and what a Rollout records of both."""
    (noise, first), seen = step_input, present.observation
    live = present.running.astype(jnp.float32)
    percept = Percept(seen, seen - heard.before, heard.actions.reshape(len(seen), -1), heard.reward, first, live)
    whole = percept._replace(sensed=body.sensed, motors=body.motors)
    memory, output = jax.vmap(policy.step, in_axes=(None, 0, 0))(params, heard.memory, whole)
    action = output.mean + jnp.exp(output.log_std) * noise
    record = (percept, action, networks.log_prob(output, action, body.motors), output.value)
    actions = jnp.concatenate([jnp.clip(action, -1.0, 1.0)[:, None], heard.actions[:, :-1]], axis=1)
    return Heard(memory, actions, heard.reward, seen), action, record


def _rollout(record: tuple, body: Body) -> Rollout:
    """Of what was recorded, axes [K, steps, N, ...]."""
    *by_step, success, broken = record
    success, broken = jnp.moveaxis(success[:, -1], 0, 1), jnp.any(broken, axis=(0, 1))
    flat = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, *x.shape[2:]), 0, 1), by_step)
    percept, action, log_prob, value, reward, running = flat
    running = running & ~broken[:, None]  # a lifetime that broke teaches nothing
    masks = jnp.broadcast_to(body.motors[:, None], action.shape)
    percept = percept._replace(sensed=body.sensed[:, None], motors=body.motors[:, None])
    return Rollout(percept, action, log_prob, value, reward, running, masks, success & ~broken[:, None], broken)


def _joined(parts: Iterable[Any]) -> Any:
    return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


def _seen(timesteps: Iterable[TimeStep]) -> Seen:
    return _joined(Seen(each.observation, each.reward, each.running, each.success, each.broken) for each in timesteps)


def _parted(crowds: Sequence[Crowd], values: jax.Array) -> list[jax.Array]:
    ends = list(itertools.accumulate(len(crowd.keys) for crowd in crowds))
    return [values[start:end] for start, end in itertools.pairwise([0, *ends])]
