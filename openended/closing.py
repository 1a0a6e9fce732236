"""What a run has to show when it stops: the facts of the closing summary, and the plots in its folder."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from openended import plots
from openended.archive_reading import Reading
from openended.ledger import LoopState
from openended.metrics import read_metrics
from openended.summary import warm
from openended.terminal import FIRST, LAST


def facts(archive: Reading, state: LoopState) -> dict[str, Any]:
    """Keys of :func:`summary.summary_lines`, but for the run's name, interruption and plots."""
    accepted, last = archive.accepted(), archive.latest()
    skills = [task for task in accepted if task.kind == "skill"]
    lost = set(archive.forgotten())
    told: dict[str, Any] = {
        "rounds": int(state.round),
        "steps_total": state.total,
        "accepted": len(skills),
        "retained": sum(task.id not in lost for task in skills),
        "speedups": len(accepted) - len(skills),
        "heldout": {
            key.removeprefix(LAST): {"first episode": last[FIRST + key.removeprefix(LAST)], "last episode": last[key]}
            for key in last
            if key.startswith(LAST)
        },
        "reasons": Counter(event.reason.split(":")[0] for event in archive.events("rejected")),
    }
    if measured := [key for key in last if key.startswith(LAST)]:
        told["heldout_round"] = archive.metrics(measured[0])[-1][0]
    if audits := archive.events("audited"):
        counts = {key: int(last[f"audit_{key}"]) for key in ("tasks", "solved")}
        told["audit"] = {"round": audits[-1].round, **counts}
    resumed = [event.round for event in archive.events("resumed")]
    if made := warm(archive.metrics("compiled"), resumed):
        told["compiled"], told["starts"] = int(sum(made)), 1 + len(resumed)
    hard = accepted_difficulty(state)[0]
    if len(hard) >= 8:
        part = max(4, len(hard) // 4)
        told["difficulty"] = float(np.median(hard[:part])), float(np.median(hard[-part:]))
    if skills:
        told["task"] = skills[-1].id
    return told


def accepted_difficulty(state: LoopState) -> tuple[list[float], list[str]]:
    """Difficulty in bits and family of every accepted skill, in the order of acceptance."""
    found = sorted(
        (int(book.order[row]), float(book.difficulty[row]), name)
        for name, book in state.repertoire.items()
        for row in book.skills()
    )
    return [hard for _, hard, _ in found], [name for _, _, name in found]


def draw(folder: Path, state: LoopState) -> list[Path]:
    """Plots of everything that ``metrics.jsonl`` and the accepted tasks tell, into ``folder/plots``."""
    rounds = read_metrics(folder)
    keys = sorted({key for entry in rounds for key in entry})
    series: dict[str, list[Any]] = {key: [entry.get(key, math.nan) for entry in rounds] for key in keys}
    series["accepted_difficulty"], series["accepted_family"] = accepted_difficulty(state)
    return plots.plot_run(folder / "plots", series)
