"""The sweep: arms and seeds from the configuration, runs that are skipped, fail or stop, and the command end to end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hydra.utils import instantiate

from openended import ablate, cli, configuration, launchers, making
from openended.configuration import ConfigurationError
from tests.small import SMALL

TINY = ["experiment=probe", *SMALL]
ARMS = configuration.read_sweep([]).overrides
BASELINES = ("plr_pvl", "plr_maxmc", "sfl", "accel")


def sweep(root, *more, arms="[full,all_off]", seeds="[0,3]", lifetimes=8):
    named = [f"run.root={root}", "ablate.name=sweep", f"ablate.arms={arms}", f"ablate.seeds={seeds}"]
    return [*TINY, *named, f"ablate.lifetimes={lifetimes}", "run.steps=100000", *more]


def test_seeds_are_the_outer_loop(tmp_path):
    plan = ablate.plan(sweep(tmp_path))
    assert [plan.path(*run).name for run in plan.runs()] == ["full-0", "all_off-0", "full-3", "all_off-3"]
    assert plan.folder == tmp_path / "sweep" and (plan.lifetimes, plan.suite) == (8, "handmade-v2")
    assert ablate.plan(sweep(tmp_path, seeds="3")).seeds == [0, 1, 2]


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_composes(arm, tmp_path):
    """An arm changes what it names, all else is that of the first arm; run.steps alone ends it."""
    plan = ablate.plan(sweep(tmp_path, arms=f"[{arm}]"))
    ablate.check(plan)
    config = configuration.read(plan.overrides(arm, 3))
    assert (config.run.name, config.run.seed, config.run.steps) == (f"{arm}-3", 3, 100_000)
    assert config.run.rounds == making.ROUNDS and config.run.root == str(tmp_path / "sweep")
    off = {part for part in ("generator", "objective", "acceptance") if config[part]._target_.endswith("Off")}
    meant = {"both_off": {"generator", "objective"}, "all_off": {"generator", "objective", "acceptance"}}
    meant |= {arm: {"acceptance"} if arm == "accel" else {"generator", "acceptance"} for arm in BASELINES}
    assert off == meant.get(arm, {arm.removesuffix("_off")} if arm.endswith("_off") else set())
    memories = {"memoryless": "none", "gru": "gru", "transformer": "transformer", "vsml": "vsml", "metagenrl": "metagenrl"}
    assert config.learner.memory == memories.get(arm, "fast_weights")
    assert config.learner._target_.endswith("Evolution") == (arm == "evolution")
    assert (config.learner.extrinsic_weight == 0) == (arm == "extrinsic_free")
    assert (config.loop.entries == 0) == (arm in BASELINES), "baselines accept nothing"


@pytest.mark.parametrize("arm", ["acceptance_off", "evolution", "memoryless", "gru", "vsml", "metagenrl", "modular"])
def test_every_other_part_takes_what_an_experiment_sets(arm, tmp_path):
    """And what a sweep sets, such as the updates over which a learning rate falls."""
    plan = ablate.plan(sweep(tmp_path, "experiment=gpu_day", "learner.decay_updates=400", arms=f"[full,{arm}]"))
    config = configuration.read(plan.overrides(arm, 0))
    instantiate(config.acceptance)
    instantiate(config.learner, policy=instantiate(config.learner.policy, observation=4, actions=1))


def test_an_arm_of_ones_own(tmp_path):
    own = "ablate.overrides.wide=['learner.policy.width=128','objective=off']"
    plan = ablate.plan(sweep(tmp_path, own, arms="[full,wide]"))
    config = configuration.read(plan.overrides("wide", 0))
    assert config.learner.policy.width == 128 and config.objective._target_.endswith("Off")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("ablate.arms=[full,fly]", f"ablate.arms is fly; allowed: one or more, each once, of {', '.join(ARMS)}"),
        ("ablate.arms=[]", "ablate.arms is []; allowed"),
        ("ablate.arms=[full,full]", "ablate.arms is [full, full]; allowed"),
        ("ablate.seeds=0", "ablate.seeds is 0; allowed: how many, at least 1, or a list of different whole numbers"),
        ("ablate.seeds=[1,1]", "ablate.seeds is [1, 1]"),
        ("ablate.seeds=[-1]", "ablate.seeds is [-1]"),
        ("ablate.seeds=[0,4294967296]", "list of different whole numbers from 0 to 4294967295"),
        ("ablate.seeds=many", "ablate.seeds is many"),
        ("ablate.lifetimes=1", "ablate.lifetimes is 1; allowed: a whole number of at least 2"),
        ("ablate.launcher=fly", "ablate.launcher is fly; allowed: serial, joblib, submitit"),
        ("ablate.jobs=2", "ablate.jobs is 2; allowed: 1 with ablate.launcher=serial"),
        ("ablate.jobs=0", "ablate.jobs is 0; allowed: a whole number of at least 1"),
        ("ablate.submitit.minutes=0", "ablate.submitit.minutes is 0; allowed: a whole number of at least 1"),
        ("ablate.submitit.cluster=moon", "ablate.submitit.cluster is moon; allowed: slurm, local or null"),
        ("ablate.submitit.memory_gb=much", "ablate.submitit.memory_gb is much; allowed: a whole number of at least 1, or null"),
        ("ablate.submitit.partition=3", "ablate.submitit.partition is 3; allowed: a name or null"),
        ("ablate.name=a/b", "ablate.name is 'a/b'"),
        ("ablate.nonsense=1", "nonsense"),
        ("ablate.overrides.full=generator", "ablate.overrides.full is generator; allowed: a list"),
        ("ablate.overrides.full=['generator=magic']", "magic"),
        ("run.steps=0", "run.steps is 0; allowed: a whole number above 0"),
        ("run.seed=1", "run.seed is 1; a sweep sets it itself: give ablate.seeds"),
        ("run.rounds=1", "run.rounds is 1; a sweep sets it itself: give run.steps"),
        ("learner=magic", "magic"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_code_3(override, words, tmp_path, capsys):
    assert cli.main(["ablate", *sweep(tmp_path), override]) == cli.BAD_CONFIGURATION
    told = capsys.readouterr()
    assert words in told.err and told.err.count("\n") == 1 and told.out == ""


def test_steps_must_be_given(tmp_path):
    with pytest.raises(ConfigurationError, match=r"run\.steps is not given"):
        ablate.plan([text for text in sweep(tmp_path) if not text.startswith("run.steps")])


ROWS = [{"family": "probe", "group": group, "size": "small", "description": group} for group in ("visible", "hidden_goal")]


class Script:
    """Stands for Child: notes what is called, and answers with the codes of `codes` and an evaluation made by hand."""

    def __init__(self):
        self.calls, self.codes = [], {}

    def __call__(self, words, log, lock, keep=False, cores=()):
        self.calls.append((words[0], log.parent.name))
        self.words, self.log, self.code = words, log, self.codes.get(self.calls[-1], 0)
        return self

    def wait(self, stop):
        return self.code

    def last_line(self):
        return "openended: something is wrong"

    def output(self):
        level = 0.75 if "full" in self.words[1] else 0.25
        group = {"learners": {"trained": {"episode_success": [{"mean": level}]}}}
        rows = [{**row, "trained_last": level, "trained_first": 0.0, "wiped_last": 0.0} for row in ROWS]
        rows = [{**row, "trained_halves": [level, level]} for row in rows]
        groups = dict.fromkeys(("all", "probe", "hidden_goal"), group)
        return json.dumps({"suite": "handmade-v2", "per_task": rows, "groups": groups})


@pytest.fixture
def script(monkeypatch):
    made = Script()
    facts = {"steps": {"learn": 100_000}, "accepted": 2, "retained": 1, "rounds": 3, "seconds": 60.0}
    facts |= {"annecs": 2, "retained_annecs": 1, "transfer": None, "versions": {"python": "3.11"}}
    monkeypatch.setattr(making, "Child", made)
    monkeypatch.setattr(making, "facts", lambda plan, path: facts | {"lifetimes": plan.lifetimes})
    return made


def report(root):
    return json.loads((root / "sweep" / "report.json").read_text())


def test_a_sweep_from_beginning_to_end(script, tmp_path, capsys):
    assert cli.main(["ablate", *sweep(tmp_path, seeds="5")]) == 0
    assert script.calls[:4] == [("train", "full-0"), ("eval", "full-0"), ("train", "all_off-0"), ("eval", "all_off-0")]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"10 runs of 100k steps (2 arms, 5 seeds) in {tmp_path / 'sweep'}"
    assert (
        "to go] 1/10 full-0: success in the last episode: all 0.75, hidden_goal 0.75; accepted 2, 100k steps, 1:00" in lines[1]
    )
    assert lines[-1] == f"Report: {tmp_path / 'sweep' / 'report.md'}"
    found = report(tmp_path)
    assert found["arms"]["full"]["handmade-v2/hidden_goal"] == {"iqm": 0.75, "low": 0.75, "high": 0.75, "seeds": 5}
    assert found["budgets"] == {"full": [100_000] * 5, "all_off": [100_000] * 5}
    assert {row["verdict"] for row in found["comparisons"]} == {"a"}
    assert found["about"]["arms"]["all_off"] == ["generator=off", "objective=off", "acceptance=off"]
    assert str(tmp_path) not in json.dumps(found)


def test_finished_runs_are_skipped(script, tmp_path, capsys):
    assert cli.main(["ablate", *sweep(tmp_path, arms="[full]")]) == 0
    script.calls.clear()
    assert cli.main(["ablate", "--json", *sweep(tmp_path)]) == 0
    assert [name for what, name in script.calls if what == "train"] == ["all_off-0", "all_off-3"]
    told = capsys.readouterr()
    assert "2 are finished already" in told.err
    assert json.loads(told.out[told.out.rindex('{"arms"') :]) == report(tmp_path)
    script.calls.clear()
    assert cli.main(["ablate", *sweep(tmp_path)]) == 0 and script.calls == []
    assert cli.main(["ablate", *sweep(tmp_path, lifetimes=9)]) == 0 and len(script.calls) == 8, "another evaluation is wanted"


def test_the_report_is_current_after_every_run(script, tmp_path):
    script.codes = {("train", "full-3"): 75}
    assert cli.main(["ablate", *sweep(tmp_path)]) == 75
    assert script.calls[-1] == ("train", "full-3")
    assert report(tmp_path)["budgets"] == {"full": [100_000], "all_off": [100_000]}


def test_a_run_that_fails_does_not_stop_the_others(script, tmp_path, capsys):
    script.codes = {("train", "full-0"): 1, ("eval", "all_off-0"): 1}
    assert cli.main(["ablate", *sweep(tmp_path)]) == cli.FAILED
    told = capsys.readouterr()
    assert "openended: full-0: 'train' ended with code 1: openended: something is wrong (see " in told.err
    assert "openended: all_off-0: 'eval' ended with code 1" in told.err and "Traceback" not in told.err
    assert report(tmp_path)["details"]["full"]["seeds"] == [3]
    script.codes = {}
    assert cli.main(["ablate", *sweep(tmp_path)]) == 0
    assert report(tmp_path)["details"]["full"]["seeds"] == [0, 3]


def test_a_configuration_that_a_run_refuses_ends_the_sweep(script, tmp_path, capsys):
    script.codes = {("train", "full-0"): 3}
    assert cli.main(["ablate", *sweep(tmp_path)]) == cli.BAD_CONFIGURATION
    assert capsys.readouterr().err == "openended: something is wrong\n" and len(script.calls) == 1


def test_a_run_of_other_values_is_not_taken_for_one_of_this_sweep(script, tmp_path, capsys):
    plan = ablate.plan(sweep(tmp_path))
    path = plan.path("full", 0)
    path.mkdir(parents=True)
    stored = configuration.plain(configuration.read(plan.overrides("full", 0)))
    (path / "config.yaml").write_text(json.dumps(stored))
    ablate.check(plan)
    for override, key in (("run.steps=5", "run.steps"), ("loop.updates=7", "loop.updates")):
        assert cli.main(["ablate", *sweep(tmp_path), override]) == cli.BAD_CONFIGURATION
        told = capsys.readouterr().err
        assert f"{key} is " in told and f"the run 'full-0' has {key}=" in told and "another ablate.name" in told
    assert script.calls == []


SIDE_BY_SIDE = ("ablate.launcher=joblib", "ablate.jobs=2")
ON_A_CLUSTER = ("ablate.launcher=submitit", "ablate.submitit.cluster=local")


def start(root, *more, **which):
    command = [sys.executable, "-m", "openended.cli", "ablate", *sweep(root, *more, lifetimes=4, **{"seeds": "2", **which})]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def done(process, code=0):
    """What a sweep printed until it ended with this code."""
    text, _ = process.communicate(timeout=600)
    assert process.returncode == code, text
    assert "Traceback" not in text and "Warning" not in text
    return text


def killed(process):
    process.kill()
    process.wait()
    process.stdout.close()  # jobs that live on hold its other end


def evaluated(root):
    """When each run was evaluated: another time if it was made again."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (root / "sweep").glob("*/holdout.json")}


