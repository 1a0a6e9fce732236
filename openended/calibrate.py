"""Measures acceptance's error rates on learners whose success probabilities are known.

`python -m openended.calibrate [--repeats N] [--seed S] [--json] [--out FILE]`. Whole runs (entry, learning, retention
with repair and roll-back, decision) drive the real `PowerPlay`; only `Draw` is simulated. Truths are the hardest that
the claims allow: nulls exactly at their threshold count as false, forgotten tasks sit exactly at `forget` and are only
just more than epsilon. Exit status 1 if an interval lies wholly above its nominal level.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from openended import statistics
from openended.acceptance import PowerPlay
from openended.evidence import AcceptanceState, Draw, Evidence
from openended.statistics import Floats, Ints

ROUNDS, CANDIDATES, EARNED, MEASURED = 20, 16, 20, 20_000
KINDS = ("entry", "decision", "retention")  # of sequential tests, whose mean lifetimes are reported
Mix = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Scenario:
    """A world. tasks: (weight, p of the snapshot, p of the learner); later: their mix once EARNED are accepted."""

    name: str
    tasks: Mix
    later: Mix | None = None
    start: int = 0  # archive size at the start; these tasks count neither as discoveries nor as false ones
    archive_p: float = 0.95  # success probability of an archive task that is not forgotten
    forgets: float = 0.3  # probability that a round's learning forgets just over epsilon of the archive
    repaired: float = 0.5  # probability that a repair brings it back
    stay: int = 3  # rounds that a task may wait in the frontier
    wobble: float = 0.0  # every other round the learner is this much worse


REAL: Mix = ((0.6, 0.0, 0.95), (0.2, 0.2, 0.9), (0.2, 0.0, 1.0))
NULLS: Mix = ((0.3, 0.0, 0.7), (0.2, 0.0, 0.69), (0.4, 0.5, 1.0), (0.1, 0.9, 1.0))
SCENARIOS = (
    Scenario("mixed", tuple((0.5 * w, *p) for w, *p in REAL + NULLS)),  # type: ignore[misc]
    Scenario("nulls only, archive at solve", NULLS, start=30, archive_p=0.7),
    Scenario("earn, then nulls", REAL, later=NULLS, start=300, repaired=0.0),
    Scenario("drift at solve", ((0.1, 0.0, 0.95), (0.9, 0.0, 0.7)), start=2000, archive_p=0.7, stay=10, wobble=0.02),
)


class Row(NamedTuple):
    """One line of the table: a rate, its 95 % interval, and the level it must not exceed."""

    rate: str
    world: str
    measured: float
    low: float
    high: float
    nominal: float
    trials: int


class World:
    """One simulated run: the truth, the state of acceptance, and what was counted."""

    def __init__(self, rule: PowerPlay, scenario: Scenario, rng: np.random.Generator) -> None:
        self.rule, self.scenario, self.rng = rule, scenario, rng
        self.state: AcceptanceState = rule.init()
        self.archive: Floats = np.full(scenario.start, scenario.archive_p)
        self.frontier: Floats = np.zeros((0, 3))  # p of the snapshot, p of the learner, rounds waited
        self.false, self.worst, self.count = 0, 0.0, Counter[str]()

    def run(self) -> None:
        for round_ in range(ROUNDS):
            self.enter()
            if self.retain():
                self.decide(self.scenario.wobble * (round_ % 2))
            self.frontier[:, 2] += 1
            self.frontier = self.frontier[self.frontier[:, 2] < self.scenario.stay]

    def draw(self, p: Floats) -> Draw:
        return lambda tasks, lifetimes: self.rng.binomial(lifetimes, p[tasks])

    def enter(self) -> None:
        """New candidates, old evidence, frontier."""
        late = self.scenario.later is not None and int(self.state.accepted) >= EARNED
        mix = np.array(self.scenario.later if late else self.scenario.tasks)
        chosen = mix[self.rng.choice(len(mix), CANDIDATES, p=mix[:, 0] / mix[:, 0].sum()), 1:]
        self.state, evidence = self.rule.entry(self.state, self.draw(chosen[:, 0]), CANDIDATES)
        self.spent("entry", evidence)
        rows = np.column_stack([chosen, np.zeros(CANDIDATES)])[evidence.rejects]
        self.frontier = np.concatenate([self.frontier, rows])

    def retain(self) -> bool:
        """Learning may forget; tries, repairs, roll-back. What was overlooked is put right so that rounds are alike."""
        before, population = self.archive.copy(), self.archive.size
        bad = population > 0 and self.rng.random() < self.scenario.forgets
        if bad:
            lost = statistics.worst_forgotten(population, self.rule.epsilon)
            self.archive[self.rng.choice(population, lost, replace=False)] = self.rule.forget
        self.count["forgetting" if bad else "sound"] += population > 0
        passed, healed = False, not bad
        for attempt in range(self.rule.repairs + 1):
            if attempt > 0 and not healed and self.rng.random() < self.scenario.repaired:
                self.archive, healed = before.copy(), True
            draw = self.draw(self.archive)
            self.state, result = self.rule.retain(self.state, draw, population, [], attempt, self.rng)
            self.count["retention tests"] += result.tested.size
            self.count["retention lifetimes"] += int(result.lifetimes.sum())
            self.count["first try failed"] += not bad and attempt == 0 and not result.passed
            passed = result.passed
            if passed:
                break
        self.count["missed"] += passed and not healed
        self.count["rolled back"] += not bad and not passed
        self.archive = before
        return passed

    def decide(self, worse: float) -> None:
        """New evidence; what is accepted moves to the archive, and the truth is looked up."""
        p, size = self.frontier[:, 1] - worse, len(self.frontier)
        self.state, decision = self.rule.decide(self.state, self.draw(p), size)
        self.spent("decision", decision.evidence)
        real = (self.frontier[:, 0] < self.rule.fail) & (p > self.rule.solve)
        self.count["real"] += int(real.sum())
        self.count["real accepted"] += int(np.sum(real & decision.accept))
        self.false += int(np.sum(~real & decision.accept))
        self.worst = max(self.worst, self.false / max(1, int(self.state.accepted)))
        self.frontier = self.frontier[~decision.accept]
        found = int(decision.accept.sum())
        self.archive = np.concatenate([self.archive, np.full(found, self.scenario.archive_p)])

    def spent(self, kind: str, evidence: Evidence) -> None:
        self.count[f"{kind} tests"] += evidence.lifetimes.size
        self.count[f"{kind} lifetimes"] += int(evidence.lifetimes.sum())


def proportion(rate: str, world: str, k: int, n: int, nominal: float) -> Row:
    """A share with its Clopper-Pearson 95 % interval."""
    low, high = statistics.clopper_pearson(k, n)
    return Row(rate, world, k / max(n, 1), float(low), float(high), nominal, n)


def false_discovery(worst: Floats, world: str, nominal: float, rng: np.random.Generator) -> Row:
    """Mean over runs of the largest false discovery proportion of the run; bootstrap 95 % interval.

    Where fewer than 10 runs had a false discovery a bootstrap is blind: the upper end is then that of P(any).
    """
    interval = statistics.stratified_bootstrap([worst], rng, np.mean)
    some = int(np.count_nonzero(worst))
    high = interval.high if some >= 10 else float(statistics.clopper_pearson(some, worst.size)[1])
    high = max(interval.high, high)
    return Row("false discovery rate", world, interval.estimate, interval.low, high, nominal, worst.size)


@functools.cache
def failing_bounds(rule: PowerPlay) -> tuple[float, float]:
    """(first try fails, all tries fail) at most, where every task has p >= solve, whatever the size of the archive.

    One try fails with P(Binomial(m, false_alarm) > c); tries use fresh samples and seeds. The worst sizes are small.
    """
    first, every = 0.0, 0.0
    for population in (*range(1, 400), 500, 1000, 2000, 5000, 10_000, 100_000):
        plans = [rule.certificate(population, 1, attempt)[0] for attempt in range(rule.repairs + 1)]
        tries = [float(special.bdtrc(plan.allowed, plan.sample, rule.false_alarm)) for plan in plans]
        first, every = max(first, tries[0]), max(every, float(np.prod(tries)))
    return first, every


def measure_runs(rule: PowerPlay, scenario: Scenario, repeats: int, rng: np.random.Generator) -> tuple[list[Row], Counter[str]]:
    """All rates of one scenario, and the sums for power and cost."""
    worst, count = np.zeros(repeats), Counter[str]()
    for i in range(repeats):
        world = World(rule, scenario, rng)
        world.run()
        worst[i] = world.worst
        count += world.count
    first, every = failing_bounds(rule)
    name = scenario.name
    rows = [
        false_discovery(worst, name, rule.alpha, rng),
        proportion("missed forgetting, per round", name, count["missed"], count["forgetting"], rule.delta),
        proportion("false forgetting: repair", name, count["first try failed"], count["sound"], first),
        proportion("false forgetting: roll-back", name, count["rolled back"], count["sound"], every),
    ]
    return rows, count


def measure_verdicts(rule: PowerPlay, rng: np.random.Generator) -> list[Row]:
    """Error rates of single retention verdicts at the thresholds."""
    forgotten, solved = (rule.audit(_steady(p, rng), MEASURED) for p in (rule.forget, rule.solve))
    return [
        proportion("verdict misses", f"p = {rule.forget}", forgotten.kept.size, MEASURED, rule.miss),
        proportion("verdict alarms falsely", f"p = {rule.solve}", solved.forgotten.size, MEASURED, rule.false_alarm),
    ]


def compare_tests(rule: PowerPlay) -> dict[str, float]:
    """Exact probability that a task exactly at `solve` is ever accepted by one test of level 5 %, by kind of test."""
    looks = np.append(np.arange(rule.chunk, rule.cap, rule.chunk), rule.cap)

    def ever(at: Sequence[int] | Ints, passes: Callable[[Ints, npt.ArrayLike], npt.NDArray[np.bool_]]) -> float:
        up = [int(np.argmax(np.append(passes(np.arange(n + 1), n), True))) for n in at]
        return float(statistics.exit_probabilities(rule.solve, at, [-1] * len(at), up).up.sum())

    wilson = ever(looks, lambda k, n: statistics.wilson(k, n, 0.9)[0] > rule.solve)
    e_value = ever(looks, lambda k, n: statistics.log_e_above(k, n, rule.solve) >= np.log(20.0))
    fixed = ever(looks[-1:], lambda k, n: statistics.clopper_pearson(k, n, 0.9)[0] > rule.solve)
    return {"Wilson bound, every look": wilson, "mixture e-value, every look": e_value, "Clopper-Pearson once": fixed}


def price_list(rule: PowerPlay, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Share decided as hoped and mean lifetimes at known p: a batch of 48 as a run's 101st to 148th test, R = 50."""
    state = rule.init()._replace(old_tests=np.array(100), new_tests=np.array(100), accepted=np.array(50))
    prices: list[dict[str, Any]] = []
    for p in (0.0, 0.1, 0.3, 0.5):
        prices.append(_price("entry", p, [rule.entry(state, _steady(p, rng), 48)[1] for _ in range(20)]))
    for p in (0.7, 0.8, 0.85, 0.9, 0.95, 1.0):
        runs = [rule.decide(state, _steady(p, rng), 48)[1].evidence for _ in range(20)]
        prices.append(_price("decision", p, runs))
    _, verdict = rule.certificate(1000)
    for p in (0.0, 0.3, rule.forget, rule.solve, 0.8, 0.9, 0.95):
        kept, lifetimes = statistics.verdict_profile(verdict, p)
        prices.append({"test": "retention", "p": p, "positive": kept, "lifetimes": lifetimes})
    return prices


