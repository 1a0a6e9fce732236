"""The archive of a run: one SQLite file holding every task ever proposed, with its evidence and its lineage.

One process writes (the run folder's lock sees to that), any number read. A round is one transaction: a killed writer
leaves all of it or nothing. Rows are only ever added; the sole exception is `Archive.rollback`, which takes
the file back to the round of the checkpoint that training resumes from, so that the later rounds are made again.

Order is part of the contract: `event.seq` and the order of rows in every table depend on the committed rounds and on
nothing else. `note_resumed` therefore numbers its events downwards from -1: they tell about the host, not the run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple
from typing import Any

from openended.archive_reading import SCHEMA_VERSION, TASK_COLUMNS, ArchiveError, Reading
from openended.archive_rows import (
    LATEST_STATUS,
    STATUSES,
    TABLES,
    EvaluationRow,
    EventRow,
    ParentRow,
    RoundRecord,
    TaskDetail,
    TaskRow,
    check_words,
    final_statuses,
)
from openended.metrics import plain, to_json

__all__ = [
    "TABLES",
    "Archive",
    "ArchiveError",
    "EvaluationRow",
    "EventRow",
    "ParentRow",
    "RoundRecord",
    "TaskDetail",
    "TaskRow",
]  # fmt: skip
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


class Archive(Reading):
    """An open archive file. `readonly` never creates or changes anything and works beside a live writer.

    Raises `ArchiveError` when the file is missing (read-only), damaged, of another schema, or on a full disk.
    """

    def commit_round(self, record: RoundRecord) -> None:
        """Write one round in one transaction.

        A task id that exists already keeps its row and its parents (so lineage stays acyclic); unless `statuses` names
        it, its status events are left out too. Raises `ValueError` when the record contradicts itself or the archive,
        `ArchiveError` when the file cannot be written; neither leaves anything of the round behind.
        """
        check_words(record)
        with self._transaction():
            last = self._last_round()
            if record.round <= last:
                raise ValueError(f"round {record.round} cannot follow round {last}: roll back first")
            fresh = {task.id for task in record.tasks if self._insert_task(task, record.round)}
            repeated = {task.id for task in record.tasks} - fresh - record.statuses.keys()
            events = [e for e in record.events if not (e.task in repeated and e.kind in STATUSES)]
            for id, status in final_statuses(record, fresh, events).items():
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
            self._db.execute(f"UPDATE task SET status = {LATEST_STATUS} WHERE status IS NOT {LATEST_STATUS}")
            self._insert("run", [("round", to_json(round))])
            return round

    def note_resumed(self, round: int, reason: str) -> None:
        """Record that a process took the run up again after `round`, outside the numbering of the run's own events."""
        with self._transaction():
            seq = self._db.execute("SELECT min(0, coalesce(min(seq), 0)) - 1 FROM event").fetchone()[0]
            self._insert("event", [(seq, round, None, "resumed", reason)])

    def _open_schema(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        empty = not self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        if version == 0 and empty and not self.readonly:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        super()._open_schema()

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        again = " ON CONFLICT (key) DO UPDATE SET value = excluded.value" if table == "run" else ""
        for row in rows:
            self._db.execute(f"INSERT INTO {table} VALUES ({_marks(row)}){again}", [plain(value) for value in row])

    def _insert_task(self, task: TaskRow, round: int) -> bool:
        if task.round != round:
            raise ValueError(f"task {task.id} says it was proposed in round {task.round}, but round {round} adds it")
        row = asdict(task) | {"vector": to_json([float(x) for x in task.vector]), "goal": to_json(task.goal)}
        values = [plain(row[name]) for name in TASK_COLUMNS.split(", ")]
        # Not INSERT OR IGNORE: that would also swallow a row with a missing value.
        sql = f"INSERT INTO task VALUES ({_marks(values)}) ON CONFLICT (id) DO NOTHING"
        return self._db.execute(sql, values).rowcount == 1

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


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
