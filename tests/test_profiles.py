"""Profiles, gaps and tails against numbers worked out by hand, and against what the authors' program answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from openended import profiles, statistics

RLIABLE = json.loads(Path(__file__).with_name("rliable.json").read_text(encoding="utf-8"))
TAUS = RLIABLE["taus"]


@pytest.mark.parametrize("name", ["x", "y"])
def test_definitions_are_those_of_rliable(name):
    told = RLIABLE[name]
    scores, rng = np.array(told["scores"]), np.random.default_rng(0)
    level = statistics.stratified_bootstrap(scores.T, rng)
    gap = statistics.stratified_bootstrap(scores.T, rng, profiles.optimality_gap)
    found = profiles.profile(scores, TAUS, rng)
    assert level.estimate == pytest.approx(told["iqm"], abs=1e-5)
    assert gap.estimate == pytest.approx(told["optimality_gap"], abs=1e-5)
    assert found.share == pytest.approx(np.array(told["profile"]), abs=1e-5)
    # Ends of a bootstrap have noise of their own: theirs of 20000 resamples, ours of 2000.
    assert level[1:] == pytest.approx(told["iqm_ends"], abs=0.01)
    assert gap[1:] == pytest.approx(told["optimality_gap_ends"], abs=0.01)
    one = 1.01 / scores.size  # a share is a count of scores: next to each other is as near as two of them come
    assert found.low == pytest.approx(np.array(told["profile_low"]), abs=one)
    assert found.high == pytest.approx(np.array(told["profile_high"]), abs=one)


def test_probability_of_improvement_is_that_of_rliable():
    x, y = (RLIABLE[name]["scores"] for name in ("x", "y"))
    found = statistics.probability_of_improvement(x, y, np.random.default_rng(0))
    assert found.estimate == pytest.approx(RLIABLE["probability_of_improvement"], abs=1e-5)


def test_a_profile_by_hand():
    """Above 0: three of four; above 0.5, which is not above itself: two; above 1 nothing ever is."""
    found = profiles.profile([[0.0, 1.0], [0.5, 1.0]], [0.0, 0.5, 1.0], np.random.default_rng(0))
    assert found.share.tolist() == [0.75, 0.5, 0.0]
    assert found.low.tolist() == [0.5, 0.5, 0.0] and found.high.tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("share", "mean"),
    [
        (0.25, 0.1),  # one task
        (0.5, (0.1 + 0.4) / 2),
        (0.375, (0.1 + 0.5 * 0.4) / 1.5),  # the second counts by half
        (0.01, 0.1),  # less than a task: the worst
        (1.0, (0.1 + 0.4 + 0.6 + 0.9) / 4),
    ],
)
def test_a_tail_by_hand(share, mean):
    scores = np.array([0.6, 0.1, 0.9, 0.4])
    assert profiles.tail(scores, scores, share) == pytest.approx(mean)


def test_tasks_that_rank_alike_share_their_part():
    assert profiles.tail([0.0, 0.0, 1.0, 1.0], [0.2, 0.6, 0.0, 0.0], 0.25) == pytest.approx(0.4)
    assert profiles.tail([1.0, 0.0, 0.0, 0.0], [9.0, 0.3, 0.6, 0.0], 0.5) == pytest.approx(0.3)


def test_ranking_on_the_scores_themselves_finds_luck_and_an_independent_evaluation_does_not():
    """All tasks alike at 0.5: the worst twentieth of 400 is as good as any."""
    first, second = np.random.default_rng(3).binomial(16, 0.5, (2, 400)) / 16
    assert profiles.tail(first, first, 0.05) < 0.3
    assert profiles.tail(first, second, 0.05) == pytest.approx(0.5, abs=0.06)
