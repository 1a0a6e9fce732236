"""The browser's queries against a stored archive, what grows while it looks, and what the pages make of the rows."""

import copy
import json

import pytest

from openended.archive import Archive, EvaluationRow, EventRow, ParentRow, RoundRecord, TaskRow
from openended.browser import pages
from openended.browser.queries import SORTS, Queries, Wanted, brief
from openended.browser.runs import Missing, Run, Runs
from tests.made_archive import GOAL, make_run


def task(id, status="accepted", round=1, family="reacher", first=0.5, words="a thing", **changes):
    return TaskRow(id, family, [first, 0.25], GOAL, words, status, changes.pop("kind", "skill"), round, 0, 10.0, **changes)


def event(task, kind, reason="why: 3 of 4 (details)"):
    return EventRow(task, kind, reason)


@pytest.fixture
def folder(tmp_path):
    """Round 1: a accepted, b its child in the frontier, c rejected. Round 2: a forgotten by learner 2 and restored by 3."""
    (tmp_path / "config.yaml").write_text("run: {name: x}\n")
    with Archive(tmp_path / "archive.db") as archive:
        tasks = [
            task("a", words="A 100% <b>bold</b> task"),
            task("b", "frontier", first=0.9),
            task("c", "rejected", family="navigator"),
        ]
        events = [event("a", "accepted"), event("b", "frontier"), event("c", "rejected", "other words 12.5 kg")]
        evaluations = [EvaluationRow("a", 0, "old", 16, 4, 0.1, 0.5), EvaluationRow("a", 1, "new", 16, 16, 0.8, 1.0)]
        metrics = {"steps_total": 10.0, "accepted": 1.0, "heldout_last": 0.5}
        parents = [ParentRow("b", "a", "mutate", {"mass": 0.1})]
        archive.commit_round(RoundRecord(1, tasks, {}, parents, events, evaluations, metrics))
    return tmp_path


def second_round(folder):
    with Archive(folder / "archive.db") as archive:
        tests = [EvaluationRow("a", 2, "retention", 8, 1, 0.0, 0.5), EvaluationRow("a", 3, "retention", 8, 7, 0.5, 1.0)]
        events = [event("a", "forgotten", "solved in 1 of 8 lifetimes"), event("a", "restored", "solved in 7 of 8 lifetimes")]
        archive.commit_round(RoundRecord(2, events=events, evaluations=tests, metrics={"steps_total": 20.0}))


def ids(queries, **wanted):
    return [row["id"] for row in queries.gallery(Wanted(**wanted))[1]]


def test_a_gallery_narrows_and_sorts(folder):
    with Queries(folder / "archive.db") as queries:
        queries.refresh()
        assert ids(queries) == ["c", "b", "a"] and ids(queries, ascending=True) == ["a", "b", "c"]
        assert ids(queries, status="accepted") == ["a"] and ids(queries, family="navigator") == ["c"]
        assert ids(queries, reason="why") == ["b", "a"] and ids(queries, kind="speedup") == []
        assert (
            ids(queries, search="BOLD task") == ["a"]
            and ids(queries, search="100%") == ["a"]
            and ids(queries, search="%") == ["a"]
        )
        assert ids(queries, search="_") == [] and ids(queries, search="'; DROP TABLE task") == []
        assert ids(queries, family="reacher", number=0, low=0.8, high=1.0) == ["b"]
        queries.set_difficulty({"c": 3.0, "a": 1.0})
        assert ids(queries, sort="difficulty") == ["c", "a", "b"], "what is not known comes last"
        assert queries.without_difficulty() == [("b", "reacher")]
        total, second = queries.gallery(Wanted(page=2, size=2))
        assert total == 3 and [row["id"] for row in second] == ["a"]
        found = queries.gallery(Wanted(status="accepted"))[1][0]
        assert found["progress"] == 0.75 and found["success"] == 1.0 and found["reason"] == "why" and not found["forgotten"]


def test_all_tasks_are_all_tasks(folder, monkeypatch):
    """Those of the static site, however many a map has room for."""
    monkeypatch.setattr(pages, "MAPPED", 2)
    with Queries(folder / "archive.db") as queries:
        queries.refresh()
        assert [row["id"] for row in pages.everything(queries)["tasks"]] == ["a", "b", "c"]


def test_rounds_in_which_a_resumed_process_warms_up_recompile_nothing(folder):
    with Archive(folder / "archive.db") as archive:
        for round, made in ((2, 40.0), (3, 1.0), (4, 50.0), (5, 20.0), (6, 2.0)):
            archive.commit_round(RoundRecord(round, metrics={"compiled": made}))
        archive.note_resumed(3, "after round 3")
    with Queries(folder / "archive.db") as queries:
        queries.refresh()
        assert pages.overview(Run(folder), queries)["recompilations"] == 1.0 + 2.0


