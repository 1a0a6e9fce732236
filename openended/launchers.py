"""How the runs of a sweep are made: one after another, side by side through joblib, or as jobs of a cluster through submitit.

joblib and submitit are used directly: hydra's launcher plugins of these names need `hydra.main`, which would own the command
line, the working directory and the signals, and which this project does not use. Both are optional, `pip install
'openended[joblib,submitit]'`.

However many there are, only the process of the sweep writes its report. A signal stops all runs; each is saved first. A run
that fails stops no other; one whose configuration is refused does, since the others would be refused as well.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from openended import making
from openended.configuration import ConfigurationError
from openended.making import Outcome, Plan
from openended.subprocesses import only_one

Run = tuple[str, int]  # arm and seed
STOP = "stop"  # a file in the sweep's folder that tells the jobs of a cluster to save and stop
POLL_SECONDS = 0.2
SHOW_SECONDS = (
    120.0  # until what a job wrote must be seen here: network file systems remember for a while that it was not there
)


class Cluster(NamedTuple):
    """What a job of a cluster asks for; None leaves it to the cluster."""

    cluster: str | None = None
    partition: str | None = None
    minutes: int = 1440
    cpus: int = 2
    gpus: int = 0
    memory_gb: float | None = None


class Launch(NamedTuple):
    """Which runs to make, and how."""

    plan: Plan
    launcher: str
    jobs: int  # at once
    cluster: Cluster

    def __call__(self, runs: Sequence[Run], stop: Callable[[], bool], lock: int) -> Iterator[tuple[Run, Outcome]]:
        """Every run with its outcome as it ends. lock: a descriptor of the sweep's lock, see `Child`."""
        return LAUNCHERS[self.launcher](self, runs, stop, lock)


def check(launch: Launch) -> None:
    """Raises a ConfigurationError when there is no such launcher, or it is not installed, or makes no so many runs at once."""
    name = launch.launcher
    if name not in LAUNCHERS:
        raise ConfigurationError(f"ablate.launcher is {name}; allowed: {', '.join(LAUNCHERS)}")
    if name == "serial" and launch.jobs > 1:
        raise ConfigurationError(f"ablate.jobs is {launch.jobs}; allowed: 1 with ablate.launcher=serial, or another launcher")
    if name != "serial" and importlib.util.find_spec(name) is None:
        raise ConfigurationError(f"ablate.launcher is {name}, which is not installed: pip install 'openended[{name}]'")


def _serial(launch: Launch, runs: Sequence[Run], stop: Callable[[], bool], lock: int) -> Iterator[tuple[Run, Outcome]]:
    for run in runs:
        yield run, making.make(launch.plan, *run, stop, lock)


def _joblib(launch: Launch, runs: Sequence[Run], stop: Callable[[], bool], lock: int) -> Iterator[tuple[Run, Outcome]]:
    """A thread for each of the runs at once, which waits for the processes of its run; they have their share of the cores.

    Threads, since a run is a process of its own already: so its parent is the sweep, whose death it notices.
    """
    import joblib

    free: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for cores in shares(launch.jobs):
        free.put(cores)
    over = threading.Event()  # nothing new begins, even before the sweep has seen why

    def one(run: Run) -> tuple[Run, Outcome]:
        cores = free.get()
        try:
            outcome = making.make(launch.plan, *run, lambda: over.is_set() or stop(), lock, cores)
        finally:
            free.put(cores)
        if outcome.stopped or outcome.refused:
            over.set()
        return run, outcome

    parallel = joblib.Parallel(n_jobs=launch.jobs, backend="threading", batch_size=1, return_as="generator_unordered")
    yield from parallel(joblib.delayed(one)(run) for run in runs)


