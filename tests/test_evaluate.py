"""Held-out evaluation: its arithmetic on outcomes made by hand, and the command on a tiny run."""

import argparse
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.holdout import HeldOut
from envs.probe import Probe
from envs.spec import encode
from openended import checkpoint, cli, evaluate, subjects, suites
from openended.archive_rows import TaskRow
from openended.checkpoint import CheckpointError
from openended.locate import CommandError, UsageError
from openended.runfolder import RunFolderError
from openended.types import Outcome

TASKS = [
    HeldOut("left", "visible", "small", np.zeros(2, np.float32)),
    HeldOut("left", "hidden_goal", "large", np.zeros(2, np.float32)),
    HeldOut("right", "visible", "small", np.zeros(3, np.float32)),
    HeldOut("right", "both_hidden", "large", np.zeros(3, np.float32)),
]
LIFETIMES = 8


def outcomes(*wins):
    """bool[tasks, LIFETIMES, episodes] with that many successes in each [task][episode], in the first lifetimes."""
    return np.arange(LIFETIMES)[None, :, None] < np.array(wins)[:, None, :]


@functools.cache
def made():
    success = {
        "trained": outcomes((2, 6), (0, 8), (4, 4), (0, 0)),
        "wiped": outcomes((2, 2), (0, 0), (4, 4), (0, 0)),
        "untrained": outcomes((0, 1), (0, 0), (0, 1), (0, 0)),
        "random": outcomes((0, 0), (0, 0), (0, 0), (0, 0)),
        "noop": outcomes((0, 0), (0, 0), (0, 0), (0, 0)),
    }
    return evaluate.report("hand", TASKS, success, np.random.default_rng(0))


def test_rows_of_the_groups():
    rows = {name: found.tolist() for name, found in suites.groups(TASKS).items()}
    assert rows == {"all": [0, 1, 2, 3], "left": [0], "right": [2], "hidden_goal": [1], "both_hidden": [3]}
    assert list(suites.groups(TASKS[:1])) == ["all", "left"]


def test_means_of_every_group_and_episode():
    found = made()["groups"]

    def means(group, learner="trained"):
        return [episode["mean"] for episode in found[group]["learners"][learner]["episode_success"]]

    assert means("all") == pytest.approx([6 / 32, 18 / 32])
    assert means("left") == pytest.approx([2 / 8, 6 / 8])
    assert means("hidden_goal") == pytest.approx([0.0, 1.0])
    assert means("all", "wiped") == pytest.approx([6 / 32, 6 / 32])
    assert means("right", "untrained") == pytest.approx([0.0, 1 / 8])


def test_interquartile_mean_is_over_tasks():
    last = made()["groups"]["all"]["learners"]["trained"]["episode_success"][-1]
    assert last["iqm"] == pytest.approx((6 / 8 + 4 / 8) / 2)  # the middle two of 0, 4/8, 6/8, 1


def test_paired_differences():
    found = made()["groups"]
    assert found["all"]["paired"]["last_minus_first"]["mean"] == pytest.approx(12 / 32)
    assert found["all"]["paired"]["last_minus_wiped"]["mean"] == pytest.approx(12 / 32)
    assert found["left"]["paired"]["last_minus_wiped"]["mean"] == pytest.approx(4 / 8)
    always = found["hidden_goal"]["paired"]["last_minus_first"]
    assert always == {"mean": 1.0, "low": 1.0, "high": 1.0, "tasks_low": None, "tasks_high": None}


def test_an_interval_over_tasks_is_that_of_their_means():
    """Differences 1, 0 and 1/2 of three tasks: 1/2 +- 4.303 (1/2) / sqrt(3), whatever the number of lifetimes."""
    a = np.zeros((3, 64), bool)
    a[0], a[2, :32] = True, True
    found = evaluate._difference(a, np.zeros_like(a), np.random.default_rng(0))
    half = 4.3027 * 0.5 / 3**0.5
    assert (found["tasks_low"], found["tasks_high"]) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    assert found["low"] > 0.4 > found["tasks_low"]


def test_intervals_of_means_are_those_of_lifetimes_within_tasks():
    """Two tasks of 256 lifetimes at 0.5 and 1: standard error sqrt(0.25 / 256) / 2; between tasks nothing is resampled."""
    success = np.zeros((2, 256, 1), bool)
    success[0, :128], success[1] = True, True
    (found,) = evaluate._episodes(success, np.random.default_rng(0))
    half = 1.96 * (0.25 / 256) ** 0.5 / 2
    assert found["mean"] == 0.75
    assert found["low"] == pytest.approx(0.75 - half, abs=0.004) and found["high"] == pytest.approx(0.75 + half, abs=0.004)


