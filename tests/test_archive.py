"""The archive: whole rounds or nothing, identical rows after a roll-back, damage that is named."""

import json
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from openended import archive_reading
from openended.archive import (
    TABLES,
    Archive,
    ArchiveError,
    EvaluationRow,
    EventRow,
    ParentRow,
    RoundRecord,
    TaskRow,
)
from openended.locate import find_task


def task(id: str, round: int, status: str = "frontier", **more) -> TaskRow:
    goal = {"feature": "distance", "target": 0.5, "visible": True}
    fields = {"vector": (0.1, 0.5, 1.0), "goal": goal, "description": "go there", "kind": "skill"}
    return TaskRow(id, **({"family": "navigator", "status": status, "round": round, "learner_version": 0} | fields | more))


def record(round: int) -> RoundRecord:
    """A round that proposes two tasks, accepts last round's first one and forgets the one before."""
    new, other, old = f"t{round}a", f"t{round}b", f"t{round - 1}a"
    events = [
        EventRow(new, "proposed", "mutation"),
        EventRow(new, "frontier", "the learner fails it"),
        EventRow(other, "rejected", "trivial"),
    ]
    evaluations = [EvaluationRow(new, round, "screen", 16, 2, 0.02, 0.35)]
    if round:
        events.append(EventRow(old, "accepted", "evidence"))
        evaluations += [
            EvaluationRow(old, round, "old", 64, 1, 0.0, 0.1),
            EvaluationRow(old, round, "new", 64, 60, 0.8, 1),
        ]
    if round > 1:
        events += [EventRow(f"t{round - 2}a", "forgotten", "audit"), EventRow(None, "audited", "all of them")]
    return RoundRecord(
        round,
        tasks=[task(new, round), task(other, round, "rejected", family="reacher")],
        statuses={old: "accepted"} if round else {},
        parents=[ParentRow(new, old, "mutate", {"wind": 0.25})] if round else [],
        events=events,
        evaluations=evaluations,
        metrics={"accepted": round, "heldout_last": math.nan},
    )


def dump(path) -> dict[str, list]:
    with sqlite3.connect(path) as db:
        return {table: db.execute(f"SELECT rowid, * FROM {table}").fetchall() for table in (*TABLES, "run")}


@pytest.fixture
def path(tmp_path):
    with Archive(tmp_path / "archive.db") as archive:
        assert archive.last_round() == -1
        for round in range(4):
            archive.commit_round(record(round))
    return tmp_path / "archive.db"


def test_reads_what_was_written(path):
    with Archive(path, readonly=True) as archive:
        assert archive.last_round() == 3 and archive.check() == []
        assert [row.id for row in archive.accepted()] == ["t0a", "t1a", "t2a"]
        assert archive.accepted()[0].vector == (0.1, 0.5, 1.0)
        assert [row.id for row in archive.tasks(status="rejected")] == ["t0b", "t1b", "t2b", "t3b"]
        assert [row.id for row in archive.tasks(family="navigator", kind="skill", limit=2)] == ["t0a", "t1a"]
        assert archive.tasks(kind="speedup") == []
        detail = archive.task("t1a")
        assert detail.task.status == "accepted" and detail.task.goal["target"] == 0.5
        assert detail.parents == [ParentRow("t1a", "t0a", "mutate", {"wind": 0.25})]
        assert [edge.child for edge in detail.children] == ["t2a"]
        assert [event.kind for event in detail.events] == ["proposed", "frontier", "accepted", "forgotten"]
        assert [row.purpose for row in detail.evaluations] == ["screen", "old", "new"]
        assert [event.task for event in archive.events("audited")] == [None, None]
        assert archive.metrics("accepted") == [(0, 0), (1, 1), (2, 2), (3, 3)]
        assert math.isnan(archive.metrics("heldout_last")[0][1])
        with pytest.raises(ArchiveError, match="no task 'nobody'"):
            archive.task("nobody")