def shares(jobs: int) -> list[list[int]]:
    """The cores of each of so many runs at once: as equal as can be, none of two runs unless there are too few."""
    if not hasattr(os, "sched_getaffinity"):
        return [[]] * jobs
    cores = sorted(os.sched_getaffinity(0))
    ends = [i * len(cores) // jobs for i in range(jobs + 1)]
    return [cores[a:b] or [cores[i % len(cores)]] for i, (a, b) in enumerate(itertools.pairwise(ends))]


def _submitit(launch: Launch, runs: Sequence[Run], stop: Callable[[], bool], lock: int) -> Iterator[tuple[Run, Outcome]]:
    """At most so many jobs at once, submitted one by one. Jobs outlive a sweep that is killed, and write their evaluations."""
    plan = launch.plan._replace(folder=launch.plan.folder.resolve())
    (plan.folder / STOP).unlink(missing_ok=True)
    executor, waiting, told = _executor(plan.folder, launch.cluster), list(runs), False
    jobs: dict[Run, Any] = {}
    while waiting or jobs:
        while waiting and len(jobs) < launch.jobs and not stop():
            run = waiting.pop(0)
            jobs[run] = executor.submit(job, plan, *run)
        if stop() and not told:
            told = True
            (plan.folder / STOP).touch()
            for pending in jobs.values():  # nothing of these runs yet; they would not look
                if pending.state == "PENDING":
                    pending.cancel(check=False)
            yield from ((run, Outcome(stopped=True)) for run in waiting)
            waiting.clear()
        for run in [run for run, submitted in jobs.items() if submitted.done()]:
            outcome = _outcome(jobs.pop(run), stop())
            yield run, outcome if any(outcome) else _seen(plan, run)
        time.sleep(POLL_SECONDS)


def job(plan: Plan, arm: str, seed: int) -> Outcome:
    """What a job of a cluster does; waits for one that a killed sweep left behind while that is at work on the same run."""
    with only_one(plan.path(arm, seed), print, ".job") as lock:
        if making.finished(plan, arm, seed) is not None:
            return Outcome()
        return making.make(plan, arm, seed, (plan.folder / STOP).exists, lock)


def _executor(folder: Path, asked: Cluster) -> Any:
    import submitit

    try:
        executor = submitit.AutoExecutor(folder / "submitit", cluster=asked.cluster)
    except RuntimeError as error:
        raise ConfigurationError(f"ablate.submitit.cluster is {asked.cluster}: {' '.join(str(error).split())}") from error
    executor.update_parameters(
        name=folder.name,
        timeout_min=asked.minutes,
        cpus_per_task=asked.cpus,
        gpus_per_node=asked.gpus,
        mem_gb=asked.memory_gb,
        slurm_partition=asked.partition,
    )
    return executor


def _outcome(submitted: Any, stopping: bool) -> Outcome:
    """What a job that is done returned, or in words why it did not."""
    if stopping:
        return Outcome(stopped=True)
    error = submitted.exception()
    if error is not None:
        told, *shown = re.split(r"\n-{20,}\n", str(error))  # what submitit says, then a trace or a log, whose end is the cause
        why = (shown[0].strip() if shown else "") or " ".join(told.split())
        return Outcome(f"job {submitted.job_id} gave no result: {why.splitlines()[-1]} (see {submitted.paths.stderr})")
    outcome: Outcome = submitted.result()
    if outcome.stopped:  # by the cluster: out of time, or preempted
        return Outcome(f"job {submitted.job_id} was interrupted and saved; the same command goes on")
    return outcome


def _seen(plan: Plan, run: Run) -> Outcome:
    """That of a run whose job is done: it is finished, and in time its evaluation is there."""
    limit = time.monotonic() + SHOW_SECONDS
    while making.finished(plan, *run) is None:
        if time.monotonic() > limit:
            path = plan.path(*run) / making.EVALUATION
            return Outcome(f"its job is done, but {path} is not seen here: the folder must be one that all nodes share")
        time.sleep(POLL_SECONDS)
    return Outcome()


LAUNCHERS = {"serial": _serial, "joblib": _joblib, "submitit": _submitit}
