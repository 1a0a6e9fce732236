"""Launchers with runs that only pretend: all are made, as many at once as asked, none twice; failures, signals, cores."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import submitit

from openended import cli, launchers, making, subprocesses
from openended.configuration import ConfigurationError
from openended.launchers import Cluster, Launch
from openended.making import Outcome, Plan

RUNS = [("one", 0), ("two", 0), ("one", 1), ("two", 1), ("one", 2)]
DEBUG = Cluster(cluster="debug")  # submitit's own: jobs are made in this process, when they are asked for their result
NEVER = bool  # bool() is False


def launch(folder, launcher, jobs=2):
    plan = Plan(folder, "handmade-v2", 8, 100, [0, 1, 2], {"one": [], "two": []}, [])
    return Launch(plan, launcher, jobs, DEBUG)


@pytest.fixture
def made(monkeypatch):
    """What was made, in order; a run whose name is in `fails` fails."""
    found = {"runs": [], "cores": [], "fails": ()}

    def make(plan, arm, seed, stop, lock, cores=()):
        if stop():
            return Outcome(stopped=True)
        found["runs"].append((arm, seed))
        found["cores"].append(list(cores))
        return Outcome("it broke" if (arm, seed) in found["fails"] else "")

    monkeypatch.setattr(making, "make", make)
    monkeypatch.setattr(making, "finished", lambda _, *run: {} if run in found["runs"] else None)
    return found


@pytest.mark.parametrize(("name", "jobs"), [("serial", 1), ("joblib", 1), ("joblib", 2), ("submitit", 2)])
def test_every_run_is_made_once_and_a_failure_stops_no_other(name, jobs, made, tmp_path):
    made["fails"] = [("two", 0)]
    found = dict(launch(tmp_path, name, jobs)(RUNS, NEVER, 0))
    assert sorted(made["runs"]) == sorted(RUNS)
    assert found == {run: Outcome("it broke" if run == ("two", 0) else "") for run in RUNS}


@pytest.mark.parametrize(("name", "jobs"), [("serial", 1), ("joblib", 2), ("submitit", 2)])
def test_a_signal_stops_what_has_not_begun(name, jobs, made, tmp_path):
    found = launch(tmp_path, name, jobs)(RUNS, lambda: len(made["runs"]) > 0, 0)
    assert sum(outcome.stopped for _, outcome in found) >= len(RUNS) - jobs
    assert 1 <= len(made["runs"]) <= jobs
    assert (tmp_path / launchers.STOP).exists() == (name == "submitit")  # how jobs on other machines are told


def test_joblib_makes_two_at_once_on_different_cores(made, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2, 3, 5, 7})
    together = threading.Barrier(2, timeout=20)  # breaks unless two are there at the same time
    alone = making.make

    def make(*given):
        together.wait()
        return alone(*given)

    monkeypatch.setattr(making, "make", make)
    assert len(list(launch(tmp_path, "joblib")(RUNS[:4], NEVER, 0))) == 4
    assert sorted(map(tuple, made["cores"])) == [(2, 3), (2, 3), (5, 7), (5, 7)]


@pytest.mark.parametrize(
    ("jobs", "shared"), [(1, [[0, 1, 2]]), (2, [[0], [1, 2]]), (3, [[0], [1], [2]]), (5, [[0], [0], [2], [1], [2]])]
)
def test_cores_are_shared_out(jobs, shared, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    found = launchers.shares(jobs)
    assert found == shared if jobs <= 3 else sorted({core for cores in found for core in cores}) == [0, 1, 2]
    assert len(found) == jobs and all(found)


@pytest.mark.parametrize(("usable", "devices"), [({4}, 1), ({0, 4}, 2), (set(range(9)), 2)])
def test_a_run_has_a_device_for_each_core_that_it_may_use_two_at_most(usable, devices, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: usable)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=")
    cli._set_up_devices()
    assert cli.os.environ["XLA_FLAGS"] == f"--xla_dump_to= --xla_force_host_platform_device_count={devices}"


def test_a_job_waits_for_another_of_its_run_and_repeats_nothing(tmp_path, made, monkeypatch):
    plan, done = launch(tmp_path, "submitit").plan, []
    monkeypatch.setattr(making, "finished", lambda *_: {"suite": "x"} if done else None)
    found = []
    with subprocesses.only_one(plan.path("one", 0), print, ".job"):
        second = threading.Thread(target=lambda: found.append(launchers.job(plan, "one", 0)))
        second.start()
        time.sleep(0.3)
        assert second.is_alive() and found == []
        done.append(True)
    second.join(20)
    assert found == [Outcome()] and made["runs"] == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            f"Job failed with trace:\n{'-' * 22}\nTraceback:\n  f()\nOSError: no space\n\n{'-' * 22}\nSee it",
            "OSError: no space",
        ),
        (
            "Job 7 with path x\nhas not produced any output (state: TIMEOUT)",
            "Job 7 with path x has not produced any output (state: TIMEOUT)",
        ),
    ],
)
def test_a_job_without_a_result_is_one_sentence(said, why):
    job = SimpleNamespace(job_id="7", exception=lambda: submitit.core.utils.FailedJobError(said))
    job.paths = SimpleNamespace(stderr="7.err")
    assert launchers._outcome(job, False) == Outcome(f"job 7 gave no result: {why} (see 7.err)")
    assert launchers._outcome(job, True) == Outcome(stopped=True)


def test_a_job_that_the_cluster_interrupts_is_a_problem_and_not_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "make", lambda *_: Outcome(stopped=True))
    found = dict(launch(tmp_path, "submitit")(RUNS[:2], NEVER, 0))
    assert all("was interrupted and saved; the same command goes on" in outcome.problem for outcome in found.values())


def test_a_run_whose_evaluation_is_not_seen_here_is_a_problem(tmp_path, made, monkeypatch):
    monkeypatch.setattr(launchers, "SHOW_SECONDS", 0.0)
    monkeypatch.setattr(making, "finished", lambda *_: None)
    ((_, outcome),) = launch(tmp_path, "submitit")(RUNS[:1], NEVER, 0)
    assert "one-0/holdout.json is not seen here: the folder must be one that all nodes share" in outcome.problem


@pytest.mark.parametrize("name", ["joblib", "submitit"])
def test_a_launcher_that_is_not_installed(name, tmp_path, monkeypatch):
    launchers.check(launch(tmp_path, name))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=rf"is {name}, which is not installed: pip install 'openended\[{name}\]'"):
        launchers.check(launch(tmp_path, name))


def test_a_cluster_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = launch(tmp_path, "submitit")._replace(cluster=Cluster(cluster="slurm"))
    with pytest.raises(ConfigurationError, match=r"ablate\.submitit\.cluster is slurm: .*srun"):
        list(asked(RUNS, NEVER, 0))


class Refused:
    """Stands for Child: the configuration of one run is refused; the other runs until it is told to stop."""

    begun: ClassVar[dict[str, bool]] = {}  # name -> whether it was told to stop

    def __init__(self, words: list[str], log: Path, lock: int, keep: bool = False, cores=()):
        self.name, self.log = log.parent.name, log

    def wait(self, stop):
        self.begun[self.name] = False
        limit = time.monotonic() + 30
        while not (stop() or (self.name == "full-0" and len(self.begun) == 2)) and time.monotonic() < limit:
            time.sleep(0.01)
        self.begun[self.name] = stop()
        return 3 if self.name == "full-0" else 75

    def last_line(self):
        return "openended: learner.rate is 0; allowed: above 0"

    def output(self):
        return ""


def test_a_configuration_that_is_refused_stops_the_run_beside_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(making, "Child", Refused)
    named = [f"run.root={tmp_path}", "ablate.name=sweep", "ablate.arms=[full,all_off]", "ablate.seeds=2"]
    words = ["ablate", "experiment=probe", "run.steps=100", *named, "ablate.launcher=joblib", "ablate.jobs=2"]
    assert cli.main(words) == cli.BAD_CONFIGURATION
    assert capsys.readouterr().err == "openended: learner.rate is 0; allowed: above 0\n"
    assert Refused.begun == {"full-0": False, "all_off-0": True}, "and none of the other seed"