def test_a_task_is_found_by_its_beginning_without_reading_the_others(tmp_path, monkeypatch):
    """10,000 tasks: ids in the order of proposal, one row read; what SQL could take for a pattern is none."""
    names = [f"walker-{i:05}" for i in reversed(range(9_997))] + ["odd_%-1", "odd-1", "odd-11", "ö-1"]
    with Archive(tmp_path / "archive.db") as archive:
        events = [EventRow(name, "frontier", "") for name in names]
        archive.commit_round(RoundRecord(0, tasks=[task(name, 0) for name in names], events=events))
        read, make = [], archive_reading._task
        monkeypatch.setattr(archive_reading, "_task", lambda row: read.append(row[0]) or make(row))
        assert [find_task(archive, name).id for name in ("walker-04711", "odd-1")] == ["walker-04711", "odd-1"]
        assert find_task(archive, "odd_").id == "odd_%-1" and find_task(archive, "ö").id == "ö-1"
        assert len(read) == 4
        assert archive.ids("walker-0471") == [f"walker-0471{i}" for i in range(9, -1, -1)]
        assert archive.ids("") == names
        with pytest.raises(ArchiveError, match="'walker' is the beginning of 9997 task ids: walker-09996, "):
            find_task(archive, "walker")
        for absent in ("Walker", "%", "odd__", "a" * 5000, "\udcff"):
            with pytest.raises(ArchiveError, match="There is no task"):
                find_task(archive, absent)


def test_acceptance_order_is_not_proposal_order(path):
    with Archive(path) as archive:
        archive.commit_round(
            RoundRecord(
                4,
                statuses={"t3b": "accepted", "t0b": "accepted"},
                events=[EventRow("t3b", "accepted", ""), EventRow("t0b", "accepted", "")],
            )
        )
        assert [row.id for row in archive.accepted()][-2:] == ["t3b", "t0b"]


def test_forgotten_follows_the_latest_event(path):
    with Archive(path) as archive:
        assert archive.forgotten() == ["t0a", "t1a"]
        archive.commit_round(RoundRecord(4, events=[EventRow("t0a", "restored", "repair")]))
        assert archive.forgotten() == ["t1a"]
        archive.commit_round(RoundRecord(5, events=[EventRow("t0a", "forgotten", "again")]))
        assert archive.forgotten() == ["t1a", "t0a"]


@pytest.mark.parametrize("back_to", [-1, 0, 1, 2, 3])
def test_rollback_and_again_gives_identical_rows(path, back_to):
    before = dump(path)
    with Archive(path) as archive:
        assert archive.rollback(back_to) == back_to == archive.last_round()
        assert archive.check() == []
        for round in range(back_to + 1, 4):
            archive.commit_round(record(round))
    assert dump(path) == before


def test_rollback_restores_statuses(path):
    with Archive(path) as archive:
        assert archive.rollback(9) == 3
        archive.rollback(1)
        assert {row.id: row.status for row in archive.tasks()} == {
            "t0a": "accepted", "t0b": "rejected", "t1a": "frontier", "t1b": "rejected",
        }  # fmt: skip


def test_a_note_of_resuming_disturbs_no_numbering(path):
    with Archive(path) as archive:
        archive.note_resumed(2, "other thread count")
        archive.note_resumed(3, "")
        archive.commit_round(record(4))
        assert [event.seq for event in archive.events("resumed")] == [-2, -1]
        seqs = [event.seq for event in archive.events() if event.kind != "resumed"]
        assert seqs == list(range(1, len(seqs) + 1)) and archive.check() == []


