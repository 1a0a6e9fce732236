"""`openended train`: run the loop inside a run folder, record every round, resume where a run stopped."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from omegaconf import DictConfig

from openended import closing, configuration, recording, subjects, suites
from openended.archive import Archive
from openended.budget import Budget
from openended.checkpoint import CheckpointError
from openended.compilations import Compilations
from openended.configuration import ConfigurationError
from openended.ledger import LoopState
from openended.locate import CommandError, find_run
from openended.loop import Loop
from openended.metrics import MetricsWriter
from openended.runfolder import Interrupts, RunFolder, RunFolderError, differences, read_config
from openended.stopwatch import Stopwatch
from openended.terminal import Progress
from openended.traces import Traces, traces_of
from openended.types import Params

DONE, INTERRUPTED = 0, 75


class Stopped(Exception):
    """A signal asked to stop; the round in progress is dropped and run again on resume."""


def train(config: DictConfig) -> int:
    """Train until a budget ends; exit code 0, or 75 when a signal stopped the run.

    Raises:
        ConfigurationError: the run exists with another configuration, or a part refuses its values.
    """
    stored = configuration.plain(config)
    with Progress(total_rounds=config.run.rounds, total_steps=config.run.steps) as progress:
        progress.stage("starting")
        loop = configuration.build(config)
        begins = inherited(config.run, loop)
        budget, traces = Budget(config.run.rounds, config.run.steps), traces_of(config)
        with RunFolder(Path(config.run.root) / config.run.name) as folder, Interrupts(progress.note, progress.restore) as stop:
            if _claim(folder, stored) and not budget.ended(0, 0, 0.0):
                loop.compile(traces)  # while all else is made ready
            for sentence in folder.record_environment():
                progress.note(f"Not bit for bit the same as before: {sentence}")
            heldout = Heldout(config, loop)
            if heldout.missing:
                progress.note(f"Not measured: {heldout.missing}.")
            session = Session(folder, loop, progress, stop, heldout, traces, begins)
            finished = session.run(budget)
            return DONE if finished else INTERRUPTED


class Heldout:
    """The frozen suite as a thermometer: measured after a round, never used for training or for choosing anything."""

    def __init__(self, config: DictConfig, loop: Loop):
        self.loop, self.every, self.lifetimes = loop, config.heldout.every, config.heldout.lifetimes
        try:  # missing: in words, the families that cannot be measured
            self.suite, self.missing = suites.held_out(config.heldout.suite, loop.families) if self.every else ([], "")
        except CommandError as error:
            raise ConfigurationError(f"heldout.suite cannot be used: {error}") from error

    def measure(self, state: LoopState) -> dict[str, float]:
        """Metrics ``heldout_...`` of this learner; none in rounds that are not measured. Its steps are not the run's."""
        number = int(state.round)
        if not self.suite or (number - 1) % self.every:
            return {}
        key = jax.random.fold_in(suites.seeds(self.loop.seed), number)
        return suites.quick(self.loop.programs, state.learner.params, self.suite, self.lifetimes, key)


