"""The archive of a run: one SQLite file holding every task ever proposed, with its evidence and its lineage.

One process writes (the run folder's lock sees to that), any number read. A round is one transaction: a killed writer
leaves all of it or nothing. Rows are only ever added; the sole exception is `Archive.rollback`, which takes
the file back to the round of the checkpoint that training resumes from, so that the later rounds are made again.

Order is part of the contract: `event.seq` and the order of rows in every table depend on the committed rounds and on
nothing else. `note_resumed` therefore numbers its events downwards from -1: they tell about the host, not the run.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

from openended.metrics import plain, to_json

SCHEMA_VERSION = 1
STATUSES = ("frontier", "accepted", "rejected", "quarantined")
KINDS = ("skill", "speedup")
PURPOSES = ("screen", "old", "new", "retention", "audit", "holdout")
_OTHER_EVENTS = ("proposed", "screened", "forgotten", "restored", "repaired", "rolled_back", "audited", "resumed")
EVENT_KINDS = (*STATUSES, *_OTHER_EVENTS)
TABLES = ("evaluation", "event", "parentage", "metric", "task")

_Values = Sequence[Any] | Mapping[str, Any]
_TASK = "id, family, vector, goal, description, status, kind, round, learner_version, cost_bits, witness"
# A task's status is that of its latest status event: what a roll-back restores and what `check` compares with.
_STATUS = f"(SELECT e.kind FROM event e WHERE e.task = task.id AND e.kind IN {STATUSES} ORDER BY e.seq DESC LIMIT 1)"
_KNOWN = "TEXT NOT NULL REFERENCES task DEFERRABLE INITIALLY DEFERRED"
_SCHEMA = f"""
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE task (id TEXT PRIMARY KEY, family TEXT NOT NULL, vector TEXT NOT NULL, goal TEXT NOT NULL,
    description TEXT NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL, round INTEGER NOT NULL,
    learner_version INTEGER, cost_bits REAL, witness TEXT);
CREATE TABLE parentage (child {_KNOWN}, parent {_KNOWN}, operator TEXT NOT NULL, delta TEXT NOT NULL,
    round INTEGER NOT NULL);
