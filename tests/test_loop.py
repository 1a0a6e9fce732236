"""One round on the physics-free family: fixed point, determinism, evidence behind every acceptance, no recompilation."""

import collections
import concurrent.futures
import copy
import functools
import threading
import types

import jax
import numpy as np
import pytest

from openended import checkpoint, configuration, trees
from openended.budget import UNLIMITED
from openended.compilations import Compilations
from openended.ledger import mixture
from openended.loop import Round
from openended.objectives.off import Off
from openended.repertoire import ACCEPTED, EMPTY, FRONTIER, SEEN, empty


@functools.cache
def loop(*overrides):
    return configuration.build(configuration.read(["experiment=probe", "loop.updates=2", "loop.passes=2", *overrides]))


@functools.cache
def history(rounds=4):
    """States and journals of a short run."""
    states, journals = [loop().init()], []
    for _ in range(rounds):
        state, journal = loop().round(states[-1])
        states.append(state)
        journals.append(journal)
    return states, journals


def description(tree):
    def leaf(x):
        return np.shape(x), np.asarray(x).dtype, getattr(x, "weak_type", False)

    return jax.tree.structure(tree), [leaf(x) for x in jax.tree.leaves(tree)]


def test_the_first_state_is_a_fixed_point():
    states, _ = history()
    assert description(states[0]) == description(states[1]) == description(states[-1])


def test_the_same_seed_gives_the_same_run():
    states, journals = history()
    again, journal = loop().round(states[2])
    assert checkpoint.tree_hash(again) == checkpoint.tree_hash(states[3])
    assert journal.events == journals[2].events and journal.evaluations == journals[2].evaluations


def test_nothing_compiles_after_the_first_rounds():
    states, _ = history()
    with Compilations() as made:
        loop().round(states[-1])
    assert made.count == 0


def test_waiting_for_what_is_being_compiled():
    programs, slow = copy.copy(loop().programs), concurrent.futures.Future()
    programs._programs, programs._pending = dict(programs._programs), {("slow",): slow}
    threading.Timer(0.3, slow.set_result, [len]).start()
    programs.wait()
    assert programs._program("slow") is len and not programs._pending


def test_journal_and_repertoire_agree():
    states, journals = history()
    status = {}
    for journal in journals:
        status |= journal.statuses
    books = states[-1].repertoire["probe"]
    counted = collections.Counter(status.values())
    assert counted["frontier"] == books.rows(FRONTIER).size > 0
    assert books.rows(SEEN).size > 0
    assert counted["accepted"] == books.rows(ACCEPTED).size
    assert all(status[task.id] for journal in journals for task in journal.tasks)


def test_every_frontier_task_has_old_evidence():
    _, journals = history()
    old = {task for journal in journals for task, _, purpose, *_ in journal.evaluations if purpose == "old"}
    assert {task for journal in journals for task, kind, _ in journal.events if kind == "frontier"} <= old


def test_steps_add_up():
    states, journals = history()
    assert journals[-1].metrics["steps_total"] == sum(int(n) for n in states[-1].steps.values())
    learned = (1 + 3 * 2) * 2 * 64 * 3 * 40  # passes (one in the first of four rounds), updates, rows, episodes, steps
    assert int(states[-1].steps["learn"]) == learned


def test_a_mixture_has_its_shares():
    book = empty(16, 3)
    book = book.change(np.arange(6), status=np.array([FRONTIER, FRONTIER, ACCEPTED, SEEN, SEEN, SEEN], np.int32))
    rows, weight = mixture(book, 0.2, 0.1, loop().objective.urgency)
    share = {status: float(weight[book.status[rows] == status].sum()) for status in (FRONTIER, ACCEPTED, SEEN, EMPTY)}
    assert share == pytest.approx({FRONTIER: 0.2, ACCEPTED: 0.1, SEEN: 0.7, EMPTY: 0.0})
    assert mixture(empty(16, 3), 0.2, 0.1, loop().objective.urgency)[1].tolist() == [1.0]
    assert mixture(book, 0.07, 0.93, loop().objective.urgency)[1].min() == 0.0, "1 - 0.07 - 0.93 is not 0 but less"


