"""Data that travels between the stages: what a policy sees, what it does, what a lifetime leaves behind."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

Params = Any  # a pytree of arrays


class Percept(NamedTuple):
    """What a policy sees at one step. Unbatched; a leading [T] axis for sequences."""

    observation: jax.Array  # f32[W]
    change: jax.Array  # f32[W] observation minus the previous one of the same episode
    action: jax.Array  # f32[HISTORY * A] previous actions of the same episode, newest first, zero before
    reward: jax.Array  # f32[] extrinsic reward of the previous step of the same episode
    first: jax.Array  # f32[] 1 at the first step of an episode
    live: jax.Array  # f32[] 0 once the time limit has passed: what happens then counts for nothing and is not remembered
    sensed: Any = None  # f32[W] 1 where the body has such a number; the same at all steps, and in sequences there once: [1, W]
    motors: Any = None  # f32[A] 1 where an action drives a motor; likewise


class Output(NamedTuple):
    """A policy's answer to one percept."""

    mean: jax.Array  # f32[A]
    log_std: jax.Array  # f32[A]
    value: jax.Array  # f32[]


class Rollout(NamedTuple):
    """Whole lifetimes, axes [..., T] with T = episodes x steps of an episode."""

    percept: Percept
    action: jax.Array  # f32[..., T, A]
    log_prob: jax.Array  # f32[..., T] of the behaviour policy
    value: jax.Array  # f32[..., T] what the behaviour policy expected
    reward: jax.Array  # f32[..., T] extrinsic
    running: jax.Array  # bool[..., T] within the time limit and not broken
    mask: jax.Array  # f32[..., T, A] 1 where an action drives a motor
    success: jax.Array  # bool[..., K] by episode
    broken: jax.Array  # bool[...] physics left its bounds somewhere in the lifetime


class Outcome(NamedTuple):
    """What an evaluation keeps of a lifetime."""

    success: Any  # bool[..., K]
    broken: Any  # bool[...]


class Appraisal(NamedTuple):
    """What an objective reads in lifetimes about how much more their tasks could give, means over running steps."""

    gain: Any  # f32[B] advantage where it is positive
    value: Any  # f32[B] what the policy expected
    returns: Any  # f32[B] discounted return from there on


class LearnReport(NamedTuple):
    """What one update leaves for the loop, per row of the batch and as scalars."""

    success: Any  # bool[B, K]
    broken: Any  # bool[B]
    metrics: Any  # {name: f32[]}
    appraisal: Appraisal | None = None  # where the objective wants one
