"""What a run says when it stops, on small runs of the physics-free family that accept without a test."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from openended import cli
from openended.archive import Archive
from openended.train import Heldout

SMALL = ["loop.candidates=16", "loop.entries=8", "loop.updates=1", "loop.rows=16", "loop.capacity=64", "heldout.lifetimes=2"]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Runs `openended train` on a small run, in which many candidates are speed-ups; its archive."""
    root = tmp_path_factory.mktemp("runs")

    def run(*more, name="tiny"):
        many = ["generator.speedups=0.5", "generator.immigrants=0.25"]
        named = [f"run.root={root}", f"run.name={name}", "acceptance=off", *many, *SMALL]
        assert cli.main(["train", "experiment=probe", *named, *more]) == 0
        return Archive(root / name / "archive.db", readonly=True)

    return run


def summary(capsys):
    """The lines of the closing summary, but for the time it took."""
    text = capsys.readouterr().out
    return [line for line in text[text.index("Done: ") :].splitlines() if not line.startswith("Done: ")]


@pytest.fixture
def finished(train, capsys):
    """Archive and summary of a run of three rounds, however often it is started."""
    capsys.readouterr()
    with train("run.rounds=3") as archive:
        yield archive, summary(capsys)


def test_a_finished_run_that_is_started_again_tells_the_same(finished, train, capsys):
    _, first = finished
    train("run.rounds=3").close()
    assert summary(capsys) == first
    table = first.index("Held-out tasks: success in the last episode of a lifetime")
    assert first[table + 1].split() == ["first", "episode", "last", "episode"]
    assert [line.split()[0] for line in first[table + 2 : table + 4]] == ["hidden", "probe"]


def test_skills_and_speed_ups_are_counted_apart(finished):
    archive, told = finished
    kinds = {kind: len(archive.tasks(status="accepted", kind=kind)) for kind in ("skill", "speedup")}
    assert min(kinds.values()) > 0
    last = archive.latest()
    lost = set(archive.forgotten())
    kept = [task for task in archive.tasks(status="accepted", kind="skill") if task.id not in lost]
    assert (last["accepted"], last["speedups"], last["retained"]) == (kinds["skill"], kinds["speedup"], len(kept))
    assert f"It learned {kinds['skill']} new tasks that an earlier learner failed; " in told[0]
    assert f"Besides: {kinds['speedup']} speed-ups." in told


def test_a_warm_run_compiles_nothing(finished):
    archive, told = finished
    counts = dict(archive.metrics("compiled"))
    assert counts[1] > 0 and counts[3] == 0
    assert "Compilations after round 2: 0." in told


def test_compilations_are_seen(train, monkeypatch, capsys):
    """A round that makes a program of a new shape says so, in a run that was resumed as well."""

    def measure(self, state):
        jax.jit(lambda x: x + 1)(jnp.zeros(1000 + int(state.round)))
        return {}

    monkeypatch.setattr(Heldout, "measure", measure)
    train("run.rounds=3", name="noisy").close()
    assert "Compilations after round 2: " in (text := capsys.readouterr().out) and "round 2: 0." not in text
    with train("run.rounds=5", name="noisy") as archive:
        counts = dict(archive.metrics("compiled"))
    assert counts[3] > 0 and counts[5] > 0
    assert f"Compilations after round 2 of each start: {counts[3]:.0f}." in capsys.readouterr().out


def audits(archive):
    """Tasks with a verdict of an audit, by round."""
    rows = archive._rows("SELECT round, task FROM evaluation WHERE purpose = 'audit' ORDER BY task")
    return {round: [task for number, task in rows if number == round] for round, _ in rows}


def test_the_last_round_ends_with_a_verdict_on_every_accepted_task(finished, train):
    archive, told = finished
    accepted, last = sorted(task.id for task in archive.accepted()), archive.latest()
    assert audits(archive) == {3: accepted} and [event.round for event in archive.events("audited")] == [3]
    lost = set(archive.forgotten())
    assert (last["audit_tasks"], last["audit_solved"]) == (len(accepted), len([t for t in accepted if t not in lost]))
    told_so = f"Audit: {last['audit_solved']:.0f} of {len(accepted)} accepted tasks are still solved, speed-ups included."
    assert told_so in told
    purposes = ("screen", "learn", "verify", "retention", "witness")
    assert last["steps_total"] == sum(last[f"steps_{purpose}"] for purpose in purposes) and last["steps_audit"] > 0
    with train("run.rounds=3") as again:
        assert audits(again) == {3: accepted}, "once"


def test_a_round_begins_while_half_of_the_least_one_is_left(train):
    """Prolonged by less than half a round a run stays finished; by more it gets one round, and its audit with it."""
    with train("run.rounds=2", name="cut") as archive:
        total = dict(archive.metrics("steps_total"))[2]  # of rounds with a single pass
    with train("run.rounds=9", f"run.steps={int(1.2 * total)}", name="cut") as archive:
        assert archive.last_round() == 2
    with train("run.rounds=9", f"run.steps={int(1.3 * total)}", name="cut") as archive:
        assert archive.last_round() == 3 and sorted(audits(archive)) == [2, 3]


@pytest.mark.slow
def test_the_last_round_learns_what_the_budget_is_left(train):
    """The rounds before it make their four passes, the last more or fewer, so that the steps are met."""
    with train("run.rounds=3", "loop.passes=4", name="whole") as archive:
        learned, total = archive.metrics("steps_learn"), dict(archive.metrics("steps_total"))
    one = learned[0][1]
    assert [b[1] - a[1] for a, b in itertools.pairwise(learned)] == [4 * one] * 2
    for more in (2, 5):
        budget = int(total[2] + more * one + 20_000)
        with train("run.rounds=9", f"run.steps={budget}", "loop.passes=4", name=f"cut{more}") as cut:
            assert abs(cut.metrics("steps_total")[-1][1] - budget) < 20_000


def test_any_budget_of_steps_is_worth_a_round(train):
    with train("run.rounds=9", "run.steps=1", name="least") as archive:
        assert archive.last_round() == 1