def test_a_task_proposed_again_keeps_its_row_status_and_parents(path):
    with Archive(path) as archive:
        again = task("t0a", 4, "rejected", description="changed")
        events = [EventRow("t0a", "proposed", "again"), EventRow("t0a", "rejected", "duplicate")]
        archive.commit_round(RoundRecord(4, tasks=[again], parents=[ParentRow("t0a", "t2a", "mutate", {})], events=events))
        detail = archive.task("t0a")
        assert (detail.task.status, detail.task.round, detail.task.description) == ("accepted", 0, "go there")
        assert detail.parents == [] and detail.events[-1].kind == "proposed" and archive.check() == []
        archive.commit_round(
            RoundRecord(
                5,
                tasks=[task("t0b", 5)],
                statuses={"t0b": "frontier"},
                events=[EventRow("t0b", "frontier", "the learner fails it now")],
            )
        )
        assert archive.task("t0b").task.status == "frontier"


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (RoundRecord(3), "cannot follow round 3"),
        (RoundRecord(4, tasks=[task("x", 4)]), "task x has status frontier, but its last status event says None"),
        (RoundRecord(4, statuses={"t3a": "accepted"}), "t3a has status accepted"),
        (RoundRecord(4, events=[EventRow("t3a", "accepted", "")]), "t3a has status None"),
        (RoundRecord(4, tasks=[task("x", 3)], events=[EventRow("x", "frontier", "")]), "proposed in round 3"),
        (RoundRecord(4, events=[EventRow("t3a", "acepted", "")]), "'acepted' is no event kind; allowed are frontier"),
        (RoundRecord(4, evaluations=[EvaluationRow("t0a", 0, "exam", 1, 1, 0, 1)]), "no evaluation purpose"),
        (RoundRecord(4, statuses={"who": "frontier"}, events=[EventRow("who", "frontier", "")]), "unknown task who"),
        (RoundRecord(4, events=[EventRow("who", "proposed", "")]), "FOREIGN KEY"),
        (RoundRecord(4, tasks=[task("x", 4, family=None)], events=[EventRow("x", "frontier", "")]), "NOT NULL"),
    ],
)
def test_a_contradictory_round_is_refused_whole(path, bad, sentence):
    before = dump(path)
    with Archive(path) as archive:
        with pytest.raises((ValueError, ArchiveError), match=sentence):
            archive.commit_round(bad)
        assert archive.check() == []
        archive.commit_round(record(4))
    shutil.copy(path, path.with_name("copy.db"))
    with Archive(path) as archive:
        archive.rollback(3)
    assert dump(path) == before


def test_numpy_values_and_nan(tmp_path):
    vector = np.array([0.1, 1.0], np.float32)
    row = task("x", 0, vector=vector, cost_bits=np.float32("nan"), learner_version=np.int32(3))
    evaluation = EvaluationRow("x", np.int64(1), "screen", np.int32(4), np.int32(2), np.float32(0.25), math.nan)
    with Archive(tmp_path / "a.db") as archive:
        archive.commit_round(RoundRecord(np.int64(0), [row], {}, [], [EventRow("x", "frontier", "")], [evaluation]))
        detail = archive.task("x")
        assert detail.task.vector == tuple(map(float, vector)) and detail.task.cost_bits is None
        assert detail.task.learner_version == 3 and math.isnan(detail.evaluations[0].upper)
        text = json.dumps(archive.export(), allow_nan=False)
    assert json.loads(text)["evaluations"][0]["upper"] is None


def test_the_newest_known_value_of_every_metric(path):
    with Archive(path) as archive:
        archive.commit_round(RoundRecord(4, metrics={"accepted": math.nan, "heldout_last": 0.5}))
        archive.commit_round(RoundRecord(5, metrics={"heldout_last": math.nan, "never": math.inf}))
        assert archive.latest() == {"accepted": 3.0, "heldout_last": 0.5}


def test_export_and_run_facts(path):
    with Archive(path) as archive:
        value = json.loads(json.dumps(archive.export(), allow_nan=False))
    assert value["run"] == {"round": 3} and value["schema"] == 1
    assert [len(value[key]) for key in ("tasks", "parentage", "events", "evaluations")] == [8, 3, 19, 10]
    assert value["metrics"]["heldout_last"] == [[0, None], [1, None], [2, None], [3, None]]


DAMAGE = [
    ("UPDATE task SET vector = '[0.1, null]' WHERE id = 't0a'", "'t0a': its vector has numbers"),
    ("UPDATE task SET vector = '[0.1, 1.5]' WHERE id = 't0a'", "'t0a': its vector has numbers"),
    ("UPDATE task SET vector = '[0.1' WHERE id = 't0a'", "'t0a': its vector does not parse"),
    ("UPDATE task SET goal = '7' WHERE id = 't0a'", "'t0a': its goal is not a JSON object"),
    ("UPDATE parentage SET delta = 'x' WHERE child = 't1a'", "'t1a': its delta does not parse"),
    ("UPDATE task SET status = 'accepted' WHERE id = 't3a'", "'t3a': no event says that it is accepted"),
    ("UPDATE task SET status = 'lost' WHERE id = 't3a'", "'t3a': its status lost is unknown"),
    ("UPDATE task SET kind = 'trick' WHERE id = 't3a'", "'t3a': its kind trick is unknown"),
    ("UPDATE event SET kind = 'sold' WHERE seq = 1", "event 1 has the unknown kind sold"),
    ("UPDATE evaluation SET purpose = 'exam' WHERE task = 't3a'", "'t3a': an evaluation has the unknown purpose exam"),
    ("UPDATE evaluation SET k = n + 1 WHERE task = 't3a'", "'t3a': an evaluation of 17 in 16"),
    ("DELETE FROM evaluation WHERE task = 't1a' AND purpose = 'new'", "'t1a': it is accepted without an evaluation of"),
    ("DELETE FROM task WHERE id = 't3b'", "'t3b': it is unknown, but named in event"),
    ("UPDATE parentage SET parent = child WHERE child = 't1a'", "'t1a': it is its own parent"),
    ("INSERT INTO metric VALUES (4, 'accepted', 1)", "rows of round 4, but the last committed round is 3"),
]


