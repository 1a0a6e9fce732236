"""Archive and task exports of a tiny run: they can be read back, and what is wrong is refused by name."""

import csv
import io
import json
import runpy
import shutil
import sqlite3

import numpy as np
import pytest

from envs.navigator import Navigator
from envs.probe import Probe
from envs.spec import decode, sentence
from openended import cli, taskfile
from openended.archive import Archive
from openended.locate import CommandError

FAMILIES = {"probe": Probe(), "navigator": Navigator()}


@pytest.fixture(scope="module")
def root(train_tiny):
    return train_tiny(4)  # enough rounds for children


@pytest.fixture
def told(root, capsys):
    """What a command on the tiny run prints, and its exit code."""

    def tell(*words, code=0):
        capsys.readouterr()
        found = cli.main([*words, "--root", str(root)])
        output = capsys.readouterr()
        assert found == code, output.err
        return output.out if code == 0 else output.err

    return tell


@pytest.fixture(scope="module")
def tasks(root):
    with Archive(root / "tiny" / "archive.db", readonly=True) as archive:
        found = archive.tasks()
    assert len(found) >= 3
    return found


def test_check(told, root, tmp_path, capsys):
    assert json.loads(told("archive", "check", "tiny", "--json")) == {"ok": True, "problems": []}
    assert told("archive", "check", "tiny") == "ok\n"
    shutil.copytree(root / "tiny", tmp_path / "broken")
    with sqlite3.connect(tmp_path / "broken" / "archive.db") as database:
        database.execute("UPDATE task SET status = 'lost' WHERE rowid = 1")
    assert cli.main(["archive", "check", str(tmp_path / "broken"), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert not answer["ok"] and any("lost" in problem for problem in answer["problems"])


def test_list_is_every_task_unless_narrowed(told, tasks):
    rows = json.loads(told("archive", "list", "tiny", "--json"))
    assert [row["id"] for row in rows] == [task.id for task in tasks]
    assert {"id", "family", "status", "kind", "round", "description", "forgotten"} <= rows[0].keys()
    for status in ("frontier", "rejected"):
        rows = json.loads(told("archive", "list", "tiny", "--status", status, "--json"))
        assert [row["id"] for row in rows] == [task.id for task in tasks if task.status == status]
    assert len(told("archive", "list", "tiny", "--limit", "2").splitlines()) == 2
    assert json.loads(told("archive", "list", "tiny", "--family", "navigator", "--json")) == []


def test_show_tells_everything(told, tasks):
    task = tasks[0]
    facts = json.loads(told("archive", "show", "tiny", task.id, "--json"))
    values = decode(FAMILIES["probe"].specs, np.asarray(task.vector, np.float32))
    assert facts["parameters"].keys() == values.keys()
    assert all(facts["parameters"][name]["value"] == pytest.approx(float(value)) for name, value in values.items())
    assert facts["has_witness"] and [event["kind"] for event in facts["events"]]
    text = told("archive", "show", "tiny", task.id)
    assert all(name in text for name in values) and "-0.03 to 0.03" in text
    assert text.splitlines()[1] == sentence(task.description)
    assert all(event["reason"] in text for event in facts["events"])


def test_show_says_what_a_child_changed(told, tasks, root):
    with Archive(root / "tiny" / "archive.db", readonly=True) as archive:
        edges = [archive.task(task.id).parents for task in tasks]
    edge = next(parents[0] for parents in edges if parents and parents[0].delta)
    (parent,) = json.loads(told("archive", "show", "tiny", edge.child, "--json"))["parents"]
    facts = json.loads(told("archive", "show", "tiny", edge.parent, "--json"))
    name, change = next(iter(parent["changes"].items()))
    assert parent["delta"].keys() >= {name} and change["from"] == facts["parameters"][name]["value"] != change["to"]
    text = told("archive", "show", "tiny", edge.child)
    assert f"{edge.parent} by {edge.operator}: " in text and f"{name} {change['from']:.3g} to {change['to']:.3g}" in text
    assert edge.child in json.loads(told("archive", "show", "tiny", edge.parent, "--json"))["children"]


def test_a_prefix_is_enough_where_it_fits_one_task(told, tasks):
    task = tasks[1].id
    prefix = next(task[:n] for n in range(1, len(task)) if sum(t.id.startswith(task[:n]) for t in tasks) == 1)
    assert json.loads(told("archive", "show", "tiny", prefix, "--json"))["id"] == task
    assert json.loads(told("task", "tiny", prefix, "--as", "json"))["id"] == task
    error = told("archive", "show", "tiny", "probe-", code=1)
    assert f"the beginning of {len(tasks)} task ids" in error and tasks[0].id in error
    assert "There is no task 'walker-1'" in told("task", "tiny", "walker-1", "--as", "json", code=1)


def test_export_json_is_the_archive(told, root):
    with Archive(root / "tiny" / "archive.db", readonly=True) as archive:
        whole = archive.export()
    assert json.loads(told("archive", "export", "tiny")) == json.loads(json.dumps(whole))


def test_export_csv_has_one_row_per_task(told, tasks, tmp_path):
    path = tmp_path / "tasks.csv"
    assert told("archive", "export", "tiny", "--format", "csv", "--out", str(path)) == ""
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [row["id"] for row in rows] == [task.id for task in tasks]
    assert [json.loads(row["vector"]) for row in rows] == [list(task.vector) for task in tasks]
    assert float(rows[0]["target_a"]) == pytest.approx(tasks[0].goal["target"][0])
    assert rows[0]["unit"] == "units"


def test_out_that_cannot_be_written(told, tmp_path):
    error = told("archive", "export", "tiny", "--out", str(tmp_path / "no" / "file"), code=1)
    assert "cannot be written: No such file or directory." in error


def test_a_task_file_comes_back_bit_for_bit(told, tasks, tmp_path):
    path = tmp_path / "task.json"
    told("task", "tiny", tasks[0].id, "--as", "json", "--out", str(path))
    document = json.loads(path.read_text())
    assert document["parameters"]["limit"]["unit"] == "s" and document["goal"]["feature"] in ("position", "x")
    loaded = taskfile.load_task(path, FAMILIES)
    np.testing.assert_array_equal(loaded.vector, np.asarray(tasks[0].vector, np.float32))
    assert (loaded.id, loaded.family, loaded.description) == (tasks[0].id, "probe", tasks[0].description)


def spoilt(name, value):
    def spoil(document):
        document[name] = value(document) if callable(value) else value

    return spoil


def second(number):
    return lambda document: [document["vector"][0], number, *document["vector"][2:]]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoilt("vector", lambda d: d["vector"][:-1]), "has 17 numbers; got shape (16,)"),
        (spoilt("vector", second(float("nan"))), "drift_y is nan; allowed: a finite number"),
        (spoilt("vector", second(1.25)), "drift_y is 1.25; allowed: 0 to 1"),
        (spoilt("vector", second("wide")), "a task vector is a list of 17 numbers"),
        (spoilt("vector", None), "a task vector"),
        (spoilt("family", "walker"), "family is 'walker'; allowed: probe, navigator"),
        (spoilt("format", "other"), "no task file: its 'format' must be 'openended-task'"),
        (spoilt("version", 2), "has version 2; allowed: 1"),
        (spoilt("vector", second(0.75)), "parameter drift_y is"),
        (spoilt("parameters", {"wings": {"value": 2}}), "no such number as 'wings'"),
    ],
)
def test_a_bad_task_file_is_refused_by_name(spoil, told, tmp_path):
    document = taskfile.task_document(FAMILIES["probe"], np.full(17, 0.5), "probe-0", {})
    spoil(document)
    path = tmp_path / "task.json"
    path.write_text(json.dumps(document))
    with pytest.raises(CommandError) as error:
        taskfile.load_task(path, FAMILIES)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_file_of_no_json_is_refused(tmp_path):
    (tmp_path / "task.json").write_text("{")
    with pytest.raises(CommandError, match="cannot be read as JSON"):
        taskfile.load_task(tmp_path / "task.json", FAMILIES)
    with pytest.raises(CommandError, match="No such file"):
        taskfile.load_task(tmp_path / "none.json", FAMILIES)


