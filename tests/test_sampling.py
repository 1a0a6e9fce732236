"""What `openended family NAME --sample N` tells of a family."""

import functools
import json

import jax.numpy as jnp
import numpy as np
import pytest

from envs import validity
from envs.probe import Probe
from openended import sampling
from openended.cli import main

SEARCH = validity.Search(population=4, generations=1)
COUNT = sampling.CHUNK + 22


class Holes(Probe):
    """A probe that reports no number for a fifth of its tasks."""

    def sense(self, model, physics):
        hole = model.task.goal.limit < 0.68 * self.episode_steps
        return jnp.where(hole, jnp.nan, super().sense(model, physics))


@functools.cache
def found(cls=Probe, how="uniform"):
    vectors = sampling.draw(how, cls().specs, COUNT, np.random.default_rng(0))
    return vectors, sampling.sample(cls(), SEARCH, vectors, 0)


def test_every_candidate_gets_one_verdict_and_nothing_compiles_after_the_first_call():
    vectors, sample = found()
    facts = sampling.report(Probe(), SEARCH, "uniform", 0, sample)
    assert len(vectors) == len(sample.verdict) == len(sample.finite) == COUNT
    assert sum(facts["shares"][name]["count"] for name in validity.VERDICTS) == COUNT
    valid, trivial, witnessed = (facts["shares"][name] for name in ("valid", "trivial", "witnessed"))
    assert witnessed["count"] == valid["count"] + trivial["count"]
    assert valid["lower"] < valid["share"] < valid["upper"]
    assert 0 < trivial["count"] < COUNT
    assert facts["not_finite"] == 0
    assert facts["programs"]["in_all"] > 0 and facts["programs"]["after_the_first_call"] == 0


def test_numbers_that_are_not_finite_are_counted():
    vectors, sample = found(Holes)
    limit = [spec.name for spec in Probe().specs].index("limit")
    assert 0 < np.sum(~sample.finite) < COUNT
    assert vectors[~sample.finite, limit].max() < vectors[sample.finite, limit].min()


def test_a_chain_wanders_from_where_it_began():
    specs = Probe().specs
    chain = sampling.draw("chain", specs, 400, np.random.default_rng(0)).reshape(sampling.GENERATIONS, 10, -1)
    assert chain.min() >= 0.0 and chain.max() <= 1.0
    sliding = [i for i, spec in enumerate(specs) if not spec.structural and not spec.pinned]
    moved = np.abs(chain[1:, :, sliding] - chain[:-1, :, sliding])
    assert moved.mean() > 0.05, "children are their parents"
    assert not np.array_equal(chain[0], sampling.draw("chain", specs, 400, np.random.default_rng(1))[:10])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["probe", "--sample", "0"], "'0'; allowed: a whole number of at least 1"), (["--sample", "3"], "needs the name")],
)
def test_bad_input(arguments, complaint, capsys):
    try:
        code = main(["family", *arguments])
    except SystemExit as end:
        code = end.code
    assert code == 2 and complaint in capsys.readouterr().err


def test_options_of_a_family(capsys):
    assert main(["family", "probe", "families.probe.combined_goals=true", "--json"]) == 0
    assert "feature_2" in {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert main(["family", "probe", "families.probe.wings=2", "--json"]) == 3
    assert "wings" in capsys.readouterr().err


def test_the_report_as_text_and_json(capsys, monkeypatch):
    monkeypatch.setattr(sampling, "sample", lambda *_: found()[1])
    assert main(["family", "probe", "--sample", str(COUNT), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["family"] == "probe" and facts["candidates"] == COUNT
    assert main(["family", "probe", "--sample", str(COUNT)]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*validity.VERDICTS, "trivial", "witnessed"))
