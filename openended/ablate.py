"""`openended ablate`: train every arm with every seed on equal budgets, evaluate each on the held-out suite, and compare.

How a run is made: `openended.making`; how many at once, and where: `openended.launchers`. Seeds are the outer loop, so that a
sweep that is cut short is already a paired comparison; the report is written anew after every run.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from openended import comparing_words, comparison, configuration, launchers
from openended.comparison import Result
from openended.configuration import ConfigurationError
from openended.exporting import emit
from openended.launchers import Cluster, Launch
from openended.making import Plan, finished
from openended.metrics import to_json
from openended.runfolder import Interrupts, differences, read_config, write_durably
from openended.subprocesses import only_one
from openended.summary import clock, count
from openended.train import DONE, INTERRUPTED

FAILED = 1
OWN = "ablate."
_NEW = f"{OWN}overrides."
_SET_HERE = {"run.name": "ablate.name", "run.seed": "ablate.seeds", "run.rounds": "run.steps"}


def run(options: argparse.Namespace) -> int:
    """The command."""
    sweep = plan(options.overrides)
    launch = launcher(sweep, options.overrides)
    say = functools.partial(print, file=sys.stderr if options.json else sys.stdout, flush=True)
    with only_one(sweep.folder, say) as lock, Interrupts(say) as stop:
        check(sweep)
        failed = Sweep(launch, say, lambda: stop.requested is not None, lock).run()
    if failed is None:
        say(f"Interrupted and saved: {sweep.folder}; the same command goes on.")
        return INTERRUPTED
    found = write_report(sweep)
    emit(found, options.json, [*comparing_words.text(found), "", f"Report: {sweep.folder / 'report.md'}"])
    for sentence in failed:
        print(f"openended: {sentence}", file=sys.stderr)
    return FAILED if failed else DONE


def plan(overrides: Sequence[str]) -> Plan:
    """The sweep that these overrides describe.

    Raises:
        ConfigurationError: an arm is unknown, there are no seeds or no steps, or a key is one that the sweep sets itself.
    """
    own, common = _split(overrides)
    given = {text.partition("=")[0].lstrip("+"): text.partition("=")[2] for text in common}
    for key, instead in _SET_HERE.items():
        if key in given:
            raise ConfigurationError(f"{key} is {given[key]}; a sweep sets it itself: give {instead}")
    if "run.steps" not in given:
        raise ConfigurationError("run.steps is not given; allowed: the environment steps of every run, a whole number above 0")
    ablate = configuration.read_sweep(own)
    config = configuration.read(common)
    if config.run.steps < 1:
        raise ConfigurationError(f"run.steps is {config.run.steps}; allowed: a whole number above 0")
    configuration.check_name("ablate.name", str(ablate.name))
    lifetimes = ablate.lifetimes
    if not _whole(lifetimes, 2):  # tasks are ranked on one half of them and scored on the other
        raise ConfigurationError(f"ablate.lifetimes is {lifetimes}; allowed: a whole number of at least 2")
    folder = Path(config.run.root) / str(ablate.name)
    return Plan(folder, config.heldout.suite, lifetimes, config.run.steps, _seeds(ablate.seeds), _arms(ablate), common)


def launcher(plan: Plan, overrides: Sequence[str]) -> Launch:
    """How these overrides say that the plan's runs are made.

    Raises:
        ConfigurationError: the launcher is unknown or not installed, or a value of `ablate.submitit` is none of its kind.
    """
    ablate = configuration.read_sweep(_split(overrides)[0])
    asked = ablate.submitit
    for key, value, least in (
        ("jobs", ablate.jobs, 1),
        *((f"submitit.{name}", asked[name], least) for name, least in (("minutes", 1), ("cpus", 1), ("gpus", 0))),
    ):
        if not _whole(value, least):
            raise ConfigurationError(f"{OWN}{key} is {value}; allowed: a whole number of at least {least}")
    for key, fine, allowed in (
        ("cluster", asked.cluster in (None, "slurm", "local"), "slurm, local or null"),
        ("partition", asked.partition is None or isinstance(asked.partition, str), "a name or null"),
        ("memory_gb", asked.memory_gb is None or _whole(asked.memory_gb, 1), "a whole number of at least 1, or null"),
    ):
        if not fine:
            raise ConfigurationError(f"{OWN}submitit.{key} is {asked[key]}; allowed: {allowed}")
    launch = Launch(plan, str(ablate.launcher), ablate.jobs, Cluster(**configuration.plain(asked)))
    launchers.check(launch)
    return launch


def _split(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides of the sweep, and those of its runs."""
    own = [f"++{text}" if text.startswith(_NEW) else text for text in overrides if text.startswith((OWN, f"++{OWN}"))]
    return own, [text for text in overrides if not text.startswith((OWN, f"++{OWN}"))]


def _arms(ablate: DictConfig) -> dict[str, list[str]]:
    names = ablate.arms if isinstance(ablate.arms, ListConfig) else [ablate.arms]
    unknown = [str(name) for name in names if name not in ablate.overrides]
    if unknown or not names or len(set(names)) < len(names):
        told = ", ".join(unknown) or f"[{', '.join(map(str, names))}]"
        raise ConfigurationError(f"ablate.arms is {told}; allowed: one or more, each once, of {', '.join(ablate.overrides)}")
    arms = {}
    for name in names:
        configuration.check_name("ablate.arms", name)
        changes = ablate.overrides[name]
        if not isinstance(changes, ListConfig) or not all(isinstance(text, str) for text in changes):
            raise ConfigurationError(f"{_NEW}{name} is {changes}; allowed: a list of overrides, such as ['learner=memoryless']")
        arms[str(name)] = list(changes)
    return arms


