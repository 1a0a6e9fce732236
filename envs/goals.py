"""Goals: one or two conditions on named features, a hold time and a time limit; and the one reward for all tasks.

A condition is ``distance(feature, target) <= tolerance``. A goal of one is solved in an episode when it held for ``hold``
seconds in a row before ``limit``. Two are combined by *and* (both hold during the same ``hold`` seconds) or *then* (the first
is held, afterwards the second; whatever the second did before does not count). The reward is never written for a task:
normalised progress towards what is asked for now, plus a bonus while inside its tolerance.

A family has goals of P = 1 or 2 conditions: P is static, which of them count is part of the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.spec import ParamSpec

PROGRESS_WEIGHT = 2.0
INSIDE_BONUS = 0.2
REWARD_CLIP = 2.0
WIDTH = 6  # features of the family that has most: the one-hot width of a learner that may meet any of them
FEATURES = ("feature", "feature_2")  # names of the numbers that choose the features, by condition
TARGETS = (("target_a", "target_b"), ("target_2a", "target_2b"))  # and of those of their targets


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
    """One task's goal, in physical units and control steps; P conditions, of which the first always counts."""

    feature: jax.Array  # i32[P] index into the family's features
    target: jax.Array  # f32[P, 2]
    tolerance: jax.Array  # f32[P]
    scale: jax.Array  # f32[P] base tolerance of the feature, normalises what is observed
    used: jax.Array  # i32[] how many of the conditions are part of the goal
    ordered: jax.Array  # bool[] one after the other
    hold: jax.Array  # i32[] control steps in a row
    limit: jax.Array  # i32[] control steps
    visible: jax.Array  # f32[] 1: the learner observes the error; 0: only the reward tells


class Progress(NamedTuple):
    """What a running episode knows about its goal."""

    distance: jax.Array  # f32[P] now
    start: jax.Array  # f32[P] when it began to count: at reset, or when the one before it was done
    stage: jax.Array  # i32[] conditions that are done, in order; 0 where all must hold at once
    held: jax.Array  # i32[] control steps in a row inside the tolerance
    solved: jax.Array  # bool[] latched


def conditions(combined: bool) -> int:
    """P."""
    return 2 if combined else 1


def seen(features: int, parts: int) -> int:
    """Numbers of `observe` for that many features and conditions."""
    return 1 + parts * (2 + features) + 2 * (parts > 1)


def own(features: int, parts: int, wide: int, most: int) -> jax.Array:
    """bool[seen(wide, most)]: which numbers of `observe` a family with so many features and conditions can set."""
    slots = [jnp.concatenate([jnp.full(2, i < parts), (jnp.arange(wide) < features) & (i < parts)]) for i in range(most)]
    flags = [jnp.full(2, parts > 1)] * (most > 1)
    return jnp.concatenate([slots[0][:2], jnp.ones(1, bool), slots[0][2:], *slots[1:], *flags])


def specs(features: Sequence[FeatureSpec], seconds: float, hidden: bool, combined: bool) -> tuple[ParamSpec, ...]:
    """The goal's numbers for a family with these features and episodes of that many seconds."""
    last, names = len(features) - 1, ", ".join(f"{i}={feature.name}" for i, feature in enumerate(features))
    one = (
        ParamSpec("feature", "goal", 0, last, "", f"what must be reached: {names}", "integer"),
        ParamSpec("target_a", "goal", 0.0, 1.0, "of its bounds", "first component of the target"),
        ParamSpec("target_b", "goal", 0.0, 1.0, "of its bounds", "second component of the target"),
        ParamSpec("tolerance", "goal", 0.8, 2.0, "x base", "allowed distance to the target", "log"),
        ParamSpec("hold", "goal", 0.1, 0.5, "s", "time in a row inside the tolerance"),
        ParamSpec("limit", "goal", 0.6 * seconds, seconds, "s", "time limit of an episode"),
        ParamSpec("hidden", "goal", 0.0, float(hidden), "", "the target is found from reward only", "rare"),
    )
    two = (
        ParamSpec("combined", "goal", 0.0, 1.0, "", "a second feature must be reached as well", "rare"),
        ParamSpec("in_order", "goal", 0.0, 1.0, "", "the second after the first, instead of both at once", "flag"),
        ParamSpec("feature_2", "goal", 0, last, "", f"the second feature: {names}; twice the same is in order", "integer"),
        ParamSpec("target_2a", "goal", 0.0, 1.0, "of its bounds", "first component of the second target"),
        ParamSpec("target_2b", "goal", 0.0, 1.0, "of its bounds", "second component of the second target"),
    )
    return one + two if combined else one


def from_values(values: dict, features: Sequence[FeatureSpec], control_dt: float) -> Goal:
    """Goal of decoded values, with two conditions if they have numbers for two; traceable, and of numpy numbers in numpy."""
    xp = values["hold"].__array_namespace__()
    parts = conditions("combined" in values)
    index = xp.stack([values[name].astype(xp.int32) for name in FEATURES[:parts]])
    low, high, base, size = _columns(features, index, "low", "high", "tolerance", "size")
    units = xp.stack([xp.stack([values[name] for name in names]) for names in TARGETS[:parts]])
    mask = xp.arange(2) < size[:, None]
    two = values["combined"] > 0.5 if parts > 1 else xp.zeros((), bool)
    return Goal(
        feature=index,
        target=xp.where(mask, low[:, None] + units * (high - low)[:, None], 0.0),
        tolerance=base * values["tolerance"],
        scale=base,
        used=1 + two.astype(xp.int32),
        ordered=two & ((values["in_order"] > 0.5) | (index[0] == index[-1])) if parts > 1 else two,
        hold=xp.maximum(1, xp.round(values["hold"] / control_dt)).astype(xp.int32),
        limit=xp.round(values["limit"] / control_dt).astype(xp.int32),
        visible=1.0 - values["hidden"],
    )


