"""Reading the archive: the connection, every query, and `check`. `archive.Archive` adds the writing."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from openended.archive_rows import (
    CHECKS,
    TABLES,
    EvaluationRow,
    EventRow,
    ParentRow,
    TaskDetail,
    TaskRow,
    bad_object,
    bad_vector,
)
from openended.metrics import plain

SCHEMA_VERSION = 1
_Values = Sequence[Any] | Mapping[str, Any]
TASK_COLUMNS = "id, family, vector, goal, description, status, kind, round, learner_version, cost_bits, witness"


class ArchiveError(Exception):
    """The archive cannot be read or written; the message is one sentence for the user."""


class Reading:
    """The reading half of `archive.Archive`, which see."""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; committed rounds are durable with or without it."""
        self._db.close()

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
        sql = f"SELECT {TASK_COLUMNS} FROM task WHERE {where} ORDER BY rowid LIMIT :limit"
        return self._rows(sql, {**wanted, "limit": -1 if limit is None else limit}, make=_task)

    def accepted(self) -> list[TaskRow]:
        """Accepted tasks (skills and speed-ups) in the order of acceptance."""
        sql = f"""SELECT {TASK_COLUMNS} FROM task JOIN (SELECT task AS name, max(seq) AS seq FROM event WHERE kind = 'accepted'
            GROUP BY task) ON name = id WHERE status = 'accepted' ORDER BY seq"""
        return self._rows(sql, make=_task)

    def task(self, id: str) -> TaskDetail:
        """One task with lineage, events and evaluations; `ArchiveError` when there is no such task."""
        with self._snapshot():
            found = self._rows(f"SELECT {TASK_COLUMNS} FROM task WHERE id = ?", [id], make=_task)
            if not found:
                raise ArchiveError(f"There is no task '{id}' in '{self.path}'.")
            parents, children = self._parents("child = ?", [id]), self._parents("parent = ?", [id])
            evaluations = self._evaluations("task = ?", [id])
            return TaskDetail(found[0], parents, children, self._events("task = ?", [id]), evaluations)

    def ids(self, beginning: str) -> list[str]:
        """Ids of the tasks whose id begins so, in the order of their proposal; reads no other task."""
        wanted = beginning.encode(errors="replace").decode()  # SQLite refuses what is not text; no id holds it
        sql = "SELECT id FROM task WHERE id >= :wanted AND id < :wanted || char(1114111) ORDER BY rowid"
        return [row[0] for row in self._rows(sql, {"wanted": wanted})]

    def events(self, kind: str | None = None) -> list[EventRow]:
        """All events in order, or those of one kind."""
        return self._events() if kind is None else self._events("kind = ?", [kind])

    def evaluations(self, purpose: str) -> list[EvaluationRow]:
        """All evaluations of one purpose in order."""
        return self._evaluations("purpose = ?", [purpose])

    def forgotten(self) -> list[str]:
        """Ids of the tasks whose latest `forgotten` or `restored` event says forgotten, in that order."""
        sql = """SELECT task FROM (SELECT task, kind, max(seq) AS seq FROM event WHERE kind IN ('forgotten', 'restored')
            GROUP BY task) WHERE kind = 'forgotten' AND task IS NOT NULL ORDER BY seq"""
        return [row[0] for row in self._rows(sql)]

    def metrics(self, key: str) -> list[tuple[int, float]]:
        """(round, value) of one metric; NaN where the value was not finite."""
        rows = self._rows("SELECT round, value FROM metric WHERE key = ? ORDER BY round", [key])
        return [(round, _number(value)) for round, value in rows]

    def latest(self) -> dict[str, float]:
        """The newest known value of every metric, and nothing for one that never had any."""
        rows = self._rows("SELECT key, value, max(round) FROM metric WHERE value IS NOT NULL GROUP BY key ORDER BY key")
        return {key: float(value) for key, value, _ in rows}

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
                wrong = [row for query in CHECKS for row in self._rows(query)]
                wrong += [(id, bad_vector(text)) for id, text in self._rows("SELECT id, vector FROM task")]
                for column in ("id, goal FROM task", "child, delta FROM parentage"):
                    name = column.split()[1]
                    wrong += [(id, bad_object(name, text)) for id, text in self._rows(f"SELECT {column}")]
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
        if version != SCHEMA_VERSION:
            what = "is not an archive of openended" if version == 0 else f"has schema version {version}"
            raise ArchiveError(f"'{self.path}' {what}; this program reads and writes schema version {SCHEMA_VERSION}.")

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


def _connect(path: Path, readonly: bool) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    if readonly:
        # WAL needs a -shm file beside the archive; on a read-only medium only an immutable archive can be read.
        log = path.with_name(path.name + "-wal")
        fixed = not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
        uri += "?immutable=1" if fixed else "?mode=ro"
    # The browser hands one connection from thread to thread, under a lock of its own.
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0, check_same_thread=not readonly)
    try:
        for pragma in ("busy_timeout = 10000", "mmap_size = 0", "foreign_keys = ON", "synchronous = FULL"):
            db.execute(f"PRAGMA {pragma}")
        if not readonly:
            db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _evaluation(row: tuple[Any, ...]) -> EvaluationRow:
    task, version, purpose, n, k, lower, upper = row
    return EvaluationRow(task, version, purpose, n, k, _number(lower), _number(upper))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _task(row: tuple[Any, ...]) -> TaskRow:
    vector = tuple(_number(x) for x in json.loads(row[2]))
    return TaskRow(row[0], row[1], vector, json.loads(row[3]), *row[4:])
