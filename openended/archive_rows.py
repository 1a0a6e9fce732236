"""The rows of the archive: what one round hands over, what a query answers, and which rounds contradict themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STATUSES = ("frontier", "accepted", "rejected", "quarantined")
KINDS = ("skill", "speedup")
PURPOSES = ("screen", "old", "new", "retention", "audit", "holdout")
_OTHER_EVENTS = ("proposed", "screened", "forgotten", "restored", "repaired", "rolled_back", "audited", "resumed")
EVENT_KINDS = (*STATUSES, *_OTHER_EVENTS)
TABLES = ("evaluation", "event", "parentage", "metric", "task")

# A task's status is that of its latest status event: what a roll-back restores and what `check` compares with.
LATEST_STATUS = f"(SELECT e.kind FROM event e WHERE e.task = task.id AND e.kind IN {STATUSES} ORDER BY e.seq DESC LIMIT 1)"
_REFERENCES = (("parentage", "child"), ("parentage", "parent"), ("event", "task"), ("evaluation", "task"))
_IDS = "(SELECT id FROM task)"
# Each query answers with rows (task, what is wrong with it).
CHECKS = (
    *(f"SELECT DISTINCT {c}, 'it is unknown, but named in {t}' FROM {t} WHERE {c} NOT IN {_IDS}" for t, c in _REFERENCES),
    f"SELECT id, 'its status ' || status || ' is unknown' FROM task WHERE status NOT IN {STATUSES}",
    f"SELECT id, 'its kind ' || kind || ' is unknown' FROM task WHERE kind NOT IN {KINDS}",
    f"SELECT id, 'no event says that it is ' || status FROM task WHERE status IS NOT {LATEST_STATUS}",
    """SELECT id, 'it is accepted without an evaluation of purpose ' || purpose
        FROM task, (SELECT 'old' AS purpose UNION SELECT 'new') AS needed WHERE status = 'accepted' AND NOT EXISTS
        (SELECT 1 FROM evaluation e WHERE e.task = id AND e.purpose = needed.purpose)""",
    "SELECT child, 'it is its own parent' FROM parentage WHERE child = parent",
    f"SELECT task, 'event ' || seq || ' has the unknown kind ' || kind FROM event WHERE kind NOT IN {EVENT_KINDS}",
    f"SELECT task, 'an evaluation has the unknown purpose ' || purpose FROM evaluation WHERE purpose NOT IN {PURPOSES}",
    """SELECT task, 'an evaluation of ' || k || ' in ' || n || ' or its interval is impossible' FROM evaluation
        WHERE k < 0 OR k > n OR lower > upper OR lower < 0 OR upper > 1""",
)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task. `round`: when it was proposed; `learner_version`: the snapshot that failed it; `cost_bits`: description
    length of the change from its parent; `witness`: JSON text of its `key` and `actions`; `vector`: in the unit box."""

    id: str
    family: str
    vector: Sequence[float]
    goal: Mapping[str, Any]
    description: str
    status: str
    kind: str
    round: int
    learner_version: int | None = None
    cost_bits: float | None = None
    witness: str | None = None


@dataclass(frozen=True, slots=True)
class ParentRow:
    """`child` was made from `parent` by `operator`; `delta` names what changed."""

    child: str
    parent: str
    operator: str
    delta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventRow:
    """What happened to `task`, or to the whole run when that is None. The archive assigns `seq` and `round`."""

    task: str | None
    kind: str
    reason: str
    seq: int = 0
    round: int = -1


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """`k` successes in the last episode of `n` lifetimes, with an interval for the success probability."""

    task: str
    learner_version: int
    purpose: str
    n: int
    k: int
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """All that one round adds. `statuses`: changes of earlier tasks' status; new tasks may be listed too."""

    round: int
    tasks: Sequence[TaskRow] = ()
    statuses: Mapping[str, str] = field(default_factory=dict)
    parents: Sequence[ParentRow] = ()
    events: Sequence[EventRow] = ()
    evaluations: Sequence[EvaluationRow] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """A task with everything known about it; `parents` and `children` are edges of the lineage."""

    task: TaskRow
    parents: list[ParentRow]
    children: list[ParentRow]
    events: list[EventRow]
    evaluations: list[EvaluationRow]


def check_words(record: RoundRecord) -> None:
    words: list[tuple[str, Sequence[str], str]] = [(task.kind, KINDS, "task kind") for task in record.tasks]
    words += [(status, STATUSES, "status") for status in record.statuses.values()]
    words += [(event.kind, EVENT_KINDS, "event kind") for event in record.events]
    words += [(evaluation.purpose, PURPOSES, "evaluation purpose") for evaluation in record.evaluations]
    for word, allowed, what in words:
        if word not in allowed:
            raise ValueError(f"'{word}' is no {what}; allowed are {', '.join(allowed)}")


def final_statuses(record: RoundRecord, fresh: set[str], events: Sequence[EventRow]) -> dict[str, str]:
    """What the round's events say in the end; `ValueError` unless its tasks and `statuses` say exactly the same."""
    said = {event.task: event.kind for event in events if event.task is not None and event.kind in STATUSES}
    meant = {task.id: task.status for task in reversed(record.tasks) if task.id in fresh} | dict(record.statuses)
    for id in sorted(said.keys() | meant.keys()):
        if said.get(id) != meant.get(id):
            raise ValueError(f"task {id} has status {meant.get(id)}, but its last status event says {said.get(id)}")
    return said


def bad_vector(text: str) -> str:
    try:
        vector = json.loads(text)
        good = isinstance(vector, list) and all(isinstance(x, int | float) and 0.0 <= x <= 1.0 for x in vector)
    except ValueError:
        return "its vector does not parse"
    return "" if good else "its vector has numbers that are not finite or not between 0 and 1"


def bad_object(name: str, text: str) -> str:
    try:
        return "" if isinstance(json.loads(text), dict) else f"its {name} is not a JSON object"
    except ValueError:
        return f"its {name} does not parse"
