"""PowerPlay's correctness demonstration: which tasks are discoveries, and whether a learner forgot.

The loop and `openended.calibrate` drive the same objects; only `Draw`, which runs lifetimes on fresh seeds, differs.
Order inside a round: `entry` (snapshot, new candidates), learning, `retain` (1 + `repairs` tries at most), and `decide`
only for a learner that is kept: what is rolled back must not be counted as accepted. Proofs and measured error rates
are in docs/acceptance.md. Host-side numpy, deterministic given the draws and the generator.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt
from scipy import special

from openended import statistics
from openended.statistics import Floats, Ints

Bools = npt.NDArray[np.bool_]
Generator = np.random.Generator

# (task index [R], lifetimes wanted of each [R]) -> successes in the last episode [R]; fresh seeds at every call.
Draw = Callable[[Ints, Ints], npt.ArrayLike]

_MAX_CAP = 4096
_NONE: Ints = np.zeros(0, np.int64)


class AcceptanceState(NamedTuple):
    """All that acceptance remembers: four int64 arrays of shape [], a pytree of fixed structure for checkpoints."""

    old_tests: Ints  # ticks of the old clock: candidates whose old evidence was sampled
    new_tests: Ints  # ticks of the new clock: (task, round) trials of the learner
    accepted: Ints  # discoveries so far, R
    retention_rounds: Ints  # rounds in which retention was tested, however many tries each took


class Evidence(NamedTuple):
    """One row per task. The bar is log_e >= -log(level); level 1 where nothing is asked (Off)."""

    successes: Ints  # [N]
    lifetimes: Ints  # [N]
    log_e: Floats  # [N]
    level: Floats  # [N]
    rejects: Bools  # [N] the null is rejected: the claim holds


class Decision(NamedTuple):
    """accept [N], a plain sentence per task, and what they rest on."""

    accept: Bools
    reason: tuple[str, ...]
    evidence: Evidence


class Retention(NamedTuple):
    """Verdict on a learner. Indices count from 0 in the archive; successes and lifetimes follow `tested`."""

    passed: bool
    reason: str
    sampled: Ints  # [m] what the certificate counts, ascending
    forgotten: Ints  # tested tasks with the verdict forgotten
    kept: Ints  # tested tasks with the verdict kept
    successes: Ints
    lifetimes: Ints
    tested: Ints  # the sample and the tasks at risk, ascending, each once
    allowed: int  # c


@dataclass(frozen=True, kw_only=True)
class AbstractAcceptance(abc.ABC):
    """What every acceptance offers. Methods that keep state take it and return it.

    solve, fail, forget: success probabilities in the last episode. chunk: lifetimes between looks. repairs: tries after
    the first before a learner is rolled back. audit_every: rounds between audits.
    """

    solve: float = 0.7
    fail: float = 0.5
    forget: float = 0.5
    chunk: int = 16
    repairs: int = 1
    audit_every: int = 10

    def __post_init__(self) -> None:
        _require(self, ("solve", "fail", "forget"), lambda v: 0 < v < 1, "a number above 0 and below 1")
        _require(self, ("fail",), lambda v: v <= self.solve, f"at most acceptance.solve={self.solve}")
        _require(self, ("forget",), lambda v: v < self.solve, f"less than acceptance.solve={self.solve}")
        _require(self, ("chunk",), lambda v: _whole(v) and 1 <= v <= _MAX_CAP, f"a whole number from 1 to {_MAX_CAP}")
        _require(self, ("repairs",), lambda v: _whole(v) and v >= 0, "a whole number, 0 or more")
        _require(self, ("audit_every",), lambda v: _whole(v) and v >= 1, "a whole number, 1 or more")

    def init(self) -> AcceptanceState:
        """Nothing tested, nothing accepted."""
        return AcceptanceState(_count(0), _count(0), _count(0), _count(0))

    @abc.abstractmethod
    def entry(self, state: AcceptanceState, draw: Draw, count: int) -> tuple[AcceptanceState, Evidence]:
        """Evidence that the learner of this moment (the snapshot) fails each of `count` new candidates."""

    @abc.abstractmethod
    def decide(self, state: AcceptanceState, draw: Draw, count: int) -> tuple[AcceptanceState, Decision]:
        """Which of `count` frontier tasks, each past its entry, the kept learner of this round solves."""

    @abc.abstractmethod
    def retain(
        self, state: AcceptanceState, draw: Draw, population: int, at_risk: npt.ArrayLike, attempt: int, key: Generator
    ) -> tuple[AcceptanceState, Retention]:
        """Whether the learner forgot none of `population` accepted tasks to speak of. attempt: 0 is the first try of
        a round, 1.. follow a repair. at_risk: tasks tested besides, which do not count for the certificate."""

    @abc.abstractmethod
    def audit(self, draw: Draw, population: int) -> Retention:
        """A verdict for every accepted task."""

    @abc.abstractmethod
    def keeps_learner(self, retained: bool, accepted_any: bool) -> bool:
        """Whether the candidate learner becomes the learner."""


@final
@dataclass(frozen=True, kw_only=True)
class PowerPlay(AbstractAcceptance):
    """Discoveries at false discovery rate `alpha` over the whole run, retention by certificate.

    cap: most lifetimes of one verdict. epsilon: share of the archive that may be forgotten; delta: probability of
    overlooking more, per round or (spending=run) over the run. miss, false_alarm: error rates of a retention verdict.
    mode=strict: the learner changes only together with an accepted task (Schmidhuber 2011).
    """

    alpha: float = 0.05
    mode: str = "progressive"
    cap: int = 256
    epsilon: float = 0.05
    delta: float = 0.05
    miss: float = 0.02
    false_alarm: float = 0.001
    spending: str = "per_round"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self, ("alpha", "epsilon", "delta"), lambda v: 0 < v < 1, "a number above 0 and below 1")
        _require(self, ("miss", "false_alarm"), lambda v: 0 < v < 0.5, "a number above 0 and below 0.5")
        _require(self, ("mode",), lambda v: v in ("progressive", "strict"), "progressive or strict")
        _require(self, ("spending",), lambda v: v in ("per_round", "run"), "per_round or run")
        span = f"a whole number from acceptance.chunk={self.chunk} to {_MAX_CAP}"
        _require(self, ("cap",), lambda v: _whole(v) and self.chunk <= v <= _MAX_CAP, span)
        if not self._holds(self.cap):
            larger = (min(_MAX_CAP, int(self.cap * 1.25**i) + 1) for i in range(64))
            enough = next((f"at least {cap}" for cap in larger if self._holds(cap)), "forget and solve further apart")
            _require(self, ("cap",), lambda v: False, f"{enough}, or a larger miss or false_alarm")

    def entry(self, state: AcceptanceState, draw: Draw, count: int) -> tuple[AcceptanceState, Evidence]:
        """Tests H0: p >= fail. Indices on the old clock are allotted here, before anything is drawn."""
        evidence = self._e_test(draw, self._base(state.old_tests, count), int(state.accepted), new=False)
        return state._replace(old_tests=_count(state.old_tests + count)), evidence

    def decide(self, state: AcceptanceState, draw: Draw, count: int) -> tuple[AcceptanceState, Decision]:
        """Tests H0: p <= solve, one tick of the new clock per task and round."""
        evidence = self._e_test(draw, self._base(state.new_tests, count), int(state.accepted), new=True)
        accepted = _count(state.accepted + np.count_nonzero(evidence.rejects))
        state = state._replace(new_tests=_count(state.new_tests + count), accepted=accepted)
        return state, Decision(evidence.rejects, _reasons(evidence), evidence)

    def certificate(
        self, population: int, round_: int = 1, attempt: int = 0
    ) -> tuple[statistics.Plan, statistics.VerdictRule]:
        """Sampling plan and verdict rule of one try in retention round `round_` = 1, 2, ...

        The first try, which every round pays for, may spend 4/5 of the round's delta, the others share the rest evenly.
        Verdicts of a small archive, where a single miss would break that, are made stricter than `miss`.
        """
        delta = self.delta * (float(statistics.lond_weights(max(round_, 1))) if self.spending == "run" else 1.0)
        if self.repairs > 0:
            delta *= 0.8 if attempt == 0 else 0.2 / self.repairs
        miss = min(self.miss, delta ** (1.0 / statistics.worst_forgotten(population, self.epsilon)))
        return statistics.certificate_plan(population, self.epsilon, delta, miss), self._rule(miss, self.cap)

    def retain(
        self, state: AcceptanceState, draw: Draw, population: int, at_risk: npt.ArrayLike, attempt: int, key: Generator
    ) -> tuple[AcceptanceState, Retention]:
        """m tasks drawn uniformly, anew at every try; passes if at most c verdicts of the sample say forgotten."""
        if not 0 <= attempt <= self.repairs:
            raise ValueError(f"attempt {attempt}: acceptance.repairs={self.repairs} allows 0 to {self.repairs}")
        state = state._replace(retention_rounds=_count(state.retention_rounds + (attempt == 0)))
        if population == 0:
            return state, _untested("certified: the archive is empty")
        extra = np.asarray(at_risk, np.int64).ravel()
        if np.any((extra < 0) | (extra >= population)):
            raise ValueError(f"at_risk names tasks outside 0 to {population - 1}")
        plan, rule = self.certificate(population, int(state.retention_rounds), attempt)
        sampled = np.sort(key.choice(population, plan.sample, replace=False)).astype(np.int64)
        return state, _verdicts(draw, rule, sampled, np.union1d(sampled, extra), plan.allowed)

    def audit(self, draw: Draw, population: int) -> Retention:
        """Every task, verdicts at `miss` and `false_alarm` each; passes if at most floor(epsilon N) are forgotten."""
        if population == 0:
            return _untested("certified: the archive is empty")
        every = np.arange(population, dtype=np.int64)
        allowed = statistics.worst_forgotten(population, self.epsilon) - 1
        return _verdicts(draw, self._rule(self.miss, self.cap), every, every, allowed)

    def keeps_learner(self, retained: bool, accepted_any: bool) -> bool:
        """progressive: unless it forgot; strict: only together with an accepted task."""
        return retained and (accepted_any or self.mode == "progressive")

    def _base(self, tests: Ints, count: int) -> Floats:
        """alpha/2 * gamma_t of the next `count` tests of one clock."""
        return self.alpha / 2.0 * statistics.lond_weights(int(tests) + 1 + np.arange(count))

    def _e_test(self, draw: Draw, base: Floats, found: int, new: bool) -> Evidence:
        """Sequential e-tests, each row until it rejects, is hopeless or has `cap` lifetimes.

        The level is base * (R + 1), R = discoveries so far. Old tests keep the R of their entry. For new tests R grows
        with what this very call accepts, and k rows that reach base * (R + k) together are accepted together: the final
        number of discoveries is then at least R + k, which is all that the proof uses.
        """
        log_e, level, rejects = np.zeros(base.size), base * (found + 1), np.zeros(base.size, bool)

        def judge(_: int, rows: Ints, k: Ints, n: Ints) -> Bools:
            log_e[rows] = self._log_e(k, n, new)
            now = found + (int(rejects.sum()) if new else 0)
            together = _step_up(log_e[rows] + np.log(base[rows]), now) if new else 1
            level[rows] = base[rows] * (now + together)
            rejects[rows] = log_e[rows] + np.log(level[rows]) >= 0.0
            return ~rejects[rows] & self._hopeful(k, n, level[rows], new)

        k, n = _sequence(draw, np.arange(base.size), self._looks(self.cap), judge)
        return Evidence(k, n, log_e, level, rejects)

    def _log_e(self, k: npt.ArrayLike, n: npt.ArrayLike, new: bool) -> Floats:
        return statistics.log_e_above(k, n, self.solve) if new else statistics.log_e_below(k, n, self.fail)

    def _hopeful(self, k: Ints, n: Ints, level: Floats, new: bool) -> Bools:
        """Whether the bar would be reached at `cap` if the rest went at the favourable 95 % quantile of the posterior
        Beta(k+1, n-k+1). Stopping early only ever costs power."""
        rate = special.betaincinv(k + 1.0, n - k + 1.0, 0.95 if new else 0.05)
        return np.asarray(self._log_e(k + (self.cap - n) * rate, self.cap, new) + np.log(level) >= 0.0)

    def _looks(self, cap: int) -> tuple[int, ...]:
        """Numbers of lifetimes after which a test is looked at: chunk, 2 chunk, ..., cap."""
        return (*range(self.chunk, cap, self.chunk), cap)

    def _rule(self, miss: float, cap: int) -> statistics.VerdictRule:
        return _sprt_rule(self.forget, self.solve, miss, self.false_alarm, self._looks(cap))

    def _holds(self, cap: int) -> bool:
        """Whether verdicts forced at `cap` keep both exact error rates at or under their names."""
        rule = self._rule(self.miss, cap)
        kept, solved = (statistics.verdict_profile(rule, p)[0] for p in (self.forget, self.solve))
        return kept <= self.miss and 1.0 - solved <= self.false_alarm


@final
@dataclass(frozen=True, kw_only=True)
class Off(AbstractAcceptance):
    """Accepts every candidate after one chunk of lifetimes, never rolls back; audits by the share of successes."""

    repairs: int = 0

    def entry(self, state: AcceptanceState, draw: Draw, count: int) -> tuple[AcceptanceState, Evidence]:
        """Measures and lets everything in."""
        k, n = self._measure(draw, count)
        evidence = Evidence(k, n, statistics.log_e_below(k, n, self.fail), np.ones(count), np.ones(count, bool))
        return state._replace(old_tests=_count(state.old_tests + count)), evidence

    def decide(self, state: AcceptanceState, draw: Draw, count: int) -> tuple[AcceptanceState, Decision]:
        """Measures and accepts everything."""
        k, n = self._measure(draw, count)
        evidence = Evidence(k, n, statistics.log_e_above(k, n, self.solve), np.ones(count), np.ones(count, bool))
        reasons = tuple(f"accepted without a test: solved in {a} of {b} lifetimes" for a, b in zip(k, n, strict=True))
        state = state._replace(new_tests=_count(state.new_tests + count), accepted=_count(state.accepted + count))
        return state, Decision(evidence.rejects, reasons, evidence)

    def retain(
        self, state: AcceptanceState, draw: Draw, population: int, at_risk: npt.ArrayLike, attempt: int, key: Generator
    ) -> tuple[AcceptanceState, Retention]:
        """Passes without a test."""
        state = state._replace(retention_rounds=_count(state.retention_rounds + (attempt == 0)))
        return state, _untested("not tested: acceptance is off")

    def audit(self, draw: Draw, population: int) -> Retention:
        """Reports tasks whose share of successes in one chunk is at most `forget`; passes whatever it finds."""
        k, n = self._measure(draw, population)
        every, kept = np.arange(population, dtype=np.int64), k > self.forget * n
        reason = f"acceptance is off: {np.count_nonzero(~kept)} of {population} tasks look forgotten"
        return Retention(True, reason, every, every[~kept], every[kept], k, n, every, population)

    def keeps_learner(self, retained: bool, accepted_any: bool) -> bool:
        """Always."""
        return True

    def _measure(self, draw: Draw, count: int) -> tuple[Ints, Ints]:
        return _sequence(draw, np.arange(count), (self.chunk,), lambda _, rows, k, n: np.zeros(rows.size, bool))


def _sequence(
    draw: Draw, tasks: Ints, looks: npt.ArrayLike, judge: Callable[[int, Ints, Ints, Ints], Bools]
) -> tuple[Ints, Ints]:
    """Runs every task [R] from look to look until judge(look, rows, k, n) says that a row is done; k and n [R]."""
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


def _verdicts(draw: Draw, rule: statistics.VerdictRule, sampled: Ints, tested: Ints, allowed: int) -> Retention:
    """Sequential verdicts on all of `tested`, of which those of `sampled` count."""
    kept = np.zeros(tested.size, bool)

    def judge(i: int, rows: Ints, k: Ints, n: Ints) -> Bools:
        kept[rows] = k >= rule.kept_at[i]
        return np.asarray((k < rule.kept_at[i]) & (k > rule.forgotten_at[i]))

    k, n = _sequence(draw, tested, rule.looks, judge)
    lost = int(np.isin(sampled, tested[~kept]).sum())
    word = "certified" if lost <= allowed else "not certified"
    reason = f"{word}: {lost} of {sampled.size} sampled tasks forgotten, at most {allowed} allowed"
    return Retention(lost <= allowed, reason, sampled, tested[~kept], tested[kept], k, n, tested, allowed)


def _untested(reason: str) -> Retention:
    return Retention(True, reason, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, 0)


def _step_up(log_base_e: Floats, found: int) -> int:
    """The largest k >= 1 such that k rows have e * base >= 1 / (found + k); 1 if there is none."""
    falling = np.sort(log_base_e)[::-1]
    together = np.flatnonzero(falling + np.log(found + 1.0 + np.arange(falling.size)) >= 0.0)
    return int(together[-1]) + 1 if together.size else 1


def _reasons(evidence: Evidence) -> tuple[str, ...]:
    k, n, log_e, level, rejects = evidence
    words = np.where(rejects, "accepted", "not accepted")
    return tuple(
        f"{word}: solved in {a} of {b} lifetimes, log evidence {e:.1f} of {bar:.1f} needed"
        for word, a, b, e, bar in zip(words, k, n, log_e, -np.log(level), strict=True)
    )


_sprt_rule = functools.lru_cache(maxsize=256)(statistics.sprt_rule)


def _count(value: npt.ArrayLike) -> Ints:
    return np.array(value, np.int64)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(part: object, names: tuple[str, ...], fine: Callable[[Any], bool], allowed: str) -> None:
    """Raises a ValueError that names the key, its value and what is allowed, where `fine` does not hold."""
    for name in names:
        value = getattr(part, name)
        try:
            good = fine(value) and not isinstance(value, bool)
        except TypeError:
            good = False
        if not good:
            raise ValueError(f"acceptance.{name}={value} is not allowed: give {allowed}")