def test_what_was_forgotten_is_replayed_the_most():
    success = np.array([1.0, 0.5, 1.0], np.float32)
    book = empty(3, 1).change(np.arange(3), status=ACCEPTED, success=success)
    weight = mixture(book.change(2, forgotten=True), 0.0, 1.0, loop().objective.urgency)[1]
    np.testing.assert_allclose(weight, np.array([0.05, 0.55, 1.05]) / 1.65, rtol=1e-6)


def test_the_objective_decides_how_often_a_task_of_the_pool_is_learned_from():
    success = np.array([0.0, 0.5, 1.0], np.float32)
    book = empty(3, 1).change(np.arange(3), status=SEEN, success=success)
    assert mixture(book, 0.2, 0.1, loop().objective.urgency)[1] == pytest.approx([1 / 8, 6 / 8, 1 / 8])
    assert mixture(book, 0.2, 0.1, Off().urgency)[1] == pytest.approx([1 / 3, 1 / 3, 1 / 3])


def test_no_task_of_frontier_or_archive_is_learned_by_heart():
    """Few tasks get few lifetimes, whatever their share."""
    states, _ = history()
    counts = {}
    for most in (1, 10**6):
        other = copy.copy(loop())
        other.settings = other.settings._replace(most_lifetimes=most)
        work = Round(other, states[1], UNLIMITED)
        work.learn()
        book, (_, tries) = states[1].repertoire["probe"], work.estimate["probe"]
        counts[most] = tries[book.rows(FRONTIER)].sum(), book.rows(FRONTIER).size
    (few, tasks), (many, _) = counts[1], counts[10**6]
    assert tasks > 4 and few <= 1.5 * tasks < many


@pytest.mark.parametrize(("passed", "shares"), [((True,), 1.0), ((False, True), 0.5), ((False, False), 0.0)])
def test_a_learner_that_forgot_goes_half_of_the_way_back_or_all_of_it(monkeypatch, passed, shares):
    """What acts is a mean of the weights before and after, or those before again; what learns goes on."""
    states, _ = history()
    work, results = Round(loop(), states[1], UNLIMITED), iter(types.SimpleNamespace(passed=x, reason="") for x in passed)
    monkeypatch.setattr(work, "_retain", lambda attempt: next(results))
    monkeypatch.setattr(work, "_decide", lambda: 0)
    work.learn()
    learned = work.state.learner
    work.verify()
    for old, new, now in zip(
        *(jax.tree.leaves(x.params) for x in (states[1].learner, learned, work.state.learner)), strict=True
    ):
        np.testing.assert_allclose(now, (1 - shares) * old + shares * new, atol=1e-6)
        assert now.sharding == new.sharding and not now.weak_type, "else its programs compile again"
    assert work.state.learner.optimiser is learned.optimiser and int(work.state.learner.updates) == int(learned.updates)
    kinds = [kind for _, kind, _ in work.journal.events if kind in ("repaired", "rolled_back")]
    assert kinds == ["repaired"] * (passed[0] is False) + ["rolled_back"] * (shares == 0.0)
    assert int(work.state.version) == int(states[1].version) + 1 + len(kinds), "no two learners have a number in common"


def test_the_first_repair_of_a_run_compiles_nothing():
    odd = trees.replicate({"a": np.ones((3, 7, 11), np.float32), "b": np.zeros(13, np.float32)})
    with Compilations() as made:
        half = trees.halfway(odd, odd)
    assert made.count == 0 and half["a"].sharding == odd["a"].sharding


