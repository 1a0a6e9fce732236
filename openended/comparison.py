"""What a sweep shows: levels of the arms, comparisons of the first arm with each other one, and whether they are fair.

A score is the success in the last episode of a held-out task, by one run's final learner. Levels and probabilities of
improvement are those of Agarwal et al. (2021): scores [seeds, tasks], seeds resampled within every task on its own. All tasks
of a seed share one learner, so those intervals say little about other seeds; the paired difference does: per seed, the mean
over tasks of a - b, with Student's interval over seeds. A verdict needs both. Refused, with the reason: runs of different
versions, of unequal budgets, on different tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.holdout import HeldOut
from openended import profiles, statistics, suites
from openended.locate import CommandError
from openended.runfolder import differences

TOLERANCE = 0.1  # share of the largest budget by which the runs of a comparison may differ
LEAST_SEEDS = 5
UNDECIDED, UNEQUAL, OTHER_TASKS = "not distinguishable", "unequal budgets", "different tasks"
OTHER_VERSIONS = "different versions"
WITHIN = {"last_minus_first": "trained_first", "last_minus_wiped": "wiped_last"}
COUNTS = ("accepted", "retained", "annecs", "retained_annecs", "rounds", "seconds")
TAUS = tuple(i / 20 for i in range(21))  # of performance profiles
SHARES = (0.01, 0.05, 0.1, 0.2)  # of the worst held-out tasks


class Result(NamedTuple):
    """One finished run."""

    seed: int
    tasks: Sequence[Mapping[str, Any]]  # the rows `per_task` of `eval --json`
    facts: Mapping[str, Any]  # {steps: {PURPOSE: steps}}, {versions: {PACKAGE: version}}, transfer or None, and the COUNTS
    episodes: Mapping[str, Sequence[float]]  # group -> the trained learner's success in each episode of a lifetime

    @property
    def total(self) -> int:
        """Steps of all purposes together."""
        return sum(self.facts["steps"].values())


def report(suite: str, arms: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """All of report.json that comes from results; arms in the order of the table, those without results are left out.

    Raises:
        CommandError: the runs of one arm were evaluated on different tasks.
    """
    arms = {arm: sorted(results, key=lambda result: result.seed) for arm, results in arms.items() if results}
    for arm, results in arms.items():
        if odd := [result.seed for result in results if _named(result) != _named(results[0])]:
            told = f"the runs of '{arm}' with seeds {results[0].seed} and {odd[0]} were evaluated on different tasks"
            raise CommandError(f"{told}: remove the holdout.json of one of them, and the same command evaluates it again")
    first, *others = arms or [""]
    return {
        "arms": {arm: _levels(suite, results) for arm, results in arms.items()},
        "comparisons": [
            {"a": first, "b": other, "suite": f"{suite}/{group}", **compare((first, other), arms[first], arms[other], group)}
            for other in others
            for group in _groups(arms[first])
        ],
        "budgets": {arm: [result.total for result in results] for arm, results in arms.items()},
        "tolerance": TOLERANCE,
        "taus": list(TAUS),
        "details": {arm: _details(suite, results) for arm, results in arms.items()},
    }


def compare(names: tuple[str, str], a: Sequence[Result], b: Sequence[Result], group: str) -> dict[str, Any]:
    """Probability that a improves on b, their paired difference, and the verdict; where it is refused, None and the reason."""
    seeds = sorted({result.seed for result in a} & {result.seed for result in b})
    a, b = ([result for result in arm if result.seed in seeds] for arm in (a, b))
    nothing = {"probability_of_improvement": None, "low": None, "high": None, "difference": None, "seeds": len(seeds)}
    if not seeds:
        return {**nothing, "verdict": UNDECIDED, "reason": ""}
    if refusal := _refusal(names, a, b, group):
        return {**nothing, "verdict": refusal[0], "reason": refusal[1]}
    mine, theirs = (_scores(arm, _groups(arm)[group], "trained_last") for arm in (a, b))
    better = statistics.probability_of_improvement(mine, theirs, np.random.default_rng(0))
    gap = paired(mine.mean(axis=1) - theirs.mean(axis=1))
    return {
        "probability_of_improvement": better.estimate,
        **{"low": better.low, "high": better.high},
        "difference": gap,
        "seeds": len(seeds),
        "verdict": verdict(len(seeds), better, gap),
        "reason": "",
    }


def _refusal(names: tuple[str, str], a: Sequence[Result], b: Sequence[Result], group: str) -> tuple[str, str] | None:
    """Verdict and reason where these runs must not be compared."""
    runs = [(f"{name}-{run.seed}", run) for name, arm in zip(names, (a, b), strict=True) for run in arm]
    first, one = runs[0]
    for name, run in runs:
        for what, was, is_ in differences(one.facts["versions"], run.facts["versions"]):
            return OTHER_VERSIONS, f"{what} is {was} in {first} and {is_} in {name}"
    budgets = [run.total for _, run in runs]
    if not equal(budgets):
        return UNEQUAL, f"{min(budgets)} to {max(budgets)} steps, more than {TOLERANCE:.0%} apart"
    mine, theirs = _named(a[0], group), _named(b[0], group)
    if mine != theirs:
        apart = len(set(mine) ^ set(theirs))
        return OTHER_TASKS, f"of the tasks of {group}, {apart} are only in one arm"
    return None


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
    success, within, spread, worst, episodes = ({} for _ in range(5))
    for group, rows in _groups(results).items():
        last = _scores(results, rows, "trained_last")
        success[f"{suite}/{group}"] = last.mean(axis=1).tolist()
        gaps = {name: last - _scores(results, rows, column) for name, column in WITHIN.items()}
        within[f"{suite}/{group}"] = {name: paired(gap.mean(axis=1)) for name, gap in gaps.items()}
        spread[f"{suite}/{group}"] = _spread(last)
        worst[f"{suite}/{group}"] = _worst(_scores(results, rows, "trained_halves"))
        each = np.array([result.episodes[group] for result in results])
        episodes[f"{suite}/{group}"] = [paired(column) for column in each.T]
    purposes = list(results[0].facts["steps"])
    changes = [result.facts["transfer"] for result in results]
    known = np.array([change for change in changes if change is not None])
    return {
        "seeds": [result.seed for result in results],
        "success": success,
        **{"within": within, "spread": spread, "worst": worst, "episodes": episodes},
        "transfer": {"seeds": changes, **(paired(known) if known.size else {"mean": None, "low": None, "high": None})},
        **{name: [result.facts[name] for result in results] for name in COUNTS},
        "steps": {purpose: [result.facts["steps"][purpose] for result in results] for purpose in purposes},
    }


def _spread(scores: np.ndarray) -> dict[str, Any]:
    """Performance profile over TAUS and optimality gap of scores [seeds, tasks], seeds resampled within every task."""
    found = profiles.profile(scores, TAUS, np.random.default_rng(0))
    gap = statistics.stratified_bootstrap(scores.T, np.random.default_rng(0), profiles.optimality_gap)
    return {"profile": {name: part.tolist() for name, part in found._asdict().items()}, "optimality_gap": gap._asdict()}


def _worst(halves: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Success on the worst share of tasks, share -> over seeds. halves [seeds, tasks, 2]: of a learner's evaluation.

    Tasks are ranked on one half of the lifetimes and scored on the other, and the other way round; the mean of both.
    """
    orders = ((0, 1), (1, 0))
    return {
        str(share): paired(
            np.array([np.mean([profiles.tail(run[:, i], run[:, j], share) for i, j in orders]) for run in halves])
        )
        for share in SHARES
    }


def _groups(results: Sequence[Result]) -> dict[str, np.ndarray]:
    """Rows of every group of the suite, as `eval` has them."""
    nothing = np.zeros(0, np.float32)
    return suites.groups([HeldOut(row["family"], row["group"], row["size"], nothing) for row in results[0].tasks])


def _named(result: Result, group: str = "all") -> list[str]:
    """The tasks of a group in words; none when there is no such group."""
    rows = _groups([result]).get(group, np.zeros(0, np.int64))
    return [f"{result.tasks[row]['family']} {result.tasks[row]['description']}" for row in rows]


def _scores(results: Sequence[Result], rows: np.ndarray, column: str) -> np.ndarray:
    """f64[seeds, tasks], or [seeds, tasks, 2] of a column of halves."""
    return np.array([[result.tasks[row][column] for row in rows] for result in results], np.float64)
