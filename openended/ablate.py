"""`openended ablate`: train every arm with every seed on equal budgets, evaluate each on the held-out suite, and compare.

A run is a process of its own and an ordinary run folder ``NAME/ARM-SEED``; its evaluation, ``holdout.json`` beside it, is
written last and marks it as finished. Seeds are the outer loop, so that a sweep that is cut short is already a paired
comparison; the report is written anew after every run.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf

from openended import comparing_words, comparison, configuration
from openended.archive import Archive
from openended.comparison import Result
from openended.configuration import ConfigurationError
from openended.exporting import emit
from openended.metrics import to_json
from openended.programs import PURPOSES
from openended.runfolder import Interrupts, differences, read_config, write_durably
from openended.subprocesses import Child, only_one
from openended.summary import clock, count
from openended.train import DONE, INTERRUPTED

FAILED, BAD_CONFIGURATION = 1, 3
EVALUATION = "holdout.json"
ROUNDS = 1_000_000_000  # never the budget that ends first: arms get equal steps, whatever a round of theirs costs
OWN = "ablate."
_NEW = f"{OWN}overrides."
_SET_HERE = {"run.name": "ablate.name", "run.seed": "ablate.seeds", "run.rounds": "run.steps"}


class Stopped(Exception):
    """A signal asked to stop."""


class Plan(NamedTuple):
    """What a sweep does."""

    folder: Path
    suite: str
    lifetimes: int
    steps: int
    seeds: list[int]
    arms: dict[str, list[str]]  # what each changes
    common: list[str]  # overrides of all arms

    def runs(self) -> Iterator[tuple[str, int]]:
        """Arm and seed of every run, in the order in which they are made."""
        return ((arm, seed) for seed in self.seeds for arm in self.arms)

    def path(self, arm: str, seed: int) -> Path:
        """A run's folder."""
        return self.folder / f"{arm}-{seed}"

    def overrides(self, arm: str, seed: int) -> list[str]:
        """All that a run is started with."""
        own = [f"run.name={arm}-{seed}", f"run.seed={seed}", f"run.rounds={ROUNDS}", f"run.root={_quoted(self.folder)}"]
        return [*self.common, *self.arms[arm], *own]