def target_units(features: Sequence[FeatureSpec], index: jax.Array, target: jax.Array) -> jax.Array:
    """The unit numbers f32[P, 2] that decode to ``target`` f32[P, 2], clipped to the bounds; 0.5 for what is not used."""
    low, high, size = (column[:, None] for column in _columns(features, index, "low", "high", "size"))
    return jnp.where(jnp.arange(2) < size, jnp.clip((target - low) / (high - low), 0.0, 1.0), 0.5)


def _columns(features: Sequence[FeatureSpec], index: jax.Array, *names: str) -> tuple[jax.Array, ...]:
    """The named numbers of features ``index`` i32[P], f32[P] each; traceable."""
    xp = index.__array_namespace__()
    return tuple(xp.array([getattr(f, name) for f in features], xp.float32)[index] for name in names)


def begin(goal: Goal, value: jax.Array) -> Progress:
    """Progress at reset; value: f32[P, 2], the goal's features."""
    distance = jnp.linalg.norm(value - goal.target, axis=-1)
    zero = jnp.zeros((), jnp.int32)
    return Progress(distance, distance, zero, zero, jnp.zeros((), bool))


def asked(goal: Goal, stage: jax.Array) -> jax.Array:
    """bool[P]: the conditions that must hold now."""
    part = jnp.arange(goal.feature.size)
    return jnp.where(goal.ordered, part == stage, part < goal.used)


def advance(goal: Goal, progress: Progress, value: jax.Array, time: jax.Array) -> tuple[Progress, jax.Array]:
    """Progress and reward after control step number ``time`` (1 for the first).

    reward = 2 (d_before - d_now) / max(d_start, 2 tolerance) + 0.2 [inside], clipped to +-2; zero after the limit. The first
    term is the mean over the conditions that are asked for, and inside is inside all of these.
    """
    distance = jnp.linalg.norm(value - goal.target, axis=-1)
    now = asked(goal, progress.stage)
    inside = jnp.all((distance <= goal.tolerance) | ~now)
    running = time <= goal.limit
    held = jnp.where(inside, progress.held + 1, 0)
    done = running & (held >= goal.hold)
    on = done & goal.ordered & (progress.stage + 1 < goal.used)
    solved = progress.solved | (done & ~on)
    gain = (progress.distance - distance) / jnp.maximum(progress.start, 2.0 * goal.tolerance)
    reward = PROGRESS_WEIGHT * jnp.sum(gain * now) / jnp.sum(now) + INSIDE_BONUS * inside
    reward = jnp.where(running, jnp.clip(reward, -REWARD_CLIP, REWARD_CLIP), 0.0)
    start = jnp.where(on, distance, progress.start)
    return Progress(distance, start, progress.stage + on, jnp.where(on, 0, held), solved), reward


def observe(goal: Goal, progress: Progress, value: jax.Array, features: int, parts: int) -> jax.Array:
    """What a learner sees of the goal, f32[seen(features, parts)]; ``parts`` may be more than the goal's own.

    The condition that is asked for now: error in base tolerances / 8, visible flag, one-hot feature. With room for two: the
    other one that must hold too, or that comes afterwards, and which of both it is.
    """
    rows = [progress.stage + i for i in range(min(parts, goal.feature.size))]
    slots = [_slot(goal, value, row, features) for row in rows]
    slots += [(jnp.zeros(2), jnp.zeros(features))] * (parts - len(slots))
    (error, kind), *others = slots
    numbers = [error, goal.visible[None], kind, *(x for other in others for x in other)]
    if parts > 1:
        more = progress.stage + 1 < goal.used
        numbers.append(jnp.stack([more & ~goal.ordered, more & goal.ordered]).astype(jnp.float32))
    return jnp.concatenate(numbers)


def _slot(goal: Goal, value: jax.Array, row: jax.Array, features: int) -> tuple[jax.Array, jax.Array]:
    """Error f32[2] and one-hot feature f32[features] of a condition; 0 for one that is not part of the goal."""
    counts = (row < goal.used).astype(jnp.float32)
    error = counts * goal.visible * (goal.target[row] - value[row]) / (8.0 * goal.scale[row])
    return error, counts * jax.nn.one_hot(goal.feature[row], features)


def difficulty(goal: Goal, start: jax.Array) -> jax.Array:
    """Bits, from the distances f32[P] at the start.

    ``sum log2(start distance / tolerance + 1) + holds log2(1 + hold) - log2(limit)``, all in control steps: Fitts' index of
    each condition (1954, Shannon form of MacKenzie 1992), extended by the hold, once for each that is held on its own, and
    by the time pressure.
    """
    counts = jnp.arange(goal.feature.size) < goal.used
    reach = jnp.sum(jnp.where(counts, jnp.log2(start / goal.tolerance + 1.0), 0.0))
    holds = jnp.where(goal.ordered, goal.used, 1)
    return reach + holds * jnp.log2(1.0 + goal.hold) - jnp.log2(goal.limit.astype(jnp.float32))