def measured(value):
    """A report or an evaluation without what took time."""
    if isinstance(value, dict):
        return {key: measured(part) for key, part in value.items() if key != "seconds"}
    return value


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """Two arms and two seeds, one run after another, killed and stopped in between; its folder of runs."""
    root = tmp_path_factory.mktemp("serial")
    folder = root / "sweep"
    process = start(root)
    wait_for(folder / "all_off-0" / "metrics.jsonl", process)  # in the middle of the second run
    killed(process)
    first = evaluated(root)
    process = start(root)
    wait_for(folder / "full-1" / "config.yaml", process)
    process.send_signal(signal.SIGTERM)
    text = done(process, 75)
    assert "the same command goes on" in text and list(report(root)["budgets"]) == ["full", "all_off"]
    assert "2 are finished already" in done(start(root)) and first.items() <= evaluated(root).items() and len(first) == 1
    return root


@pytest.mark.slow
def test_two_arms_and_two_seeds_killed_and_stopped_in_between(serial):
    found, folder = report(serial), serial / "sweep"
    assert {arm: levels["handmade-v2/all"]["seeds"] for arm, levels in found["arms"].items()} == {"full": 2, "all_off": 2}
    assert found["details"]["full"]["seeds"] == [0, 1] and all(sum(row) > 0 for row in found["budgets"].values())
    assert {row["verdict"] for row in found["comparisons"]} <= {"not distinguishable", "unequal budgets"}
    assert all((folder / name).exists() for name in ("report.md", "report.png", "profiles.png"))
    for arm in ("full", "all_off"):
        path = folder / f"{arm}-1"
        assert cli.main(["archive", "check", str(path)]) == 0
        evaluation = json.loads((path / "holdout.json").read_text())
        assert evaluation["tasks"] == 7 and evaluation["run"]["versions"]["packages"]["jax"]
        assert 0 <= evaluation["run"]["retained_annecs"] <= evaluation["run"]["annecs"] <= evaluation["run"]["accepted"]


