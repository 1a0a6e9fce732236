"""PowerPlay's correctness demonstration: which tasks are discoveries, and whether a learner forgot.

The loop and `openended.calibrate` drive the same objects; only `Draw`, which runs lifetimes on fresh seeds, differs.
Order inside a round:

1. `entry`: evidence that the learner of this moment (the snapshot) fails the new candidates;
2. learning;
3. `retain`: whether the changed learner forgot, 1 + `repairs` tries at most;
4. `decide`: which frontier tasks it solves, only for a learner that is kept: what is rolled back must not count.

docs/acceptance.md has the proofs and the measured error rates, `openended.evidence` the data types.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt
from scipy import special

from openended import statistics
from openended.evidence import (
    AcceptanceState,
    Bools,
    Decision,
    Draw,
    Evidence,
    Retention,
    Standing,
    reasons,
    sequence,
    verdicts,
)
from openended.statistics import Floats, Ints, Plan, VerdictRule

Generator = np.random.Generator
_MAX_CAP = 4096


@dataclass(frozen=True, kw_only=True)
class AbstractAcceptance(abc.ABC):
    """The course of every acceptance; what is asked for is the subclass's. State is taken and returned.

    solve, fail, forget: success probabilities in the last episode from which a task counts as solved, up to which the
        snapshot fails it, and up to which it is forgotten.
    chunk: lifetimes between looks.
    repairs: tries after the first before a learner is rolled back.
    audit_every: rounds between audits.

    Raises `ValueError` for a value that is not allowed, as do the subclasses.
    """

    solve: float = 0.7
    fail: float = 0.5
    forget: float = 0.5
    chunk: int = 16
    repairs: int = 1
    audit_every: int = 10
    gated: ClassVar[bool] = True  # trials wait until the task goes well while learning

    def __post_init__(self) -> None:
        _require(self, ("solve", "fail", "forget"), float, lambda v: 0 < v < 1, "a number above 0 and below 1")
        _require(self, ("fail",), float, lambda v: v <= self.solve, f"at most acceptance.solve={self.solve}")
        _require(self, ("forget",), float, lambda v: v < self.solve, f"less than acceptance.solve={self.solve}")
        _require(self, ("chunk",), int, lambda v: 1 <= v <= _MAX_CAP, f"a whole number from 1 to {_MAX_CAP}")
        _require(self, ("repairs",), int, lambda v: v >= 0, "a whole number, 0 or more")
        _require(self, ("audit_every",), int, lambda v: v >= 1, "a whole number, 1 or more")

    def init(self) -> AcceptanceState:
        """Nothing tested, nothing accepted."""
        return AcceptanceState(*(np.zeros((), np.int64) for _ in range(4)))

    def entry(self, state: AcceptanceState, draw: Draw, count: int) -> tuple[AcceptanceState, Evidence]:
        """Evidence that the learner of this moment (the snapshot) fails each of `count` new candidates."""
        evidence = self._test(state, draw, count, new=False)
        return state._replace(old_tests=np.asarray(state.old_tests + count, np.int64)), evidence

    def decide(self, state: AcceptanceState, draw: Draw, count: int) -> tuple[AcceptanceState, Decision]:
        """Which of `count` frontier tasks, each past its entry, the kept learner of this round solves."""
        evidence = self._test(state, draw, count, new=True)
        accepted = np.asarray(state.accepted + np.count_nonzero(evidence.rejects), np.int64)
        state = state._replace(new_tests=np.asarray(state.new_tests + count, np.int64), accepted=accepted)
        return state, Decision(evidence.rejects, reasons(evidence), evidence)

    def retain(
        self,
        state: AcceptanceState,
        draw: Draw,
        population: int,
        at_risk: npt.ArrayLike,
        attempt: int,
        key: Generator,
        standing: Standing | None = None,
    ) -> tuple[AcceptanceState, Retention]:
        """Whether too much of `population` accepted tasks is forgotten, by a sample drawn anew with `key`.

        attempt: 0 is a round's first try, 1.. follow a repair. at_risk: tasks that are tested and reported besides, but
        not counted, since they were not drawn at random. standing: earlier verdicts on what plays these tasks now, bit for
        bit; they count as if given now. Raises `ValueError` when attempt or at_risk is out of range.
        """
        if not 0 <= attempt <= self.repairs:
            raise ValueError(f"attempt {attempt}: acceptance.repairs={self.repairs} allows 0 to {self.repairs}")
        extra = np.asarray(at_risk, np.int64).ravel()
        if np.any((extra < 0) | (extra >= population)):
            raise ValueError(f"at_risk names tasks outside an archive of {population}")
        state = state._replace(retention_rounds=np.asarray(state.retention_rounds + (attempt == 0), np.int64))
        plan, rule = self.certificate(population, int(state.retention_rounds), attempt)
        sampled = np.sort(key.choice(population, plan.sample, replace=False)).astype(np.int64)
        return state, verdicts(draw, rule, sampled, np.union1d(sampled, extra), plan.allowed, standing)

    def audit(self, draw: Draw, population: int) -> Retention:
        """A verdict for every accepted task."""
        (size, allowed), rule = self.certificate(population, 1, None)
        return verdicts(draw, rule, np.arange(size), np.arange(size), allowed)

    @abc.abstractmethod
    def certificate(self, population: int, round_: int = 1, attempt: int | None = 0) -> tuple[Plan, VerdictRule]:
        """Plan (how many tasks, how many may be forgotten) and verdict rule of one try.

        round_: 1, 2, ... counts the retention rounds. attempt None: an audit of all `population` tasks.
        """

    @abc.abstractmethod
    def keeps_learner(self, retained: bool, accepted_any: bool) -> bool:
        """Whether the candidate learner becomes the learner."""

    @abc.abstractmethod
    def _test(self, state: AcceptanceState, draw: Draw, count: int, new: bool) -> Evidence:
        """Evidence on the next `count` tasks: that the learner solves them (new) or fails them (not new)."""

    def _log_e(self, k: npt.ArrayLike, n: npt.ArrayLike, new: bool) -> Floats:
        return statistics.log_e_above(k, n, self.solve) if new else statistics.log_e_below(k, n, self.fail)


@final
@dataclass(frozen=True, kw_only=True)
class PowerPlay(AbstractAcceptance):
    """Discoveries at false discovery rate `alpha` over the whole run, retention by certificate.

    mode: `progressive`, or `strict`: the learner changes only together with an accepted task (Schmidhuber 2011).
    cap: most lifetimes of one verdict.
    epsilon: share of the archive that may be forgotten.
    delta: probability of overlooking that more is forgotten, per round or over the run, as `spending` says.
    miss, false_alarm: error rates of a retention verdict at exactly `forget` and at exactly `solve`.
    sample: tasks of a retention sample, at least; a smaller archive is tested whole. More tasks cost lifetimes and spare
        repairs and roll-backs of learners that forgot less than epsilon.
    """

    alpha: float = 0.05
    mode: str = "progressive"
    cap: int = 256
    epsilon: float = 0.05
    delta: float = 0.05
    miss: float = 0.02
    false_alarm: float = 0.001
    spending: str = "per_round"
    sample: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self, ("alpha", "epsilon", "delta"), float, lambda v: 0 < v < 1, "a number above 0 and below 1")
        _require(self, ("miss", "false_alarm"), float, lambda v: 0 < v < 0.5, "a number above 0 and below 0.5")
        _require(self, ("mode",), str, lambda v: v in ("progressive", "strict"), "progressive or strict")
        _require(self, ("spending",), str, lambda v: v in ("per_round", "run"), "per_round or run")
        _require(self, ("sample",), int, lambda v: v >= 1, "a whole number, 1 or more")
        _require(self, ("cap",), int, lambda v: self.chunk <= v <= _MAX_CAP, f"{self.chunk} (chunk) to {_MAX_CAP}")
        if not self._holds(self.cap):
            larger = sorted({min(_MAX_CAP, int(self.cap * 1.5**i) + 1) for i in range(24)})
            enough = next((f"at least {cap}" for cap in larger if self._holds(cap)), "forget and solve further apart")
            _require(self, ("cap",), int, lambda v: False, f"{enough}, or a larger miss or false_alarm")

    def certificate(self, population: int, round_: int = 1, attempt: int | None = 0) -> tuple[Plan, VerdictRule]:
        """See the base class.

        The first try, which every round pays for, may spend 4/5 of the round's delta, the others share the rest.
        Verdicts on a small archive, where a single miss would break delta, are made stricter than `miss`.
        An audit takes every task, allows floor(epsilon N) forgotten, and bounds the errors of each verdict only.
        """
        worst = statistics.worst_forgotten(population, self.epsilon)
        if attempt is None:
            return Plan(population, worst - 1), self._rule(self.miss, self.cap)
        delta = self.delta * (float(statistics.lond_weights(max(round_, 1))) if self.spending == "run" else 1.0)
        if self.repairs > 0:
            delta *= 0.8 if attempt == 0 else 0.2 / self.repairs
        miss = min(self.miss, delta ** (1.0 / worst))
        plan = statistics.certificate_plan(population, self.epsilon, delta, miss, self.sample)
        return plan, self._rule(miss, self.cap)

    def keeps_learner(self, retained: bool, accepted_any: bool) -> bool:
        """progressive: unless it forgot; strict: only together with an accepted task."""
        return retained and (accepted_any or self.mode == "progressive")

    def _test(self, state: AcceptanceState, draw: Draw, count: int, new: bool) -> Evidence:
        """Sequential e-tests of H0: p <= solve (new) or p >= fail, until rejected, hopeless or at `cap` lifetimes.

        The level is alpha/2 gamma_t (R + 1): t counts on the test's own clock, allotted before anything is drawn, and R
        the discoveries so far, for new tests including those of this call. k rows that reach alpha/2 gamma_t (R + k)
        together are accepted together: in the end there are at least R + k discoveries, which is all the proof uses.
        """
        clock, found = int(state.new_tests if new else state.old_tests), int(state.accepted)
        base = self.alpha / 2.0 * statistics.lond_weights(clock + 1 + np.arange(count))
        log_e, level, rejects = np.zeros(count), base * (found + 1), np.zeros(count, bool)

        def judge(_: int, rows: Ints, k: Ints, n: Ints) -> Bools:
            log_e[rows] = self._log_e(k, n, new)
            now = found + (int(rejects.sum()) if new else 0)
            together = statistics.step_up(log_e[rows] + np.log(base[rows]), now) if new else 1
            level[rows] = base[rows] * (now + together)
            rejects[rows] = log_e[rows] + np.log(level[rows]) >= 0.0
            # Hopeless: missed at `cap` even if the rest goes at the favourable 95 % quantile of Beta(k+1, n-k+1).
            rate = special.betaincinv(k + 1.0, n - k + 1.0, 0.95 if new else 0.05)
            best = self._log_e(k + (self.cap - n) * rate, self.cap, new)
            return np.asarray(~rejects[rows] & (best + np.log(level[rows]) >= 0.0))

        k, n = sequence(draw, np.arange(count), self._looks(self.cap), judge)
        return Evidence(k, n, log_e, level, rejects)

    def _looks(self, cap: int) -> tuple[int, ...]:
        """Lifetimes after which a test is looked at: 1, 2, 3, 4, 6, 8, 12, ... chunks, and cap.

        Each look costs calls of a program with a fixed number of rows, however few tests are still open: late looks are
        further apart.
        """
        steps = sorted({2**i * first for i in range(13) for first in (2, 3)} | {1})
        return (*(self.chunk * step for step in steps if self.chunk * step < cap), cap)

    def _rule(self, miss: float, cap: int) -> VerdictRule:
        return statistics.sprt_rule(self.forget, self.solve, miss, self.false_alarm, self._looks(cap))

    def _holds(self, cap: int) -> bool:
        """Whether verdicts forced at `cap` keep both exact error rates at or under their names."""
        rule = self._rule(self.miss, cap)
        kept, solved = (statistics.verdict_profile(rule, p)[0] for p in (self.forget, self.solve))
        return kept <= self.miss and 1.0 - solved <= self.false_alarm


@final
@dataclass(frozen=True, kw_only=True)
class Off(AbstractAcceptance):
    """Measures one chunk of lifetimes, accepts every candidate, never rolls back.

    No sample is drawn for retention. Tasks at risk and audits are still measured; forgotten then means a share of
    successes of at most `forget`. `sample` is of no use: it is there so that what sets it can be run with this, too.
    """

    sample: int = 0

    gated: ClassVar[bool] = False

    def certificate(self, population: int, round_: int = 1, attempt: int | None = 0) -> tuple[Plan, VerdictRule]:
        """No sample, so nothing to fail on; in an audit, of one chunk for every task, everything may be forgotten."""
        size = population if attempt is None else 0
        lost = np.array([int(self.forget * self.chunk + 1e-9)])
        return Plan(size, size), VerdictRule(np.array([self.chunk]), lost, lost + 1)

    def keeps_learner(self, retained: bool, accepted_any: bool) -> bool:
        """Always."""
        return True

    def _test(self, state: AcceptanceState, draw: Draw, count: int, new: bool) -> Evidence:
        k, n = sequence(draw, np.arange(count), (self.chunk,), lambda _, rows, k, n: np.zeros(rows.size, bool))
        return Evidence(k, n, self._log_e(k, n, new), np.ones(count), np.ones(count, bool))


def _require(part: object, names: tuple[str, ...], kind: type, fine: Callable[[Any], bool], allowed: str) -> None:
    """Raises a ValueError that names the key, its value and what is allowed, unless it is of `kind` and `fine`."""
    for name in names:
        value = getattr(part, name)
        of_kind = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
        if not (of_kind and fine(value)):
            raise ValueError(f"acceptance.{name}={value} is not allowed: give {allowed}")