def _steady(p: float, rng: np.random.Generator) -> Draw:
    return lambda _, lifetimes: rng.binomial(lifetimes, p)


def _price(test: str, p: float, runs: list[Evidence]) -> dict[str, Any]:
    rejects, lifetimes = (np.concatenate([getattr(run, name) for run in runs]) for name in ("rejects", "lifetimes"))
    return {"test": test, "p": p, "positive": float(rejects.mean()), "lifetimes": float(lifetimes.mean())}


def calibrate(rule: PowerPlay, repeats: int, seed: int, scenarios: Sequence[Scenario]) -> dict[str, Any]:
    """Everything that is measured, as one JSON value."""
    rng = np.random.default_rng(seed)
    rows, power = measure_verdicts(rule, rng), []
    for scenario in scenarios:
        found, count = measure_runs(rule, scenario, repeats, rng)
        rows += found
        cost = {kind: count[f"{kind} lifetimes"] / max(1, count[f"{kind} tests"]) for kind in KINDS}
        found_real = count["real accepted"] / max(1, count["real"])
        power.append({"world": scenario.name, "real accepted per trial": found_real, **cost})
    holds = all(row.low <= row.nominal for row in rows)
    return {
        "repeats": repeats, "rounds": ROUNDS, "seed": seed, "rule": asdict(rule), "holds": holds,
        "rates": [row._asdict() for row in rows], "power": power,
        "prices": price_list(rule, rng), "comparison": compare_tests(rule),
    }  # fmt: skip


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""

    def cell(v: Any) -> str:
        return f"{v:.4g}" if isinstance(v, float) else str(v)

    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([cell(row[head]) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tables(result: dict[str, Any]) -> str:
    comparison = [{"test": name, "accepts": value} for name, value in result["comparison"].items()]
    return "\n\n".join(_table(rows) for rows in (result["rates"], result["power"], result["prices"], comparison))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m openended.calibrate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=200, help="simulated runs per world (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON value instead of tables")
    parser.add_argument("--out", type=Path, help="write to this file instead of the terminal")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    result = calibrate(PowerPlay(), options.repeats, options.seed, SCENARIOS)
    text = json.dumps(result, indent=1) if options.json else _tables(result)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
