"""Goals: a named feature, a target, a tolerance, a hold time and a time limit; and the one reward for all tasks.

A goal is solved in an episode when ``distance(feature, target) <= tolerance`` for ``hold`` seconds in a row before ``limit``.
The reward is never written for a task: normalised progress towards the target plus a bonus while inside the tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.spec import ParamSpec

SEEN = 3  # numbers of `observe` besides the feature
PROGRESS_WEIGHT = 2.0
INSIDE_BONUS = 0.2
REWARD_CLIP = 2.0


class FeatureSpec(NamedTuple):
    """One quantity that a goal may be about; vectors have two components, scalars use the first and leave the other 0."""

    name: str
    unit: str
    size: int  # 1 or 2
    low: float  # bounds of the target, each component
    high: float
    tolerance: float  # base tolerance in the same unit
    meaning: str


class Goal(NamedTuple):
    """One task's goal, in physical units and control steps."""

    feature: jax.Array  # i32[] index into the family's features
    target: jax.Array  # f32[2]
    tolerance: jax.Array  # f32[]
    hold: jax.Array  # i32[] control steps in a row
    limit: jax.Array  # i32[] control steps
    visible: jax.Array  # f32[] 1: the learner observes the error; 0: only the reward tells
    scale: jax.Array  # f32[] base tolerance of the feature, normalises what is observed


class Progress(NamedTuple):
    """What a running episode knows about its goal."""

    distance: jax.Array  # f32[] now
    start: jax.Array  # f32[] at reset
    held: jax.Array  # i32[] control steps in a row inside the tolerance
    solved: jax.Array  # bool[] latched


def specs(features: Sequence[FeatureSpec], seconds: float, hidden: bool) -> tuple[ParamSpec, ...]:
    """The goal's numbers for a family with these features and episodes of that many seconds."""
    names = ", ".join(f"{i}={feature.name}" for i, feature in enumerate(features))
    return (
        ParamSpec("feature", "goal", 0, len(features) - 1, "", f"what must be reached: {names}", "integer"),
        ParamSpec("target_a", "goal", 0.0, 1.0, "of its bounds", "first component of the target"),
        ParamSpec("target_b", "goal", 0.0, 1.0, "of its bounds", "second component of the target"),
        ParamSpec("tolerance", "goal", 0.8, 2.0, "x base", "allowed distance to the target", "log"),
        ParamSpec("hold", "goal", 0.1, 0.5, "s", "time in a row inside the tolerance"),
        ParamSpec("limit", "goal", 0.6 * seconds, seconds, "s", "time limit of an episode"),
        ParamSpec("hidden", "goal", 0.0, float(hidden), "", "the target is found from reward only", "rare"),
    )


def from_values(values: dict, features: Sequence[FeatureSpec], control_dt: float) -> Goal:
    """Goal of decoded values."""
    index = values["feature"].astype(jnp.int32)
    low, high, base, size = _columns(features, index, "low", "high", "tolerance", "size")
    units = jnp.stack([values["target_a"], values["target_b"]])
    mask = jnp.arange(2) < size
    return Goal(
        feature=index,
        target=jnp.where(mask, low + units * (high - low), 0.0),
        tolerance=base * values["tolerance"],
        hold=jnp.maximum(1, jnp.round(values["hold"] / control_dt)).astype(jnp.int32),
        limit=jnp.round(values["limit"] / control_dt).astype(jnp.int32),
        visible=1.0 - values["hidden"],
        scale=base,
    )


def target_units(features: Sequence[FeatureSpec], index: jax.Array, target: jax.Array) -> jax.Array:
    """The two unit numbers f32[2] that decode to ``target`` f32[2], clipped to the bounds; 0.5 for what is not used."""
    low, high, size = _columns(features, index, "low", "high", "size")
    return jnp.where(jnp.arange(2) < size, jnp.clip((target - low) / (high - low), 0.0, 1.0), 0.5)


def _columns(features: Sequence[FeatureSpec], index: jax.Array, *names: str) -> tuple[jax.Array, ...]:
    """The named numbers of feature ``index``, f32[] each; traceable."""
    return tuple(jnp.array([getattr(f, name) for f in features], jnp.float32)[index] for name in names)


def begin(goal: Goal, value: jax.Array) -> Progress:
    """Progress at reset; value: f32[2], the goal's feature."""
    distance = jnp.linalg.norm(value - goal.target)
    return Progress(distance, distance, jnp.zeros((), jnp.int32), jnp.zeros((), bool))


def advance(goal: Goal, progress: Progress, value: jax.Array, time: jax.Array) -> tuple[Progress, jax.Array]:
    """Progress and reward after control step number ``time`` (1 for the first).

    reward = 2 (d_before - d_now) / max(d_start, 2 tolerance) + 0.2 [inside], clipped to +-2; zero after the limit.
    """
    distance = jnp.linalg.norm(value - goal.target)
    inside = distance <= goal.tolerance
    running = time <= goal.limit
    held = jnp.where(inside, progress.held + 1, 0)
    solved = progress.solved | (running & (held >= goal.hold))
    normaliser = jnp.maximum(progress.start, 2.0 * goal.tolerance)
    reward = PROGRESS_WEIGHT * (progress.distance - distance) / normaliser + INSIDE_BONUS * inside
    reward = jnp.where(running, jnp.clip(reward, -REWARD_CLIP, REWARD_CLIP), 0.0)
    return Progress(distance, progress.start, held, solved), reward


def observe(goal: Goal, value: jax.Array, features: int) -> jax.Array:
    """What a learner sees of the goal, f32[SEEN + features]: error in base tolerances / 8, visible flag, one-hot feature."""
    error = goal.visible * (goal.target - value) / (8.0 * goal.scale)
    return jnp.concatenate([error, goal.visible[None], jax.nn.one_hot(goal.feature, features)])


def difficulty(goal: Goal, start: jax.Array) -> jax.Array:
    """Bits: Fitts' index log2(distance / tolerance + 1) plus log2 of the hold time and of the shortened limit.

    Source: Fitts (1954), Shannon form of MacKenzie (1992), extended by the hold and by the time pressure
    ``log2(start distance / tolerance + 1) + log2(1 + hold) - log2(limit)``, all in control steps.
    """
    reach = jnp.log2(start / goal.tolerance + 1.0)
    return reach + jnp.log2(1.0 + goal.hold) - jnp.log2(goal.limit.astype(jnp.float32))
