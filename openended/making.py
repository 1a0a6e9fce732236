"""One run of a sweep: trained and evaluated in processes of its own; where it is and whether it is finished.

A run is an ordinary run folder ``NAME/ARM-SEED``; its evaluation, ``holdout.json`` beside it, is written last and marks it as
finished. Nothing here knows how many runs are made at once, or on which machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from openended import annecs
from openended.archive import Archive
from openended.metrics import to_json
from openended.programs import PURPOSES
from openended.runfolder import read_config, write_durably
from openended.subprocesses import Child
from openended.train import INTERRUPTED

BAD_CONFIGURATION = 3
EVALUATION = "holdout.json"
ROUNDS = 1_000_000_000  # never the budget that ends first: arms get equal steps, whatever a round of theirs costs


class Outcome(NamedTuple):
    """How a run ended: finished, unless one of these says otherwise."""

    problem: str = ""  # in words, what went wrong
    refused: str = ""  # why its configuration cannot be used: other runs will fare no better
    stopped: bool = False  # it was told to save and stop, or never began


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


def _quoted(path: Path) -> str:
    text = str(path.resolve()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def make(plan: Plan, arm: str, seed: int, stop: Callable[[], bool], lock: int | None, cores: Sequence[int] = ()) -> Outcome:
    """Train and evaluate one run, which is resumed where it exists.

    stop: asked over and over; once it says so the run is saved and stopped. lock: a descriptor that the processes hold, see
    `Child`. cores: those that they may use, all if none are given.
    """
    if stop():
        return Outcome(stopped=True)
    path = plan.path(arm, seed)
    path.mkdir(parents=True, exist_ok=True)

    def child(words: list[str], keep: bool = False) -> tuple[Outcome, str]:
        process = Child(words, path / "sweep.log", lock, keep, cores)
        code = process.wait(stop)
        return _ended(words[0], code, process, stop() or code == INTERRUPTED), process.output()

    outcome, _ = child(["train", *plan.overrides(arm, seed)])
    if any(outcome):
        return outcome
    named = ["--suite", plan.suite, "--lifetimes", str(plan.lifetimes), "--seed", str(seed)]
    outcome, text = child(["eval", str(path.resolve()), "--json", *named], keep=True)
    if not any(outcome):
        write_durably(path / EVALUATION, to_json({**json.loads(text), "run": facts(plan, path)}) + "\n")
    return outcome


def _ended(word: str, code: int, process: Child, stopped: bool) -> Outcome:
    """What became of a process; everything that it said is in the run's sweep.log."""
    if stopped:
        return Outcome(stopped=True)
    last = process.last_line()
    if code == BAD_CONFIGURATION:
        return Outcome(refused=last.removeprefix("openended: "))
    return Outcome(f"'{word}' ended with code {code}: {last} (see {process.log})" if code else "")


def facts(plan: Plan, path: Path) -> dict[str, Any]:
    """What a run's folder tells of the whole run: steps by purpose, skills, seconds in rounds, versions of packages."""
    with Archive(path / "archive.db", readonly=True) as archive:
        last = archive.latest()
        rounds, seconds = archive.last_round(), sum(value for _, value in archive.metrics("seconds"))
        skills = annecs.skills(archive, read_config(path)["acceptance"])
    environment = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    return {
        "steps": {purpose: int(last[f"steps_{purpose}"]) for purpose in PURPOSES},
        **{name: int(last[name]) for name in ("accepted", "retained")},
        **skills,
        **{"rounds": rounds, "seconds": seconds, "lifetimes": plan.lifetimes},
        "versions": {"openended": version("openended"), **{key: environment[key] for key in ("python", "packages")}},
    }


def finished(plan: Plan, arm: str, seed: int) -> dict[str, Any] | None:
    """The evaluation of a run, None if it is not there as the plan wants it, or from before all that a report needs."""
    try:
        found = json.loads((plan.path(arm, seed) / EVALUATION).read_text(encoding="utf-8"))
        wanted = (found["suite"], found["run"]["lifetimes"]) == (plan.suite, plan.lifetimes)
        complete = "annecs" in found["run"] and "trained_halves" in found["per_task"][0]
        return found if wanted and complete else None
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
