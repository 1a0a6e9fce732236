"""`openended eval`: a run's final learner on held-out tasks, or again on every skill it was accepted for.

Learners: ``trained``; ``wiped`` (the same, its memory cleared at every episode start); ``untrained`` (new-born); ``random``
(uniform actions); ``noop`` (none). Trained, wiped and untrained live the same lifetimes, so that their differences pair.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from envs import holdout
from envs.holdout import HeldOut
from openended import recording, statistics, subjects, suites, wording
from openended.archive import Archive
from openended.archive_rows import TaskRow
from openended.exporting import emit
from openended.locate import UsageError, find_run
from openended.programs import Programs
from openended.subjects import Subject
from openended.suites import UNLEARNED, Success
from openended.types import Params

ARCHIVE = "archive"
LEARNERS = ("trained", "wiped", "untrained", *UNLEARNED)
RESAMPLES = 2000
CHUNK = 256  # archive tasks evaluated in one call


def run(options: argparse.Namespace) -> int:
    """The command."""
    if options.suite != ARCHIVE and options.suite not in holdout.HASHES:
        raise UsageError(f"--suite is '{options.suite}'; allowed: {', '.join([*holdout.HASHES, ARCHIVE])}")
    if getattr(options, "bodies", ""):
        raise UsageError(f"--bodies is '{options.bodies}'; allowed: with --battery invariance only")
    folder = find_run(options.run, options.root)
    subject, key = subjects.restore(folder), suites.seeds(options.seed)
    about = told(folder, subject, options.lifetimes)
    if options.suite == ARCHIVE:
        with Archive(folder / "archive.db", readonly=True) as archive:
            skills = archive.tasks(status="accepted", kind="skill")
        rule = (subject.loop.acceptance.solve, options.lifetimes)
        kept = remembered(subject.loop.programs, subject.trained, skills, rule, key)
        emit(kept, options.json, wording.archive_lines(kept, about))
        return 0
    subject = subjects.visit(subject, options.suite)
    suite = suites.measurable(options.suite, subject.loop.families)
    success = measure(subject, suite, options.lifetimes, key)
    found = report(options.suite, suite, success, np.random.default_rng(options.seed))
    for row, task in zip(found["per_task"], suite, strict=True):
        row["description"] = recording.describe(subject.loop.families[task.family], task.vector)
    emit(found, options.json, wording.suite_lines(found, about))
    return 0


def told(folder: Path, subject: Subject, lifetimes: int) -> str:
    """What an evaluation is of, in words."""
    return f"run '{folder.resolve().name}' after round {subject.round}, {lifetimes} lifetimes a task"


def measure(subject: Subject, suite: Sequence[HeldOut], lifetimes: int, key: jax.Array) -> dict[str, Success]:
    """Success [tasks, lifetimes, episodes] of every learner, tasks in the suite's order."""
    programs = subject.loop.programs
    found: dict[str, list[Success]] = {learner: [] for learner in LEARNERS}
    for i, (name, vectors) in enumerate(suites.by_family(suite).items()):
        live_key, chance_key = jax.random.split(jax.random.fold_in(key, i))
        for learner, params in (("trained", subject.trained), ("wiped", subject.trained), ("untrained", subject.untrained)):
            found[learner].append(suites.live(programs, name, params, vectors, (lifetimes, live_key), learner == "wiped"))
        chance = suites.unlearned(programs.families[name], vectors, lifetimes, programs.episodes, chance_key)
        for learner, success in chance.items():
            found[learner].append(success)
    return {learner: np.concatenate(parts) for learner, parts in found.items()}


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
            success = suites.live(programs, name, params, vectors, (lifetimes, fresh))
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
    for group, rows in suites.groups(tasks).items():
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
