"""A run ends near its budget, at the end of a round, whose passes of learning take what is left."""

import pytest

from openended.budget import UNLIMITED, Budget


@pytest.mark.parametrize(
    ("rounds", "steps", "least", "ended"),
    [
        (0, 0, 0, False),
        (4, 400, 100, False),
        (9, 950, 100, False),  # half of the least round is left
        (9, 951, 100, True),
        (9, 1000, 0, True),
        (9, 1200, 100, True),
        (10, 10, 1, True),
    ],
)
def test_when_a_run_ends(rounds, steps, least, ended):
    assert Budget(10, 1000).ended(rounds, steps, least) == ended


def test_no_budget_no_round():
    assert Budget(0, 1000).ended(0, 0, 0) and Budget(10, 0).ended(0, 0, 0)


def test_without_limits_every_round_is_whole():
    assert UNLIMITED.passes(10**12, 100, 150, 4) == 4 and not UNLIMITED.ended(10**6, 10**12, 10**9)


@pytest.mark.parametrize("most", [1, 2, 4, 9])
@pytest.mark.parametrize("one", [3, 20, 33])
@pytest.mark.parametrize("besides", [1, 11, 70, 130])
def test_steps_are_met_within_half_a_pass(besides, one, most):
    """Rounds of ``besides`` steps and passes of ``one``: the last makes more or fewer passes than the others, never none."""
    budget, steps, passes = Budget(steps=1000), 0, []
    while not budget.ended(len(passes), steps, besides + one):
        passes.append(budget.passes(steps + besides, one, besides + one, most))
        steps += besides + passes[-1] * one
    assert abs(steps - 1000) <= one / 2
    assert all(number == most for number in passes[:-1]) and passes[-1] >= 1
