"""Tests within a round: what breaks is quarantined wherever it breaks, and what is not novel is not accepted."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest

from envs.probe import Probe
from openended import configuration, recording, tasks
from openended.acceptance import PowerPlay
from openended.archive import Archive
from openended.budget import UNLIMITED
from openended.generators.base import Proposal
from openended.loop import Loop, Round
from openended.repertoire import ACCEPTED, EMPTY, FRONTIER, SEEN
from openended.trials import MOST_AT_RISK, Trials
from openended.types import Outcome
from tests.small import SMALL

SIZES = [*SMALL, "loop.capacity=64"]


@functools.cache
def loop():
    """Accepts what is in the frontier without a test."""
    return configuration.build(configuration.read(["experiment=probe", "acceptance=off", "acceptance.audit_every=1", *SIZES]))


@functools.cache
def begun():
    """After a round: accepted tasks, all of them at risk, and a pool."""
    state, journal = loop().round(loop().init())
    book = state.repertoire["probe"]
    assert book.rows(ACCEPTED).size and book.rows(SEEN).size
    return state._replace(repertoire={"probe": book.change(book.rows(ACCEPTED), forgotten=True)}), journal


def quarantined(journal):
    """Ids by the reason of their event."""
    found = {}
    for task, kind, reason in journal.events:
        if kind == "quarantined":
            assert journal.statuses[task] == kind
            found.setdefault(reason.removeprefix("physics left its bounds "), set()).add(task)
    return found


def known(state):
    """Ids of every task that the repertoire holds."""
    book = state.repertoire["probe"]
    return {tasks.task_id("probe", vector) for vector in book.vector[book.status != EMPTY]}


@pytest.mark.parametrize(
    ("stage", "purpose", "where"),
    [
        ("propose", "screen", "at the screen"),
        ("enter", "verify", "in the entry test"),
        ("verify", "retention", "in a retention test"),
        ("verify", "verify", "in an acceptance test"),
        ("finish", "retention", "in an audit"),
    ],
)
def test_what_breaks_in_a_test_is_quarantined(stage, purpose, where, monkeypatch):
    """In one stage every lifetime breaks: what was tested there gets the status, and is gone."""
    before, now, evaluate = begun()[0], [], loop().programs.evaluate

    def broken(name, params, vectors, key, of, **more):
        out = evaluate(name, params, vectors, key, of, **more)
        return out._replace(broken=np.full(len(vectors), (now[-1], of) == (stage, purpose)))

    monkeypatch.setattr(loop().programs, "evaluate", broken)
    state, journal = loop().round(before, now.append)
    (reason, ids), *others = quarantined(journal).items()
    assert (reason, others) == (where, []) and not ids & known(state)
    told = {"enter": "old", "verify": "new" if purpose == "verify" else "retention", "finish": "audit"}
    if stage in told:
        assert ids == {task for task, _, why, *_ in journal.evaluations if why == told[stage]}


def test_what_breaks_while_learning_is_quarantined(monkeypatch, tmp_path):
    """Frontier, archive and pool alike; the archive gets a row for what it did not know, and is sound."""
    before, first = begun()
    learn = loop().programs.learn

    def broken(*arguments):
        state, model, (reports, metrics) = learn(*arguments)
        return state, model, ({n: r._replace(broken=np.ones_like(r.broken)) for n, r in reports.items()}, metrics)

    monkeypatch.setattr(loop().programs, "learn", broken)
    state, journal = loop().round(before)
    ((reason, ids),) = quarantined(journal).items()
    assert reason.startswith("while learning") and not ids & known(state)
    assert not ids & {task for task, kind, _ in journal.events if kind == "accepted"}
    with Archive(tmp_path / "archive.db") as archive:
        for each in (first, journal):
            archive.commit_round(recording.record(loop().families, each))
        assert archive.check() == [] and {task.id for task in archive.tasks(status="quarantined")} == ids
        pooled = [task for task in archive.tasks(status="quarantined") if task.witness is None]
        assert pooled and {"frontier", "accepted"} <= {e.kind for e in archive.events() if e.task in ids}


def by_powerplay(state, monkeypatch, evaluate, **acceptance):
    """The tests of a round by PowerPlay, whose lifetimes are what ``evaluate`` says of task vectors."""
    of = loop()

    def told(name, params, vectors, key, purpose, **more):
        solved, broken = evaluate(vectors)
        return Outcome(np.repeat(solved[:, None], 3, axis=1), broken)

    monkeypatch.setattr(of.programs, "evaluate", told)
    return Trials(of.programs, PowerPlay(**acceptance), of.settings, 0.0, state, 0)


def test_a_task_that_breaks_in_its_own_acceptance_test_is_no_discovery(monkeypatch):
    """Whatever else it solves in that test."""
    before, _ = begun()
    book = before.repertoire["probe"]
    fragile, sound = rows = book.rows(SEEN)[:2]
    state = before._replace(repertoire={"probe": book.change(rows, status=FRONTIER)})
    of_fragile = lambda vectors: np.all(vectors == book.vector[fragile], axis=1)  # noqa: E731
    work = by_powerplay(state, monkeypatch, lambda vectors: (np.ones(len(vectors), bool), of_fragile(vectors)))
    work.estimate = {"probe": (np.full(64, 9.0), np.full(64, 9.0))}
    accepted = work._decide()
    now = work.state.repertoire["probe"]
    assert now.status[fragile] == EMPTY and now.status[sound] == ACCEPTED
    assert accepted == int(work.state.acceptance.accepted) - int(before.acceptance.accepted) >= 1
    assert tasks.task_id("probe", book.vector[fragile]) not in {t for t, kind, _ in work.journal.events if kind == "accepted"}


def test_of_many_tasks_at_risk_any_may_be_tested_again(monkeypatch):
    """A part of them in every round, drawn anew."""
    state, _ = begun()
    book = state.repertoire["probe"]
    book = book.change(np.arange(48), status=ACCEPTED, forgotten=True)
    state = state._replace(repertoire={"probe": book})
    work = by_powerplay(state, monkeypatch, lambda vectors: (np.zeros(len(vectors), bool),) * 2, sample=1, epsilon=0.9)
    tested_in = [set(work._retain(0).tested.tolist()) for _ in range(2)]
    assert all(MOST_AT_RISK <= len(each) < 40 for each in tested_in)
    assert len(set.union(*tested_in)) > 40


@pytest.mark.parametrize(("status", "has_parent"), [(SEEN, False), (FRONTIER, True), (ACCEPTED, True)])
def test_a_task_of_the_pool_is_no_parent_in_the_archive(status, has_parent):
    """The archive has no row of it, and would refuse the child's."""
    before, _ = begun()
    book = before.repertoire["probe"]
    parent = book.rows(SEEN)[0]
    work = Round(loop(), before._replace(repertoire={"probe": book.change(parent, status=status)}), UNLIMITED)
    child = np.clip(book.vector[parent] + 0.1, 0.0, 1.0)[None]
    proposal = Proposal(child, np.array([parent], np.int32), ("mutate",), np.zeros_like(child))
    work._record("probe", 0, proposal, SimpleNamespace(vector=child, key=np.zeros((1, 2)), actions=np.zeros((1, 1))))
    (task,) = work.journal.tasks
    assert (task.parent is not None, bool(task.delta)) == (has_parent, has_parent)


