"""What a sweep shows: levels of the arms, comparisons of the first arm with each other one, and whether they are fair.

A score is the success in the last episode of a held-out task, by one run's final learner. Levels and probabilities of
improvement are those of Agarwal et al. (2021): scores [seeds, tasks], seeds resampled within every task on its own. All tasks
of a seed share one learner, so those intervals say little about other seeds; the paired difference does: per seed, the mean
over tasks of a - b, with Student's interval over seeds. A verdict needs both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.holdout import HeldOut
from openended import evaluate, statistics

TOLERANCE = 0.1  # share of the largest budget by which the runs of a comparison may differ
LEAST_SEEDS = 5
UNDECIDED, UNEQUAL, OTHER_TASKS = "not distinguishable", "unequal budgets", "different tasks"
WITHIN = {"last_minus_first": "trained_first", "last_minus_wiped": "wiped_last"}
COUNTS = ("accepted", "retained", "rounds", "seconds")


class Result(NamedTuple):
    """One finished run."""

    seed: int
    tasks: Sequence[Mapping[str, Any]]  # the rows `per_task` of `eval --json`
    facts: Mapping[str, Any]  # {steps: {PURPOSE: steps}} and the COUNTS

    @property
    def total(self) -> int:
        """Steps of all purposes together."""
        return sum(self.facts["steps"].values())


def report(suite: str, arms: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """All of report.json that comes from results; arms in the order of the table, those without results are left out."""
    arms = {arm: sorted(results, key=lambda result: result.seed) for arm, results in arms.items() if results}
    first, *others = arms or [""]
    return {
        "arms": {arm: _levels(suite, results) for arm, results in arms.items()},
        "comparisons": [
            {"a": first, "b": other, "suite": f"{suite}/{group}", **compare(arms[first], arms[other], group)}
            for other in others
            for group in _groups(arms[first])
        ],
        "budgets": {arm: [result.total for result in results] for arm, results in arms.items()},
        "tolerance": TOLERANCE,
        "details": {arm: _details(suite, results) for arm, results in arms.items()},
    }


def compare(a: Sequence[Result], b: Sequence[Result], group: str) -> dict[str, Any]:
    """Probability that a improves on b, their paired difference, and the verdict; numbers are None where it is refused."""
    seeds = sorted({result.seed for result in a} & {result.seed for result in b})
    a, b = ([result for result in arm if result.seed in seeds] for arm in (a, b))
    refused = {"probability_of_improvement": None, "low": None, "high": None, "difference": None, "seeds": len(seeds)}
    if not seeds:
        return {**refused, "verdict": UNDECIDED}
    if not equal([result.total for result in (*a, *b)]):
        return {**refused, "verdict": UNEQUAL}
    if _named(a, group) != _named(b, group):
        return {**refused, "verdict": OTHER_TASKS}
    mine, theirs = (_scores(arm, _groups(arm)[group], "trained_last") for arm in (a, b))
    better = statistics.probability_of_improvement(mine, theirs, np.random.default_rng(0))
    gap = paired(mine.mean(axis=1) - theirs.mean(axis=1))
    return {
        "probability_of_improvement": better.estimate,
        **{"low": better.low, "high": better.high},
        "difference": gap,
        "seeds": len(seeds),
        "verdict": verdict(len(seeds), better, gap),
    }


def equal(budgets: Sequence[int]) -> bool:
    """Whether the smallest is within the tolerance of the largest."""
    return min(budgets) >= (1.0 - TOLERANCE) * max(budgets)


def paired(differences: np.ndarray) -> dict[str, float | None]:
    """Mean of one difference per seed, and Student's 95 % interval; no interval from a single seed."""
    low, high = statistics.student(differences)
    return {"mean": float(np.mean(differences)), "low": low, "high": high}


def verdict(seeds: int, better: statistics.Interval, gap: Mapping[str, float | None]) -> str:
    """``a`` or ``b`` when both intervals exclude that they are alike, on the same side, from at least five seeds."""
    low, high = gap["low"], gap["high"]
    if seeds < LEAST_SEEDS or low is None or high is None:
        return UNDECIDED
    if low > 0.0 and better.low > 0.5:
        return "a"
    return "b" if high < 0.0 and better.high < 0.5 else UNDECIDED


def _levels(suite: str, results: Sequence[Result]) -> dict[str, Any]:
    found = {}
    for group, rows in _groups(results).items():
        scores = _scores(results, rows, "trained_last")
        level = statistics.stratified_bootstrap(scores.T, np.random.default_rng(0))
        found[f"{suite}/{group}"] = {"iqm": level.estimate, "low": level.low, "high": level.high, "seeds": len(results)}
    return found


def _details(suite: str, results: Sequence[Result]) -> dict[str, Any]:
    """Per seed: what else the runs tell. ``within``: learning within the lifetime, and memory's part, over seeds."""
    success, within = {}, {}
    for group, rows in _groups(results).items():
        last = _scores(results, rows, "trained_last")
        success[f"{suite}/{group}"] = last.mean(axis=1).tolist()
        gaps = {name: last - _scores(results, rows, column) for name, column in WITHIN.items()}
        within[f"{suite}/{group}"] = {name: paired(gap.mean(axis=1)) for name, gap in gaps.items()}
    purposes = list(results[0].facts["steps"])
    return {
        "seeds": [result.seed for result in results],
        "success": success,
        "within": within,
        **{name: [result.facts[name] for result in results] for name in COUNTS},
        "steps": {purpose: [result.facts["steps"][purpose] for result in results] for purpose in purposes},
    }


def _groups(results: Sequence[Result]) -> dict[str, np.ndarray]:
    """Rows of every group of the suite, as `eval` has them."""
    nothing = np.zeros(0, np.float32)
    return evaluate.groups([HeldOut(row["family"], row["group"], row["size"], nothing) for row in results[0].tasks])


def _named(results: Sequence[Result], group: str) -> list[str]:
    """The tasks of a group in words; none when there is no such group."""
    rows = _groups(results).get(group, np.zeros(0, np.int64))
    return [f"{results[0].tasks[row]['family']} {results[0].tasks[row]['description']}" for row in rows]


def _scores(results: Sequence[Result], rows: np.ndarray, column: str) -> np.ndarray:
    """f64[seeds, tasks]."""
    return np.array([[result.tasks[row][column] for row in rows] for result in results], np.float64)
