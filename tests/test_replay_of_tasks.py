"""Replay of known tasks by regret or learnability, and edits of easy ones: the baselines out of the field."""

import functools
import re

import jax.numpy as jnp
import numpy as np
import pytest

from openended import configuration
from openended.generators.accel import Accel
from openended.objectives.plr import PLR
from openended.objectives.sfl import SFL
from openended.repertoire import SEEN, empty
from openended.types import Rollout

PLAIN = ["acceptance=off", "loop.entries=0", "loop.frontier_share=0", "loop.replay_share=0"]


def replayed(score="positive_value_loss", **changes):
    settings = {"replay": 0.5, "temperature": 1.0, "staleness": 0.25, "discount": 0.9, "decay": 0.8}
    return PLR(score, **(settings | changes))


def a_pool(regret, **columns):
    rows = np.arange(len(regret))
    return empty(len(regret), 1).change(rows, status=SEEN, regret=np.array(regret, np.float32), **columns)


def test_appraisals_are_means_over_what_ran():
    """Against the definitions, step by step: A_t = sum of (discount decay)^i delta, G_t = sum of discount^i r."""
    reward, value = (np.random.default_rng(i).normal(size=(2, 6)).astype(np.float32) for i in (0, 1))
    running = np.ones((2, 6), bool)
    running[1, 3:] = False
    nothing = dict.fromkeys(Rollout._fields)
    found = replayed().appraise(Rollout(**nothing | {"reward": reward, "value": value, "running": jnp.asarray(running)}))
    for row, steps in enumerate((6, 3)):
        r, v = reward[row, :steps].astype(float), np.append(value[row, :steps], 0.0)
        delta = r + 0.9 * v[1:] - v[:-1]
        gain = [sum(0.72**i * d for i, d in enumerate(delta[t:])) for t in range(steps)]
        to_go = [sum(0.9**i * x for i, x in enumerate(r[t:])) for t in range(steps)]
        wanted = np.maximum(gain, 0.0).mean(), v[:-1].mean(), np.mean(to_go)
        assert [float(part[row]) for part in found] == pytest.approx(wanted, abs=1e-5)


def test_regret_is_the_gain_or_what_the_best_lifetime_had_above_the_value():
    numbers = np.array([1.0, 2.0]), np.array([0.5, 3.0]), np.array([4.0, 3.5])
    assert replayed().regret(*numbers).tolist() == [1.0, 2.0]
    assert replayed("max_monte_carlo").regret(*numbers).tolist() == [3.5, 0.5]


def test_replay_by_rank_and_staleness_beside_new_tasks():
    pool = a_pool([0.2, np.inf, 0.9, 0.1, np.inf], visited=np.array([3, 0, 3, 1, 0], np.int32))
    ranked, stale = np.array([1 / 2, 1.0, 1 / 3]) / (11 / 6), np.array([0.0, 0.0, 1.0])
    chance = replayed(replay=0.6).urgency(pool)
    assert chance[[1, 4]] == pytest.approx([0.2, 0.2]) and chance[[0, 2, 3]] == pytest.approx(
        0.6 * (0.75 * ranked + 0.25 * stale)
    )
    assert replayed().urgency(a_pool([np.inf] * 2)) == pytest.approx([0.25, 0.25])
    assert replayed().urgency(a_pool([])).size == 0 and np.argmin(replayed().worth(pool)) == 3
    greedy = replayed(temperature=0.3, staleness=0.0).urgency(a_pool([0.1, 0.2]))
    assert greedy[0] / greedy[1] == pytest.approx(2 ** (-1 / 0.3))