@pytest.mark.parametrize(("sql", "sentence"), DAMAGE, ids=[sentence for _, sentence in DAMAGE])
def test_check_names_the_damage(path, sql, sentence):
    with sqlite3.connect(path) as db:
        db.execute(sql)
    with Archive(path, readonly=True) as archive:
        problems = archive.check()
    assert any(sentence in problem for problem in problems), problems
    assert len(problems) <= 3, problems


def test_a_damaged_or_foreign_file_is_one_sentence_and_stays(path, tmp_path):
    with pytest.raises(ArchiveError, match="There is no archive"):
        Archive(tmp_path / "none.db", readonly=True)
    (tmp_path / "text.db").write_text("this is no database, but long enough to look at" * 20)
    (tmp_path / "future.db").write_bytes(path.read_bytes())
    with sqlite3.connect(tmp_path / "future.db") as db:
        db.execute("PRAGMA user_version = 2")
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE songs (name)")
    pairs = {"text.db": "not a database", "future.db": "has schema version 2", "other.db": "is not an archive"}
    for name, sentence in pairs.items():
        for readonly in (True, False):
            before = (tmp_path / name).read_bytes()
            with pytest.raises(ArchiveError, match=sentence) as caught:
                Archive(tmp_path / name, readonly)
            assert "\n" not in str(caught.value) and (tmp_path / name).read_bytes()[100:] == before[100:]


def test_damaged_pages_are_an_archive_error(path):
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with Archive(path, readonly=True) as archive:
        assert "cannot be used" in archive.check()[0]
        with pytest.raises(ArchiveError, match="nothing was deleted"):
            archive.tasks()
    assert path.read_bytes() == data


def test_a_reader_sees_whole_rounds_beside_a_writer(path):
    with Archive(path) as writer, Archive(path, readonly=True) as reader:
        writer.commit_round(record(4))
        assert reader.last_round() == 4
        with pytest.raises(ArchiveError, match="readonly"):
            reader.commit_round(record(5))


WRITER = """
import sys
sys.path[:0] = [sys.argv[2]]
from test_archive import record
from openended.archive import Archive
archive = Archive(sys.argv[1])
print(archive.last_round(), flush=True)
for round in range(archive.last_round() + 1, 100_000):
    archive.commit_round(record(round))
    print(round, flush=True)
"""


def test_killed_at_random_times_never_leaves_half_a_round(tmp_path):
    path, chance, acknowledged = tmp_path / "archive.db", random.Random(1), [-1]
    here = os.path.dirname(__file__)
    environment = os.environ | {"PYTHONPATH": os.path.dirname(here)}
    for _ in range(8):
        command = [sys.executable, "-c", WRITER, str(path), here]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert writer.stdout is not None and int(writer.stdout.readline()) in (acknowledged[-1], acknowledged[-1] + 1)
        time.sleep(chance.uniform(0.0, 0.25))
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.communicate()[0].split()]
        with Archive(path, readonly=True) as archive:
            last = archive.last_round()
            assert last in (acknowledged[-1], acknowledged[-1] + 1) and archive.check() == []
            acknowledged.append(last)
    assert last > 20
    with Archive(tmp_path / "whole.db") as whole:
        for round in range(last + 1):
            whole.commit_round(record(round))
    assert dump(tmp_path / "whole.db") == dump(path)
