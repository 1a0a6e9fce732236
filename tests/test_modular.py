"""Modules: one learns at a time, the others stay bit for bit what they were, and only what changed is tested again."""

import jax
import numpy as np
import pytest

from openended import checkpoint, configuration
from openended.learners.modular import Modular
from openended.repertoire import ACCEPTED
from openended.routes import entropies, rivals
from tests.small import SMALL

SIZES = ["experiment=probe", "learner=modular", "learner.modules=3", *SMALL]


@pytest.fixture(scope="module")
def loop():
    return configuration.build(configuration.read(SIZES))


@pytest.fixture(scope="module")
def begun(loop):
    state, _ = loop.round(loop.init())
    return state


def vectors(loop, rows, seed=0):
    return np.random.default_rng(seed).uniform(size=(rows, len(loop.families["probe"].specs))).astype(np.float32)


def hashes(loop, params):
    return [checkpoint.tree_hash(loop.learner.acting(params, module)) for module in range(3)]


def test_all_modules_begin_as_the_same_policy(loop):
    born = loop.init().learner
    assert isinstance(loop.learner, Modular) and len(set(hashes(loop, born.params))) == 1
    given = loop.learner.policy.init(jax.random.key(7))
    started = loop.init(given).learner
    assert hashes(loop, started.params) == [checkpoint.tree_hash(given)] * 3


def test_an_update_changes_the_module_in_focus_alone(loop, begun):
    batch = {"probe": vectors(loop, 16).reshape(1, 1, 16, -1)}
    before = hashes(loop, begun.learner.params)
    for module in (1, 2):
        state = loop.learner.focus(begun.learner, module)
        after, _, _ = loop.programs.learn(state, begun.model, batch, jax.random.key(0))
        changed = [a != b for a, b in zip(before, hashes(loop, after.params), strict=True)]
        assert changed == [m == module for m in range(3)]
        counts = np.asarray(after.optimiser.updates) - np.asarray(begun.learner.optimiser.updates)
        assert counts.tolist() == [int(m == module) for m in range(3)]


def test_an_evaluation_plays_each_task_with_its_module(loop, begun):
    """The controller chooses by what is seen; rows come back in their order."""
    state = loop.learner.focus(begun.learner, 1)
    for i in range(8):
        batch = {"probe": vectors(loop, 16, i).reshape(1, 1, 16, -1)}
        state, _, _ = loop.programs.learn(state, begun.model, batch, jax.random.key(i))
    tasks = vectors(loop, 40)
    sights = loop.programs.sights("probe", tasks)
    state = loop.learner.assign(state, sights, np.arange(40) % 2)
    used = loop.programs.modules("probe", state.params, tasks)
    assert set(used.tolist()) == {0, 1}
    mixed = loop.programs.evaluate("probe", state.params, tasks, jax.random.key(3), "test")
    played = loop.programs.play("probe", state.params, tasks, used, jax.random.key(3), "test")
    assert np.array_equal(mixed.success, played.success)
    alone = loop.programs.weights("probe", state.params, tasks[5])
    assert checkpoint.tree_hash(alone) == hashes(loop, state.params)[used[5]]


def test_the_controller_learns_what_it_is_told(loop, begun):
    tasks = vectors(loop, 200)
    sights = loop.programs.sights("probe", tasks)
    wanted = np.argmax(sights @ np.random.default_rng(1).normal(size=(sights.shape[1], 3)), axis=1)
    state = begun.learner
    for _ in range(10):
        state = loop.learner.assign(state, sights, wanted)
    right = np.mean(loop.programs.modules("probe", state.params, tasks) == wanted)
    assert right > 0.9 > np.mean(loop.programs.modules("probe", begun.learner.params, tasks) == wanted)


def test_what_another_module_plays_is_not_tested_again(loop):
    """Rounds with accepted tasks: those that are tested are those of the module in focus, and the others do not change."""
    state = loop.init()
    for number in range(3):
        book = state.repertoire["probe"]
        if number:
            rows = np.flatnonzero(book.status != 0)[:8]
            state = state._replace(repertoire={"probe": book.change(rows, status=ACCEPTED, order=np.arange(8))})
        before = state
        state, journal = loop.round(state)
    book, focus = before.repertoire["probe"], int(state.learner.optimiser.focus)
    accepted = book.vector[book.rows(ACCEPTED)]
    was, now = (loop.programs.modules("probe", s.learner.params, accepted) for s in (before, state))
    kept = journal.events and any(kind == "rolled_back" for _, kind, _ in journal.events)
    share = np.mean((now == focus) | (now != was))
    assert kept or journal.metrics["retested"] == pytest.approx(share)
    for module in set(range(3)) - {focus}:
        assert hashes(loop, before.learner.params)[module] == hashes(loop, state.learner.params)[module]
    assert 0.0 <= journal.metrics["selection_entropy"] <= journal.metrics["batch_entropy"] + 1e-6 <= np.log2(3) + 1e-5


def test_rivals_are_others_and_entropies_tell_a_collapse():
    rng = np.random.default_rng(0)
    likely = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
    drawn = np.stack([rivals(likely, rng) for _ in range(2000)])
    assert np.bincount(drawn[:, 0], minlength=3).tolist()[0] == 0 and abs(np.mean(drawn[:, 0] == 1) - 2 / 3) < 0.05
    assert set(drawn[:, 1].tolist()) == {0, 1}
    sure = np.log(np.eye(3) + 1e-12)
    assert entropies(sure)["batch_entropy"] == pytest.approx(np.log2(3), abs=1e-3)
    assert entropies(sure)["selection_entropy"] == pytest.approx(0.0, abs=1e-6)
    assert entropies(sure[[0, 0, 0]])["batch_entropy"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("override", "words"), [("learner.modules=0", "learner.modules is 0"), ("learner.rate=0", "learner.rate is 0")]
)
def test_settings_that_are_not_allowed(override, words):
    with pytest.raises(configuration.ConfigurationError, match=words):
        configuration.build(configuration.read([*SIZES, override]))
