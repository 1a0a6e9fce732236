"""What acceptance draws, remembers and says: its data types, and sequential draws of lifetimes from look to look.

`openended.acceptance` decides on it; the loop and `openended.calibrate` read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openended.statistics import Floats, Ints, VerdictRule

Bools = npt.NDArray[np.bool_]
# (task index [R], lifetimes wanted of each [R]) -> successes in the last episode [R]; fresh seeds at every call.
Draw = Callable[[Ints, Ints], npt.ArrayLike]
# A rule -> of every task of the archive [N] the verdict by this rule that still holds: 1 kept, -1 forgotten, 0 none.
Standing = Callable[[VerdictRule], Ints]
Judge = Callable[[int, Ints, Ints, Ints], Bools]  # (look, rows, k, n) -> which rows go on


class AcceptanceState(NamedTuple):
    """All that acceptance remembers: four int64 arrays of shape [], a pytree of fixed structure for checkpoints."""

    old_tests: Ints  # ticks of the old clock: candidates whose old evidence was sampled
    new_tests: Ints  # ticks of the new clock: (task, round) trials of the learner
    accepted: Ints  # discoveries so far, R
    retention_rounds: Ints  # rounds in which retention was tested, however many tries each took


class Evidence(NamedTuple):
    """One row per task. The bar is log_e >= -log(level); level 1 where nothing is asked (Off)."""

    successes: Ints  # [N] in the last episode
    lifetimes: Ints  # [N]
    log_e: Floats  # [N] natural logarithm of the e-value
    level: Floats  # [N]
    rejects: Bools  # [N] the null is rejected: the claim holds


class Decision(NamedTuple):
    """Which tasks are accepted, a plain sentence on each, and what they rest on."""

    accept: Bools  # [N]
    reason: tuple[str, ...]
    evidence: Evidence


class Retention(NamedTuple):
    """Verdict on a learner. Indices count from 0 in the archive; successes and lifetimes follow `tested`."""

    passed: bool
    reason: str
    sampled: Ints  # [m] what the certificate counts, ascending
    forgotten: Ints  # of the sample and the tasks at risk, those with the verdict forgotten
    kept: Ints  # those with the verdict kept
    successes: Ints
    lifetimes: Ints
    tested: Ints  # those that were played, ascending: all, but for those whose verdict still holds
    allowed: int  # c
    rule: VerdictRule  # that gave the verdicts


def sequence(draw: Draw, tasks: Ints, looks: npt.ArrayLike, judge: Judge) -> tuple[Ints, Ints]:
    """Successes k [R] and lifetimes n [R] of tests on `tasks` [R], each run until it is decided.

    looks: numbers of lifetimes, ascending, after which the open tests are looked at. judge(look, rows, k, n) says of each
    of `rows`, whose counts are k and n, whether it goes on. Raises `ValueError` when `draw` returns impossible counts.
    """
    k, n, rows = np.zeros(tasks.size, np.int64), np.zeros(tasks.size, np.int64), np.arange(tasks.size)
    for i, size in enumerate(np.diff(np.asarray(looks, np.int64), prepend=0)):
        if rows.size == 0:
            break
        got = np.asarray(draw(tasks[rows], np.full(rows.size, size, np.int64)))
        if got.shape != rows.shape or not np.all((got >= 0) & (got <= size)):
            raise ValueError(f"draw must return from 0 to {size} successes for each of {rows.size} tasks")
        k[rows] += got.astype(np.int64)
        n[rows] += size
        rows = rows[judge(i, rows, k[rows], n[rows])]
    return k, n


def verdicts(
    draw: Draw, rule: VerdictRule, sampled: Ints, asked: Ints, allowed: int, standing: Standing | None = None
) -> Retention:
    """Sequential verdicts on all of `asked`, of which those of `sampled` count: passed if at most `allowed` are forgotten.

    standing: verdicts that still hold; they are not given anew.
    """
    known = np.zeros(asked.size, np.int64) if standing is None else standing(rule)[asked]
    kept, new = known > 0, np.flatnonzero(known == 0)

    def judge(i: int, rows: Ints, k: Ints, n: Ints) -> Bools:
        kept[new[rows]] = k >= rule.kept_at[i]
        return np.asarray((k < rule.kept_at[i]) & (k > rule.forgotten_at[i]))

    k, n = sequence(draw, asked[new], rule.looks, judge)
    lost = int(np.isin(sampled, asked[~kept]).sum())
    word = ("certified" if lost <= allowed else "not certified") if sampled.size else "nothing to certify"
    reason = f"{word}: {lost} of {sampled.size} sampled tasks forgotten, at most {allowed} allowed"
    if new.size < asked.size:
        reason += f"; {asked.size - new.size} of {asked.size} verdicts still held"
    return Retention(lost <= allowed, reason, sampled, asked[~kept], asked[kept], k, n, asked[new], allowed, rule)


def reasons(evidence: Evidence) -> tuple[str, ...]:
    """A plain sentence per task on why it is accepted or not."""
    k, n, log_e, level, rejects = evidence
    words = np.where(rejects, np.where(level < 1.0, "accepted", "accepted without a test"), "not accepted")
    return tuple(
        f"{word}: solved in {a} of {b} lifetimes, log evidence {e:.1f} of {bar:.1f} needed"
        for word, a, b, e, bar in zip(words, k, n, log_e, np.log(1.0 / level), strict=True)
    )