def test_pairing_narrows_the_interval():
    """The same wins in both: the paired difference is exactly 0. The same number of wins in other lifetimes: it is not."""
    a = np.arange(256)[None] < 128
    same = evaluate._difference(a, a, np.random.default_rng(0))
    other = evaluate._difference(a, ~a, np.random.default_rng(0))
    assert same == {"mean": 0.0, "low": 0.0, "high": 0.0, "tasks_low": None, "tasks_high": None}
    assert other["mean"] == 0.0
    assert other["high"] == pytest.approx(1.96 / 16, abs=0.01) and other["low"] == pytest.approx(-1.96 / 16, abs=0.01)


def test_intervals_cover():
    """Of 300 experiments with known success probabilities, about 95 % of the intervals hold the truth."""
    rng, truth, held = np.random.default_rng(1), np.array([0.2, 0.5, 0.7, 0.9]), 0
    for _ in range(300):
        success = rng.random((4, 64, 1)) < truth[:, None, None]
        (found,) = evaluate._episodes(success, rng)
        held += found["low"] <= truth.mean() <= found["high"]
    assert 0.90 <= held / 300 <= 0.985


def test_per_task_rows():
    rows = made()["per_task"]
    assert [row["family"] for row in rows] == ["left", "left", "right", "right"]
    assert rows[0] == {
        "family": "left",
        "description": "",
        "group": "visible",
        "size": "small",
        "trained_first": 2 / 8,
        "trained_halves": [4 / 4, 2 / 4],
        "trained_last": 6 / 8,
        "wiped_last": 2 / 8,
        "untrained_last": 1 / 8,
        "random_last": 0.0,
        "noop_last": 0.0,
    }


def test_halves_are_of_separate_lifetimes():
    """Five lifetimes: two and three; a single one has no other half."""
    assert evaluate._halves(np.array([1, 0, 0, 0, 1], bool)) == [1 / 2, 1 / 3]
    assert evaluate._halves(np.array([True])) is None


class Script:
    """Stands for Programs: in every block of lifetimes of a task a fixed share succeeds, by the vector's first number."""

    def __init__(self, families=("left", "right"), episodes=2):
        self.families, self.episodes, self.calls = dict.fromkeys(families), episodes, []

    def evaluate(self, name, params, vectors, key, purpose, wipe=False):
        self.calls.append((name, len(vectors), purpose, jax.random.key_data(key).tolist(), params, wipe))
        turn = np.arange(len(vectors)) % LIFETIMES
        last = turn < np.round(vectors[:, 0] * LIFETIMES)
        return Outcome(np.stack([np.zeros(len(vectors), bool), last], axis=1), np.zeros(len(vectors), bool))


def test_quick_averages_over_families_and_keeps_hidden_goals_apart():
    shares = {"left": (0.25, 0.75), "right": (0.5, 1.0)}
    suite = [task._replace(vector=np.full(2, shares[task.family][i % 2], np.float32)) for i, task in enumerate(TASKS)]
    script = Script()
    found = suites.quick(script, None, suite, LIFETIMES, jax.random.key(0))
    assert found == {
        "heldout_first_left": 0.0,
        "heldout_first_right": 0.0,
        "heldout_first": 0.0,
        "heldout_first_hidden": 0.0,
        "heldout_last_left": 0.25,
        "heldout_last_right": 0.5,
        "heldout_last": 0.375,
        "heldout_last_hidden": 0.75,
    }
    assert [call[:3] for call in script.calls] == [("left", 16, "holdout"), ("right", 16, "holdout")]
    assert script.calls[0][3] != script.calls[1][3]


def test_who_lives_which_lifetimes():
    """Trained, wiped and untrained live those of one key; wiped is the trained learner with its memory cleared."""
    script = Script(episodes=3)
    script.families = {"probe": Probe()}
    suite = [HeldOut("probe", "visible", "small", encode(Probe().specs, {}))]
    subject = subjects.Subject(argparse.Namespace(programs=script), 1, "trained", "born")
    found = evaluate.measure(subject, suite, LIFETIMES, jax.random.key(0))
    assert list(found) == ["trained", "wiped", "untrained", "random", "noop"]
    assert [call[4:] for call in script.calls] == [("trained", False), ("trained", True), ("born", False)]
    assert len({tuple(call[3]) for call in script.calls}) == 1


