"""Tests and intervals for success counts: numpy and scipy only, float64, nothing of the project.

Counts are written `k` successes in `n` lifetimes. Everything is deterministic given its inputs; what resamples takes a
`numpy.random.Generator`.

Sources: e-values and optional stopping, Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference"
(2023); e-LOND, Xu and Ramdas, "Online multiple testing with e-values" (2024), section 2; sequential probability ratio
test, Wald (1945); intervals for reinforcement learning, Agarwal et al., "Deep RL at the edge of the statistical
precipice" (2021).
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# sum over t >= 1 of 1 / ((t+1) ln(t+1)^2) = 2.1097428..., rounded up so that the weights never add to more than one.
LOND_SUM = 2.109743
_BLOCK = 4_000_000  # resampled numbers held at once: bounds the memory of a bootstrap at about 32 MB


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    estimate: float
    low: float
    high: float


def log_e_above(k: npt.ArrayLike, n: npt.ArrayLike, p0: npt.ArrayLike) -> Floats:
    """Natural log of the e-value against H0: p <= p0, for k successes of n; broadcasts, accepts real k.

    E = 1/(1-p0) * integral from p0 to 1 of (q/p0)^k ((1-q)/(1-p0))^(n-k) dq: a bet on every q above p0 alike.
    Each bet is a test supermartingale for p <= p0 (a martingale at p0), so E may be watched and stopped at any time:
    P(E ever reaches 1/a) <= a (Ville).
    """
    k, n, p0 = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (k, n, p0)))
    a, b = k + 1.0, n - k + 1.0
    tail = special.betaincc(a, b, p0)
    with np.errstate(divide="ignore"):
        integral = np.asarray(special.betaln(a, b) + np.log(tail))
    lost = tail < 1e-250  # betaincc underflows far below the threshold: sum the same integral in log space
    if np.any(lost):
        integral[lost] = _log_upper_integral(a[lost], b[lost], p0[lost])
    return np.asarray(integral - np.log1p(-p0) - k * np.log(p0) - (n - k) * np.log1p(-p0), np.float64)


def log_e_below(k: npt.ArrayLike, n: npt.ArrayLike, p0: npt.ArrayLike) -> Floats:
    """Natural log of the e-value against H0: p >= p0: `log_e_above` with failures in the place of successes."""
    k, n, p0 = (np.asarray(x, np.float64) for x in (k, n, p0))
    return log_e_above(n - k, n, 1.0 - p0)


def _log_upper_integral(a: Floats, b: Floats, p0: Floats) -> Floats:
    """log of the integral from p0 to 1 of q^(a-1) (1-q)^(b-1) dq, for p0 well above a/(a+b).

    (1-p0)^b p0^a / b * 2F1(a+b, 1; b+1; 1-p0), whose terms are positive and fall from the first on (DLMF 8.17.8).
    """
    x, term, total = 1.0 - p0, np.ones_like(a), np.ones_like(a)
    for j in range(100_000):
        term = term * x * (a + b + j) / (b + 1.0 + j)
        total = total + term
        if np.all(term <= 1e-17 * total):
            break
    return np.asarray(b * np.log1p(-p0) + a * np.log(p0) - np.log(b) + np.log(total), np.float64)


def lond_weights(index: npt.ArrayLike) -> Floats:
    """e-LOND weight of the tests number `index` = 1, 2, ...: gamma_t = 1 / (2.10974 (t+1) ln(t+1)^2), sum <= 1."""
    t = np.asarray(index, np.float64)
    if np.any(t < 1):
        raise ValueError("tests are numbered from 1")
    return np.asarray(1.0 / (LOND_SUM * (t + 1.0) * np.log1p(t) ** 2), np.float64)


def step_up(log_base_e: Floats, found: int) -> int:
    """The largest k >= 1 such that k rows have e * base >= 1 / (found + k); 1 if there is none."""
    falling = np.sort(log_base_e)[::-1]
    together = np.flatnonzero(falling + np.log(found + 1.0 + np.arange(falling.size)) >= 0.0)
    return int(together[-1]) + 1 if together.size else 1


class Exits(NamedTuple):
    """Exact law of a sequential rule. up, down: probability of leaving at each look; left: of k, still inside."""

    up: Floats
    down: Floats
    left: Floats


class VerdictRule(NamedTuple):
    """At look i, after looks[i] lifetimes: k <= forgotten_at[i] says forgotten, k >= kept_at[i] says kept."""

    looks: Ints
    forgotten_at: Ints
    kept_at: Ints


def exit_probabilities(p: float, looks: npt.ArrayLike, down: npt.ArrayLike, up: npt.ArrayLike) -> Exits:
    """Exact law, for success probability p, of stopping at the first look with k >= up[i] or k <= down[i].

    looks: increasing numbers of lifetimes [L]. The distribution of k among the undecided is carried from look to look.
    """
    looks, down, up = (np.asarray(x, np.int64) for x in (looks, down, up))
    inside, rose, fell = np.ones(1), np.zeros(len(looks)), np.zeros(len(looks))
    for i, size in enumerate(np.diff(looks, prepend=0)):
        inside = np.convolve(inside, _binomial(np.arange(size + 1), size, p))
        k = np.arange(len(inside))
        rose[i], fell[i] = inside[k >= up[i]].sum(), inside[k <= down[i]].sum()
        inside = np.where((k >= up[i]) | (k <= down[i]), 0.0, inside)
    return Exits(rose, fell, inside)


def _log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """Natural log of "n choose k"; -inf outside of 0 <= k <= n."""
    n, k = np.broadcast_arrays(np.asarray(n, np.float64), np.asarray(k, np.float64))
    return np.where((k >= 0) & (k <= n), -special.betaln(np.maximum(n - k, 0.0) + 1.0, k + 1.0) - np.log1p(n), -np.inf)


def _binomial(k: npt.ArrayLike, n: npt.ArrayLike, p: float) -> Floats:
    """P(Binomial(n, p) = k). scipy.stats has it too, and takes as long to import as all of the rest of scipy."""
    return np.asarray(np.exp(_log_choose(n, k) + special.xlogy(k, p) + special.xlog1py(np.subtract(n, k), -p)))


def sprt_bounds(miss: float, false_alarm: float) -> tuple[float, float]:
    """(lower, upper) ends for log L(kept)/L(forgotten): crossing the upper end when the task is forgotten has
    probability <= miss, the lower end when it is kept <= false_alarm (Ville; Wald's own ends hold only nearly)."""
    return math.log(false_alarm), -math.log(miss)


@functools.lru_cache(maxsize=256)
def sprt_rule(forget: float, keep: float, miss: float, false_alarm: float, looks: tuple[int, ...]) -> VerdictRule:
    """Wald's test of p <= forget against p >= keep, looked at after looks[i] lifetimes, forced to decide at the last.

    The last look says kept where the likelihood ratio favours kept, and asks for more successes if that is needed to
    hold the exact P(kept | p = forget) at `miss`; the exact false alarm then follows, see `verdict_profile`.
    """
    n = np.asarray(looks, np.int64)
    gain, loss = math.log(keep / forget), math.log((1.0 - forget) / (1.0 - keep))
    lower, upper = sprt_bounds(miss, false_alarm)
    kept_at = np.ceil((upper + n * loss) / (gain + loss)).astype(np.int64)
    forgotten_at = np.floor((lower + n * loss) / (gain + loss)).astype(np.int64)
    exits = exit_probabilities(forget, n, [*forgotten_at[:-1], -1], [*kept_at[:-1], n[-1] + 1])
    tail = np.cumsum(exits.left[::-1])[::-1]  # tail[k] = P(undecided before, at least k successes at the last look)
    affordable = np.append(tail, 0.0) <= miss - exits.up.sum()
    sign = math.ceil(n[-1] * loss / (gain + loss))
    kept_at[-1] = max(sign, int(np.argmax(affordable)))
    forgotten_at[-1] = kept_at[-1] - 1
    return VerdictRule(n, forgotten_at, kept_at)


def verdict_profile(rule: VerdictRule, p: float) -> tuple[float, float]:
    """(probability of the verdict kept, mean number of lifetimes) at success probability p, exactly."""
    exits = exit_probabilities(p, rule.looks, rule.forgotten_at, rule.kept_at)
    return float(exits.up.sum()), float(((exits.up + exits.down) * rule.looks).sum())


class Plan(NamedTuple):
    """Draw `sample` tasks without replacement; the certificate is given if at most `allowed` verdicts say forgotten."""

    sample: int
    allowed: int


def pass_probability(population: int, forgotten: int, plan: Plan, miss: float) -> float:
    """P(at most plan.allowed verdicts say forgotten) when `forgotten` of `population` tasks are, each found with
    probability 1 - miss if drawn, and no other task raises an alarm (the worst case for safety)."""
    drawn = np.arange(min(forgotten, plan.sample) + 1)
    rest = _log_choose(population - forgotten, plan.sample - drawn)
    weight = np.exp(_log_choose(forgotten, drawn) + rest - _log_choose(population, plan.sample))  # hypergeometric
    return float(np.sum(weight * special.bdtr(np.minimum(plan.allowed, drawn), drawn, 1.0 - miss)))


@functools.lru_cache(maxsize=256)
def _large_sample(rate: float, delta: float) -> int:
    """Smallest m with P(Binomial(m, rate) <= 1) <= delta: what allowing one costs in an endless population."""
    m = np.arange(1, math.ceil((2.0 * math.log(1.0 / delta) + 6.0) / rate) + 2)
    passes = (1.0 - rate) ** (m - 1.0) * (1.0 + (m - 1.0) * rate)
    return int(m[np.argmax(passes <= delta)])


def certificate_plan(population: int, epsilon: float, delta: float, miss: float, least: int = 1) -> Plan:
    """Constant-cost sampling plan: if more than `epsilon` of the population is forgotten, it passes with
    probability <= delta, verdicts missing a forgotten task with probability <= miss included.

    m = what c = 1 needs in an endless population, `least` if that is more, everything if there is less; c = the most that
    the hypergeometric bound then permits, hence floor(epsilon N) or fewer where all tasks are tested. If not even c = 0
    holds delta (a small population and miss > delta) it is still returned: lower `miss` first, delta^(1/K) suffices, where
    K = floor(epsilon N) + 1 is the smallest number of forgotten tasks that must be noticed.
    """
    sample = min(population, max(least, _large_sample(epsilon * (1.0 - miss), delta)))
    worst = worst_forgotten(population, epsilon)
    too_many = lambda c: pass_probability(population, worst, Plan(sample, c), miss) > delta  # noqa: E731
    return Plan(sample, bisect.bisect_left(range(1, worst), True, key=too_many))


def worst_forgotten(population: int, epsilon: float) -> int:
    """The smallest number of forgotten tasks that is more than epsilon of the population: floor(epsilon N) + 1."""
    return math.floor(epsilon * population + 1e-9) + 1  # 0.05 * 60 must count as 3, whatever the last bit says


def clopper_pearson(k: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Exact two-sided interval (low, high) of a success probability; vectorised; (0, 1) where n = 0."""
    k, n = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    side = (1.0 - confidence) / 2.0
    low = np.where(k > 0, special.betaincinv(np.maximum(k, 1.0), n - k + 1.0, side), 0.0)
    high = np.where(k < n, special.betaincinv(k + 1.0, np.maximum(n - k, 1.0), 1.0 - side), 1.0)
    return low, high


def wilson(k: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's two-sided score interval (low, high); vectorised, n >= 1. Not for repeated looks."""
    k, n = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    z = float(special.ndtri(0.5 + confidence / 2.0))
    share = k / n
    centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z / (1.0 + z * z / n) * np.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    return centre - half, centre + half


def student(differences: npt.ArrayLike, confidence: float = 0.95) -> tuple[float, float] | tuple[None, None]:
    """Student's interval (low, high) of the mean of independent differences; none of a single one."""
    x = np.asarray(differences, np.float64)
    half = special.stdtrit(x.size - 1, 0.5 + confidence / 2.0) * np.std(x, ddof=1) / x.size**0.5 if x.size > 1 else 0.0
    return (float(x.mean() - half), float(x.mean() + half)) if x.size > 1 else (None, None)


def iqm(x: npt.ArrayLike, axis: int | None = None) -> Floats:
    """Interquartile mean: the mean of the middle half (Agarwal et al. 2021)."""
    from scipy import stats  # slow to import, and only reports need it

    return np.asarray(stats.trim_mean(np.asarray(x, np.float64), 0.25, axis=axis), np.float64)


def _blocks(resamples: int, numbers: int) -> list[int]:
    """Splits `resamples` so that no block holds more than about _BLOCK numbers."""
    size = max(1, _BLOCK // max(1, numbers))
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _interval(estimate: float, draws: Sequence[Floats], confidence: float) -> Interval:
    """Percentile interval of bootstrap draws."""
    side = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.concatenate(draws), [side, 1.0 - side])
    return Interval(estimate, float(low), float(high))


def stratified_bootstrap(
    strata: npt.ArrayLike | Sequence[npt.ArrayLike],
    rng: np.random.Generator,
    statistic: Callable[..., Any] = iqm,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval of `statistic` of all numbers, each stratum resampled within itself.

    strata: [S, n], or S sequences of any length, none empty, say the runs or the lifetimes of a task.
    statistic: called with axis=None, and with axis=1 on [resamples, total]; `iqm` or `np.mean`.
    """
    rows = [np.asarray(row, np.float64).ravel() for row in strata]  # type: ignore[union-attr]
    if not rows or any(row.size == 0 for row in rows):
        raise ValueError("a bootstrap needs at least one stratum, and a number in each")
    everything = np.concatenate(rows)
    draws = [
        statistic(np.concatenate([row[rng.integers(row.size, size=(b, row.size))] for row in rows], axis=1), axis=1)
        for b in _blocks(resamples, everything.size)
    ]
    return _interval(float(statistic(everything, axis=None)), draws, confidence)


def probability_of_improvement(
    x: npt.ArrayLike, y: npt.ArrayLike, rng: np.random.Generator, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """P(X > Y) + P(X = Y)/2 = Mann-Whitney U/(nm), averaged over tasks, runs resampled within arm and task.

    x: [n] or [n, tasks] scores of one arm's runs, y: [m] or [m, tasks] of the other's.
    """
    x, y = (v[:, None] if v.ndim == 1 else v for v in (np.asarray(x, np.float64), np.asarray(y, np.float64)))

    def score(left: Floats, right: Floats) -> Floats:
        gap = left[..., :, None, :] - right[..., None, :, :]
        return np.asarray(0.5 + 0.5 * np.sign(gap).mean(axis=(-3, -2, -1)), np.float64)

    def resample(values: Floats, b: int) -> Floats:
        rows = rng.integers(len(values), size=(b, *values.shape))
        return values[rows, np.arange(values.shape[1])]

    numbers = len(x) * len(y) * x.shape[1]
    draws = [score(resample(x, b), resample(y, b)) for b in _blocks(resamples, numbers)]
    return _interval(float(score(x, y)), draws, confidence)
