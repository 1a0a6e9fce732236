"""Thumbnails: what is drawn, in which order, how little must be compiled for it, and that it is done once."""

import re
import threading
import time

import numpy as np
import pytest

from openended import configuration
from openended.browser import stills, studio
from openended.browser.desk import Desk
from openended.browser.pictures import BODY, OBJECT, OBSTACLE
from openended.browser.queries import Wanted
from openended.browser.runs import Missing, Run, Runs
from tests.made_archive import GOAL, make_run


@pytest.fixture
def run(tmp_path):
    return Run(make_run(tmp_path / "made", 200, 400))


@pytest.fixture
def drawn(monkeypatch):
    """What was compiled and drawn, in order; nothing really is."""
    found = []
    monkeypatch.setattr(stills, "start", lambda family: found.append(family.name))
    monkeypatch.setattr(stills, "draw", lambda family, vector, goal: found.append(tuple(vector)) or b"<svg/>")
    return found


def test_the_first_page_is_drawn_before_it_is_asked_for_one_of_every_family_first(run, drawn, tmp_path):
    made = studio.Studio(run, stills.Stills(tmp_path / "stills.db"))
    made.warm().join(120)
    tasks = run.archive().gallery(Wanted())[1]
    pictures = [x for x in drawn if isinstance(x, tuple)]
    assert len(tasks) == len(pictures) == 60
    assert sorted(x for x in drawn if isinstance(x, str)) == ["navigator", "reacher"], "each compiled once"
    newest = {family: next(t["id"] for t in tasks if t["family"] == family) for family in ("navigator", "reacher")}
    vectors = {id: tuple(vector) for id, _, vector, _ in run.archive().pictured([t["id"] for t in tasks])}
    assert set(pictures[:2]) == {vectors[id] for id in newest.values()}
    assert pictures[2:] == [vectors[t["id"]] for t in tasks if t["id"] not in newest.values()], "then from the top"
    for task in tasks:
        made.still(task["id"])
    assert len(drawn) == 62, "nothing was drawn again"


def test_pictures_outlive_the_server_and_a_task_or_a_configuration_that_differs_is_another(run, drawn, tmp_path):
    id = run.archive().gallery(Wanted())[1][0]["id"]
    for _ in range(2):
        again = studio.Studio(run, stills.Stills(tmp_path / "stills.db"))
        assert again.still(id) == b"<svg/>"
    assert len(drawn) == 2, "compiled and drawn by the first alone"
    _, family, vector, goal = run.archive().pictured([id])[0]
    config = run.config()
    names = {
        stills.named(config, family, vector, goal),
        stills.named(config, family, [*vector[:-1], 0.5], goal),
        stills.named(config, family, vector, goal | {"target": [0.0, 0.0]}),
        stills.named({"families": {family: {}}}, family, vector, goal),
    }
    assert len(names) == 4
    with pytest.raises(Missing):
        again.still("nobody")


def test_without_a_disk_that_can_be_written_pictures_are_kept_in_memory(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "damaged.db").write_bytes(b"no database " * 1000)
    for place in (tmp_path / "file" / "stills.db", tmp_path / "damaged.db", None):
        kept = stills.Stills(place)
        kept.put(b"a", b"<svg/>")
        assert kept.get(b"a") == b"<svg/>" and kept.get(b"b") is None


def test_pictures_wait_neither_for_a_replay_nor_for_another_family(run, drawn):
    made = studio.Studio(run)
    tasks = run.archive().gallery(Wanted())[1]
    first, second, *_ = [t["id"] for t in tasks if t["family"] == "navigator"]
    for id, compiling in ((first, studio._COMPILING), (second, studio._PICTURING)):
        with compiling:
            asking = threading.Thread(target=made.still, args=[id], daemon=True)
            asking.start()
            asking.join(60)
            assert not asking.is_alive()


def test_a_look_at_a_page_begins_the_drawing(run, monkeypatch):
    from fastapi.testclient import TestClient

    from openended.browser.app import create

    warmed = []
    monkeypatch.setattr(studio.Studio, "warm", lambda self: warmed.append(self.run.name))
    app = create(Runs(run.folder.parent))
    client = TestClient(app, base_url="http://localhost")
    client.get("/runs/made/index.html")
    assert warmed == [], "nobody who only asks the application, as an export does, gets them"
    app.app.state.desk.eager = True
    client.get("/runs/made/index.html")
    assert warmed == ["made"] and isinstance(app.app.state.desk, Desk)


@pytest.mark.slow
def test_pictures_need_no_physics_and_come_soon(run, monkeypatch):
    """A step of every family was compiled at a first look, for 20 s. The bound is many times what a core needs now."""
    families = configuration.families(configuration.read(["family=[navigator,reacher]"]))
    for family in families.values():
        monkeypatch.setattr(type(family), "move", lambda *_: pytest.fail("physics was traced"))
    made, began = studio.Studio(run), time.monotonic()
    made.warm().join(60)
    tasks = run.archive().gallery(Wanted())[1]
    assert time.monotonic() - began < 60 and len(made.pictures._pictures) == len(tasks) == 60
    assert len(set(made.pictures._pictures.values())) > 55, "different tasks look different"


@pytest.mark.slow
def test_what_the_body_moves_is_told_from_what_stands_still():
    (family,) = configuration.families(configuration.read(["family=pusher"])).values()
    vector = np.full(len(family.specs), 0.5)
    picture = stills.draw(family, vector.tolist(), GOAL).decode()
    shapes = re.findall(r'<circle [^>]*fill="(#\w+)"', picture)
    assert shapes.count(OBJECT) == 1 and set(shapes) <= {OBJECT, OBSTACLE, *BODY} and set(shapes) & set(BODY)