CREATE TABLE event (seq INTEGER PRIMARY KEY, round INTEGER NOT NULL, task {_KNOWN.replace("NOT NULL ", "")},
    kind TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE evaluation (task {_KNOWN}, learner_version INTEGER NOT NULL, purpose TEXT NOT NULL, n INTEGER NOT NULL,
    k INTEGER NOT NULL, lower REAL, upper REAL, round INTEGER NOT NULL);
CREATE TABLE metric (round INTEGER NOT NULL, key TEXT NOT NULL, value REAL, PRIMARY KEY (round, key));
CREATE INDEX task_status ON task (status, family);      CREATE INDEX task_round ON task (round);
CREATE INDEX parentage_child ON parentage (child);      CREATE INDEX parentage_parent ON parentage (parent);
CREATE INDEX parentage_round ON parentage (round);      CREATE INDEX event_task ON event (task, seq);
CREATE INDEX event_kind ON event (kind, seq);           CREATE INDEX event_round ON event (round);
CREATE INDEX evaluation_task ON evaluation (task);      CREATE INDEX evaluation_round ON evaluation (round);
CREATE INDEX metric_key ON metric (key, round);
PRAGMA user_version = {SCHEMA_VERSION};
"""
_REFERENCES = (("parentage", "child"), ("parentage", "parent"), ("event", "task"), ("evaluation", "task"))
_IDS = "(SELECT id FROM task)"
# Each query answers with rows (task, what is wrong with it).
_CHECKS = (
    *(f"SELECT DISTINCT {c}, 'it is unknown, but named in {t}' FROM {t} WHERE {c} NOT IN {_IDS}" for t, c in _REFERENCES),
    f"SELECT id, 'its status ' || status || ' is unknown' FROM task WHERE status NOT IN {STATUSES}",
    f"SELECT id, 'its kind ' || kind || ' is unknown' FROM task WHERE kind NOT IN {KINDS}",
    f"SELECT id, 'no event says that it is ' || status FROM task WHERE status IS NOT {_STATUS}",
    """SELECT id, 'it is accepted without an evaluation of purpose ' || purpose
        FROM task, (SELECT 'old' AS purpose UNION SELECT 'new') AS needed WHERE status = 'accepted' AND NOT EXISTS
        (SELECT 1 FROM evaluation e WHERE e.task = id AND e.purpose = needed.purpose)""",
    "SELECT child, 'it is its own parent' FROM parentage WHERE child = parent",
    f"SELECT task, 'event ' || seq || ' has the unknown kind ' || kind FROM event WHERE kind NOT IN {EVENT_KINDS}",
    f"SELECT task, 'an evaluation has the unknown purpose ' || purpose FROM evaluation WHERE purpose NOT IN {PURPOSES}",
    """SELECT task, 'an evaluation of ' || k || ' in ' || n || ' or its interval is impossible' FROM evaluation
        WHERE k < 0 OR k > n OR lower > upper OR lower < 0 OR upper > 1""",
)


class ArchiveError(Exception):
    """The archive cannot be read or written; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task. `round`: when it was proposed; `learner_version`: the snapshot that failed it; `cost_bits`: description
    length of the change from its parent; `witness`: a file name under blobs/; `vector`: numbers in the unit box."""

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


class Archive:
    """An open archive file. `readonly` never creates or changes anything and works beside a live writer.

    Raises `ArchiveError` when the file is missing (read-only), damaged, of another schema, or on a full disk.
    """

    def __init__(self, path: str | Path, readonly: bool = False) -> None:
        self.path, self.readonly = Path(path), readonly
        if readonly and not self.path.is_file():
            raise ArchiveError(f"There is no archive at '{self.path}'.")
        with self._guard():
            self._db = _connect(self.path, readonly)
        try:
            with self._guard():
                self._open_schema()
        except ArchiveError:
            self._db.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; committed rounds are durable with or without it."""
        self._db.close()

    def commit_round(self, record: RoundRecord) -> None:
        """Write one round in one transaction.

        A task id that exists already keeps its row and its parents (so lineage stays acyclic); unless `statuses` names
        it, its status events are left out too. Raises `ValueError` when the record contradicts itself or the archive,
        `ArchiveError` when the file cannot be written; neither leaves anything of the round behind.
        """
        _check_words(record)
        with self._transaction():
            last = self._last_round()
            if record.round <= last:
                raise ValueError(f"round {record.round} cannot follow round {last}: roll back first")
            fresh = {task.id for task in record.tasks if self._insert_task(task, record.round)}
            repeated = {task.id for task in record.tasks} - fresh - record.statuses.keys()
            events = [e for e in record.events if not (e.task in repeated and e.kind in STATUSES)]
            for id, status in _final_statuses(record, fresh, events).items():
                if self._db.execute("UPDATE task SET status = ? WHERE id = ?", (status, id)).rowcount != 1:
                    raise ValueError(f"round {record.round} names the unknown task {id}")
            first = self._db.execute("SELECT max(0, coalesce(max(seq), 0)) + 1 FROM event").fetchone()[0]
            self._insert("event", [(first + i, record.round, e.task, e.kind, e.reason) for i, e in enumerate(events)])
            parents = [(p.child, p.parent, p.operator, to_json(p.delta)) for p in record.parents if p.child in fresh]
            self._insert("parentage", [(*row, record.round) for row in parents])
            self._insert("evaluation", [(*astuple(e), record.round) for e in record.evaluations])
            self._insert("metric", [(record.round, key, value) for key, value in record.metrics.items()])
            self._insert("run", [("round", to_json(record.round))])

    def rollback(self, round: int) -> int:
        """Forget the rounds after `round`; statuses become what the remaining events say. Returns the last round."""
        with self._transaction():
            last = self._last_round()
            if round >= last:
                return last
            for table in TABLES:
                self._db.execute(f"DELETE FROM {table} WHERE round > ?", (round,))
            self._db.execute(f"UPDATE task SET status = {_STATUS} WHERE status IS NOT {_STATUS}")
            self._insert("run", [("round", to_json(round))])
            return round

    def note_resumed(self, round: int, reason: str) -> None:
        """Record that a process took the run up again after `round`, outside the numbering of the run's own events."""
        with self._transaction():
            seq = self._db.execute("SELECT min(0, coalesce(min(seq), 0)) - 1 FROM event").fetchone()[0]
            self._insert("event", [(seq, round, None, "resumed", reason)])

    def set_run(self, **values: Any) -> None:
        """Store facts about the run, as JSON text under their keys; `round` belongs to `commit_round`."""
        if "round" in values:
            raise ValueError("the run key 'round' is written by commit_round and rollback only")
        with self._transaction():
            self._insert("run", [(key, to_json(value)) for key, value in values.items()])

    def last_round(self) -> int:
        """The newest committed round; -1 when there is none."""
        with self._guard():
            return self._last_round()

    def run(self) -> dict[str, Any]:
        """The facts stored about the run."""
        with self._guard():
            return {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM run ORDER BY key")}

    def tasks(
        self, status: str | None = None, family: str | None = None, kind: str | None = None, limit: int | None = None
    ) -> list[TaskRow]:
        """Tasks in the order of their proposal, narrowed by whatever is given; at most `limit`, the oldest."""
        wanted = {"status": status, "family": family, "kind": kind}
        where = " AND ".join(f"{key} = :{key}" for key, value in wanted.items() if value is not None) or "1"
        sql = f"SELECT {_TASK} FROM task WHERE {where} ORDER BY rowid LIMIT :limit"
        return self._rows(sql, {**wanted, "limit": -1 if limit is None else limit}, make=_task)

    def accepted(self) -> list[TaskRow]:
        """Accepted tasks (skills and speed-ups) in the order of acceptance."""
        sql = f"""SELECT {_TASK} FROM task JOIN (SELECT task AS name, max(seq) AS seq FROM event WHERE kind = 'accepted'
            GROUP BY task) ON name = id WHERE status = 'accepted' ORDER BY seq"""
        return self._rows(sql, make=_task)

    def task(self, id: str) -> TaskDetail:
        """One task with lineage, events and evaluations; `ArchiveError` when there is no such task."""
        with self._snapshot():
            found = self._rows(f"SELECT {_TASK} FROM task WHERE id = ?", [id], make=_task)
            if not found:
                raise ArchiveError(f"There is no task '{id}' in '{self.path}'.")
            parents, children = self._parents("child = ?", [id]), self._parents("parent = ?", [id])
            evaluations = self._evaluations("task = ?", [id])
            return TaskDetail(found[0], parents, children, self._events("task = ?", [id]), evaluations)

    def events(self, kind: str | None = None) -> list[EventRow]:
        """All events in order, or those of one kind."""
        return self._events() if kind is None else self._events("kind = ?", [kind])

    def forgotten(self) -> list[str]:
        """Ids of the tasks whose latest `forgotten` or `restored` event says forgotten, in that order."""
        sql = """SELECT task FROM (SELECT task, kind, max(seq) AS seq FROM event WHERE kind IN ('forgotten', 'restored')
            GROUP BY task) WHERE kind = 'forgotten' AND task IS NOT NULL ORDER BY seq"""
        return [row[0] for row in self._rows(sql)]

    def metrics(self, key: str) -> list[tuple[int, float]]:
        """(round, value) of one metric; NaN where the value was not finite."""
        rows = self._rows("SELECT round, value FROM metric WHERE key = ? ORDER BY round", [key])
        return [(round, _number(value)) for round, value in rows]

    def metric_keys(self) -> list[str]:
        """Names of all metrics."""
        return [row[0] for row in self._rows("SELECT DISTINCT key FROM metric ORDER BY key")]

    def export(self) -> dict[str, Any]:
        """The whole archive as one JSON-able value (null for NaN)."""
        with self._snapshot():
            value = {
                "schema": SCHEMA_VERSION,
                "run": self.run(),
                "tasks": [asdict(row) for row in self.tasks()],
                "parentage": [asdict(row) for row in self._parents()],
                "events": [asdict(row) for row in self._events()],
                "evaluations": [asdict(row) for row in self._evaluations()],
                "metrics": {key: self.metrics(key) for key in self.metric_keys()},
            }
        exported: dict[str, Any] = plain(value)
        return exported

    def check(self) -> list[str]:
        """Everything that is wrong with the archive, one sentence each; empty when it is sound. Changes nothing."""
        try:
            with self._snapshot():
                damage = [row[0] for row in self._rows("PRAGMA integrity_check") if row[0] != "ok"]
                wrong = [row for query in _CHECKS for row in self._rows(query)]
                wrong += [(id, _bad_vector(text)) for id, text in self._rows("SELECT id, vector FROM task")]
                for column in ("id, goal FROM task", "child, delta FROM parentage"):
                    name = column.split()[1]
                    wrong += [(id, _bad_object(name, text)) for id, text in self._rows(f"SELECT {column}")]
                newest = max(self._rows(f"SELECT coalesce(max(round), -1) FROM {table}")[0][0] for table in TABLES)
                last = self._last_round()
        except ArchiveError as error:
            return [str(error)]
        found = [f"SQLite finds damage: {text}." for text in damage]
        if newest > last:
            found.append(f"There are rows of round {newest}, but the last committed round is {last}.")
        return found + [f"Task '{task}': {what}." for task, what in wrong if what]

    def _open_schema(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        empty = not self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        if version == 0 and empty and not self.readonly:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif version != SCHEMA_VERSION:
            what = "is not an archive of openended" if version == 0 else f"has schema version {version}"
            raise ArchiveError(f"'{self.path}' {what}; this program reads and writes schema version {SCHEMA_VERSION}.")

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        again = " ON CONFLICT (key) DO UPDATE SET value = excluded.value" if table == "run" else ""
        for row in rows:
            self._db.execute(f"INSERT INTO {table} VALUES ({_marks(row)}){again}", [plain(value) for value in row])

    def _insert_task(self, task: TaskRow, round: int) -> bool:
        if task.round != round:
            raise ValueError(f"task {task.id} says it was proposed in round {task.round}, but round {round} adds it")
        row = asdict(task) | {"vector": to_json([float(x) for x in task.vector]), "goal": to_json(task.goal)}
        values = [plain(row[name]) for name in _TASK.split(", ")]
        # Not INSERT OR IGNORE: that would also swallow a row with a missing value.
        sql = f"INSERT INTO task VALUES ({_marks(values)}) ON CONFLICT (id) DO NOTHING"
        return self._db.execute(sql, values).rowcount == 1

    def _last_round(self) -> int:
        row = self._db.execute("SELECT value FROM run WHERE key = 'round'").fetchone()
        return int(row[0]) if row else -1

    def _parents(self, where: str = "1", values: _Values = ()) -> list[ParentRow]:
        sql = f"SELECT child, parent, operator, delta FROM parentage WHERE {where} ORDER BY rowid"
        return self._rows(sql, values, make=lambda row: ParentRow(row[0], row[1], row[2], json.loads(row[3])))

    def _events(self, where: str = "1", values: _Values = ()) -> list[EventRow]:
        sql = f"SELECT task, kind, reason, seq, round FROM event WHERE {where} ORDER BY seq"
        return self._rows(sql, values, make=lambda row: EventRow(*row))

    def _evaluations(self, where: str = "1", values: _Values = ()) -> list[EvaluationRow]:
        sql = f"SELECT task, learner_version, purpose, n, k, lower, upper FROM evaluation WHERE {where} ORDER BY rowid"
        return self._rows(sql, values, make=_evaluation)

    def _rows(self, sql: str, values: _Values = (), make: Callable[[tuple[Any, ...]], Any] = tuple) -> list[Any]:
        with self._guard():
            return [make(row) for row in self._db.execute(sql, values)]

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, json.JSONDecodeError) as error:
            raise ArchiveError(f"The archive '{self.path}' cannot be used: {error}; nothing was deleted.") from error

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        with self._guard():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # On a full disk SQLite rolls back by itself; a second roll-back would hide the first error.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _connect(path: Path, readonly: bool) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    if readonly:
        # WAL needs a -shm file beside the archive; on a read-only medium only an immutable archive can be read.
        log = path.with_name(path.name + "-wal")
        fixed = not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
        uri += "?immutable=1" if fixed else "?mode=ro"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0)
    try:
        for pragma in ("busy_timeout = 10000", "mmap_size = 0", "foreign_keys = ON", "synchronous = FULL"):
            db.execute(f"PRAGMA {pragma}")
        if not readonly:
            db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _evaluation(row: tuple[Any, ...]) -> EvaluationRow:
    task, version, purpose, n, k, lower, upper = row
    return EvaluationRow(task, version, purpose, n, k, _number(lower), _number(upper))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _task(row: tuple[Any, ...]) -> TaskRow:
    vector = tuple(_number(x) for x in json.loads(row[2]))
    return TaskRow(row[0], row[1], vector, json.loads(row[3]), *row[4:])


def _check_words(record: RoundRecord) -> None:
    words: list[tuple[str, Sequence[str], str]] = [(task.kind, KINDS, "task kind") for task in record.tasks]
    words += [(status, STATUSES, "status") for status in record.statuses.values()]
    words += [(event.kind, EVENT_KINDS, "event kind") for event in record.events]
    words += [(evaluation.purpose, PURPOSES, "evaluation purpose") for evaluation in record.evaluations]
    for word, allowed, what in words:
        if word not in allowed:
            raise ValueError(f"'{word}' is no {what}; allowed are {', '.join(allowed)}")


def _final_statuses(record: RoundRecord, fresh: set[str], events: Sequence[EventRow]) -> dict[str, str]:
    """What the round's events say in the end; `ValueError` unless its tasks and `statuses` say exactly the same."""
    said = {event.task: event.kind for event in events if event.task is not None and event.kind in STATUSES}
    meant = {task.id: task.status for task in reversed(record.tasks) if task.id in fresh} | dict(record.statuses)
    for id in sorted(said.keys() | meant.keys()):
        if said.get(id) != meant.get(id):
            raise ValueError(f"task {id} has status {meant.get(id)}, but its last status event says {said.get(id)}")
    return said


def _bad_vector(text: str) -> str:
    try:
        vector = json.loads(text)
        good = isinstance(vector, list) and all(isinstance(x, int | float) and 0.0 <= x <= 1.0 for x in vector)
    except ValueError:
        return "its vector does not parse"
    return "" if good else "its vector has numbers that are not finite or not between 0 and 1"


def _bad_object(name: str, text: str) -> str:
    try:
        return "" if isinstance(json.loads(text), dict) else f"its {name} is not a JSON object"
    except ValueError:
        return f"its {name} does not parse"
