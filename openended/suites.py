"""Success on the frozen held-out suites: of a policy, and of what needs none."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import PartitionSpec

from envs import holdout, validity
from envs.base import AbstractFamily
from envs.holdout import HeldOut
from envs.spec import sentence
from openended import trees
from openended.locate import CommandError
from openended.programs import Programs
from openended.types import Params

UNLEARNED = {"random": 1.0, "noop": 0.0}  # largest action of each
_SEEDS = 2**31  # folded into the key: rounds fold smaller numbers into theirs

Success = npt.NDArray[np.bool_]  # [tasks, lifetimes, episodes]


def seeds(seed: int) -> jax.Array:
    """The key of all evaluations: no round of a run, however long, draws from it."""
    return jax.random.fold_in(jax.random.key(seed), _SEEDS)


def held_out(suite: str, families: Mapping[str, AbstractFamily]) -> tuple[list[HeldOut], str]:
    """The suite's tasks for these families, in their order, and in words which of them it has none for, '' if it has for all.

    Raises:
        CommandError: there is no such suite, or it is not the frozen one.
    """
    try:
        tasks = holdout.tasks(suite, families)
    except holdout.HoldoutError as error:
        raise CommandError(str(error)) from error
    missing = [name for name in families if name not in {task.family for task in tasks}]
    known = ", ".join(family.name for family in holdout.FAMILIES[suite])
    return tasks, f"the suite '{suite}' has no tasks for {', '.join(missing)}; it has some for {known}" if missing else ""


def measurable(suite: str, families: Mapping[str, AbstractFamily]) -> list[HeldOut]:
    """The suite's tasks for these families, for a command: what it has none for is said on stderr.

    Raises:
        CommandError: as `held_out`, or it has none for any of them.
    """
    tasks, missing = held_out(suite, families)
    if not tasks:
        raise CommandError(sentence(missing))
    if missing:
        print(f"Not measured: {missing}.", file=sys.stderr)
    return tasks


def quick(programs: Programs, params: Params, suite: Sequence[HeldOut], lifetimes: int, key: jax.Array) -> dict[str, float]:
    """Share of lifetimes solved in the first and in the last episode, for the training loop; counts no steps.

    Keys: ``heldout_first_FAMILY`` and ``heldout_last_FAMILY`` (visible goals), ``heldout_first`` and ``heldout_last`` (their
    means over families), ``heldout_first_hidden`` and ``heldout_last_hidden`` (hidden goals, known motors, all families).
    """
    families = by_family(suite)
    parts = [
        live(programs, name, params, vectors, (lifetimes, jax.random.fold_in(key, i)))
        for i, (name, vectors) in enumerate(families.items())
    ]
    rates, rows = np.concatenate(parts).mean(axis=1), groups(suite)
    found: dict[str, float] = {}
    for label, episode in (("first", 0), ("last", -1)):
        visible = {name: float(rates[rows[name], episode].mean()) for name in families if name in rows}
        found |= {f"heldout_{label}_{name}": rate for name, rate in visible.items()}
        if visible:
            found[f"heldout_{label}"] = float(np.mean(list(visible.values())))
        if "hidden_goal" in rows:
            found[f"heldout_{label}_hidden"] = float(rates[rows["hidden_goal"], episode].mean())
    return found


def live(
    programs: Programs, name: str, params: Params, vectors: np.ndarray, lives: tuple[int, jax.Array], wipe: bool = False
) -> Success:
    """Success [tasks, lifetimes, episodes]; lives: lifetimes of each task, and the key of them all."""
    lifetimes, key = lives
    rows = np.repeat(vectors, lifetimes, axis=0)
    success = programs.evaluate(name, params, rows, key, "holdout", wipe=wipe).success
    return np.asarray(success, bool).reshape(len(vectors), lifetimes, -1)


def unlearned(family: AbstractFamily, vectors: np.ndarray, lifetimes: int, episodes: int, key: jax.Array) -> dict[str, Success]:
    """Success [tasks, lifetimes, episodes] of what needs no policy, uniform actions and none; vectors: f32[tasks, D]."""

    def episode(model, key, most):
        steps = validity.play_at_random(family, model, key, most)
        return steps.success[-1], steps.broken[-1]

    def lifetime(vector, key, most):
        model = family.prepare(vector)
        success, broken = jax.vmap(lambda k: episode(model, k, most))(jax.random.split(key, episodes))
        return success & ~jnp.any(broken)

    def each(vectors, keys, most):
        return jax.lax.map(lambda task: jax.vmap(lambda k: lifetime(task[0], k, most))(task[1]), (vectors, keys))

    columns = PartitionSpec(None, trees.AXIS)
    program = trees.OverDevices(each, (trees.SAME, columns, trees.SAME), columns)
    padded = lifetimes + -lifetimes % len(jax.devices())
    keys = jax.random.split(key, (len(vectors), padded))
    runs = {name: program(jnp.asarray(vectors), keys, jnp.float32(most)) for name, most in UNLEARNED.items()}
    return {name: np.asarray(success)[:, :lifetimes] for name, success in runs.items()}


def groups(tasks: Sequence[HeldOut]) -> dict[str, np.ndarray]:
    """Rows of each group that has any: all, each family's visible goals, hidden_goal, both_hidden."""
    labels = np.array([task.family if task.group == "visible" else task.group for task in tasks])
    names = [*by_family(tasks), *holdout.GROUPS[1:]]
    return {"all": np.arange(len(tasks)), **{name: np.flatnonzero(labels == name) for name in names if name in labels}}


def by_family(tasks: Sequence[HeldOut]) -> dict[str, np.ndarray]:
    """Vectors f32[N, D] of each family, in the order of the tasks."""
    names = dict.fromkeys(task.family for task in tasks)
    return {name: np.stack([task.vector for task in tasks if task.family == name]) for name in names}