@pytest.mark.parametrize("form", ["brax", "gymnasium"])
def test_the_script_runs_and_holds_the_same_task(form, told, tasks, tmp_path, capsys):
    path = tmp_path / "task.py"
    told("task", "tiny", tasks[0].id, "--as", form, "--out", str(path))
    made = runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.startswith("random actions: reward ")
    np.testing.assert_array_equal(made["TASK"]["vector"], np.asarray(tasks[0].vector))
    made_with = made["FAMILY"]
    assert [(s.name, s.low, s.high) for s in made_with.specs] == [(s.name, s.low, s.high) for s in FAMILIES["probe"].specs]


def test_a_file_alone_makes_the_task_and_its_family(told, tasks, tmp_path):
    path = tmp_path / "task.json"
    told("task", "tiny", tasks[0].id, "--as", "json", "--out", str(path))
    family, task = taskfile.read_task(path)
    assert family.specs == FAMILIES["probe"].specs and task.id == tasks[0].id
    np.testing.assert_array_equal(task.vector, np.asarray(tasks[0].vector, np.float32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class": "os.system"}, "class is 'os.system'; allowed: a family of the package envs"),
        ({"class": "envs.spec.ParamSpec"}, "ParamSpec"),
        ({"class": "envs.probe.Nothing"}, "Nothing"),
        ({"options": {"arms": 2}}, "arms"),
        ({"interface": {"arms": 2}}, "arms"),
        ({"vector": [0.5]}, "has 17 numbers"),
    ],
)
def test_a_file_that_makes_no_family_is_refused(change, words, told, tasks, tmp_path):
    path = tmp_path / "task.json"
    told("task", "tiny", tasks[0].id, "--as", "json", "--out", str(path))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CommandError, match=words):
        taskfile.read_task(path)


def test_a_family_without_bodies_has_no_mjcf(told, tasks):
    assert "'probe' is free of physics" in told("task", "tiny", tasks[0].id, "--as", "mjcf", code=1)


def test_a_run_of_another_version_is_refused_in_one_sentence(root, tmp_path, capsys, tasks):
    shutil.copytree(root / "tiny", tmp_path / "old")
    config = tmp_path / "old" / "config.yaml"
    config.write_text(config.read_text().replace("hidden_goals:", "hidden_things:"))
    assert cli.main(["archive", "show", str(tmp_path / "old"), tasks[0].id]) == 1
    error = capsys.readouterr().err
    assert "does not fit this version" in error and "hidden_things" in error and error.count("\n") == 1
