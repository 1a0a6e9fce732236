"""Rounds as `train` makes them, timed: what the bench measures them with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from omegaconf import DictConfig

from openended import recording
from openended.archive import Archive
from openended.compilations import Compilations
from openended.loop import Loop
from openended.metrics import MetricsWriter
from openended.stopwatch import Stopwatch
from openended.train import Heldout

PROGRAMS = ("ground", "evaluate", "learn")


class Seen(NamedTuple):
    """One round: wall time, time inside each program and of every stage (s), control steps by purpose, backend compilations."""

    seconds: float
    inside: dict[str, float]
    steps: dict[str, int]
    compilations: int
    stages: dict[str, float]

    @property
    def host(self) -> float:
        """Seconds outside of the programs."""
        return self.seconds - sum(self.inside.values())


class Rounds:
    """Rounds as `train` runs and records them; from now on the loop's programs are timed."""

    def __init__(self, config: DictConfig, loop: Loop, folder: Path):
        self.loop, self.folder, self.state, self.heldout = loop, folder, loop.init(), Heldout(config, loop)
        self.seen: list[Seen] = []
        self.inside, self.made = dict.fromkeys(PROGRAMS, 0.0), Compilations()
        for name in PROGRAMS:
            setattr(loop.programs, name, self._timed(name, getattr(loop.programs, name)))

    def __enter__(self) -> Rounds:
        self.archive, self.metrics = Archive(self.folder / "archive.db"), MetricsWriter(self.folder)
        self.made.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.made.__exit__()
        self.metrics.close()
        self.archive.close()

    def next(self) -> None:
        """One round."""
        before, inside, compilations = self.state, dict(self.inside), self.made.count
        watch, began = Stopwatch(), time.perf_counter()
        self.state, journal = self.loop.round(before, stage=watch.stage)
        watch.stage("record")
        journal.metrics |= self.heldout.measure(self.state)
        recording.store(self.folder, self.archive, self.metrics, self.loop.families, self.state, journal)
        seconds, stages = time.perf_counter() - began, watch.read()
        steps = {purpose: int(count - before.steps[purpose]) for purpose, count in self.state.steps.items()}
        spent = {name: self.inside[name] - inside[name] for name in PROGRAMS}
        self.seen.append(Seen(seconds, spent, steps, self.made.count - compilations, stages))

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = jax.block_until_ready(call(*args, **options))
            self.inside[name] += time.perf_counter() - began
            return result

        return timed


def median(values: Iterable[float]) -> float:
    """Middle value."""
    return float(np.median(list(values)))