def test_what_a_learner_forgot_that_was_rolled_back_is_not_forgotten(monkeypatch):
    """Its tests stand in the archive, under its version; the verdicts go with it."""
    states, _ = history()
    book = states[-1].repertoire["probe"]
    book = book.change(book.rows(SEEN)[:4], status=ACCEPTED, order=np.arange(4, dtype=np.int32))
    places = [("probe", int(row)) for row in book.rows(ACCEPTED)]
    work = Round(loop(), states[-1]._replace(repertoire={"probe": book.change(places[1][1], forgotten=True)}), UNLIMITED)

    def forgets(attempt):
        lost = np.arange(len(places)) != 1  # the one that was forgotten is solved again, all others are lost
        for (_, row), gone in zip(places, lost, strict=True):
            work._keep("probe", work.state.repertoire["probe"].change(row, forgotten=bool(gone)))
            work.journal.events.append(("task", "forgotten" if gone else "restored", ""))
        return types.SimpleNamespace(passed=False, reason="")

    monkeypatch.setattr(work, "_retain", forgets)
    work.learn()
    work.verify()
    after = work.state.repertoire["probe"]
    assert after.forgotten[[row for _, row in places]].tolist() == [i == 1 for i in range(len(places))]
    assert not {"forgotten", "restored"} & {kind for _, kind, _ in work.journal.events}


def test_a_full_frontier_gives_the_least_solved_back_to_the_pool():
    states, _ = history()
    narrow = copy.copy(loop())  # the same compiled programs
    narrow.settings = narrow.settings._replace(frontier=4)
    state, journal = narrow.round(states[-1])
    book, before = state.repertoire["probe"], states[-1].repertoire["probe"]
    assert before.rows(FRONTIER).size > 4 == book.rows(FRONTIER).size
    left = [task for task, kind, reason in journal.events if reason == "the least solved of a full frontier"]
    assert left and all(journal.statuses[task] == "rejected" for task in left)
    back = [row for row in before.rows(FRONTIER) if book.status[row] == SEEN]
    assert back and book.success[back].max() <= book.success[book.rows(FRONTIER)].min()


def test_a_full_repertoire_gives_up_the_oldest_of_its_pool():
    book = empty(4, 1).change(np.array([2]), status=FRONTIER)
    for number in (1, 2, 3):
        book, places = book.insert(vector=np.full((1, 1), number, np.float32), entered=np.array([number]))
        assert places.size == 1
    book, places = book.insert(vector=np.full((2, 1), 9, np.float32), entered=np.array([4, 4]))
    assert sorted(book.vector[book.status == SEEN, 0].tolist()) == [3, 9, 9] and book.status[2] == FRONTIER


def test_what_acts_is_an_average_of_the_newest_weights():
    """The first update replaces the weights of birth, the later ones are mixed in."""
    states, _ = history()
    acts, newest = states[1].learner.params, states[1].learner.optimiser[0]
    distance = [float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(acts), jax.tree.leaves(newest), strict=True)]
    assert 0 < max(distance) < 0.1


def test_strict_mode_keeps_a_learner_only_with_an_accepted_task():
    strict = loop("acceptance.mode=strict")
    state = strict.init()
    for _ in range(3):
        after, journal = strict.round(state)
        accepted = any(kind == "accepted" for _, kind, _ in journal.events)
        changed = checkpoint.tree_hash(after.learner.params) != checkpoint.tree_hash(state.learner.params)
        assert changed == accepted
        state = after


@pytest.mark.slow
@pytest.mark.parametrize("off", ["generator=off", "objective=off", "acceptance=off", "objective=learnability"])
def test_every_part_can_be_switched(off):
    """Off is a real implementation of the same contract."""
    other = loop(off)
    state, journal = other.round(other.init())
    assert int(state.round) == 1 and np.isfinite(journal.metrics["steps_total"])


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["memoryless", "evolution"])
def test_every_learner_runs_in_the_loop(learner):
    other = loop(f"learner={learner}")
    before = other.init()
    state, _ = other.round(before)
    assert checkpoint.tree_hash(state.learner.params) != checkpoint.tree_hash(before.learner.params)
    updates, rows = other.settings.updates, other.settings.rows // jax.device_count()
    plays = rows + (32 * (rows // 32) if learner == "evolution" else 0)  # 32 members, and their mean
    of_one = 3 * other.families["probe"].episode_steps
    assert int(state.steps["learn"]) == updates * plays * jax.device_count() * of_one, "of a first round, which has one pass"
