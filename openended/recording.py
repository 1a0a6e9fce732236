"""From a round's journal to the archive's rows, with goals and descriptions in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from envs.base import AbstractFamily
from envs.spec import decode
from openended import checkpoint, statistics, trees
from openended.archive import Archive, EvaluationRow, EventRow, ParentRow, RoundRecord, TaskRow
from openended.journal import Journal, NewTask
from openended.ledger import LoopState
from openended.metrics import MetricsWriter


def placed(state: LoopState) -> LoopState:
    """A restored state with its device parts on the devices, as the first round leaves them."""
    return state._replace(learner=trees.replicate(state.learner), model=trees.replicate(state.model))


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
    """The goal in physical units."""
    decoded = family.decode(jnp.asarray(vector, jnp.float32)).goal
    feature = family.features[int(decoded.feature)]
    return {
        "feature": feature.name,
        "unit": feature.unit,
        "target": [float(x) for x in decoded.target[: feature.size]],
        "tolerance": float(decoded.tolerance),
        "hold_s": int(decoded.hold) * family.control_dt,
        "limit_s": int(decoded.limit) * family.control_dt,
        "visible": bool(decoded.visible > 0.5),
    }


def describe(family: AbstractFamily, vector: np.ndarray) -> str:
    """A task in one plain sentence."""
    values = {name: float(value) for name, value in decode(family.specs, np.asarray(vector, np.float32)).items()}
    aim = goal(family, vector)
    target = ", ".join(f"{x:.2f}" for x in aim["target"])
    turned = [str(i) for i in range(family.actuators) if values[f"reversed_{i}"] >= 0.5]
    hidden = "" if aim["visible"] else ", a target it must find from reward"
    reverse = f"; motors reversed: {', '.join(turned)}" if turned else ""
    return (
        f"{family.describe(values)}, must bring {aim['feature']} to ({target}) {aim['unit']} within {aim['tolerance']:.2f} "
        f"for {aim['hold_s']:.2f} s before {aim['limit_s']:.1f} s{hidden}{reverse}"
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
        witness=json.dumps(task.witness),
    )


def _evaluation(task: str, version: int, purpose: str, n: int, k: int) -> EvaluationRow:
    low, high = statistics.clopper_pearson(k, n)
    return EvaluationRow(task, version, purpose, n, k, float(low), float(high))