def run(options: argparse.Namespace) -> int:
    """The command."""
    sweep = plan(options.overrides)
    say = functools.partial(print, file=sys.stderr if options.json else sys.stdout, flush=True)
    with only_one(sweep.folder, say) as lock, Interrupts(say) as stop:
        check(sweep)
        failed = Sweep(sweep, say, lambda: stop.requested is not None, lock).run()
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
    own = [f"++{text}" if text.startswith(_NEW) else text for text in overrides if text.startswith((OWN, f"++{OWN}"))]
    common = [text for text in overrides if not text.startswith((OWN, f"++{OWN}"))]
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
    if not _whole(lifetimes, 1):
        raise ConfigurationError(f"ablate.lifetimes is {lifetimes}; allowed: a whole number of at least 1")
    folder = Path(config.run.root) / str(ablate.name)
    return Plan(folder, config.heldout.suite, lifetimes, config.run.steps, _seeds(ablate.seeds), _arms(ablate), common)


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
    if not isinstance(seeds, list) or not seeds or not all(_whole(s, 0) for s in seeds) or len(set(seeds)) < len(seeds):
        allowed = "how many, at least 1, or a list of different whole numbers of at least 0"
        raise ConfigurationError(f"ablate.seeds is {given}; allowed: {allowed}")
    return seeds


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _quoted(path: Path) -> str:
    text = str(path.resolve()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


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
    """The runs of a plan, one after another."""

    def __init__(self, plan: Plan, say: Callable[[str], None], stop: Callable[[], bool], lock: int):
        self.plan, self.say, self.stop, self.lock = plan, say, stop, lock
        self.began, self.made = time.monotonic(), 0

    def run(self) -> list[str] | None:
        """Make what is missing; a sentence for every run that failed, or None when a signal stopped the sweep."""
        runs = list(self.plan.runs())
        open_ = [(i, *pair) for i, pair in enumerate(runs) if finished(self.plan, *pair) is None]
        done = len(runs) - len(open_)
        self.say(
            f"{len(runs)} runs of {count(self.plan.steps)} steps ({len(self.plan.arms)} arms, {len(self.plan.seeds)} seeds)"
            f" in {self.plan.folder}" + (f"; {done} are finished already" if done else "")
        )
        failed = []
        try:
            for i, arm, seed in open_:
                problem = self._make(arm, seed)
                self.made += 1
                left = len(open_) - self.made
                self.say(f"{self._clock(left)} {i + 1}/{len(runs)} {arm}-{seed}: {problem or self._told(arm, seed)}")
                failed += [f"{arm}-{seed}: {problem}"] if problem else []
        except Stopped:
            return None
        return failed

    def _make(self, arm: str, seed: int) -> str:
        """Train and evaluate one run, then write the report; in words, what went wrong, '' if nothing did."""
        plan, path = self.plan, self.plan.path(arm, seed)
        path.mkdir(parents=True, exist_ok=True)
        problem, _ = self._child(path, ["train", *plan.overrides(arm, seed)])
        if problem:
            return problem
        named = ["--suite", plan.suite, "--lifetimes", str(plan.lifetimes), "--seed", str(seed)]
        problem, text = self._child(path, ["eval", str(path.resolve()), "--json", *named], keep=True)
        if problem:
            return problem
        write_durably(path / EVALUATION, to_json({**json.loads(text), "run": facts(plan, path)}) + "\n")
        write_report(plan)
        return ""

    def _child(self, path: Path, words: list[str], keep: bool = False) -> tuple[str, str]:
        """What went wrong in a process, and what it printed if that is kept; everything else goes to the run's sweep.log."""
        child = Child(words, path / "sweep.log", self.lock, keep)
        code = child.wait(self.stop)
        if self.stop() or code == INTERRUPTED:
            raise Stopped
        last = child.last_line()
        if code == BAD_CONFIGURATION:
            raise ConfigurationError(last.removeprefix("openended: "))
        return (f"'{words[0]}' ended with code {code}: {last} (see {path / 'sweep.log'})" if code else ""), child.output()

    def _told(self, arm: str, seed: int) -> str:
        found = finished(self.plan, arm, seed)
        assert found is not None
        levels = {name: group["learners"]["trained"]["episode_success"][-1]["mean"] for name, group in found["groups"].items()}
        success = ", ".join(f"{name} {levels[name]:.2f}" for name in ("all", "hidden_goal") if name in levels)
        kept = f"accepted {found['run']['accepted']:.0f}, {count(sum(found['run']['steps'].values()))} steps"
        return f"success in the last episode: {success}; {kept}, {clock(found['run']['seconds'])}"

    def _clock(self, left: int) -> str:
        spent = time.monotonic() - self.began
        return f"[{clock(spent)}" + (f", about {clock(spent / self.made * left)} to go]" if left else "]")


def facts(plan: Plan, path: Path) -> dict[str, Any]:
    """What a run's archive tells of the whole run: steps by purpose, counts of skills, seconds in rounds."""
    with Archive(path / "archive.db", readonly=True) as archive:
        last = archive.latest()
        rounds, seconds = archive.last_round(), sum(value for _, value in archive.metrics("seconds"))
    return {
        "steps": {purpose: int(last[f"steps_{purpose}"]) for purpose in PURPOSES},
        **{name: int(last[name]) for name in ("accepted", "retained")},
        **{"rounds": rounds, "seconds": seconds, "lifetimes": plan.lifetimes},
    }


def finished(plan: Plan, arm: str, seed: int) -> dict[str, Any] | None:
    """The evaluation of a run, None if it is not there as the plan wants it."""
    try:
        found = json.loads((plan.path(arm, seed) / EVALUATION).read_text(encoding="utf-8"))
        return found if (found["suite"], found["run"]["lifetimes"]) == (plan.suite, plan.lifetimes) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_report(plan: Plan) -> Mapping[str, Any]:
    """report.json, report.md and report.png from the runs that are finished."""
    runs = {(arm, seed): finished(plan, arm, seed) for arm, seed in plan.runs()}
    results = {
        arm: [Result(s, found["per_task"], found["run"]) for s in plan.seeds if (found := runs[arm, s])] for arm in plan.arms
    }
    sweep = {"name": plan.folder.name, "suite": plan.suite, "lifetimes": plan.lifetimes, "seeds": plan.seeds}
    about = {**sweep, "arms": plan.arms, "overrides": [text for text in plan.common if not text.startswith("run.root=")]}
    report = {**comparison.report(plan.suite, results), "about": about}
    comparing_words.plot(plan.folder / "report.png", report)
    write_durably(plan.folder / "report.md", "\n".join(comparing_words.markdown(report)) + "\n")
    write_durably(plan.folder / "report.json", to_json(report) + "\n")
    return report
