"""A run ends within half a round of its budget, at the end of a round."""

import pytest

from openended.budget import Budget


@pytest.mark.parametrize(
    ("rounds", "steps", "last", "ended"),
    [
        (0, 0, 0, False),
        (4, 400, 100, False),
        (9, 950, 100, False),  # half a round is left
        (9, 951, 100, True),
        (9, 1000, 0, True),
        (9, 1200, 100, True),
        (10, 10, 1, True),
    ],
)
def test_when_a_run_ends(rounds, steps, last, ended):
    assert Budget(10, 1000).ended(rounds, steps, last) == ended


def test_no_budget_no_round():
    assert Budget(0, 1000).ended(0, 0, 0) and Budget(10, 0).ended(0, 0, 0)


@pytest.mark.parametrize("cost", [1, 7, 90, 333, 999])
def test_equal_rounds_meet_the_budget_within_half_a_round(cost):
    rounds, steps = 0, 0
    while not Budget(10_000, 1000).ended(rounds, steps, cost * min(1, rounds)):
        rounds, steps = rounds + 1, steps + cost
    assert abs(steps - 1000) <= cost / 2
