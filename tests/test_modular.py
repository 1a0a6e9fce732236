"""Modules: one learns at a time, the others stay bit for bit what they were, and what did not change is not tested again."""

import functools

import jax
import numpy as np
import pytest

from envs.probe import Probe
from openended import checkpoint, configuration, rollouts, tasks
from openended.budget import UNLIMITED
from openended.compilations import Compilations
from openended.generators.base import Proposal
from openended.learners.modular import Modular
from openended.loop import Round
from openended.programs import in_lanes
from openended.repertoire import ACCEPTED, EMPTY, FRONTIER, SEEN
from openended.routes import digest, entropies, rivals
from openended.statistics import VerdictRule
from openended.types import Outcome
from tests.small import SMALL

SIZES = ["experiment=probe", "learner=modular", "learner.modules=3", *SMALL]
KNOWN = 24  # accepted tasks: a certificate of all of them, by the same rule at every try


@functools.cache
def loop():
    return configuration.build(configuration.read(SIZES))


@functools.cache
def begun():
    """After a round, and each module after some updates of its own, so that no two play alike."""
    state, _ = loop().round(loop().init())
    learner = state.learner
    for i in range(9):
        batch = {"probe": vectors(16, i).reshape(1, 1, 16, -1)}
        learner, _, _ = loop().programs.learn(loop().learner.focus(learner, i % 3), state.model, batch, jax.random.key(i))
    return state._replace(learner=learner)