def test_every_order_works_both_ways(folder):
    with Queries(folder / "archive.db") as queries:
        queries.refresh()
        for sort in SORTS:
            assert len(ids(queries, sort=sort)) == len(ids(queries, sort=sort, ascending=True)) == 3


def test_what_is_written_later_is_taken_in_and_a_roll_back_too(folder):
    with Queries(folder / "archive.db") as queries:
        queries.refresh()
        second_round(folder)
        queries.refresh()
        assert queries.gallery(Wanted(status="accepted"))[1][0]["success"] == 7 / 8
        assert (2, "forgotten", "solved in … of … lifetimes", 1) in queries.happenings()
        with Archive(folder / "archive.db") as archive:
            archive.rollback(1)
        queries.refresh()
        assert queries.gallery(Wanted(status="accepted"))[1][0]["success"] == 1.0
        assert {row[0] for row in queries.happenings()} == {1}


def test_forgetting_is_shown_where_it_was_found(folder):
    second_round(folder)
    with Queries(folder / "archive.db") as queries:
        queries.refresh()
        found = pages.memory(queries)
        assert found["tasks"] == ["a"] and found["accepted_at"] == [1] and found["forgotten_now"] == []
        assert found["cells"] == [[1, 16, 16, 0, 2, 1, 8, 1, 3, 7, 8, 0]]


def test_what_is_read_in_pieces_is_what_is_read_at_once(tmp_path):
    """An archive that grew in front of an open browser, one opened anew, and the tables renewed task by task agree."""
    folder = make_run(tmp_path / "made", 200, 1200)
    parts = (pages.memory, pages.forest, Queries.facets, Queries.families, Queries.happenings)
    told = lambda queries: [copy.deepcopy(part(queries)) for part in parts] + [facts(queries)]  # noqa: E731
    facts = lambda queries: queries.rows("SELECT * FROM fact ORDER BY id")  # noqa: E731
    with Queries(folder / "archive.db") as old, Queries(folder / "archive.db") as new:
        old.refresh()
        before = told(old)
        lost = before[0]["tasks"][3]
        with Archive(folder / "archive.db") as archive:
            round = archive.last_round() + 1
            rows = [EvaluationRow(lost, 61, "retention", 16, 2, 0.0, 0.4), EvaluationRow(lost, 62, "audit", 16, 3, 0.0, 0.5)]
            archive.commit_round(
                RoundRecord(round, events=[event(lost, "forgotten", "solved in 2 of 16 lifetimes")], evaluations=rows)
            )
        old.refresh()
        new.refresh()
        assert told(old) == told(new) != before
        assert lost in pages.memory(old)["forgotten_now"] and pages.memory(old)["cells"][3][-4:] == [62, 3, 16, 1]
        new._db.execute("DELETE FROM fact")
        new._seen = (round, 0, 0, 0)
        new._renew()
        assert facts(new) == facts(old) and len(facts(new)) == 200


def test_forest_and_ancestors(folder):
    with Queries(folder / "archive.db") as queries:
        queries.refresh()
        forest = pages.forest(queries)
        assert forest["id"] == ["a", "b", "c"] and forest["parent"] == [-1, 0, -1] and forest["operator"][1] == "mutate"
        assert queries.ancestors("b") == ["a"] and queries.ancestors("a") == []
        assert queries.briefly(["b", "nobody"])["b"]["status"] == "frontier"


def test_a_forest_grows_by_what_is_new_and_shrinks_with_a_roll_back(folder):
    with Queries(folder / "archive.db") as queries, Queries(folder / "archive.db") as late:
        queries.refresh()
        before = {name: list(column) for name, column in pages.forest(queries).items()}
        with Archive(folder / "archive.db") as archive:
            tests = [EvaluationRow("b", 1, "old", 16, 4, 0.1, 0.5), EvaluationRow("b", 2, "new", 16, 16, 0.8, 1.0)]
            parents = [ParentRow("d", "b", "mutate", {}), ParentRow("d", "a", "cross", {})]
            events = [event("b", "accepted"), event("d", "frontier")]
            archive.commit_round(RoundRecord(2, [task("d", "frontier", 2)], {"b": "accepted"}, parents, events, tests))
        pages.forest(queries)  # the rows are there, but not taken in yet: the parent of d must not be lost
        queries.refresh()
        late.refresh()
        found = pages.forest(queries)
        assert found == pages.forest(late) and found["id"] == ["a", "b", "c", "d"] and found["parent"] == [-1, 0, -1, 1]
        assert found["status"] == ["accepted", "accepted", "rejected", "frontier"] and found["operator"][3] == "mutate"
        with Archive(folder / "archive.db") as archive:
            archive.rollback(1)
        queries.refresh()
        assert pages.forest(queries) == before


