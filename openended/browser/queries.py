"""Every query of the browser: one read-only connection to an archive, and short transactions beside a live trainer.

What the archive does not hold as a column (a task's latest reason, its realised progress, whether it is forgotten) is kept in
temporary tables of this connection and brought up to date, for the tasks that changed, whenever the file has changed.
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from openended.archive_reading import Reading
from openended.archive_rows import STATUSES
from openended.browser import forest
from openended.browser.retention import Retention

TABLES = {"tasks": "task", "events": "event", "evaluations": "evaluation", "parentage": "parentage", "metrics": "metric"}
SORTS = {
    "round": "t.round",
    "difficulty": "h.bits",
    "progress": "f.progress",
    "cost": "t.cost_bits",
    "success": "f.success",
    "family": "t.family",
}
ALL = -1  # as the size of a page: every task
CHUNK = 2000  # tasks whose facts are renewed in one transaction
_NOTHING = (0, 0, 0, 0)  # last round, and newest row of task, event, evaluation, of what was taken in
_TEMPORARY = """
PRAGMA temp_store = MEMORY;
PRAGMA temp.cache_size = -65536;
CREATE TEMP TABLE fact (id TEXT PRIMARY KEY, reason TEXT, success REAL, progress REAL, forgotten INTEGER) WITHOUT ROWID;
CREATE TEMP TABLE hard (id TEXT PRIMARY KEY, bits REAL) WITHOUT ROWID;
CREATE TEMP TABLE happened (round INTEGER, kind TEXT, reason TEXT, many INTEGER, PRIMARY KEY (round, kind, reason))
    WITHOUT ROWID;