@functools.cache
def archived():
    """KNOWN accepted tasks, a third of them played by each module, as their labels say, and a pool."""
    state, drawn = begun(), vectors(400, 5)
    sights = loop().programs.sights("probe", drawn)
    directions = np.random.default_rng(1).normal(size=(sights.shape[1], 3))
    wanted = np.argmax((sights - sights.mean(axis=0)) @ directions, axis=1)
    learner = state.learner
    for _ in range(20):
        learner = loop().learner.assign(learner, sights, wanted, np.ones(len(drawn)))
    route = loop().programs.routes("probe", learner.params, drawn)
    chosen = np.concatenate([np.flatnonzero(route == module)[: KNOWN // 3] for module in range(3)])
    assert chosen.size == KNOWN
    book = state.repertoire["probe"]
    book = book.change(np.flatnonzero(book.status != EMPTY), status=EMPTY)
    book, places = book.insert(vector=drawn[chosen], label=route[chosen])
    book = book.change(places, status=ACCEPTED, order=np.arange(KNOWN))
    book, _ = book.insert(vector=drawn[-40:], label=route[-40:])
    return state._replace(learner=learner, repertoire={"probe": book})


def vectors(rows, seed=0):
    return np.random.default_rng(seed).uniform(size=(rows, len(loop().families["probe"].specs))).astype(np.float32)


def hashes(params):
    return [checkpoint.tree_hash(loop().learner.acting(params, module)) for module in range(3)]


def played_with(learner, book):
    """The module of every accepted task."""
    return loop().programs.routes("probe", learner.params, book.vector[book.rows(ACCEPTED)])


def taught(state, module, seed=0):
    """The learner after an update of one module."""
    batch = {"probe": vectors(16, seed).reshape(1, 1, 16, -1)}
    return loop().programs.learn(loop().learner.focus(state.learner, module), state.model, batch, jax.random.key(seed))[0]


class Stub:
    """Evaluations without lifetimes: a task is solved unless it is ``lost``; ``asked``: what was played, by purpose."""

    def __init__(self, monkeypatch):
        self.lost, self.asked = set(), {}
        monkeypatch.setattr(loop().programs, "evaluate", self)

    def __call__(self, name, params, rows, key, purpose, wipe=False, route=None):
        ids = [tasks.task_id(name, row) for row in rows]
        self.asked.setdefault(purpose, set()).update(ids)
        solved = np.array([task not in self.lost for task in ids], bool)
        return Outcome(np.repeat(solved[:, None], loop().programs.episodes, axis=1), np.zeros(len(rows), bool))

    def played(self, purpose="retention"):
        """Ids since it was last asked."""
        return self.asked.pop(purpose, set())


def ids_of(state, which=None):
    """Ids of the accepted tasks, in order, or of those where ``which``."""
    book = state.repertoire["probe"]
    ids = np.array([tasks.task_id("probe", vector) for vector in book.vector[book.rows(ACCEPTED)]])
    return set(ids if which is None else ids[which])


# The learner.


def test_all_modules_begin_as_the_same_policy():
    born = loop().init().learner
    assert isinstance(loop().learner, Modular) and len(set(hashes(born.params))) == 1
    given = loop().learner.policy.init(jax.random.key(7))
    assert hashes(loop().init(given).learner.params) == [checkpoint.tree_hash(given)] * 3


def test_an_update_changes_the_module_in_focus_alone():
    before = begun().learner
    for module in (1, 2):
        after = taught(begun(), module)
        changed = [a != b for a, b in zip(hashes(before.params), hashes(after.params), strict=True)]
        assert changed == [m == module for m in range(3)]
        counts = np.asarray(after.optimiser.updates) - np.asarray(before.optimiser.updates)
        assert counts.tolist() == [int(m == module) for m in range(3)]


def test_the_controller_learns_what_it_is_told_and_more_of_what_counts_more():
    drawn = vectors(200)
    sights = loop().programs.sights("probe", drawn)
    wanted = np.argmax(sights @ np.random.default_rng(1).normal(size=(sights.shape[1], 3)), axis=1)
    learner, state = loop().learner, begun().learner
    for _ in range(10):
        state = learner.assign(state, sights, wanted, np.ones(200))
    right = np.mean(loop().programs.routes("probe", state.params, drawn) == wanted)
    assert right > 0.9 > np.mean(loop().programs.routes("probe", begun().learner.params, drawn) == wanted)
    twice, labels = np.concatenate([sights, sights]), np.repeat([1, 2], 200)
    for weight, module in ((np.repeat([1.0, 10.0], 200), 2), (np.repeat([10.0, 1.0], 200), 1)):
        told = learner.assign(begun().learner, twice, labels, weight)
        assert np.all(loop().programs.routes("probe", told.params, drawn) == module)


# Playing.


def test_every_lane_is_of_one_module_and_every_row_is_played_once():
    rng = np.random.default_rng(0)
    for rows in (0, 1, 7, 64, 200):
        route = rng.integers(0, 5, rows)
        lined, real = in_lanes(route, 8, 64)
        assert len(lined) == len(real) and len(lined) % 64 == 0 and sorted(lined[real]) == list(range(rows))
        assert np.all(route[lined].reshape(-1, 8) == route[lined].reshape(-1, 8)[:, :1])
        assert len(lined) - rows < 5 * 8 + 64
    lined, real = in_lanes(np.zeros(70, int), 64, 64)  # of an ordinary learner: as they come
    assert lined[:70].tolist() == list(range(70)) and real.sum() == 70 and real[:70].all()


def test_a_mixed_evaluation_is_that_of_one_module_at_a_time():
    """The same rows and keys, by a program of one set of weights; another module's weights do not play so."""
    programs, params, drawn = loop().programs, archived().learner.params, vectors(60, 5)
    route = programs.routes("probe", params, drawn)
    assert set(route.tolist()) == {0, 1, 2} and programs.lane < programs.block
    mixed = programs.evaluate("probe", params, drawn, jax.random.key(3), "test").success
    alone = jax.jit(rollouts.outcomes(loop().families["probe"], loop().learner.policy, programs.episodes))
    lined, real = in_lanes(route, programs.lane, programs.block)
    found = np.zeros((3, 60, programs.episodes), bool)
    for start in range(0, len(lined), programs.block):
        rows, own = (part[start : start + programs.block] for part in (lined, real))
        keys = jax.random.split(jax.random.fold_in(jax.random.key(3), start), programs.block)
        for module in range(3):
            out = alone(loop().learner.acting(params, module), drawn[rows], keys).success
            found[module, rows[own]] = np.asarray(out)[own]
    assert np.array_equal(mixed, found[route, np.arange(60)])
    assert not np.array_equal(mixed, found[(route + 1) % 3, np.arange(60)])
    one = programs.weights("probe", params, drawn[5])
    assert checkpoint.tree_hash(one) == hashes(params)[route[5]]


def test_equal_rows_are_looked_at_once(monkeypatch):
    seen, sights = [], loop().programs.sights
    monkeypatch.setattr(loop().programs, "sights", lambda name, rows: seen.append(len(rows)) or sights(name, rows))
    drawn = vectors(5)
    found = loop().programs.routes("probe", archived().learner.params, np.repeat(drawn, 16, axis=0))
    assert seen == [5] and np.array_equal(found[::16], loop().programs.routes("probe", archived().learner.params, drawn))


def test_nothing_compiles_after_the_first_rounds():
    """Whichever module learns and plays, retention tests and replays included."""
    state, focus, retested = archived(), set(), []
    for _ in range(2):
        state, _ = loop().round(state)
    with Compilations() as made:
        for _ in range(6):
            state, journal = loop().round(state)
            focus.add(int(state.learner.optimiser.focus))
            retested.append(journal.metrics["retested"])
            loop().programs.weights("probe", state.learner.params, vectors(1)[0])
    assert made.count == 0 and len(focus) > 1 and max(retested) > 0


# The certificate.


def test_only_what_changed_is_played_again_and_the_other_verdicts_hold(monkeypatch):
    """The sample is that of every learner; the verdicts in it are fresh where weights or route are others."""
    stub, state = Stub(monkeypatch), archived()
    stub.lost = set(list(ids_of(state, played_with(state.learner, state.repertoire["probe"]) == 1))[:1])
    work = Round(loop(), state, UNLIMITED)
    first = work._retain(0)
    assert stub.played() == ids_of(state) and first.sampled.size == KNOWN and first.forgotten.size == 1
    assert (work.journal.metrics["retested"], work.journal.metrics["reused"]) == (1.0, 0.0)

    kept, stub.lost = work.state, set()  # nobody would find it forgotten today, but nothing has changed
    again = Round(loop(), kept, UNLIMITED)
    second = again._retain(0)
    assert stub.played() == set() and second.tested.size == 0 and again.journal.evaluations == []
    assert second.sampled.tolist() == first.sampled.tolist() and second.forgotten.tolist() == first.forgotten.tolist()
    assert second.passed == first.passed and again.journal.metrics["reused"] == KNOWN
    assert "24 of 24 verdicts still held" in second.reason

    route = played_with(kept.learner, kept.repertoire["probe"])
    for module in range(3):  # its tasks, whoever else learned before
        work = Round(loop(), kept._replace(learner=taught(kept, module)), UNLIMITED)
        third = work._retain(0)
        assert stub.played() == ids_of(kept, route == module)
        assert third.sampled.size == KNOWN and (third.forgotten.size == 0) == (module == 1)
        assert work.journal.metrics["retested"] == pytest.approx(np.mean(route == module))


def test_another_route_or_another_rule_needs_another_verdict(monkeypatch):
    stub, state = Stub(monkeypatch), archived()
    work = Round(loop(), state, UNLIMITED)
    work._retain(0)
    stub.played()
    kept = work.state
    learner = loop().learner.assign(
        kept.learner, loop().programs.sights("probe", vectors(400, 5)), np.full(400, 2), np.ones(400)
    )
    was, now = (played_with(each, kept.repertoire["probe"]) for each in (kept.learner, learner))
    assert 0 < np.sum(was != now) < KNOWN
    Round(loop(), kept._replace(learner=learner), UNLIMITED)._retain(0)
    assert stub.played() == ids_of(kept, was != now)
    strict = VerdictRule(np.array([64]), np.array([40]), np.array([41]))
    places = work._accepted()
    later = Round(loop(), kept, UNLIMITED)
    assert np.all(later._standing(places, later._routes(places))(strict) == 0)
    tree = {"a": np.arange(3.0), "b": np.zeros(2)}
    assert digest(tree, strict) == digest(dict(tree), strict) != digest(tree | {"b": np.array([0.0, -0.0])}, strict)


def test_an_audit_plays_everything_and_its_verdicts_hold(monkeypatch):
    stub, state = Stub(monkeypatch), archived()
    work = Round(loop(), state, UNLIMITED)
    work._retain(0)
    stub.played()
    work.audit()
    assert stub.played() == ids_of(state)
    Round(loop(), work.state, UNLIMITED)._retain(0)
    assert stub.played() == set()


def test_an_ordinary_learner_is_tested_whole_in_every_round():
    ordinary = configuration.build(configuration.read(["experiment=probe", *SMALL]))
    state = ordinary.init()
    assert Round(ordinary, state, UNLIMITED)._standing([("probe", 0)], np.zeros(1, np.int64)) is None


# Repair and roll-back.


def test_a_repair_leaves_the_other_modules_and_their_verdicts(monkeypatch):
    """Halfway between equal numbers are these numbers: only the tasks of the focus are played at the second try."""
    stub, state = Stub(monkeypatch), archived()
    work = Round(loop(), state, UNLIMITED)
    work._retain(0)
    stub.played()
    work = Round(loop(), work.state, UNLIMITED)
    work.state = work.state._replace(learner=taught(work.state, 1))
    before, route = hashes(work.state.learner.params), played_with(work.state.learner, state.repertoire["probe"])
    stub.lost = ids_of(state, route == 1)
    assert not work._retain(0).passed and stub.played() == stub.lost
    work._turn_back()
    after, stub.lost = hashes(work.state.learner.params), set()
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]
    assert work._retain(1).passed and stub.played() == ids_of(state, route == 1)
    assert work.journal.metrics["retested"] == pytest.approx(2 / 3)


def test_an_accepted_task_keeps_the_module_that_played_its_test(monkeypatch):
    """Also where a repair has turned the controller halfway back."""
    state = archived()
    book = state.repertoire["probe"]
    frontier = book.rows(SEEN)[:8]
    state = state._replace(repertoire={"probe": book.change(frontier, status=FRONTIER, entered=1, failed=7)})
    stub, work = Stub(monkeypatch), Round(loop(), state, UNLIMITED)
    work.learn()
    wins = np.where(np.isin(np.arange(len(book.status)), frontier), 9.0, 0.0)
    work.estimate["probe"] = wins, wins
    sights = loop().programs.sights("probe", vectors(400, 5))
    other = loop().learner.assign(state.learner, sights, np.zeros(400, int), np.ones(400))
    work.state = work.state._replace(learner=work.state.learner._replace(params=other.params))
    tries = []

    def retain(attempt):
        """Fails, then passes."""
        tries.append(attempt)
        return work.acceptance.audit(lambda index, count: count * attempt, 1)

    monkeypatch.setattr(work, "_retain", retain)
    work.verify()
    after = work.state.repertoire["probe"]
    new = np.setdiff1d(after.rows(ACCEPTED), book.rows(ACCEPTED))
    assert tries == [0, 1] and new.size and stub.played("verify")
    assert after.label[new].tolist() == loop().programs.routes("probe", work.state.learner.params, after.vector[new]).tolist()
    assert after.label[new].tolist() != work.route["probe"][new].tolist()
    assert work.journal.metrics["rerouted"] == new.size, "module 7 had failed them"
    assert all("by another module" in why for _, kind, why in work.journal.events if kind == "accepted")


def test_a_roll_back_returns_routes_labels_and_verdicts(monkeypatch):
    """What was forgotten is not forgotten, its verdicts hold again, and the labels ask for no move."""
    stub, state = Stub(monkeypatch), archived()
    work = Round(loop(), state, UNLIMITED)
    work._retain(0)
    kept, stub.lost = work.state, ids_of(state)
    before = loop().round
    stub.played()
    after, journal = before(kept)
    assert any(kind == "rolled_back" for _, kind, _ in journal.events)
    assert checkpoint.tree_hash(after.learner.params) == checkpoint.tree_hash(kept.learner.params)
    was, now = kept.repertoire["probe"], after.repertoire["probe"]
    rows = was.rows(ACCEPTED)
    for name in ("forgotten", "seal", "label"):
        assert np.array_equal(getattr(now, name)[rows], getattr(was, name)[rows])
    pool = now.rows(SEEN)
    assert np.array_equal(now.label[pool], loop().programs.routes("probe", after.learner.params, now.vector[pool]))
    stub.played()
    Round(loop(), after, UNLIMITED)._retain(0)
    assert stub.played() == set()


# A round.


def test_a_first_round_without_a_valid_candidate(monkeypatch):
    """Nothing to divide; the first tasks that come are divided among the modules."""
    ground = loop().programs.ground

    def invalid(*arguments):
        found = ground(*arguments)
        return found._replace(verdict=np.ones_like(found.verdict))

    with monkeypatch.context() as patched:
        patched.setattr(loop().programs, "ground", invalid)
        state, journal = loop().round(loop().init())
    assert not np.any(state.repertoire["probe"].status) and journal.metrics["valid"] == 0
    state, journal = loop().round(state)
    book = state.repertoire["probe"]
    assert len(set(book.label[book.status != EMPTY].tolist())) == 3
    assert 0.0 <= journal.metrics["selection_entropy"] <= np.log2(3) + 1e-5


def test_a_second_module_that_solves_more_is_the_label_and_what_it_breaks_is_quarantined(monkeypatch):
    evaluate, broken = loop().programs.evaluate, []

    def judged(name, params, rows, key, purpose, **more):
        out = evaluate(name, params, rows, key, purpose, **more)
        second = purpose == "screen" and "route" in more
        if second:
            broken.append(tasks.task_id(name, rows[0]))
        mine = np.all(rows == rows[:1], axis=1) & second
        return out._replace(success=np.full_like(out.success, second), broken=out.broken | mine)

    monkeypatch.setattr(loop().programs, "evaluate", judged)
    state = archived()
    unsure = jax.tree.map(lambda x: 0.1 * x, state.learner.params["controller"])
    learner = state.learner._replace(params=state.learner.params | {"controller": unsure})
    work = Round(loop(), state._replace(learner=learner), UNLIMITED)
    work.propose()
    places = work.candidates["probe"].place
    new = places[places >= 0]
    book = work.state.repertoire["probe"]
    own = loop().programs.routes("probe", learner.params, book.vector[new])
    assert new.size and np.all(book.label[new] != own) and len(set(own.tolist())) > 1
    assert work.journal.statuses[broken[0]] == "quarantined"
    assert broken[0] not in [tasks.task_id("probe", vector) for vector in book.vector[book.status != EMPTY]]


def test_a_module_is_needed_by_the_frontier_and_by_what_it_forgot():
    state = archived()
    work = Round(loop(), state, UNLIMITED)
    book = state.repertoire["probe"]
    work.route = {"probe": np.where(book.status == EMPTY, -1, book.label)}
    assert {work._needed() for _ in range(40)} == {(work.number - 1) % 3}, "nobody needs one: each in turn"
    of = {module: book.rows(ACCEPTED)[book.label[book.rows(ACCEPTED)] == module] for module in range(3)}
    work.state = state._replace(repertoire={"probe": book.change(of[0][:1], forgotten=True).change(of[2][:1], status=FRONTIER)})
    assert {work._needed() for _ in range(40)} == {0, 2}


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    state, _ = loop().round(archived())
    checkpoint.save(tmp_path, 1, state)
    restored = checkpoint.restore(tmp_path, state).state
    ends = [loop().round(each)[0] for each in (state, restored)]
    assert checkpoint.tree_hash(ends[0]) == checkpoint.tree_hash(ends[1])


class Twin(Probe):
    """The same once more."""

    name = "twin"


@pytest.mark.slow
def test_a_family_without_a_task_of_the_focus_says_nothing(monkeypatch):
    """All its tasks are learned from, for want of others; success, progress and generator hear nothing of it."""
    probe = loop().families["probe"]
    both = loop().among({"probe": probe, "twin": Twin(probe.bounds)})
    state, direct = both.init(), Round._direct
    for _ in range(2):
        state, _ = both.round(state)

    def apart(work):
        direct(work)
        work.focus, work.route = 1, {n: np.where(r < 0, r, 1 + (n == "twin")) for n, r in work.route.items()}
        work.state = work.state._replace(learner=both.learner.focus(work.state.learner, 1))

    monkeypatch.setattr(Round, "_direct", apart)
    told, update, names = {}, both.generator.update, iter(both.families)

    def noted(state, proposal, fitness):
        told[next(names)] = fitness
        return update(state, proposal, fitness)

    monkeypatch.setattr(both.generator, "update", noted)
    before = state
    state, _ = both.round(state)
    for name, silent in (("probe", False), ("twin", True)):
        old, new = before.repertoire[name], state.repertoire[name]
        same = (old.status != EMPTY) & np.all(old.vector == new.vector, axis=1)
        assert np.array_equal(old.success[same], new.success[same]) == silent
        valid = ~np.isneginf(told[name])
        assert valid.any() and np.all(np.isnan(told[name][valid])) == silent
    assert checkpoint.tree_hash(before.generator["twin"]) == checkpoint.tree_hash(state.generator["twin"])


# Numbers.


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
    assert entropies(sure[:0]) == {}


def test_children_of_which_nothing_is_known_do_not_move_the_generator():
    """Wherever they lie; and the strategy always hears of as many, being compiled for one size."""
    rng, generator, specs = np.random.default_rng(0), loop().generator, loop().families["probe"].specs
    state = generator.init(specs, 16, 0)
    step, fitness = rng.normal(size=(2, 16, len(specs))).astype(np.float32), rng.normal(size=16)
    fitness[5:9], step[1] = np.nan, np.where(np.isnan(fitness)[:, None], step[1], step[0])
    family = Proposal(np.zeros_like(step[0]), np.zeros(16, np.int32), ("mutate",) * 16, step[0])
    one, other = (generator.update(state, family._replace(step=each), fitness) for each in step)
    assert checkpoint.tree_hash(one) == checkpoint.tree_hash(other) != checkpoint.tree_hash(state)
    assert checkpoint.tree_hash(generator.update(state, family, np.full(16, np.nan))) == checkpoint.tree_hash(state)


@pytest.mark.parametrize(
    ("override", "words"), [("learner.modules=1", "learner.modules is 1"), ("learner.rate=0", "learner.rate is 0")]
)
def test_settings_that_are_not_allowed(override, words):
    with pytest.raises(configuration.ConfigurationError, match=words):
        configuration.build(configuration.read([*SIZES, override]))