def _seeds(given: Any) -> list[int]:
    seeds = list(range(given)) if _whole(given, 0) else OmegaConf.to_container(given) if OmegaConf.is_config(given) else []
    if not isinstance(seeds, list) or not seeds or not all(map(_seed, seeds)) or len(set(seeds)) < len(seeds):
        allowed = f"how many, at least 1, or a list of different whole numbers from 0 to {configuration.MOST_SEED}"
        raise ConfigurationError(f"ablate.seeds is {given}; allowed: {allowed}")
    return seeds


def _seed(value: Any) -> bool:
    return _whole(value, 0) and value <= configuration.MOST_SEED


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check(sweep: Plan) -> None:
    """Every run's overrides make a configuration, and that of a run which exists is the stored one.

    Raises:
        ConfigurationError: an arm's overrides cannot be used, or a run was begun with other ones.
    """
    plans = {arm: configuration.plain(configuration.read(sweep.overrides(arm, sweep.seeds[0]))) for arm in sweep.arms}
    for arm, seed in sweep.runs():
        path = sweep.path(arm, seed)
        if not (path / "config.yaml").exists():
            continue
        wanted = {**plans[arm], "run": {**plans[arm]["run"], "name": path.name, "seed": seed}}
        for key, was, now in differences(read_config(path), wanted):
            if key != "run.root":  # a folder may move
                raise ConfigurationError(f"{key} is {now}; the run '{path.name}' has {key}={was}: choose another ablate.name")


class Sweep:
    """The runs of a plan, by one of the launchers."""

    def __init__(self, launch: Launch, say: Callable[[str], None], stop: Callable[[], bool], lock: int):
        self.launch, self.plan, self.say, self.stop, self.lock = launch, launch.plan, say, stop, lock
        self.began, self.made, self.halted = time.monotonic(), 0, False

    def run(self) -> list[str] | None:
        """Make what is missing; a sentence for every run that failed, or None when a signal stopped the sweep.

        Raises:
            ConfigurationError: a run refused its configuration; those beside it were saved and stopped.
        """
        runs = list(self.plan.runs())
        open_ = [run for run in runs if finished(self.plan, *run) is None]
        done = len(runs) - len(open_)
        self.say(
            f"{len(runs)} runs of {count(self.plan.steps)} steps ({len(self.plan.arms)} arms, {len(self.plan.seeds)} seeds)"
            f" in {self.plan.folder}" + (f"; {done} are finished already" if done else "")
        )
        failed, refused = [], ""
        for run, outcome in self.launch(open_, lambda: self.halted or self.stop(), self.lock):
            self.halted |= outcome.stopped or bool(outcome.refused)
            refused = refused or outcome.refused
            if outcome.stopped or outcome.refused:
                continue
            self.made += 1
            told = outcome.problem or self._finish(*run)
            self.say(f"{self._clock(len(open_) - self.made)} {runs.index(run) + 1}/{len(runs)} {run[0]}-{run[1]}: {told}")
            failed += [f"{run[0]}-{run[1]}: {told}"] if outcome.problem else []
        if refused:
            raise ConfigurationError(refused)
        return None if self.halted else failed

    def _finish(self, arm: str, seed: int) -> str:
        """Write the report with this run; what it shows, in words."""
        write_report(self.plan)
        found = finished(self.plan, arm, seed)
        assert found is not None
        levels = {name: group["learners"]["trained"]["episode_success"][-1]["mean"] for name, group in found["groups"].items()}
        success = ", ".join(f"{name} {levels[name]:.2f}" for name in ("all", "hidden_goal") if name in levels)
        kept = f"accepted {found['run']['accepted']:.0f}, {count(sum(found['run']['steps'].values()))} steps"
        return f"success in the last episode: {success}; {kept}, {clock(found['run']['seconds'])}"

    def _clock(self, left: int) -> str:
        spent = time.monotonic() - self.began
        return f"[{clock(spent)}" + (f", about {clock(spent / self.made * left)} to go]" if left else "]")


def write_report(plan: Plan) -> Mapping[str, Any]:
    """report.json, report.md and its plots from the runs that are finished."""
    runs = {(arm, seed): finished(plan, arm, seed) for arm, seed in plan.runs()}
    results = {
        arm: [Result(s, found["per_task"], found["run"], _episodes(found)) for s in plan.seeds if (found := runs[arm, s])]
        for arm in plan.arms
    }
    sweep = {"name": plan.folder.name, "suite": plan.suite, "lifetimes": plan.lifetimes, "seeds": plan.seeds}
    about = {**sweep, "arms": plan.arms, "overrides": [text for text in plan.common if not text.startswith("run.root=")]}
    report = {**comparison.report(plan.suite, results), "about": about}
    comparing_words.plot(plan.folder, report)
    write_durably(plan.folder / "report.md", "\n".join(comparing_words.markdown(report)) + "\n")
    write_durably(plan.folder / "report.json", to_json(report) + "\n")
    return report


def _episodes(found: Mapping[str, Any]) -> dict[str, list[float]]:
    """The trained learner's success in each episode, of every group."""
    learners = {name: group["learners"]["trained"] for name, group in found["groups"].items()}
    return {name: [episode["mean"] for episode in trained["episode_success"]] for name, trained in learners.items()}
