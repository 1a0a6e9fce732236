"""What a round costs with many tasks: the tasks are in the archive as the loop would have put them, and costs stay flat."""

import json
import time

import jax
import numpy as np
import pytest

from openended import cli, configuration, growth
from openended.archive import Archive, EvaluationRow, RoundRecord
from openended.repertoire import ACCEPTED
from openended.types import Outcome

PROBE = ["experiment=probe", "loop.capacity=250000"]


@pytest.fixture(scope="module")
def loop():
    return configuration.build(configuration.read(PROBE))


def test_a_filled_archive_is_sound(loop, tmp_path):
    state, made = growth.filled(loop.init(), loop, 40)
    book = state.repertoire["probe"]
    assert book.rows(ACCEPTED).size == book.skills().size == int(state.acceptance.accepted) == 40
    assert int(state.round) == made.round == 1 and len({row.id for row in made.tasks}) == 40
    with Archive(tmp_path / "archive.db") as archive:
        archive.commit_round(made)
        assert archive.check() == [] and len(archive.accepted()) == 40


def test_only_lifetimes_of_retention_are_told_as_solved():
    lost = Outcome(np.zeros((3, 2), bool), np.array([False, True, False]))
    evaluate = growth.remembering(lambda *args, **options: lost)
    kept = evaluate("probe", None, np.zeros((3, 1)), jax.random.key(0), "retention")
    assert kept.success.all() and kept.broken.tolist() == [False, True, False]
    assert not evaluate("probe", None, np.zeros((3, 1)), jax.random.key(0), "verify").success.any()


@pytest.mark.slow
def test_the_archive_costs_the_same_with_a_hundred_thousand_tasks(loop, tmp_path):
    """Seconds to add a round's rows and to look at a task: less than twice those with a thousand."""
    cost = {}
    for count in (1_000, 100_000):
        _, made = growth.filled(loop.init(), loop, count)
        with Archive(tmp_path / f"{count}.db") as archive:
            archive.commit_round(made)
            ids = [row.id for row in made.tasks[:: count // 50]]
            looks, adds = [], []
            for i, task in enumerate(ids):
                rows = [EvaluationRow(other, 1, "retention", 16, 16, 0.8, 1.0) for other in ids * 6]
                began = time.perf_counter()
                archive.commit_round(RoundRecord(round=2 + i, evaluations=rows))
                middle = time.perf_counter()
                assert archive.task(task).task.status == "accepted"
                adds.append(middle - began)
                looks.append(time.perf_counter() - middle)
        cost[count] = np.median(adds), np.median(looks)
    adds, looks = np.divide(cost[100_000], cost[1_000])
    assert adds < 2.0 and looks < 2.0, cost


@pytest.mark.slow
def test_growth_of_the_probe(tmp_path, capsys, monkeypatch):
    """The steps of a round do not depend on how many tasks are known, once the sample of a retention test is full."""
    out, small = tmp_path / "growth.json", ["loop.updates=1", "acceptance.sample=64"]
    monkeypatch.setattr(growth.measure, "__defaults__", ((100, 1_000),))
    assert cli.main(["bench", "experiment=probe", *small, "--growth", "--quick", "--out", str(out), "--json"]) == 0
    assert capsys.readouterr().out == ""
    found = json.loads(out.read_text())["growth"]
    few, many = (found["accepted"][size] for size in ("100", "1000"))
    assert 0.0 < found["ratio_1000_to_100"] == found["ratios"]["round_s"] < 3.0
    assert many["steps_by_purpose"]["retention"] <= 1.5 * few["steps_by_purpose"]["retention"]
    assert many["device_bytes"] == few["device_bytes"] and many["audit_s_per_task"] < 2.0 * few["audit_s_per_task"]
    assert "ratio" in growth.lines(found)[0] and len(growth.lines(found)) == 1 + len(found["ratios"])