class Brittle(Probe):
    """A probe that breaks near its walls."""

    max_speed = 1.3


@pytest.mark.slow
def test_a_brittle_family_is_quarantined_and_not_trained_on_any_more():
    of = loop()
    family = {"probe": Brittle(of.families["probe"].bounds)}
    brittle = Loop(family, of.learner, of.generator, of.objective, of.acceptance, of.settings, of.programs.search, 0)
    learned, learn = [], brittle.programs.learn
    brittle.programs.learn = lambda *a: learned.append(a[2]["probe"].reshape(-1, a[2]["probe"].shape[-1])) or learn(*a)
    state, gone = brittle.init(), {}
    for _ in range(3):
        state, journal = brittle.round(state)
        fixed = {tasks.task_id("probe", vector) for vector in learned[-1]}  # of the pool, other motor directions are learned
        assert not fixed & set(gone)
        gone |= {task: reason for reason, ids in quarantined(journal).items() for task in ids}
        assert not known(state) & set(gone)
    assert any(reason.startswith("while learning") for reason in gone.values())


def near_pair():
    """The state with two near-duplicates in the frontier, which entered in different rounds and go well."""
    state, _ = begun()
    book = state.repertoire["probe"]
    rows = book.rows(SEEN)[:2]
    twin = book.vector[rows[0]].copy()
    twin[0] = np.clip(twin[0] + 0.01, 0.0, 1.0) if twin[0] < 0.5 else twin[0] - 0.01
    book = book.change(rows[1], vector=twin, entered=0).change(rows, status=FRONTIER)
    return state._replace(repertoire={"probe": book}), [tasks.task_id("probe", vector) for vector in book.vector[rows]]


def test_of_two_near_duplicates_only_one_is_accepted():
    """In the round in which one is accepted the other waits; then it is refused, with the reason in its event."""
    state, pair = near_pair()
    accepted, reasons = [], {}
    for _ in range(2):
        state, journal = loop().round(state)
        accepted += [task for task, kind, _ in journal.events if kind == "accepted" and task in pair]
        reasons |= {task: reason for task, kind, reason in journal.events if kind == "rejected" and task in pair}
    (winner,) = accepted
    (loser,) = set(pair) - {winner}
    assert reasons == {loser: "not novel: nearer than generator.novelty=0.02 to an accepted task"}
    book = state.repertoire["probe"]
    vectors = book.vector[book.rows(ACCEPTED)]
    for i, vector in enumerate(vectors):
        assert tasks.nearest(vector[None], np.delete(vectors, i, axis=0))[0] >= 0.02 - 1e-6
