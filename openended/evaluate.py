"""`openended eval`: a run's final learner on held-out tasks, or again on every skill it was accepted for.

Learners: ``trained``; ``wiped`` (the same, its memory cleared at every episode start); ``untrained`` (new-born); ``random``
(uniform actions); ``noop`` (none). Trained, wiped and untrained live the same lifetimes, so that their differences pair.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import PartitionSpec

from envs import holdout, validity
from envs.base import AbstractFamily
from envs.holdout import HeldOut
from envs.spec import sentence
from openended import configuration, recording, statistics, trees, wording
from openended.archive import Archive
from openended.archive_rows import TaskRow
from openended.exporting import emit
from openended.locate import CommandError, UsageError, find_run, stored_config
from openended.loop import Loop
from openended.programs import Programs
from openended.types import Params

ARCHIVE = "archive"
UNLEARNED = {"random": 1.0, "noop": 0.0}  # largest action of each
LEARNERS = ("trained", "wiped", "untrained", *UNLEARNED)
RESAMPLES = 2000
CHUNK = 256  # archive tasks evaluated in one call
_SEEDS = 2**31  # folded into the key: rounds fold smaller numbers into theirs

Success = npt.NDArray[np.bool_]  # [tasks, lifetimes, episodes]


class Subject(NamedTuple):
    """A restored run: its parts, its learner after ``round``, and the learner it was born as."""

    loop: Loop
    round: int
    trained: Params
    untrained: Params


def run(options: argparse.Namespace) -> int:
    """The command."""
    if options.suite != ARCHIVE and options.suite not in holdout.HASHES:
        raise UsageError(f"--suite is '{options.suite}'; allowed: {', '.join([*holdout.HASHES, ARCHIVE])}")
    if getattr(options, "bodies", ""):
        raise UsageError(f"--bodies is '{options.bodies}'; allowed: with --battery invariance only")
    folder = find_run(options.run, options.root)
    subject, key = restore(folder), seeds(options.seed)
    about = told(folder, subject, options.lifetimes)
    if options.suite == ARCHIVE:
        with Archive(folder / "archive.db", readonly=True) as archive:
            skills = archive.tasks(status="accepted", kind="skill")
        rule = (subject.loop.acceptance.solve, options.lifetimes)
        kept = remembered(subject.loop.programs, subject.trained, skills, rule, key)
        emit(kept, options.json, wording.archive_lines(kept, about))
        return 0
    subject = visit(subject, options.suite)
    suite, missing = held_out(options.suite, subject.loop.families)
    if not suite:
        raise CommandError(sentence(missing))
    if missing:
        print(f"Not measured: {missing}.", file=sys.stderr)
    success = measure(subject, suite, options.lifetimes, key)
    found = report(options.suite, suite, success, np.random.default_rng(options.seed))
    for row, task in zip(found["per_task"], suite, strict=True):
        row["description"] = recording.describe(subject.loop.families[task.family], task.vector)
    emit(found, options.json, wording.suite_lines(found, about))
    return 0


def told(folder: Path, subject: Subject, lifetimes: int) -> str:
    """What an evaluation is of, in words."""
    return f"run '{folder.resolve().name}' after round {subject.round}, {lifetimes} lifetimes a task"


def seeds(seed: int) -> jax.Array:
    """The key of all evaluations: no round of a run, however long, draws from it."""
    return jax.random.fold_in(jax.random.key(seed), _SEEDS)


def restore(folder: Path) -> Subject:
    """The run in a folder after its last round; a CheckpointError when there is none yet."""
    loop = configuration.build(stored_config(folder))
    fresh = loop.init()
    state = recording.final(folder, fresh)
    return Subject(loop, int(state.round), state.learner.params, fresh.learner.params)


def visit(subject: Subject, suite: str) -> Subject:
    """The subject among the families of a suite that has its own; unchanged for any other suite.

    Raises:
        ConfigurationError: its learner has other widths than the suite.
    """
    if suite not in holdout.FOREIGN:
        return subject
    try:
        return subject._replace(loop=subject.loop.among(holdout.foreign(suite, subject.loop.families)))
    except holdout.HoldoutError as error:
        raise configuration.ConfigurationError(str(error)) from error


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


def measure(subject: Subject, suite: Sequence[HeldOut], lifetimes: int, key: jax.Array) -> dict[str, Success]:
    """Success [tasks, lifetimes, episodes] of every learner, tasks in the suite's order."""
    programs = subject.loop.programs
    found: dict[str, list[Success]] = {learner: [] for learner in LEARNERS}
    for i, (name, vectors) in enumerate(_by_family(suite).items()):
        live_key, chance_key = jax.random.split(jax.random.fold_in(key, i))
        for learner, params in (("trained", subject.trained), ("wiped", subject.trained), ("untrained", subject.untrained)):
            found[learner].append(_live(programs, name, params, vectors, (lifetimes, live_key), learner == "wiped"))
        for learner, success in unlearned(programs.families[name], vectors, lifetimes, programs.episodes, chance_key).items():
            found[learner].append(success)
    return {learner: np.concatenate(parts) for learner, parts in found.items()}


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


