"""The suite in Brax's own bodies: they are Brax's, its tasks are what they say, and only learners of its widths take it."""

import ast
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax import envs as brax_envs

from envs import drawing, goals, holdout, interface, sampled, stock, validity
from envs.interface import PROJECTED
from envs.probe import Probe
from envs.spec import validate
from openended import cli, configuration, evaluate, subjects
from openended.configuration import ConfigurationError
from tests.small import SMALL

ROOT = Path(__file__).resolve().parent.parent
ONE_ROUND = [*SMALL, "run.rounds=1"]
ALIKE = (stock.HalfCheetah, stock.Ant, stock.Pusher)  # whose control step is Brax's own


class Foreigner(Probe):
    """A physics-free body of a suite that has its own."""

    name = "stock_probe"

    def __init__(self, **options):
        super().__init__(**{"bounds": PROJECTED, **options})


@functools.cache
def tasks(cls):
    return holdout.rows("stock", cls())


@pytest.mark.parametrize("cls", stock.BODIES)
def test_what_the_tasks_are(cls):
    """Twelve, a third with a hidden goal, each behind matrices of its own; more than one feature is asked for."""
    made, mine = cls(), tasks(cls)
    assert made.layout == (32, 8, goals.WIDTH, 1) and made.bounds == PROJECTED
    assert len(mine) == 12 == sampled.count(made)
    assert [task.group for task in mine].count("both_hidden") == 4 == len(mine) - [task.group for task in mine].count("visible")
    assert all(validate(made.specs, task.vector).size == len(made.specs) for task in mine)
    numbers = {float(made.decode(task.vector).interface.acting[0, 0]) for task in mine}
    assert len(numbers) == len(mine), "a projection twice"
    assert len({int(made.decode(task.vector).goal.feature[0]) for task in mine}) > 1
    stored = np.load(sampled.FOLDER / "stock" / f"{made.name}.npy", allow_pickle=False)
    targets = [i for i, spec in enumerate(made.specs) if spec.name.startswith("target")]
    np.testing.assert_allclose(np.stack([t.vector for t in mine])[:, targets], stored[:, targets], atol=2e-6)


def test_the_published_seeds_draw_the_tasks():
    """All numbers but the targets, which a search has moved."""
    for made in (cls() for cls in stock.BODIES):
        stored = np.load(sampled.FOLDER / "stock" / f"{made.name}.npy", allow_pickle=False)
        free = [i for i, spec in enumerate(made.specs) if not spec.name.startswith("target")]
        drawn = {row.tobytes() for chunk in range(4) for row in sampled.candidates(made, chunk)[0][:, free]}
        assert all(row.tobytes() in drawn for row in stored[:, free]), made.name