def skill(id, family, share):
    return TaskRow(id, family, (share, 0.0), {}, "", "accepted", "skill", 1, 1, 1.0, None)


def test_what_counts_as_still_solved(monkeypatch):
    """At 0.7 and 8 lifetimes the bar is 0.7 - 1.645 sqrt(0.21 / 8) = 0.433: 4 of 8 pass, 3 of 8 do not."""
    monkeypatch.setattr(evaluate, "CHUNK", 2)
    skills = [skill("a", "left", 1.0), skill("b", "right", 0.5), skill("c", "left", 0.375), skill("d", "left", 0.5)]
    script = Script()
    found = evaluate.remembered(script, None, skills, (0.7, LIFETIMES), jax.random.key(0))
    assert found.pop("threshold") == pytest.approx(0.4335, abs=1e-4)
    assert found == {"tasks": 4, "still_solved": 3, "share": 0.75, "forgotten": ["c"]}
    assert len({tuple(call[3]) for call in script.calls}) == 3, "every chunk has lifetimes of its own"
    assert evaluate.remembered(script, None, [], (0.7, LIFETIMES), jax.random.key(0))["share"] is None


def test_random_actions_and_none_by_known_answers():
    """A target within reach of no push at all is always solved, one at the wall never, one beside the start by chance alone;
    lifetimes need not divide evenly."""
    family = Probe()
    still = {"feature": 1, "target_a": 0.5, "tolerance": 2.0, "hold": 0.1, "hidden": 0, "drift_x": 0.0}
    far = {"feature": 0, "target_a": 1.0, "target_b": 0.0, "tolerance": 0.8, "hold": 0.5, "hidden": 0}
    beside = {"feature": 1, "target_a": 0.2, "tolerance": 1.0, "hold": 0.1, "hidden": 0, "drift_x": 0.0, "drift_y": 0.0}
    vectors = np.stack([encode(family.specs, numbers) for numbers in (still, far, beside)])
    chance, none = suites.unlearned(family, vectors, 7, 3, jax.random.key(0)).values()
    assert chance.shape == none.shape == (3, 7, 3)
    assert chance[0].mean() > 0.9 and not chance[1].any() and chance[2].any()
    assert none[0].all() and not none[1].any() and chance[2].mean() > none[2].mean()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two rounds, and the options of the command on it."""
    root = tmp_path_factory.mktemp("runs")
    sizes = [
        "loop.candidates=16",
        "loop.updates=1",
        "loop.passes=1",
        "loop.rows=16",
        "loop.entries=8",
        "loop.trials=8",
        "loop.capacity=64",
    ]
    overrides = ["experiment=probe", f"run.root={root}", "run.name=tiny", "run.rounds=2", *sizes]
    assert cli.main(["train", *overrides]) == 0
    return root


def options(root, **more):
    given = {"run": "tiny", "root": str(root), "suite": "handmade-v1", "lifetimes": 6, "seed": 0, "json": True}
    return argparse.Namespace(**{**given, **more})


def test_the_command_prints_one_json_value(trained, capsys):
    capsys.readouterr()
    assert evaluate.run(options(trained)) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"suite", "tasks", "groups", "per_task"}
    assert (found["suite"], found["tasks"], len(found["per_task"])) == ("handmade-v1", 7, 7)
    assert set(found["groups"]) == {"all", "probe", "hidden_goal", "both_hidden"}
    for group in found["groups"].values():
        assert set(group["learners"]) == {"trained", "wiped", "untrained", "random", "noop"}
        for learner in group["learners"].values():
            assert [set(episode) for episode in learner["episode_success"]] == [{"mean", "iqm", "low", "high"}] * 3
        assert set(group["paired"]) == {"last_minus_first", "last_minus_wiped"}
        assert all(set(x) == {"mean", "low", "high", "tasks_low", "tasks_high"} for x in group["paired"].values())
    assert found["per_task"][0]["description"].startswith("a point with drift (0.00, 0.00) a step, must bring position")
    assert evaluate.run(options(trained)) == 0
    assert json.loads(capsys.readouterr().out) == found, "the same seed gives the same numbers"


def test_learners_live_the_same_lifetimes(trained):
    """A wiped learner begins like the trained one, the untrained one differs; shapes are [tasks, lifetimes, episodes]."""
    subject = subjects.restore(trained / "tiny")
    suite, _ = suites.held_out("handmade-v1", subject.loop.families)
    before = dict(subject.loop.programs.steps)
    success = evaluate.measure(subject, suite, 16, jax.random.key(3))
    assert {learner: outcome.shape for learner, outcome in success.items()} == dict.fromkeys(evaluate.LEARNERS, (7, 16, 3))
    np.testing.assert_array_equal(success["wiped"][:, :, 0], success["trained"][:, :, 0])
    assert subject.loop.programs.steps == before, "held-out lifetimes are outside the budget"
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), subject.trained, subject.untrained)
    assert not all(jax.tree.leaves(same))
    stored = checkpoint.restore(trained / "tiny" / "checkpoints", subject.loop.init())
    jax.tree.map(np.testing.assert_array_equal, subject.trained, stored.state.learner.params)


def test_quick_is_deterministic_in_its_key(trained):
    subject = subjects.restore(trained / "tiny")
    near = {"feature": 1, "target_a": 0.65, "tolerance": 2.0, "hold": 0.1, "hidden": 0, "drift_x": 0.0, "reversed_0": 0}
    suite = [HeldOut("probe", "visible", "small", encode(subject.loop.families["probe"].specs, near))]
    first, again, other = (
        suites.quick(subject.loop.programs, subject.trained, suite, 256, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    assert first == again != other
    assert set(first) == {"heldout_first", "heldout_last", "heldout_first_probe", "heldout_last_probe"}


def test_the_archive_is_evaluated_again(trained, capsys):
    capsys.readouterr()
    assert evaluate.run(options(trained, suite="archive")) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"tasks", "still_solved", "share", "threshold", "forgotten"}
    assert found["still_solved"] == found["tasks"] - len(found["forgotten"])


def test_the_table_for_people(trained, capsys):
    capsys.readouterr()
    assert evaluate.run(options(trained, json=False)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Held-out suite handmade-v1: 7 tasks, run 'tiny' after round 2, 6 lifetimes a task"
    assert lines[3].split() == ["trained", "wiped", "untrained", "random", "noop"]
    assert any(line.split()[:2] == ["episode", "1"] and line.endswith("last - wiped") for line in lines)
    assert max(map(len, lines)) <= 120


def test_what_cannot_be_evaluated_is_one_sentence(trained, tmp_path):
    with pytest.raises(UsageError, match="--suite is 'nonsense'; allowed: handmade-v1, handmade-v2, sampled, stock, archive"):
        evaluate.run(options(trained, suite="nonsense"))
    with pytest.raises(RunFolderError, match="There is no run 'nothing'"):
        evaluate.run(options(trained, run="nothing"))
    assert cli.main(["train", "experiment=probe", f"run.root={tmp_path}", "run.name=tiny", "run.rounds=0"]) == 0
    with pytest.raises(CheckpointError, match="The run 'tiny' has no finished round yet"):
        evaluate.run(options(tmp_path))


UNTOLD = "the suite 'handmade-v1' has no tasks for other; it has some for navigator, reacher, probe"


def test_a_family_without_a_table_is_named():
    probe, other = Probe(), Probe()
    other.name = "other"
    tasks, missing = suites.held_out("handmade-v1", {"other": other, "probe": probe})
    assert {task.family for task in tasks} == {"probe"} and missing == UNTOLD
    assert suites.held_out("handmade-v1", {"probe": probe})[1] == ""
    assert suites.held_out("handmade-v1", {"other": other}) == ([], UNTOLD)


def test_eval_says_which_family_it_does_not_measure(trained, monkeypatch, capsys):
    whole = suites.held_out("handmade-v1", {"probe": Probe()})[0]
    monkeypatch.setattr(suites, "held_out", lambda suite, families: (whole, UNTOLD))
    assert evaluate.run(options(trained)) == 0
    told = capsys.readouterr()
    assert told.err == f"Not measured: {UNTOLD}.\n" and json.loads(told.out)["tasks"] == len(whole)
    monkeypatch.setattr(suites, "held_out", lambda suite, families: ([], UNTOLD))
    with pytest.raises(CommandError, match=f"^The{UNTOLD[3:]}.$"):
        evaluate.run(options(trained))


def test_train_says_which_family_it_does_not_measure(tmp_path, monkeypatch, capsys):
    train = ["train", "experiment=probe", f"run.root={tmp_path}", "run.rounds=0"]
    monkeypatch.setattr(suites, "held_out", lambda suite, families: ([], UNTOLD))
    assert cli.main([*train, "run.name=told"]) == 0
    assert f"\nNot measured: {UNTOLD}.\n" in capsys.readouterr().out
    assert cli.main([*train, "run.name=never", "heldout.every=0"]) == 0
    assert "Not measured" not in capsys.readouterr().out