def quick(programs: Programs, params: Params, suite: Sequence[HeldOut], lifetimes: int, key: jax.Array) -> dict[str, float]:
    """Share of lifetimes solved in the first and in the last episode, for the training loop; counts no steps.

    Keys: ``heldout_first_FAMILY`` and ``heldout_last_FAMILY`` (visible goals), ``heldout_first`` and ``heldout_last`` (their
    means over families), ``heldout_first_hidden`` and ``heldout_last_hidden`` (hidden goals, known motors, all families).
    """
    families = _by_family(suite)
    parts = [
        _live(programs, name, params, vectors, (lifetimes, jax.random.fold_in(key, i)))
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


def remembered(
    programs: Programs, params: Params, skills: Sequence[TaskRow], rule: tuple[float, int], key: jax.Array
) -> dict[str, Any]:
    """Which accepted skills the learner still solves; rule: (acceptance.solve, lifetimes of each).

    A skill counts as solved when its share of successes in the last episode is at least the one-sided 95 % end of what a
    learner at exactly the threshold would show: solve - 1.645 sqrt(solve (1 - solve) / lifetimes).
    """
    solve, lifetimes = rule
    threshold = solve - 1.645 * (solve * (1.0 - solve) / lifetimes) ** 0.5
    rates: dict[str, float] = {}
    for i, name in enumerate(programs.families):
        mine = [skill for skill in skills if skill.family == name]
        for start in range(0, len(mine), CHUNK):
            part = mine[start : start + CHUNK]
            vectors = np.array([skill.vector for skill in part], np.float32)
            fresh = jax.random.fold_in(jax.random.fold_in(key, i), start)
            success = _live(programs, name, params, vectors, (lifetimes, fresh))
            rates |= dict(zip([skill.id for skill in part], success[:, :, -1].mean(axis=1).tolist(), strict=True))
    forgotten = [skill.id for skill in skills if rates[skill.id] < threshold]
    tasks, kept = len(skills), len(skills) - len(forgotten)
    share = kept / tasks if tasks else None
    return {"tasks": tasks, "still_solved": kept, "share": share, "threshold": threshold, "forgotten": forgotten}


def report(suite: str, tasks: Sequence[HeldOut], success: Mapping[str, Success], rng: np.random.Generator) -> dict[str, Any]:
    """What `eval --json` prints, but for the descriptions of the tasks."""
    rates = {learner: outcome.mean(axis=1) for learner, outcome in success.items()}
    per_task = []
    for i, task in enumerate(tasks):
        row: dict[str, Any] = {"family": task.family, "description": "", "group": task.group, "size": task.size}
        row |= {"trained_first": float(rates["trained"][i, 0]), "trained_halves": _halves(success["trained"][i, :, -1])}
        per_task.append({**row, **{f"{learner}_last": float(rate[i, -1]) for learner, rate in rates.items()}})
    found = {}
    for group, rows in groups(tasks).items():
        learners = {learner: {"episode_success": _episodes(outcome[rows], rng)} for learner, outcome in success.items()}
        trained, wiped = success["trained"][rows], success["wiped"][rows]
        paired = {
            "last_minus_first": _difference(trained[:, :, -1], trained[:, :, 0], rng),
            "last_minus_wiped": _difference(trained[:, :, -1], wiped[:, :, -1], rng),
        }
        found[group] = {"learners": learners, "paired": paired}
    return {"suite": suite, "tasks": len(tasks), "groups": found, "per_task": per_task}


def _halves(success: npt.NDArray[np.bool_]) -> list[float] | None:
    """Success of the first and of the second half of the lifetimes [N], two independent evaluations; None of a single one."""
    middle = success.size // 2
    return [float(success[:middle].mean()), float(success[middle:].mean())] if middle else None


def groups(tasks: Sequence[HeldOut]) -> dict[str, np.ndarray]:
    """Rows of each group that has any: all, each family's visible goals, hidden_goal, both_hidden."""
    labels = np.array([task.family if task.group == "visible" else task.group for task in tasks])
    names = [*_by_family(tasks), *holdout.GROUPS[1:]]
    return {"all": np.arange(len(tasks)), **{name: np.flatnonzero(labels == name) for name in names if name in labels}}


def _by_family(tasks: Sequence[HeldOut]) -> dict[str, np.ndarray]:
    """Vectors f32[N, D] of each family, in the order of the tasks."""
    names = dict.fromkeys(task.family for task in tasks)
    return {name: np.stack([task.vector for task in tasks if task.family == name]) for name in names}


def _live(
    programs: Programs, name: str, params: Params, vectors: np.ndarray, lives: tuple[int, jax.Array], wipe: bool = False
) -> Success:
    """Success [tasks, lifetimes, episodes]; lives: lifetimes of each task, and the key of them all."""
    lifetimes, key = lives
    rows = np.repeat(vectors, lifetimes, axis=0)
    success = programs.evaluate(name, params, rows, key, "holdout", wipe=wipe).success
    return np.asarray(success, bool).reshape(len(vectors), lifetimes, -1)


def _episodes(success: Success, rng: np.random.Generator) -> list[dict[str, float]]:
    """Mean, interquartile mean over tasks, and the interval of the mean, of each episode.

    n lifetimes of a task, resampled, give Binomial(n, k/n) successes: the bootstrap within tasks without its drawing.
    """
    tasks, n, _ = success.shape
    found = []
    for rates in success.mean(axis=1).T:
        draws = rng.binomial(n, rates, (RESAMPLES, tasks)).mean(axis=1) / n
        found.append({"mean": float(rates.mean()), "iqm": float(statistics.iqm(rates)), **_ends(draws)})
    return found


def _difference(a: Success, b: Success, rng: np.random.Generator) -> dict[str, float | None]:
    """Mean of a - b over paired lifetimes [tasks, lifetimes] and its intervals.

    ``low``, ``high``: for these tasks; n differences of a task, resampled, are multinomial. ``tasks_low``, ``tasks_high``: for
    the tasks that these are a sample of (Student's, over the means of the tasks); None for a single one.
    """
    tasks, n = a.shape
    shares = np.stack([(a & ~b).sum(axis=1), (~a & b).sum(axis=1), (a == b).sum(axis=1)], axis=1) / n
    draws = rng.multinomial(n, shares, (RESAMPLES, tasks))
    each = shares[:, 0] - shares[:, 1]
    low, high = statistics.student(each)
    within = _ends((draws[..., 0] - draws[..., 1]).mean(axis=1) / n)
    return {"mean": float(each.mean()), **within, "tasks_low": low, "tasks_high": high}


def _ends(draws: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}