def test_difficulties_stand_in_the_order_of_the_forest(folder):
    with Queries(folder / "archive.db") as queries:
        queries.refresh()
        queries.set_difficulty({"c": 3.0, "a": 1.0})
        assert pages.difficulties(queries, "some")["bits"] == [1.0, None, 3.0]


def test_tables_come_whole_and_in_pieces(folder, monkeypatch):
    second_round(folder)
    monkeypatch.setattr("openended.browser.queries.CHUNK", 2)
    with Queries(folder / "archive.db") as queries:
        columns, rows = queries.table("events")
        found = list(rows)
        assert columns == ["seq", "round", "task", "kind", "reason"] and [row[0] for row in found] == [1, 2, 3, 4, 5]


def test_an_answer_is_made_again_only_when_the_archive_changed(folder):
    run, made = Run(folder), []
    ask = lambda: run.answer("k", lambda archive: made.append(1) or len(made))  # noqa: E731
    assert ask() == ask() == 1
    second_round(folder)
    assert ask() == 2


def test_a_replaced_archive_is_opened_anew(folder, tmp_path):
    run = Run(folder)
    assert run.archive().last_round() == 1
    other = make_run(tmp_path / "other", 30, 40)
    (folder / "archive.db-wal").unlink(missing_ok=True)
    (other / "archive.db").replace(folder / "archive.db")
    assert run.archive().gallery(Wanted())[0] == 30


@pytest.mark.parametrize("content", [None, b"", b"no database at all, but long enough to be looked at " * 40])
def test_what_is_no_archive_is_told_in_a_sentence(tmp_path, content):
    (tmp_path / "config.yaml").write_text("run: {name: x}\n")
    if content is not None:
        (tmp_path / "archive.db").write_bytes(content)
    with pytest.raises(Missing) as told:
        Run(tmp_path).archive()
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


def test_a_configuration_is_read_again_when_it_has_changed(folder):
    run = Run(folder)
    first = run.config()
    assert first == {"run": {"name": "x"}} and run.config() is first
    (folder / "config.yaml").write_text("run: {name: another}\n")
    assert run.config()["run"]["name"] == "another"
    (folder / "config.yaml").unlink()
    with pytest.raises(Missing):
        run.config()


def test_only_real_run_folders_are_found(tmp_path):
    root = tmp_path / "runs"
    make_run(root / "good", 5, 5)
    make_run(tmp_path / "outside", 5, 5)
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "foreign").mkdir()
    make_run(root / "sly", 5, 5)
    (root / "sly" / "archive.db").unlink()
    (root / "sly" / "archive.db").symlink_to(tmp_path / "outside" / "archive.db")
    assert Runs(root).names() == ["good"] and Runs(root, "nothing").names() == [] and Runs(tmp_path / "no").names() == []
    for name in ("link", "sly", "..", "../outside", "good/..", ""):
        with pytest.raises(Missing):
            Runs(root).find(name)


def test_a_dead_trainer_is_stale_within_fifteen_seconds(folder):
    import time

    def state(age, stage="learn"):
        beat = {"time": time.time() - age, "stage": stage, "round": 3}
        (folder / "heartbeat.json").write_text(json.dumps(beat))
        return Run(folder).health()["state"]

    assert state(0) == state(3) == "live" and state(12) == "stale" and state(99, "stopped") == "ended"
    (folder / "heartbeat.json").write_text("{half")
    assert Run(folder).health()["state"] == "unknown"


def test_brief_reasons():
    assert brief("accepted: solved in 46 of 48 lifetimes") == "accepted"
    assert brief("physics left its bounds while learning (a task of the pool)") == "physics left its bounds while learning"
    assert brief("solved in 1 of 8 lifetimes") == "solved in … of … lifetimes" and brief(None) == ""


def test_intervals_of_held_out_success(folder):
    with Queries(folder / "archive.db") as queries:
        (value, low, high) = pages.heldout(queries, {"heldout_last": 100})["success"]["heldout_last"][0]
    assert value == 0.5 and 0.39 < low < 0.41 and 0.59 < high < 0.61
    assert pages.interval(None, 5) is None and pages.interval(0.5, 0) is None