@pytest.mark.slow
def test_side_by_side_gives_the_same_evaluations_also_when_killed(serial, tmp_path):
    process = start(tmp_path, *SIDE_BY_SIDE, seeds="[1]")
    while not evaluated(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    killed(process)  # beside it at least one other run is in progress
    first = evaluated(tmp_path)
    text = done(start(tmp_path, *SIDE_BY_SIDE, seeds="[1]"))
    assert f"{len(first)} are finished already" in text and first.items() <= evaluated(tmp_path).items()
    assert list(report(tmp_path)["budgets"]) == ["full", "all_off"]
    cores = {len(share) for share in launchers.shares(2)}
    for run in ("full-1", "all_off-1"):
        mine, theirs = (json.loads((root / "sweep" / run / "holdout.json").read_text()) for root in (tmp_path, serial))
        assert measured(mine) == measured(theirs)
        environment = json.loads((tmp_path / "sweep" / run / "environment.json").read_text())
        assert environment["threads"]["usable_cores"] in cores


@pytest.mark.slow
def test_a_job_of_a_cluster_is_the_same_run_also_when_stopped_and_left_alone(serial, tmp_path):
    folder, which = tmp_path / "sweep", {"arms": "[full]", "seeds": "1"}
    metrics = folder / "full-0" / "metrics.jsonl"
    process = start(tmp_path, *ON_A_CLUSTER, **which)
    wait_for(metrics, process)
    process.send_signal(signal.SIGTERM)
    assert "the same command goes on" in done(process, 75)
    process = start(tmp_path, *ON_A_CLUSTER, **which)
    while not metrics.stat().st_size:
        assert process.poll() is None
        time.sleep(0.05)
    killed(process)  # its job goes on, and the next one finds the run finished
    assert "1/1 full-0: success" in done(start(tmp_path, *ON_A_CLUSTER, **which))
    log = (folder / "full-0" / "sweep.log").read_text()
    assert log.count("Interrupted and saved: full-0") == 1 and log.count("Done: full-0") == 1
    mine, theirs = (json.loads((root / "sweep" / "full-0" / "holdout.json").read_text()) for root in (tmp_path, serial))
    assert measured(mine) == measured(theirs)
