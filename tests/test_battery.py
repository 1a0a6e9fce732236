"""The battery of invariances: what is between learner and body, and that it finds what is there to be found."""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.probe import Probe
from openended import battery, cli, configuration, evaluate, subjects, suites
from openended.battery import CONDITIONS, DRAWS
from openended.locate import CommandError, UsageError


@pytest.fixture(scope="module")
def family():
    return Probe(episode_steps=8)


@pytest.fixture(scope="module")
def made(family):
    return battery.maps(family, np.random.default_rng(0))


def of(made, name):
    start = CONDITIONS.index(name) * DRAWS
    return (np.asarray(x[start : start + DRAWS]) for x in made)


def test_what_each_condition_has_between(family, made):
    sensors, motors = np.eye(family.perceived), np.eye(family.actions)
    observing, acting = of(made, "as_trained")
    assert np.all(observing == sensors) and np.all(acting == motors)
    observing, acting = of(made, "shuffled_sensors")
    assert all(np.array_equal(np.sort(x, axis=0), np.sort(sensors, axis=0)) for x in observing) and np.all(acting == motors)
    assert not np.any(np.all(observing == sensors, axis=(1, 2)))
    observing, acting = of(made, "shuffled_motors")
    assert np.all(observing == sensors) and np.all(acting == motors[::-1])  # two motors can only swap
    assert np.all(next(iter(of(made, "reversed_motors"))) == sensors) and np.all(
        list(of(made, "reversed_motors"))[1] == -motors
    )
    for matrices in of(made, "projected"):
        np.testing.assert_allclose(matrices @ matrices.swapaxes(1, 2), [np.eye(matrices.shape[1])] * DRAWS, atol=1e-5)


def test_a_family_behind_maps_feels_and_moves_through_them(family, made):
    """Sensors in another order, and an action for another motor; without maps nothing changes."""
    behind, vector = family.behind(made), np.full(len(family.specs), 0.5, np.float32)
    vector[[spec.name == "noise" for spec in family.specs]] = 0.0
    which = CONDITIONS.index("projected") * DRAWS
    action = jnp.array([0.5, -0.3])

    @jax.jit
    def played(task, action):
        make = behind if len(task) > len(vector) else family
        model = make.prepare(task)
        state, _ = make.reset(model, jax.random.key(0))
        return make.step(model, state, action)[1].observation, make.action_mask(model)

    seen, mask = played(np.append(vector, np.float32(which)), action)
    alone, _ = played(vector, made.acting[which] @ action)
    n = family.perceived
    np.testing.assert_allclose(seen[:n], made.observing[which] @ alone[:n], atol=1e-5)
    np.testing.assert_allclose(seen[n:], alone[n:], atol=1e-5)
    assert mask.tolist() == [1.0, 1.0]
    same, _ = played(np.append(vector, np.float32(0)), action)
    np.testing.assert_allclose(same, played(vector, action)[0], atol=1e-6)


def subject(*overrides):
    loop = configuration.build(configuration.read(["experiment=probe", *overrides]))
    params = loop.init().learner.params
    return subjects.Subject(loop, 0, params, params)


def options(**changes):
    given = {"suite": "handmade-v2", "lifetimes": 2, "seed": 0, "bodies": ""}
    return argparse.Namespace(**given | changes)


def test_every_condition_is_measured():
    trained, asked = subject(), options()
    suite, _ = suites.held_out(asked.suite, trained.loop.families)
    answer = battery.measure(trained, suite, asked)
    found = json.loads(json.dumps(answer))["conditions"]["probe"]
    assert any(line.split()[0] == "longer_4" for line in battery.lines(answer, "about") if line.strip())
    assert list(found) == [*CONDITIONS, "longer_2", "longer_4"]
    assert [len(level["episodes"]) for level in found.values()] == [3] * len(CONDITIONS) + [6, 12]
    assert all(
        level[end]["low"] <= level[end]["mean"] <= level[end]["high"] for level in found.values() for end in ("first", "last")
    )


def test_a_learner_of_any_width_takes_any_body_and_others_say_why_not():
    fits = battery._unseen("navigator", subject("learner=vsml"), options(), jax.random.key(0))
    assert len(fits["episodes"]) == 3
    told = battery._unseen("navigator", subject(), options(), jax.random.key(0))
    assert told.startswith("does not fit: it has ") and "sensors" in told


def test_the_option_chooses_the_command():
    chosen = cli.parser().parse_args(["eval", "r", "--battery", "invariance", "--bodies", "walker"])
    assert (chosen.work, chosen.bodies) == ("openended.battery:run", "walker")
    assert cli.parser().parse_args(["eval", "r"]).work == "openended.evaluate:run"
    with pytest.raises(UsageError, match="--bodies is 'walker'; allowed: with --battery invariance only"):
        evaluate.run(cli.parser().parse_args(["eval", "r", "--bodies", "walker"]))


def test_bodies_that_cannot_be():
    with pytest.raises(UsageError, match=r"--bodies has 'probe'; allowed: .* did not train on: navigator"):
        battery.measure(subject(), [], options(bodies="probe"))
    with pytest.raises(UsageError, match=r"--bodies has 'walker'; allowed: .*'handmade-v1'.* train on: navigator, reacher$"):
        battery.measure(subject(), [], options(bodies="walker", suite="handmade-v1"))


def test_families_that_the_suite_lacks_are_named_and_left_out(monkeypatch, capsys):
    given, measured = (
        subject("family=[cartpole,probe]"),
        {end: {"mean": 0.5, "low": 0.4, "high": 0.6} for end in ("first", "last")},
    )
    monkeypatch.setattr(battery, "find_run", lambda *named: Path("tiny"))
    monkeypatch.setattr(subjects, "restore", lambda folder: given)
    monkeypatch.setattr(battery, "of_family", lambda family, subject, tasks, *rest: {f"{family.name} {len(tasks)}": measured})
    asked = options(suite="handmade-v1", run="tiny", root="runs", json=True)
    assert battery.run(asked) == 0
    told = capsys.readouterr()
    assert told.err.startswith("Not measured: the suite 'handmade-v1' has no tasks for cartpole; it has some for navigator")
    conditions = json.loads(told.out)["conditions"]
    assert list(conditions) == ["probe"] and len(conditions["probe"]) == 1
    given.loop.families.pop("probe")
    with pytest.raises(CommandError, match=r"^The suite 'handmade-v1' has no tasks for cartpole; "):
        battery.run(asked)
