"""One round on the physics-free family: fixed point, determinism, evidence behind every acceptance, no recompilation."""

import collections
import functools

import jax
import numpy as np
import pytest

from openended import checkpoint, configuration
from openended.repertoire import ACCEPTED, FRONTIER


@functools.cache
def loop(*overrides):
    return configuration.build(configuration.read(["experiment=probe", *overrides]))


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
    with _count_compilations() as count:
        loop().round(states[-1])
    assert count["compilations"] == 0


class _count_compilations:
    """Counts backend compilations through jax's own monitoring events."""

    def __enter__(self):
        self.found = collections.Counter()
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self.found

    def _listen(self, event, duration, **_):
        self.found["compilations"] += event == "/jax/core/compile/backend_compile_duration"

    def __exit__(self, *_):
        jax.monitoring.clear_event_listeners()


def test_journal_and_repertoire_agree():
    states, journals = history()
    status = {}
    for journal in journals:
        status |= journal.statuses
    books = states[-1].repertoire["probe"]
    counted = collections.Counter(status.values())
    assert counted["frontier"] == books.rows(FRONTIER).size > 0
    assert counted["accepted"] == books.rows(ACCEPTED).size
    assert all(status[task.id] for journal in journals for task in journal.tasks)


def test_every_frontier_task_has_old_evidence():
    _, journals = history()
    old = {task for journal in journals for task, _, purpose, *_ in journal.evaluations if purpose == "old"}
    assert {task for journal in journals for task, kind, _ in journal.events if kind == "frontier"} <= old


def test_steps_add_up():
    states, journals = history()
    assert journals[-1].metrics["steps_total"] == sum(int(n) for n in states[-1].steps.values())
    learned = 4 * 4 * 64 * 3 * 40  # rounds, updates, rows, episodes, steps of an episode
    assert int(states[-1].steps["learn"]) == learned


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