def test_nothing_but_the_suite_knows_the_bodies():
    """No configuration names them, so no generator and no run can meet one; only the suite and its script import them."""
    texts = {path: path.read_text(encoding="utf-8") for path in configuration.folder().rglob("*.yaml")}
    assert texts and not [path for path, text in texts.items() if "stock" in text]
    users = set()
    for path in [*(ROOT / "envs").rglob("*.py"), *(ROOT / "openended").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            source = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            if any(name.split(".")[-1] == "stock" for name in [*names, source]):
                users.add(path.relative_to(ROOT).as_posix())
    assert users == {"envs/holdout.py", "envs/sampled.py"}


@pytest.mark.slow
@pytest.mark.parametrize("cls", stock.BODIES)
def test_widths_and_timesteps_are_those_of_brax(cls, tmp_path, monkeypatch):
    """The swimmer is the one that Brax has for another pipeline only."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log there
    made = cls()
    backend = "generalized" if cls is stock.Swimmer else "spring"
    theirs = brax_envs.get_environment(made.body, backend=backend)
    ours = made.build({}, {})
    same = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), ours, theirs.sys.replace(mj_model=None, enable_fluid=False))
    assert all(jax.tree.leaves(same))
    assert made.actuators == theirs.action_size == ours.act_size()
    steps = made.control_dt / float(ours.opt.timestep)
    assert steps == pytest.approx(round(steps), abs=1e-4)
    assert np.array_equal(ours.actuator.ctrl_range[:, 0], -ours.actuator.ctrl_range[:, 1]), "full command is one end of it"
    model = made.prepare(jnp.full(len(made.specs), 0.5))
    state = made.begin(model, jax.random.key(0))
    sensed, measured = made.sense(model, state), made.measure(model, state)
    assert sensed.shape == (made.sensors,) and measured.shape == (len(made.features), 2)
    assert len(made.features) <= goals.WIDTH and bool(jnp.all(jnp.isfinite(measured)))
    scalars = [i for i, feature in enumerate(made.features) if feature.size == 1]
    assert not bool(jnp.any(measured[np.array(scalars, int), 1]))
    found = made.shapes(model, state)
    assert {kind: shape.shape[-1] for kind, shape in found.items()} == drawing.WIDTHS
    assert found["capsules"].size and float(jnp.max(jnp.abs(found["capsules"]))) < 20.0


@pytest.mark.slow
@pytest.mark.parametrize("cls", ALIKE)
def test_it_moves_as_in_brax(cls, tmp_path, monkeypatch):
    """The same actions give the same joint positions and observations as Brax's own `step`, where timesteps are equal."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log there
    made = cls()
    theirs = brax_envs.get_environment(made.body, backend="spring")
    model = made.prepare(jnp.full(len(made.specs), 0.5))
    assert float(theirs.dt) == pytest.approx(made.control_dt)
    start = jax.jit(theirs.reset)(jax.random.PRNGKey(0))
    actions = jax.random.uniform(jax.random.key(1), (6, made.actuators), minval=-1.0, maxval=1.0)
    brax_step, own_step = jax.jit(theirs.step), jax.jit(lambda s, a: made.move(model, s, a))
    other, own = start, start.pipeline_state
    for action in actions:
        other, own = brax_step(other, action), own_step(own, action)
        np.testing.assert_allclose(own.q, other.pipeline_state.q, atol=1e-4)
        np.testing.assert_allclose(made.sense(model, own), np.arcsinh(other.obs), atol=1e-3)
    assert float(jnp.max(jnp.abs(own.q - start.pipeline_state.q))) > 0.05, "nothing moves"


@pytest.mark.slow
def test_tasks_can_be_solved():
    """The search that drew them finds a witness again for most of the tasks of a body, from another start."""
    made = stock.InvertedPendulum()
    vectors = jnp.asarray(np.stack([task.vector for task in tasks(stock.InvertedPendulum)]))
    run, keys = jax.jit(validity.player(made)), jax.random.split(jax.random.key(0), len(vectors))
    found = validity.ground(made, validity.Search(generations=8), run, vectors, keys)
    held = np.asarray(found.verdict) != validity.VERDICTS.index("no witness")
    assert held.mean() > 0.5 and not np.any(np.asarray(found.verdict) == validity.VERDICTS.index("broken physics"))


@pytest.fixture
def suite_of_a_probe(tmp_path, monkeypatch):
    """The suite with one body, which needs no physics."""
    (tmp_path / "stock").mkdir()
    units = np.random.default_rng(0).random((6, len(Foreigner().specs))).astype(np.float32)
    np.save(tmp_path / "stock" / "stock_probe.npy", units)
    monkeypatch.setattr(holdout, "_FOLDER", tmp_path)
    monkeypatch.setitem(holdout.FAMILIES, "stock", (Foreigner,))
    monkeypatch.setitem(holdout.HASHES, "stock", holdout.fingerprint("stock"))


@pytest.mark.slow
def test_eval_among_other_bodies_than_those_of_the_run(tmp_path, suite_of_a_probe, capsys):
    """All learners, by the command; the layout is the run's, which has room for goals of two conditions."""
    train = ["train", "experiment=probe", "interface=projection", "families.probe.combined_goals=true", *ONE_ROUND]
    assert cli.main([*train, f"run.root={tmp_path}", "run.name=wide"]) == 0
    capsys.readouterr()
    command = ["eval", "wide", "--root", str(tmp_path), "--suite", "stock", "--lifetimes", "4", "--json"]
    assert cli.main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["suite"], found["tasks"]) == ("stock", 6) and {row["family"] for row in found["per_task"]} == {"stock_probe"}
    assert set(found["groups"]["all"]["learners"]) == set(evaluate.LEARNERS)
    assert all("behind random projection" in row["description"] for row in found["per_task"])
    subject = subjects.visit(subjects.restore(tmp_path / "wide"), "stock")
    assert subject.loop.families["stock_probe"].layout == (32, 8, goals.WIDTH, 2)
    assert subject.loop.learner.policy.observation == subject.loop.families["stock_probe"].layout.observation


def test_a_run_without_the_widths_is_told_what_to_do(train_tiny, suite_of_a_probe, capsys):
    folder = train_tiny(1)
    capsys.readouterr()
    assert cli.main(["eval", "tiny", "--root", str(folder), "--suite", "stock"]) == 3
    said = capsys.readouterr().err.strip()
    assert said == (
        "openended: The suite 'stock' is for learners behind random projections to 32 sensors and 8 actions, of which this run "
        "has none: train one with `openended train interface=projection`."
    )


def test_other_widths_are_named():
    other = {"probe": Probe(bounds=interface.InterfaceBounds(sensors=16, actions=4))}
    with pytest.raises(holdout.HoldoutError, match="to 32 sensors and 8 actions, of which this run has 16 and 4: train one"):
        holdout.foreign("stock", other)


def test_training_does_not_measure_it(tmp_path, capsys):
    """Named as a run's own thermometer it is not measured, and the run says so."""
    train = ["train", "experiment=probe", "interface=projection", "run.rounds=0", "heldout.suite=stock"]
    assert cli.main([*train, f"run.root={tmp_path}", "run.name=told"]) == 0
    assert "Not measured: the suite 'stock' has no tasks for probe; it has some for stock_reacher" in capsys.readouterr().out


def test_tasks_of_other_suites_get_matrices_of_their_own():
    """A projected run takes them too: each row decides its projection, the same every time."""
    rows, again = (holdout.rows("handmade-v2", Probe(bounds=PROJECTED)) for _ in range(2))
    column = [spec.name for spec in Probe(bounds=PROJECTED).specs].index("projection")
    numbers = [float(task.vector[column]) for task in rows]
    assert len(set(numbers)) == len(rows) and numbers == [float(task.vector[column]) for task in again]
    assert {task.group for task in rows} == {"visible", "both_hidden"}


def test_no_run_can_be_asked_for_such_a_body():
    with pytest.raises(ConfigurationError, match="family/stock_ant"):
        configuration.read(["family=[stock_ant]"])
