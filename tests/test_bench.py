"""The bench: its figures follow from what was timed, and it measures a small configuration to the end."""

import json

import jax
import numpy as np
import pytest

from openended import bench, cli, configuration, trees
from openended.bench import Part
from openended.configuration import ConfigurationError
from openended.programs import PURPOSES
from openended.timed import Seen, median


def test_median_and_harmonic_mean():
    assert median(x for x in (5.0, 1.0, 2.0)) == 2.0
    assert bench.harmonic([100.0]) == 100.0
    assert bench.harmonic(x for x in (100.0, 300.0)) == pytest.approx(150.0)  # 1 s and 1/3 s for 100 steps each


def part(group, name, steps):
    return Part(group, name, steps, lambda key: None)


PARTS = [
    part("raw", "walker", 100),
    part("raw", "walker", 400),
    part("policy", "walker", 100),
    part("policy", "puck", 300),
]
SECONDS = [[1.0, 9.0, 1.0], [2.0, 2.0, 0.1], [1.0], [1.0]]


def seen(seconds, inside, learn, compilations=0):
    steps = {**dict.fromkeys(PURPOSES, 0), "learn": learn, "verify": 25}
    return Seen(seconds, {"learn": 0.75 * inside, "evaluate": 0.25 * inside}, steps, compilations, {"learn": seconds / 2})


def test_a_rate_is_that_of_the_best_batch_by_its_median():
    assert bench.best(PARTS, SECONDS) == {
        "raw": {"walker": 200.0},  # not 4000, the luckiest repetition
        "policy": {"walker": 100.0, "puck": 300.0},
    }


def test_efficiency_is_learning_of_whole_rounds_over_the_policy_alone():
    found = bench.report(PARTS, SECONDS, [seen(1.0, 0.9, 75), seen(2.0, 1.0, 150, 2), seen(10.0, 9.9, 75)])
    assert found["round"]["efficiency"] == pytest.approx(75.0 / 150.0)
    assert found["round"]["steps_per_s"] == pytest.approx(87.5)
    assert found["round"]["steps_by_purpose"] == {"screen": 0, "learn": 300, "verify": 75, "retention": 0, "witness": 0}
    assert found["host_share"] == pytest.approx(0.1)
    assert found["learn"] == pytest.approx(75 / (0.75 * 0.9))  # the middle one of three
    assert found["compile"] == {"after_warmup": 2} and found["stages"] == {"learn": 1.0}


def test_calls_take_turns_and_the_first_pass_is_not_timed():
    order, keys = [], []

    def call(name):
        return lambda key: (order.append(name), keys.append(tuple(jax.random.key_data(key).tolist())))

    seconds = bench.interleave([call("a"), call("b")], 2, jax.random.key(0))
    assert order == ["a", "b"] * 3 and len(set(keys)) == 6
    assert [len(times) for times in seconds] == [2, 2] and min(map(min, seconds)) >= 0.0


def test_physics_depends_on_the_state_and_on_the_key():
    """Else XLA would delete what is to be timed."""
    family = configuration.build(configuration.read(["experiment=probe"])).families["probe"]
    program = trees.OverDevices(bench.physics(family, 2), (trees.SAME, trees.ROWS, trees.ROWS), trees.ROWS)
    tasks = np.full((4, len(family.specs)), 0.4, np.float32)
    keys = jax.random.split(jax.random.key(0), 4)
    total, (success, broken) = program(None, tasks, keys)
    assert total.shape == (4, 1, 2) and success.shape == broken.shape == (4, 2)
    assert len(np.unique(np.asarray(total)[:, 0, 0])) == 4 and not np.any(broken)
    drift = [spec.name for spec in family.specs].index("drift_x")
    tasks[:, drift] = 0.6
    assert not np.allclose(program(None, tasks, keys)[0], total)


def test_a_wrong_configuration_is_said_before_anything_is_measured(capsys):
    assert cli.main(["bench", "learner=magic"]) == cli.BAD_CONFIGURATION
    output = capsys.readouterr()
    assert "magic" in output.err and output.out == ""


@pytest.mark.slow
def test_a_configuration_that_a_part_refuses_is_told_from_the_process_that_compiles(tmp_path):
    with pytest.raises(ConfigurationError, match=r"search.population is 2"):
        bench.compile_apart(["experiment=probe", "search.population=2"], tmp_path)


@pytest.mark.slow
def test_compilation_in_a_process_of_its_own_fills_the_cache(tmp_path):
    cold, warm = (bench.compile_apart(["experiment=probe", "loop.updates=1"], tmp_path) for _ in range(2))
    assert cold > warm > 0.0
    assert any(tmp_path.iterdir())


@pytest.mark.slow
def test_quick_bench_of_the_probe(tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert cli.main(["bench", "experiment=probe", "--quick", "--json", "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    found = json.loads(out.read_text())
    assert list(found["raw"]) == list(found["policy"]) == ["probe"]
    rates = [*found["raw"].values(), *found["policy"].values(), found["learn"], found["round"]["steps_per_s"]]
    assert min(rates) > 0.0
    assert 0.0 < found["round"]["efficiency"] < 1.0 and 0.0 < found["host_share"] < 1.0
    assert found["compile"] == {"cold_s": None, "warm_s": None, "after_warmup": 0}
    learned = 2 * 4 * 4 * 64 * 3 * 40  # rounds, passes, updates, rows, episodes, steps
    assert found["round"]["steps_by_purpose"]["learn"] == learned
    rest = {"round", "compile", "host_share", "growth", "device", "stages", "peak_bytes", "arithmetic", "ceilings"}
    assert set(found) == {"raw", "policy", "learn", *rest}
    assert 0 < found["arithmetic"]["probe"]["policy"] < found["arithmetic"]["probe"]["gradient"]
    assert "Gflop/s a device" in "".join(bench.lines(found | {"compile": {"cold_s": 9.0, "warm_s": 2.0, "after_warmup": 0}}))
    assert (
        list(found["stages"]) == ["propose", "enter", "learn", "verify", "finish", "record"]
        and found["peak_bytes"]["process"] > 1e8
    )
    assert found["growth"] == {"ratio_10000_to_100": None} and "cpu" in found["device"]
    text = "\n".join(bench.lines(found | {"compile": {"cold_s": 9.0, "warm_s": 2.0, "after_warmup": 0}}))
    assert "cold 9.0 s, warm 2.0 s, after warm-up 0 programs" in text and "growth" not in text