class Session:
    """One process's share of a run."""

    def __init__(
        self,
        folder: RunFolder,
        loop: Loop,
        progress: Progress,
        stop: Interrupts,
        heldout: Heldout,
        traces: Traces,
        begins: Params | None,
    ):
        self.folder, self.loop, self.progress, self.stop = folder, loop, progress, stop
        self.heldout, self.traces = heldout, traces
        self.archive = Archive(folder.path / "archive.db")
        self.state = self._restore(begins)
        self.metrics = MetricsWriter(folder.path, resume_from_round=int(self.state.round))
        self.last = self.archive.latest()
        self.made, self.counted = Compilations(), 0
        self.stopwatch = Stopwatch()

    def run(self, budget: Budget) -> bool:
        """Rounds until the budget ends (True) or a signal stops (False); then the summary and the plots."""
        finished = True
        try:
            with self.made:
                if not self.loop.ended(self.state, budget):
                    self._begin()
                while not self.loop.ended(self.state, budget):
                    self._round(budget)
        except Stopped:
            self.folder.log(f"stopped by {self.stop.requested} after round {int(self.state.round)}")
            finished = False
        finally:
            self.metrics.close()
            self.archive.close()
        self._close()
        return finished

    def _begin(self) -> None:
        """Note in the archive that another process goes on, and begin to compile."""
        if int(self.state.round):
            self.archive.note_resumed(int(self.state.round), f"after round {int(self.state.round)}")
        self._stage("compile")
        self.loop.compile(self.traces)

    def _close(self) -> None:
        with Archive(self.archive.path, readonly=True) as archive:
            facts = closing.facts(archive, self.state)
        facts |= {"run": self.folder.path.name, "interrupted": self.stop.requested, "seconds": self.progress.elapsed}
        self.progress.summary({**facts, "plots": closing.draw(self.folder.path, self.state)})

    def _round(self, budget: Budget) -> None:
        before = self.state
        state, journal = self.loop.round(before, self._stage, budget)
        self._stage("measure")
        journal.metrics |= self.heldout.measure(state)
        self._stage("record")
        spent = self.stopwatch.read()
        seconds = sum(spent.values())
        journal.metrics |= {
            **{f"seconds_{stage}": each for stage, each in spent.items()},
            "seconds": seconds,
            "steps_per_s": (state.total - before.total) / seconds,
            "steps_per_s_learn": int(state.steps["learn"] - before.steps["learn"]) / seconds,
            "compiled": float(self.made.count - self.counted),
        }
        self.counted = self.made.count
        recording.store(self.folder.path, self.archive, self.metrics, self.loop.families, state, journal)
        self.state = state
        self.last = {**self.last, **journal.metrics, "round": float(journal.round)}
        self.progress.round(self.last)

    def _stage(self, name: str) -> None:
        if self.stop.requested:
            raise Stopped
        self.stopwatch.stage(name)
        self.folder.beat(name, int(self.state.round) + 1)
        self.progress.stage(name)

    def _restore(self, begins: Params | None) -> LoopState:
        fresh = self.loop.init(begins)
        found = recording.newest(self.folder.path, self.archive, fresh)
        if found is None:
            return fresh
        for sentence in found.problems:
            self.progress.note(sentence)
        self.archive.rollback(found.round)
        self.folder.log(f"resumed after round {found.round}")
        self.progress.note(f"Resuming '{self.folder.path.name}' after round {found.round}.")
        return found.state


def inherited(run: DictConfig, loop: Loop) -> Params | None:
    """What the learner of a new run begins as: the final one of the run that ``run.start`` names, None if it names none.

    A run that has a finished round goes on from there, and the other run may be gone.

    Raises:
        ConfigurationError: there is no such run, it has no learner yet, or one with other weights.
    """
    if run.start is None or _begun(Path(run.root) / run.name / "archive.db"):
        return None
    try:
        params = subjects.restore(find_run(str(run.start), run.root)).trained
    except (RunFolderError, CheckpointError, ConfigurationError) as error:
        raise ConfigurationError(f"run.start cannot be used: {error}") from error
    own = jax.eval_shape(loop.learner.policy.init, jax.random.key(0))
    if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, own):
        allowed = "a run with the same learner, among families that are as wide together"
        raise ConfigurationError(f"run.start is '{run.start}', whose learner has other weights; allowed: {allowed}")
    return params


def _begun(path: Path) -> bool:
    """Whether an archive knows a round; a checkpoint alone may be of one that never came to its end."""
    if not path.is_file():
        return False
    with Archive(path, readonly=True) as archive:
        return archive.last_round() >= 1


def _claim(folder: RunFolder, stored: dict) -> bool:
    """Whether the run is new."""
    if folder.is_new:
        folder.store_config(stored)
        return True
    budgets = {"run.rounds", "run.steps", "run.root"}  # a finished run may be prolonged, and a folder may move
    for key, was, wanted in differences(read_config(folder.path), stored):
        if key not in budgets:
            raise ConfigurationError(f"{key} is {wanted}; the run '{folder.path.name}' has {key}={was}")
    return False