CREATE TEMP TABLE changed (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE dirty (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX temp.fact_reason ON fact (reason);
"""
_SHARE = (
    """(SELECT 1.0 * k / n FROM evaluation e WHERE e.task = t.id AND n > 0 AND purpose {what} ORDER BY rowid DESC LIMIT 1)"""
)
_FACTS = f"""INSERT OR REPLACE INTO fact
    SELECT id, brief(reason), success, success - old, coalesce(lost = 'forgotten', 0) FROM (
    SELECT t.id AS id,
        (SELECT reason FROM event e WHERE e.task = t.id AND kind IN {STATUSES} ORDER BY seq DESC LIMIT 1) AS reason,
        (SELECT kind FROM event e WHERE e.task = t.id AND kind IN ('forgotten', 'restored') ORDER BY seq DESC LIMIT 1) AS lost,
        {_SHARE.format(what="IN ('new', 'retention', 'audit')")} AS success, {_SHARE.format(what="= 'old'")} AS old
    FROM task t WHERE t.id IN (SELECT id FROM changed LIMIT {CHUNK}))"""
_EVENT = "(SELECT task, reason, kind, max(seq) FROM event WHERE kind IN {what} GROUP BY +task)"
_LAST = "(SELECT task, 1.0 * k / n AS share, max(rowid) FROM evaluation WHERE n > 0 AND purpose {what} GROUP BY +task)"
_EVERY = f"""INSERT INTO fact
    SELECT t.id, brief(r.reason), s.share, s.share - o.share, coalesce(l.kind = 'forgotten', 0) FROM task t
    LEFT JOIN {_EVENT.format(what=STATUSES)} r ON r.task = t.id
    LEFT JOIN {_EVENT.format(what="('forgotten', 'restored')")} l ON l.task = t.id
    LEFT JOIN {_LAST.format(what="IN ('new', 'retention', 'audit')")} s ON s.task = t.id
    LEFT JOIN {_LAST.format(what="= 'old'")} o ON o.task = t.id"""  # the same as _FACTS, in one pass over everything
_HAPPENED = """INSERT INTO happened SELECT round, kind, brief(reason), sum(many) FROM
    (SELECT round, kind, reason, count(*) AS many FROM event WHERE seq > ? AND seq <= ? GROUP BY 1, 2, 3) GROUP BY 1, 2, 3
    ON CONFLICT DO UPDATE SET many = many + excluded.many"""
_FROM = "FROM task t JOIN fact f ON f.id = t.id LEFT JOIN hard h ON h.id = t.id"
_BRIEF = """t.id, t.family, t.status, t.kind, t.round, t.cost_bits, t.description, f.reason, f.success, f.progress, f.forgotten,
    h.bits"""
BRIEF = (
    "id",
    "family",
    "status",
    "kind",
    "round",
    "cost",
    "description",
    "reason",
    "success",
    "progress",
    "forgotten",
    "difficulty",
)


class Wanted(NamedTuple):
    """What a gallery shows. Empty text and None narrow nothing down; ``status`` may also be ``forgotten``."""

    family: str = ""
    status: str = ""
    kind: str = ""
    reason: str = ""
    search: str = ""
    number: int | None = None  # index into the task vector, with ``family``
    low: float = 0.0  # unit bounds of that number
    high: float = 1.0
    sort: str = "round"
    ascending: bool = False
    page: int = 1
    size: int = 60  # of a page, or ALL


@functools.lru_cache(maxsize=4096)
def brief(reason: str | None) -> str:
    """A reason without what differs from task to task: the words before a colon or a bracket, and no numbers."""
    return re.sub(r"\d+(\.\d+)?", "…", (reason or "").split(":")[0].split(" (")[0].strip())


class Queries(Reading):
    """An open archive. `ArchiveError` (one sentence) when it is missing, damaged, foreign or of another schema."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, readonly=True)
        self._lock = threading.RLock()
        self._seen = _NOTHING
        self._retention, self._forest = Retention(), forest.Forest()
        with self._guard():
            self._db.create_function("brief", 1, brief, deterministic=True)
            self._db.executescript(_TEMPORARY)

    def refresh(self) -> None:
        """Take in what was written since the last call; everything anew after a roll-back."""
        with self._lock:
            now = self._newest()
            if any(a < b for a, b in zip(now, self._seen, strict=True)):
                self._seen, self._retention, self._forest = _NOTHING, Retention(), forest.Forest()
            with self._guard():
                if self._seen == _NOTHING:
                    self._db.executescript("DELETE FROM fact; DELETE FROM happened; DELETE FROM dirty;")
                    self._db.execute(_EVERY)
                else:
                    self._renew()
                self._db.execute(_HAPPENED, (self._seen[2], now[2]))
            self._seen = now

    def _renew(self) -> None:
        """The facts of the tasks that have new rows."""
        _, task, event, evaluation = self._seen
        self._db.execute(
            """INSERT OR IGNORE INTO changed SELECT id FROM task WHERE rowid > ? UNION SELECT task FROM event
            WHERE seq > ? AND task IS NOT NULL UNION SELECT task FROM evaluation WHERE rowid > ?""",
            (task, event, evaluation),
        )
        self._db.execute("INSERT OR IGNORE INTO dirty SELECT id FROM changed")
        while self._db.execute("SELECT 1 FROM changed LIMIT 1").fetchone():
            self._db.execute(_FACTS)
            self._db.execute(f"DELETE FROM changed WHERE id IN (SELECT id FROM changed LIMIT {CHUNK})")

    def set_difficulty(self, bits: dict[str, float]) -> None:
        """Remember the difficulty of tasks, in bits; it is computed from the bodies, see `studio`."""
        with self._lock, self._guard():
            self._db.executemany("INSERT OR REPLACE INTO hard VALUES (?, ?)", bits.items())

    def without_difficulty(self) -> list[tuple[str, str]]:
        """(id, family) of the tasks whose difficulty is not known yet."""
        return self.rows("SELECT id, family FROM task WHERE id NOT IN (SELECT id FROM hard) ORDER BY rowid")

    def gallery(self, wanted: Wanted) -> tuple[int, list[dict[str, Any]]]:
        """(tasks that fit, one page of them)."""
        where, values = _where(wanted)
        way = "ASC" if wanted.ascending else "DESC"
        order = f"{SORTS[wanted.sort]} {way} NULLS LAST, t.rowid {way}"
        values |= {"size": wanted.size, "skip": (wanted.page - 1) * wanted.size}
        with self._lock:
            (total,) = self.rows(f"SELECT count(*) {_FROM} WHERE {where}", values)[0]
            found = self.rows(f"SELECT {_BRIEF} {_FROM} WHERE {where} ORDER BY {order} LIMIT :size OFFSET :skip", values)
        return total, [dict(zip(BRIEF, row, strict=True)) for row in found]

    def facets(self) -> dict[str, dict[str, int]]:
        """How many tasks there are of each family, status, kind and reason, the most frequent first."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in ("family", "status", "kind", "reason")}
        for family, status, kind, reason, forgotten, many in self.forest().counts():
            for name, value in (("family", family), ("status", status), ("kind", kind), ("reason", reason)):
                counts[name][value] += many
            counts["status"]["forgotten"] += many if forgotten else 0
        return {name: dict(count.most_common()) for name, count in counts.items()}

    def families(self) -> list[dict[str, Any]]:
        """Numbers of every family: proposed, and how many have each status; skills and speed-ups apart, forgotten."""
        names = ("tasks", "skills", "speedups", "frontier", "rejected", "quarantined", "forgotten")
        found: dict[str, dict[str, Any]] = {}
        for family, status, kind, _, forgotten, many in self.forest().counts():
            row = found.setdefault(family, {"family": family, **dict.fromkeys(names, 0)})
            row["tasks"] += many
            if status != "accepted":
                row[status] = row.get(status, 0) + many
                continue
            row["skills" if kind == "skill" else "speedups"] += many
            row["forgotten"] += many if forgotten else 0
        return [found[family] for family in sorted(found)]

    def series(self) -> dict[str, list[float | None]]:
        """Every metric by round: equally long lists, the rounds themselves under ``round``."""
        rows = self.rows("SELECT round, key, value FROM metric ORDER BY round")
        rounds = sorted({row[0] for row in rows})
        place = {round: i for i, round in enumerate(rounds)}
        found: dict[str, list[float | None]] = {"round": [float(round) for round in rounds]}
        for round, key, value in rows:
            found.setdefault(key, [None] * len(rounds))[place[round]] = value
        return found

    def happenings(self) -> list[tuple[int, str, str, int]]:
        """(round, kind of event, brief reason, how many)."""
        return self.rows("SELECT round, kind, reason, many FROM happened ORDER BY round, kind, reason")

    def forest(self) -> forest.Forest:
        """Every task with its first parent; only what changed since the last call is read."""
        found = self._forest
        with self._lock:
            with self._snapshot():
                where = "" if found.seen < 0 else forest.CHANGED
                found.take(self._rows(forest.EVERY.format(where=where)), self._rows(forest.PARENTS, [found.seen]))
            self._db.execute("DELETE FROM dirty")
        return found

    def difficulties(self) -> list[float | None]:
        """The difficulty of every task in bits, in the order of the forest; None where it is not known yet."""
        known = dict(self.rows("SELECT id, bits FROM hard"))
        return [known.get(id) for id in self.forest().id]

    def retention(self) -> dict[str, Any]:
        """The retention matrix of the accepted tasks; rows that an earlier call has read are not read again."""
        with self._lock, self._snapshot():
            event, evaluation = self._retention.seen
            verdicts = """SELECT seq, task, round, reason, kind FROM event WHERE kind IN ('forgotten', 'restored') AND seq > ?
                AND task NOT NULL ORDER BY seq"""
            tests = """SELECT rowid, task, learner_version, purpose, n, k, round FROM evaluation WHERE rowid > ?
                AND purpose IN ('new', 'retention', 'audit') ORDER BY rowid"""
            self._retention.take(self._rows(verdicts, [event]), self._rows(tests, [evaluation]))
        return self._retention.matrix(self.forest().accepted())

    def vectors(self, family: str, limit: int) -> list[tuple[str, str, int, str, int]]:
        """(id, vector as JSON, round, status, forgotten) of a family: accepted tasks and the newest others, up to a limit."""
        sql = """SELECT t.id, t.vector, t.round, t.status, f.forgotten FROM task t JOIN fact f ON f.id = t.id
            WHERE t.family = ? ORDER BY t.status = 'accepted' DESC, t.rowid DESC LIMIT ?"""
        return self.rows(sql, [family, limit])

    def pictured(self, ids: list[str]) -> list[tuple[str, str, list[float], dict[str, Any]]]:
        """(id, family, vector, goal) of these tasks."""
        marks = ", ".join("?" * len(ids))
        found = self.rows(f"SELECT id, family, vector, goal FROM task WHERE id IN ({marks})", ids)
        return [(id, family, json.loads(vector), json.loads(goal)) for id, family, vector, goal in found]

    def briefly(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        """Status, round and success of some tasks, by id."""
        marks = ", ".join("?" * len(ids))
        sql = f"SELECT t.id, t.status, t.kind, t.round, f.success, f.forgotten {_FROM} WHERE t.id IN ({marks})"
        names = ("status", "kind", "round", "success", "forgotten")
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in self.rows(sql, ids)}

    def ancestors(self, id: str) -> list[str]:
        """First parents upward, the nearest first; at most 100."""
        sql = """WITH RECURSIVE line(id, depth) AS (SELECT ?, 0 UNION SELECT (SELECT parent FROM parentage WHERE child = line.id
            ORDER BY rowid LIMIT 1), depth + 1 FROM line WHERE line.id IS NOT NULL AND depth < 100)
            SELECT id FROM line WHERE depth > 0 AND id IS NOT NULL ORDER BY depth"""
        return [row[0] for row in self.rows(sql, [id])]

    def table(self, name: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Columns and rows of a table of the archive, read in short pieces."""
        columns = [row[1] for row in self.rows(f"PRAGMA table_info({TABLES[name]})")]

        def pieces() -> Iterator[tuple[Any, ...]]:
            last = -(2**62)
            sql = f"SELECT rowid, {', '.join(columns)} FROM {TABLES[name]} WHERE rowid > ? ORDER BY rowid LIMIT {CHUNK}"
            while rows := self.rows(sql, [last]):
                last = rows[-1][0]
                yield from (row[1:] for row in rows)

        return columns, pieces()

    def rows(self, sql: str, values: Any = ()) -> list[Any]:
        """All rows of one query; one transaction."""
        with self._lock:
            return self._rows(sql, values)

    def _newest(self) -> tuple[int, int, int, int]:
        def top(column: str, table: str) -> int:
            return int(self.rows(f"SELECT coalesce(max({column}), 0) FROM {table}")[0][0])

        return self.last_round(), top("rowid", "task"), top("seq", "event"), top("rowid", "evaluation")


def _where(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    parts, values = ["1"], {k: getattr(wanted, k) for k in ("family", "status", "kind", "reason")}
    parts += [f"t.{name} = :{name}" for name in ("family", "kind") if values[name]]
    if wanted.status == "forgotten":
        parts.append("f.forgotten")
    elif wanted.status:
        parts.append("t.status = :status")
    if wanted.reason:
        parts.append("f.reason = :reason")
    for i, word in enumerate(wanted.search.split()[:8]):
        parts.append(f"(t.description LIKE :word{i} ESCAPE '\\' OR t.id LIKE :word{i} ESCAPE '\\')")
        values[f"word{i}"] = "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    if wanted.number is not None:
        parts.append("json_extract(t.vector, :path) BETWEEN :low AND :high")
        values |= {"path": f"$[{wanted.number}]", "low": wanted.low, "high": wanted.high}
    return " AND ".join(parts), values