def test_sfl_has_two_kinds_of_tasks():
    pool = a_pool([np.inf] * 4, success=np.array([0.0, 0.45, 1.0, 0.9], np.float32))
    assert SFL(best=0.25, focus=0.6).urgency(pool) == pytest.approx([0.1, 0.7, 0.1, 0.1])
    assert SFL(best=1.0, focus=1.0).urgency(a_pool([])).size == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replayed("luck"), "objective.score is 'luck'; allowed: positive_value_loss, max_monte_carlo"),
        (lambda: replayed(temperature=0), "objective.temperature is 0; allowed: above 0"),
        (lambda: replayed(replay=1.5), "objective.replay is 1.5; allowed: 0 to 1"),
        (lambda: SFL(best=0, focus=0.5), "objective.best is 0; allowed: above 0 and at most 1"),
    ],
)
def test_what_a_replay_cannot_be(make, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


@functools.cache
def rounds(*overrides, number=2):
    """The loop and its states."""
    loop = configuration.build(configuration.read(["experiment=probe", "loop.updates=2", *PLAIN, *overrides]))
    states = [loop.init()]
    for _ in range(number):
        states.append(loop.round(states[-1])[0])
    return loop, states


def test_a_round_appraises_what_it_learned_from():
    _, (_, first, second) = rounds("generator=accel", "objective=plr", number=2)
    before, after = (state.repertoire["probe"] for state in (first, second))
    assert set(np.unique(after.status)) <= {0, SEEN} and after.rows(SEEN).size > before.rows(SEEN).size
    for book, number in ((before, 1), (after, 2)):
        visited = book.visited > 0
        assert visited.any() and np.array_equal(visited, np.isfinite(book.regret)) and book.visited.max() == number
    again = before.visited > 0
    assert np.all(after.returns[again] >= before.returns[again]) and np.any(after.regret[again] != before.regret[again])


def test_an_appraisal_ends_with_its_task():
    book = a_pool([0.5], returns=np.array([1.0], np.float32), visited=np.array([4], np.int32))
    book, _ = book.insert(vector=np.zeros((1, 1), np.float32), entered=np.array([5]))
    assert (book.regret[0], book.returns[0], book.visited[0]) == (np.inf, -np.inf, 0)


def test_edits_are_of_the_easiest_of_what_has_regret():
    """Simple tasks at first; later children of the pool, more of tasks with much regret, and of these the most solved."""
    loop, _ = rounds("generator=accel", "objective=plr", number=1)
    specs, rng, generator = loop.families["probe"].specs, np.random.default_rng(0), loop.generator
    book = empty(64, len(specs))
    first, _ = generator.propose((), specs, book, 20, rng)
    switch = [i for i, spec in enumerate(specs) if spec.structural and not spec.pinned and spec.part != "interface"]
    assert set(first.operator) == {"random"} and len(np.unique(first.vector[:, switch], axis=0)) == 1
    rows = np.arange(64)
    book = book.change(
        rows,
        status=SEEN,
        regret=np.linspace(1, 0, 64),
        success=np.linspace(0, 1, 64),
        vector=rng.uniform(size=(64, len(specs))),
    )
    later, _ = generator.propose((), specs, book, 500, rng)
    parents = later.parent[later.parent >= 0]
    assert parents.size == 400 and later.operator.count("mutate") == 400
    drawn = rng.choice(64, parents.size, p=1 / np.arange(1, 65) / np.sum(1 / np.arange(1, 65)))
    assert drawn.mean() < parents.mean() < 63, "the easiest of four, so further down than a single one, but not any"
    unknown = book._replace(regret=np.full(64, np.inf))
    assert set(generator.propose((), specs, unknown, 20, rng)[0].operator) == {"random"}


@pytest.mark.parametrize(("name", "value", "allowed"), [("flip", 2.0, "0 to 1"), ("sigma", 0.0, "above 0")])
def test_what_an_edit_cannot_be(name, value, allowed):
    settings = {"novelty": 0.02, "sigma": 0.1, "flip": 0.1, "immigrants": 0.2, "temperature": 1.0}
    with pytest.raises(ValueError, match=re.escape(f"generator.{name} is {value}; allowed: {allowed}")):
        Accel(**settings | {name: value})
