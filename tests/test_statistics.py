"""Statistics against numbers worked out by hand, against exact enumeration, and against their own guarantees."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from openended import statistics
from openended.statistics import Plan

# ---------------------------------------------------------------- e-values


@pytest.mark.parametrize(
    ("k", "n", "p0", "e"),
    [
        (0, 0, 0.3, 1.0),
        (2, 2, 0.5, 7 / 3),  # (1 - 1/8)/3 divided by 1/2, divided by 1/4
        (1, 2, 0.5, 2 / 3),  # (1/2 - 1/3 - 1/8 + 1/24) divided by 1/2, divided by 1/4
        (0, 9, 0.7, 1 / 10),  # no success: 1/(n+1) whatever p0
    ],
)
def test_e_value_by_hand(k: int, n: int, p0: float, e: float) -> None:
    assert math.exp(statistics.log_e_above(k, n, p0)) == pytest.approx(e, rel=1e-12)
    assert math.exp(statistics.log_e_below(n - k, n, 1 - p0)) == pytest.approx(e, rel=1e-12)


@pytest.mark.parametrize("p0", [0.05, 0.5, 0.7, 0.95])
def test_mean_e_value_is_one_at_the_threshold_and_less_under_the_null(p0: float) -> None:
    k = np.arange(41)
    above, below = np.exp(statistics.log_e_above(k, 40, p0)), np.exp(statistics.log_e_below(k, 40, p0))
    assert np.sum(stats.binom.pmf(k, 40, p0) * above) == pytest.approx(1.0, abs=1e-9)
    assert np.sum(stats.binom.pmf(k, 40, p0) * below) == pytest.approx(1.0, abs=1e-9)
    assert np.sum(stats.binom.pmf(k, 40, 0.9 * p0) * above) < 1.0
    assert np.sum(stats.binom.pmf(k, 40, 0.9 * p0 + 0.1) * below) < 1.0


@pytest.mark.parametrize(("k", "n"), [(100, 6000), (2000, 6000), (0, 6000), (5, 560), (3500, 6000)])
def test_e_value_where_the_incomplete_beta_function_underflows(k: int, n: int) -> None:
    p0 = 0.7

    def ratio(q: float) -> float:  # the integrand itself, which is largest at q = p0, where it is 1
        return math.exp(k * math.log(q / p0) + (n - k) * math.log((1 - q) / (1 - p0))) if q < 1 else 0.0

    area, _ = integrate.quad(ratio, p0, 1.0, points=[p0 + d for d in (1e-4, 1e-3, 1e-2)], limit=500)
    assert statistics.log_e_above(k, n, p0) == pytest.approx(math.log(area / (1 - p0)), abs=1e-6)


def test_e_values_are_vectorised_and_finite() -> None:
    k = np.arange(0, 2001, 50)
    rows = statistics.log_e_above(k, 2000, [[0.01], [0.5], [0.99]])
    assert rows.shape == (3, k.size) and np.all(np.isfinite(rows))
    assert np.all(np.diff(rows, axis=1) > 0)  # more successes, more evidence
    assert rows[1, 7] == statistics.log_e_above(350, 2000, 0.5)


def test_lond_weights() -> None:
    gamma = statistics.lond_weights(np.arange(1, 200_001))
    assert gamma[0] == pytest.approx(1 / (2.10974 * 2 * math.log(2) ** 2), rel=1e-5)
    rest = 1 / (2.10974 * math.log(200_001.5))  # integral of the remaining weights
    assert gamma.sum() < 1.0 and gamma.sum() + rest == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="from 1"):
        statistics.lond_weights(0)


def test_step_up_takes_the_largest_set_that_carries_itself() -> None:
    # k rows are taken if each needs 1/(e * base) <= R + k: two that need 2.5 carry each other once R = 1, the 9 never
    needs = np.array([9.0, 2.5, 2.5])
    assert statistics.step_up(-np.log(needs), 0) == 1
    assert statistics.step_up(-np.log(needs), 1) == 2
    assert statistics.step_up(-np.log([3.0, 3.0, 3.0]) + 1e-12, 0) == 3


# ---------------------------------------------------------------- sequential verdicts


def test_exit_probabilities_against_every_path() -> None:
    p, looks, down, up = 0.3, [2, 4], [-1, 1], [2, 3]
    rose, fell, left = np.zeros(2), np.zeros(2), 0.0
    for path in itertools.product([0, 1], repeat=4):
        weight = p ** sum(path) * (1 - p) ** (4 - sum(path))
        for i, n in enumerate(looks):
            if sum(path[:n]) >= up[i]:
                rose[i] += weight
                break
            if sum(path[:n]) <= down[i]:
                fell[i] += weight
                break
        else:
            left += weight
    exits = statistics.exit_probabilities(p, looks, down, up)
    np.testing.assert_allclose(exits.up, rose)
    np.testing.assert_allclose(exits.down, fell)
    assert exits.left.sum() == pytest.approx(left) and left > 0.1


def test_sprt_bounds_are_the_logs_of_the_error_rates() -> None:
    assert statistics.sprt_bounds(0.01, 0.001) == pytest.approx((math.log(0.001), math.log(100)))


def test_sprt_thresholds_by_hand() -> None:
    # 0.5 against 0.75: a success adds ln 1.5, a failure takes ln 2. Ends: ln 0.1 = -2.303 and ln 10 = 2.303.
    rule = statistics.sprt_rule(0.5, 0.75, 0.1, 0.1, (4, 8, 400))
    assert rule.kept_at[:2].tolist() == [5, 8]  # 4 ln 1.5 = 1.62 is not enough, 8 ln 1.5 = 3.24 is
    assert rule.forgotten_at[:2].tolist() == [0, 2]  # -4 ln 2 = -2.77; 2 ln 1.5 - 6 ln 2 = -3.35, 3 and 5: -2.25
    assert rule.forgotten_at[2] + 1 == rule.kept_at[2] == math.ceil(400 * math.log(2) / math.log(3))


@pytest.mark.parametrize("cap", [16, 64, 250])
@pytest.mark.parametrize("miss", [0.001, 0.02, 0.2])
def test_sprt_never_misses_more_than_it_may_whatever_the_cap(cap: int, miss: float) -> None:
    rule = statistics.sprt_rule(0.5, 0.7, miss, 0.001, (*range(16, cap, 16), cap))
    for p in (0.5, 0.4, 0.1):
        assert statistics.verdict_profile(rule, p)[0] <= miss
    exits = statistics.exit_probabilities(0.6, rule.looks, rule.forgotten_at, rule.kept_at)
    assert exits.up.sum() + exits.down.sum() == pytest.approx(1.0)  # the last look decides
    if cap == 250 and miss == 0.02:
        assert 1 - statistics.verdict_profile(rule, 0.7)[0] <= 0.001


def test_verdict_profile_agrees_with_simulation() -> None:
    rng = np.random.default_rng(0)
    rule = statistics.sprt_rule(0.5, 0.7, 0.05, 0.05, (8, 16, 24, 32))
    kept, lifetimes = statistics.verdict_profile(rule, 0.6)
    verdicts, spent = [], []
    for _ in range(4000):
        k = np.cumsum(rng.binomial(8, 0.6, 4))
        i = int(np.argmax((k >= rule.kept_at) | (k <= rule.forgotten_at)))
        verdicts.append(k[i] >= rule.kept_at[i])
        spent.append(rule.looks[i])
    assert np.mean(verdicts) == pytest.approx(kept, abs=0.025)
    assert np.mean(spent) == pytest.approx(lifetimes, abs=0.6)


# ---------------------------------------------------------------- sampling plan


def test_pass_probability_by_hand() -> None:
    # 2 of 4 forgotten, 2 drawn: none, one, both forgotten with probability 1/6, 4/6, 1/6
    assert statistics.pass_probability(4, 2, Plan(2, 0), 0.0) == pytest.approx(1 / 6)
    assert statistics.pass_probability(4, 2, Plan(2, 1), 0.0) == pytest.approx(5 / 6)
    assert statistics.pass_probability(4, 2, Plan(2, 0), 0.5) == pytest.approx(1 / 6 + 4 / 6 / 2 + 1 / 6 / 4)


@pytest.mark.parametrize(
    ("population", "forgotten", "plan", "miss"),
    [
        (10, 1, Plan(10, 0), 0.05),
        (100, 90, Plan(90, 80), 0.1),
        (10_000, 501, Plan(1024, 40), 0.05),
        (1_000_000, 50_001, Plan(512, 16), 0.2),
    ],
)
def test_pass_probability_has_the_laws_of_scipy(population: int, forgotten: int, plan: Plan, miss: float) -> None:
    drawn = np.arange(min(forgotten, plan.sample) + 1)
    law = stats.hypergeom.pmf(drawn, population, forgotten, plan.sample) * stats.binom.cdf(plan.allowed, drawn, 1.0 - miss)
    assert statistics.pass_probability(population, forgotten, plan, miss) == pytest.approx(law.sum(), rel=1e-8)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.95, 1.0])
def test_exit_probabilities_of_one_look_are_binomial(p: float) -> None:
    assert statistics.exit_probabilities(p, [256], [-1], [257]).left == pytest.approx(stats.binom.pmf(np.arange(257), 256, p))


def test_students_interval_is_that_of_scipy() -> None:
    x = np.array([0.1, 0.4, -0.2, 0.3, 0.35])
    assert statistics.student(x) == pytest.approx(stats.ttest_1samp(x, 0.0).confidence_interval())


def test_plans_known_by_hand() -> None:
    # (1 - 0.05)^m + m 0.05 0.95^(m-1): 0.0503 at 92, 0.0484 at 93
    assert statistics.certificate_plan(10**7, 0.05, 0.05, 0.0) == (93, 1)
    assert statistics.certificate_plan(19, 0.05, 0.05, 0.02) == (19, 0)
    assert statistics.certificate_plan(20, 0.05, 0.05, 0.02) == (20, 1)  # 1 - 0.98^2 = 0.0396
    assert statistics.certificate_plan(20, 0.05, 0.03, 0.02) == (20, 0)
    assert statistics.certificate_plan(60, 0.05, 0.05, 0.0) == (60, 3)
    assert statistics.certificate_plan(1, 0.05, 0.05, 0.2) == (1, 0)  # cannot certify: everything, none allowed


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("population", [3, 19, 20, 57, 100, 101, 333, 5000])
def test_plans_hold_delta_for_every_number_forgotten_and_waste_nothing(population: int, epsilon: float) -> None:
    worst = statistics.worst_forgotten(population, epsilon)
    for delta in (0.1, 0.04, 0.001):
        miss = min(0.02, delta ** (1 / worst))
        plan = statistics.certificate_plan(population, epsilon, delta, miss)
        assert 0 <= plan.allowed < worst and plan.sample <= population
        for forgotten in {worst, min(worst + 1, population), min(3 * worst, population), population}:
            assert statistics.pass_probability(population, forgotten, plan, miss) <= delta * (1 + 1e-12)
        more = Plan(plan.sample, plan.allowed + 1)
        too_many = statistics.pass_probability(population, worst, more, miss) > delta
        assert too_many or more.allowed == worst


def test_worst_forgotten_does_not_trip_over_the_last_bit() -> None:
    assert [statistics.worst_forgotten(n, 0.05) for n in (1, 19, 20, 59, 60, 140)] == [1, 1, 2, 3, 4, 8]
    assert statistics.worst_forgotten(100, 0.29) == 30  # 0.29 * 100 = 28.999999999999996


# ---------------------------------------------------------------- intervals


def test_clopper_pearson() -> None:
    low, high = statistics.clopper_pearson([0, 10, 3, 0], [10, 10, 10, 0])
    np.testing.assert_allclose(low, [0, 0.025**0.1, 0.0667395, 0], atol=1e-6)
    np.testing.assert_allclose(high, [1 - 0.025**0.1, 1, 0.6524529, 1], atol=1e-6)
    k = np.arange(21)
    low, high = statistics.clopper_pearson(k, 20)
    for p in np.linspace(0.02, 0.98, 25):
        assert np.sum(stats.binom.pmf(k, 20, p)[(low <= p) & (p <= high)]) >= 0.95


def test_wilson() -> None:
    low, high = statistics.wilson([8, 0], [10, 10])
    np.testing.assert_allclose(low, [0.4901625, 0.0], atol=1e-6)
    np.testing.assert_allclose(high, [0.9433178, 0.2775328], atol=1e-6)


def test_interquartile_mean() -> None:
    assert statistics.iqm([1000, 1, 2, 3, 4, 5, 6, -1000]) == pytest.approx(3.5)
    np.testing.assert_allclose(statistics.iqm([[0, 1, 1, 9], [0, 2, 4, 9]], axis=1), [1, 3])


def test_bootstrap_resamples_within_strata_only() -> None:
    rng = np.random.default_rng(1)
    steady = statistics.stratified_bootstrap([[0.0] * 3, [5.0] * 7], rng, np.mean)
    assert steady == (3.5, 3.5, 3.5)  # numbers differ between strata, not inside
    mixed = statistics.stratified_bootstrap([[0.0] * 3 + [5.0] * 7], rng, np.mean)
    assert mixed.low < 2.5 < 4.5 < mixed.high
    with pytest.raises(ValueError, match="a number in each"):
        statistics.stratified_bootstrap([[1.0], []], rng)


def test_bootstrap_width_is_that_of_theory_in_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(2).normal(size=(5, 80))
    half = 1.96 * np.sqrt(np.mean(x.var(axis=1)) / 400)
    for block in (statistics._BLOCK, 4000):
        monkeypatch.setattr(statistics, "_BLOCK", block)
        interval = statistics.stratified_bootstrap(x, np.random.default_rng(3), np.mean)
        assert interval.estimate == pytest.approx(x.mean())
        assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.1)


def test_bootstrap_is_deterministic_given_its_generator() -> None:
    x = np.random.default_rng(4).normal(size=(3, 10))
    first, second, other = (statistics.stratified_bootstrap(x, np.random.default_rng(s)) for s in (0, 0, 1))
    assert first == second != other


def test_probability_of_improvement_by_hand() -> None:
    x, y = [1.0, 2.0, 3.0], [2.0, 2.0, 5.0]
    found = statistics.probability_of_improvement(x, y, np.random.default_rng(6))
    assert found.estimate == pytest.approx(3 / 9)  # 1 beats none; 2 ties twice; 3 beats two
    assert found.estimate == pytest.approx(stats.mannwhitneyu(x, y).statistic / 9)
    assert 0 <= found.low < found.estimate < found.high <= 1
    assert statistics.probability_of_improvement([3, 4], [1, 2, 2], np.random.default_rng(7)) == (1.0, 1.0, 1.0)


def test_probability_of_improvement_averages_tasks_and_never_compares_across_them() -> None:
    x, y = np.array([[1.0, 100.0], [1.0, 100.0]]), np.array([[2.0, 50.0], [2.0, 50.0], [2.0, 50.0]])
    assert statistics.probability_of_improvement(x, y, np.random.default_rng(8)) == (0.5, 0.5, 0.5)


def test_probability_of_improvement_resamples_the_runs_of_each_task_apart() -> None:
    x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.5, 0.5]])
    found = statistics.probability_of_improvement(x, y, np.random.default_rng(9))
    assert found == (0.5, 0.0, 1.0)  # runs kept whole across tasks would give 0.5 every time
