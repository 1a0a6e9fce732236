"""Where the browser meets the task space and the learners: numbers of a task, thumbnails, difficulties, replays.

The only module here that imports JAX, and only when it is first needed: the other pages work without. A program is
compiled once per family; replays are remembered in memory, thumbnails also on disk, and nothing is written to the run.
"""

from __future__ import annotations

import functools
import gc
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from openended.archive_reading import ArchiveError
from openended.browser import stills
from openended.browser.queries import Wanted
from openended.browser.runs import Missing, Run

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from openended.loop import Loop

FILMS = 64  # remembered
BATCH = 256  # tasks whose difficulty is computed at once
_COMPILING = threading.Lock()  # one at a time: two compilations would take both cores from training
_PICTURING = threading.Lock()  # the same for thumbnails, which take a second and do not wait for a replay


class Studio:
    """Makes pictures and replays of one run's tasks. Every method raises `Missing` for what cannot be made."""

    def __init__(self, run: Run, pictures: stills.Stills | None = None):
        self.run, self.pictures = run, pictures or stills.Stills()
        self._lock = threading.Lock()
        self._films: OrderedDict[tuple[Any, ...], dict[str, Any]] = OrderedDict()
        self._families: dict[str, Any] | None = None
        self._begun: set[str] = set()  # families whose pictures need no compiling any more
        self._warming: threading.Thread | None = None
        self._params: dict[tuple[str, int], Any] = {}
        self._measuring: threading.Thread | None = None
        self._lifetimes: dict[str, int] | None = None
        self._counting = threading.Lock()

    @functools.cached_property
    def loop(self) -> Loop:
        """The run's parts, as `openended eval` builds them."""
        from openended import configuration

        made: Loop = self._built(configuration.build)
        gc.freeze()  # a million objects of JAX stay: no later collection, a tenth of a second each, has to look at them
        return made

    def families(self) -> dict[str, Any]:
        """The run's families; nothing of the learner is loaded."""
        from openended import configuration

        with self._lock:
            if self._families is None:
                self._families = self._built(configuration.families)
            return self._families

    def _built(self, build: Callable[[DictConfig], Any]) -> Any:
        from openended.configuration import ConfigurationError
        from openended.locate import stored_config
        from openended.runfolder import RunFolderError

        try:
            return build(stored_config(self.run.folder))
        except (ConfigurationError, RunFolderError) as error:
            raise Missing(f"The run '{self.run.name}' does not fit this version: {error}") from error
        except Exception as error:  # a configuration of another version may lack anything
            raise Missing(f"The run '{self.run.name}' does not fit this version: {type(error).__name__} {error}") from error

    def family(self, name: str) -> Any:
        """A family of the run."""
        families = self.families()
        if name not in families:
            raise Missing(f"The run '{self.run.name}' has no family '{name[:80]}'; it has {', '.join(families)}.")
        return families[name]

    def specs(self, family: str) -> list[dict[str, Any]]:
        """The family's numbers: name, part, low, high, unit, meaning, scale."""
        from envs.spec import table

        return table(self.family(family).specs)

    def numbers(self, family: str, vector: Any) -> dict[str, dict[str, Any]]:
        """Every number of a task with unit and bounds."""
        from openended.taskfile import parameters

        made = self.family(family)
        if len(vector) != len(made.specs):
            raise Missing(f"The task has {len(vector)} numbers; the family '{family}' has {len(made.specs)} in this version.")
        return parameters(made, np.nan_to_num(np.asarray(vector, np.float32)))

    def lifetimes(self) -> dict[str, int]:
        """Held-out lifetimes behind each metric ``heldout_...``: tasks of the suite times lifetimes of each. Counted once."""
        with self._counting:
            if self._lifetimes is None:
                self._lifetimes = self._count_lifetimes()
            return self._lifetimes

    def _count_lifetimes(self) -> dict[str, int]:
        from openended import suites

        heldout = self.run.config().get("heldout") or {}
        try:
            families = self.families()
            suite, _ = suites.held_out(str(heldout.get("suite")), families)
        except Exception:  # a run or a suite of another version: then there are no intervals
            return {}
        each, counts = int(heldout.get("lifetimes", 0)), {name: len(rows) for name, rows in suites.groups(suite).items()}
        shown = {"": sum(counts.get(name, 0) for name in families), "_hidden": counts.get("hidden_goal", 0)}
        shown |= {f"_{name}": counts.get(name, 0) for name in families}
        return {f"heldout_{label}{group}": each * n for label in ("first", "last") for group, n in shown.items() if n}

    def still(self, id: str) -> bytes:
        """The thumbnail of a task, SVG."""
        found = self.run.archive().pictured([id])
        if not found:
            raise Missing(f"There is no task '{id[:80]}' in the run '{self.run.name}'.")
        _, family, vector, goal = found[0]
        name = stills.named(self.run.config(), family, vector, goal)
        known = self.pictures.get(name)
        if known is None:
            known = self._drawn(family, vector, goal)
            self.pictures.put(name, known)
        return known

    def _drawn(self, name: str, vector: list[float], goal: dict[str, Any]) -> bytes:
        family = self.family(name)
        if len(vector) != len(family.specs):
            raise Missing(f"The family '{name}' has other numbers in this version.")
        if name not in self._begun:  # else nobody waits for what another family compiles
            with _PICTURING:
                stills.start(family)
            self._begun.add(name)
        return stills.draw(family, vector, goal)

    def warm(self) -> threading.Thread:
        """Begin, in a thread, to draw the first page of the gallery: of every family one task, then the others."""
        with self._lock:
            if self._warming is None:
                self._warming = threading.Thread(target=self._warm, name="warm", daemon=True)
                self._warming.start()
            return self._warming

    def _warm(self) -> None:
        try:
            _, tasks = self.run.archive().gallery(Wanted())
            firsts = {task["family"]: task["id"] for task in reversed(tasks)}
            for id in dict.fromkeys([*reversed(firsts.values()), *(task["id"] for task in tasks)]):
                self.still(id)
            _ = self.loop  # the first replay and the intervals need it
        except Missing:
            return  # whoever asks for a picture gets the sentence

    def unit_range(self, family: str, name: str, low: float | None, high: float | None) -> tuple[int, float, float]:
        """(index, low, high) in the unit box of bounds in the parameter's own unit; None is no bound."""
        from envs.spec import encode

        specs = self.family(family).specs
        names = [spec.name for spec in specs]
        if name not in names:
            raise Missing(f"The family '{family[:80]}' has no parameter '{name[:80]}'; it has {', '.join(names)}.")
        index = names.index(name)
        spec = specs[index]
        margin = 0.5 / spec.cells if spec.structural else 1e-6

        def unit(value: float | None, otherwise: float, side: float) -> float:
            if value is None or spec.pinned:
                return otherwise
            return float(encode(specs, {name: min(max(value, spec.low), spec.high)})[index]) + side * margin

        outside = (low is not None and low > spec.high) or (high is not None and high < spec.low)
        return (index, 2.0, -1.0) if outside else (index, unit(low, 0.0, -1), unit(high, 1.0, 1))

    def measured(self) -> str:
        """A sentence while difficulties are still being computed, '' when all are known."""
        left = len(self.run.archive().without_difficulty())
        return f"The difficulty of {left} tasks is still being computed; they come last." if left else ""

    def measure(self, wait: bool = False) -> None:
        """Begin, in a thread, to compute the difficulty of the tasks that have none yet; the archive's queries learn it."""
        with self._lock:
            if self._measuring is None or not self._measuring.is_alive():
                self._measuring = threading.Thread(target=self._measure, name="difficulty", daemon=True)
                self._measuring.start()
            thread = self._measuring
        if wait:
            thread.join()

    def film(self, id: str, learner: str, seed: int) -> dict[str, Any]:
        """A replay, as `openended replay --json` has it. learner: final, untrained, witness or a stored version."""
        from openended import replay

        archive = self.run.archive()
        version = archive.last_round() if learner == "final" else -1
        key = id, learner, seed, version
        with self._lock:
            if key in self._films:
                self._films.move_to_end(key)
                return self._films[key]
        try:
            task = archive.task(id).task
        except ArchiveError as error:
            raise Missing(f"There is no task '{id[:80]}' in the run '{self.run.name}'.") from error
        family = self.family(task.family)
        chosen = replay.chosen(task)
        with _COMPILING:
            name, film = self._shoot(family, chosen, learner, seed, version)
        made = replay.document(family, chosen, name, film) | {"seed": None if learner == "witness" else seed}
        with self._lock:
            self._films[key] = made
            while len(self._films) > FILMS:
                self._films.popitem(last=False)
        return made

    def _shoot(self, family: Any, task: Any, learner: str, seed: int, version: int) -> tuple[str, Any]:
        import jax

        from openended import replay
        from openended.checkpoint import CheckpointError
        from openended.locate import CommandError

        try:
            if learner == "witness":
                return f"witness of {task.id}", replay.witness(family, task)
            if (learner, version) not in self._params:
                self._params = {k: v for k, v in self._params.items() if k[0] != learner}
                self._params[learner, version] = replay.learner(self.run.folder, self.loop, learner)
        except (CommandError, CheckpointError, ArchiveError) as error:
            raise Missing(str(error)) from error
        name, params = self._params[learner, version]
        params = self.loop.programs.weights(task.family, params, task.vector)
        policy, episodes = self.loop.learner.policy, self.loop.settings.episodes
        return name, replay.lifetime(family, policy, params, task.vector, jax.random.key(seed), episodes)

    def _measure(self) -> None:
        try:
            archive = self.run.archive()
            waiting: dict[str, list[str]] = {}
            for id, family in archive.without_difficulty():
                waiting.setdefault(family, []).append(id)
            for name, ids in waiting.items():
                family = self.family(name)
                for start in range(0, len(ids), BATCH):
                    self._measure_some(archive, family, ids[start : start + BATCH])
        except Missing:
            return  # the sentence is shown where the reader asked for something

    def _measure_some(self, archive: Any, family: Any, ids: list[str]) -> None:
        rows = [row for row in archive.pictured(ids) if len(row[2]) == len(family.specs)]
        vectors = np.full((BATCH, len(family.specs)), 0.5, np.float32)
        vectors[: len(rows)] = [row[2] for row in rows]
        with _COMPILING:
            bits = np.asarray(_difficulties(family)(vectors)).tolist()
        archive.set_difficulty({row[0]: b if b == b else None for row, b in zip(rows, bits, strict=False)})


@functools.lru_cache(maxsize=32)
def _difficulties(family: Any) -> Any:
    """(vectors [BATCH, D]) -> difficulty [BATCH] in bits."""
    import jax

    from envs import goals

    def one(vector):
        model = family.prepare(vector)
        state, _ = family.reset(model, jax.random.key(0))
        return goals.difficulty(model.task.goal, state.progress.start)

    return jax.jit(jax.vmap(one))
