"""From a round's journal to the archive's rows, with goals and descriptions in words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from envs import goals
from envs.base import AbstractFamily
from envs.goals import Goal
from envs.spec import decode
from openended import checkpoint, statistics, trees, wording
from openended.archive import Archive, EvaluationRow, EventRow, ParentRow, RoundRecord, TaskRow
from openended.archive_reading import Reading
from openended.checkpoint import CheckpointError
from openended.journal import Journal, NewTask
from openended.ledger import LoopState
from openended.metrics import MetricsWriter


def newest(folder: Path, archive: Reading, fresh: LoopState) -> checkpoint.Restored | None:
    """The newest good checkpoint that the archive knows, on the devices as a round leaves it; None before round 1.

    A checkpoint is written before its round's rows, so one that is newer belongs to a round that never happened.
    """
    known = archive.last_round()
    if known < 1:
        return None
    found = checkpoint.restore(folder / "checkpoints", fresh, at=known)
    state = found.state
    return found._replace(state=state._replace(learner=trees.replicate(state.learner), model=trees.replicate(state.model)))


def final(folder: Path, fresh: LoopState) -> LoopState:
    """The state of the run in ``folder`` after its last round, for whoever only looks at it; problems go to stderr.

    Raises:
        CheckpointError: the run has no finished round, or no checkpoint that can be read.
    """
    with Archive(folder / "archive.db", readonly=True) as archive:
        found = newest(folder, archive, fresh)
    if found is None:
        raise CheckpointError(f"The run '{folder.resolve().name}' has no finished round yet, so it has no learner to look at.")
    for sentence in found.problems:
        print(sentence, file=sys.stderr)
    return found.state


def store(
    folder: Path,
    archive: Archive,
    metrics: MetricsWriter,
    families: dict[str, AbstractFamily],
    state: LoopState,
    journal: Journal,
) -> None:
    """Keep a round for good.

    The checkpoint first: a round that the archive knows can then always be resumed from. What ``metrics`` was told is cut back
    on resume when the archive did not follow.
    """
    checkpoint.save(folder / "checkpoints", journal.round, state)
    if any(kind == "accepted" for _, kind, _ in journal.events):
        checkpoint.save_snapshot(folder / "snapshots", int(state.version), state.learner.params)
    metrics.write(journal.round, journal.metrics)
    archive.commit_round(record(families, journal))


def record(families: dict[str, AbstractFamily], journal: Journal) -> RoundRecord:
    """All rows of one round."""
    first = {task.id: task for task in reversed(journal.tasks)}
    return RoundRecord(
        round=journal.round,
        tasks=[_task(families[task.family], task, journal) for task in first.values()],
        statuses=journal.statuses,
        parents=[ParentRow(t.id, t.parent, t.operator, t.delta) for t in first.values() if t.parent and t.parent != t.id],
        events=[EventRow(*event) for event in journal.events],
        evaluations=[_evaluation(*row) for row in journal.evaluations],
        metrics=journal.metrics,
    )


def goal(family: AbstractFamily, vector: np.ndarray) -> dict[str, Any]:
    """The goal in physical units.

    {feature, unit, target, tolerance, hold_s, limit_s, visible}; one of two conditions also has {combination: "and" or "then",
    second: {feature, unit, target, tolerance}}.
    """
    decoded = goals.from_values(decode(family.specs, np.asarray(vector, np.float32)), family.features, family.control_dt)
    first, *others = (_condition(family, decoded, part) for part in range(int(decoded.used)))
    whole = {
        **first,
        "hold_s": int(decoded.hold) * family.control_dt,
        "limit_s": int(decoded.limit) * family.control_dt,
        "visible": bool(decoded.visible > 0.5),
    }
    for other in others:
        whole |= {"combination": "then" if decoded.ordered else "and", "second": other}
    return whole


def _condition(family: AbstractFamily, goal: Goal, part: int) -> dict[str, Any]:
    feature = family.features[int(goal.feature[part])]
    return {
        "feature": feature.name,
        "unit": feature.unit,
        "target": [float(x) for x in goal.target[part, : feature.size]],
        "tolerance": float(goal.tolerance[part]),
    }


def describe(family: AbstractFamily, vector: np.ndarray) -> str:
    """A task in one plain sentence."""
    values = {name: float(value) for name, value in decode(family.specs, np.asarray(vector, np.float32)).items()}
    aim = goal(family, vector)
    turned = [str(i) for i in range(family.actuators) if values[f"reversed_{i}"] >= 0.5]
    hidden = "" if aim["visible"] else ", a target it must find from reward"
    reverse = f"; motors reversed: {', '.join(turned)}" if turned else ""
    mixed = f"; behind random projection {values['projection']:.0f}" if "projection" in values else ""
    each = " each" if aim.get("combination") == "then" else ""
    return (
        f"{family.describe(values)}, must bring {wording.conditions(aim, '.2f')} for {aim['hold_s']:.2f} s{each} before "
        f"{aim['limit_s']:.1f} s{hidden}{reverse}{mixed}"
    )


def _task(family: AbstractFamily, task: NewTask, journal: Journal) -> TaskRow:
    return TaskRow(
        id=task.id,
        family=task.family,
        vector=task.vector.tolist(),
        goal=goal(family, task.vector),
        description=describe(family, task.vector),
        status=journal.statuses.get(task.id, "rejected"),
        kind=task.kind,
        round=journal.round,
        learner_version=task.learner_version,
        cost_bits=task.cost_bits,
        witness=None if task.witness is None else json.dumps(task.witness),
    )


def _evaluation(task: str, version: int, purpose: str, n: int, k: int) -> EvaluationRow:
    low, high = statistics.clopper_pearson(k, n)
    return EvaluationRow(task, version, purpose, n, k, float(low), float(high))
