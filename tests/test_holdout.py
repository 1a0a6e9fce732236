"""The frozen suites: what they cover, that nobody trains on them, and that every task can be solved but not by chance."""

import ast
import functools
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms import SNES
from scipy.stats import binom

from envs import holdout, validity
from envs.interface import InterfaceBounds
from envs.probe import Probe
from envs.spec import decode, validate

SUITE = "handmade-v1"
ROOT = Path(__file__).resolve().parent.parent
BRAX = ("navigator", "reacher")
EVERY_FAMILY = [
    cls.name if cls.name == "probe" else pytest.param(cls.name, marks=pytest.mark.slow) for cls in holdout.FAMILIES[SUITE]
]
KNOTS, MEMBERS, GENERATIONS, RESTARTS = 10, 24, 40, 6
CHANCE = 0.15  # share of random episodes that may solve a task
EPISODES = 1024  # random episodes of each task


@functools.cache
def family(name):
    return next(cls for cls in holdout.FAMILIES[SUITE] if cls.name == name)()


@functools.cache
def suite(name):
    return holdout.rows(SUITE, family(name))


def values(task):
    return {name: float(x) for name, x in decode(family(task.family).specs, task.vector).items()}


def test_the_suite_is_the_frozen_one():
    assert holdout.fingerprint(SUITE) == holdout.HASHES[SUITE]


def test_a_changed_table_or_bound_is_noticed(tmp_path, monkeypatch):
    frozen = holdout.fingerprint(SUITE)
    monkeypatch.setitem(holdout.HASHES, SUITE, frozen)
    holdout.verify(SUITE)
    wider = (*Probe.own_specs[:-1], Probe.own_specs[-1]._replace(high=0.031))
    with monkeypatch.context() as patch:
        patch.setattr(Probe, "own_specs", wider)
        assert holdout.fingerprint(SUITE) != frozen
    table = (holdout._FOLDER / SUITE / "probe.txt").read_text()
    (tmp_path / SUITE).mkdir()
    for path in (holdout._FOLDER / SUITE).iterdir():
        (tmp_path / SUITE / path.name).write_text(path.read_text())
    monkeypatch.setattr(holdout, "_FOLDER", tmp_path)
    assert holdout.fingerprint(SUITE) == frozen
    (tmp_path / SUITE / "probe.txt").write_text(table.replace("60%,40%", "60%,41%", 1))
    with pytest.raises(holdout.HoldoutError, match="not the frozen one"):
        holdout.tasks(SUITE, {"probe": family("probe")})


def test_an_unknown_suite_is_refused():
    with pytest.raises(
        holdout.HoldoutError, match=r"The suite is 'nonsense'; allowed: handmade-v1, handmade-v2, sampled, stock\."
    ):
        holdout.tasks("nonsense", {})


def test_nobody_trains_on_it():
    """Only what measures imports the suites: neither a part of the loop nor anything that such a part imports."""
    users = set()
    for package in ("openended", "envs"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
                source = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
                if any("holdout" in name.split(".") for name in [*names, source]):
                    users.add(path.relative_to(ROOT).as_posix())
    # Measure, compare what was measured, and the script that drew one of them.
    measure = {f"openended/{name}.py" for name in ("evaluate", "suites", "subjects", "battery", "comparison")}
    assert "openended/suites.py" in users and users <= {*measure, "envs/sampled.py"}


@pytest.mark.parametrize("name", BRAX)
def test_numbers_of_tasks(name):
    counted = Counter(task.group for task in suite(name))
    assert counted["visible"] >= 20 and counted["both_hidden"] == 4 and counted.total() >= 32
    assert 0.28 <= counted["hidden_goal"] / counted.total() <= 0.4
    assert min(Counter((task.group == "visible", task.size) for task in suite(name)).values()) >= 5
    assert {task.size for task in suite(name)} == set(holdout.SIZES)
    assert len({task.vector.tobytes() for task in suite(name)}) == counted.total()


@pytest.mark.parametrize("name", [cls.name for cls in holdout.FAMILIES[SUITE]])
def test_vectors_are_valid_and_groups_are_what_they_say(name):
    for task in suite(name):
        numbers = values(task)
        assert validate(family(name).specs, task.vector).dtype == np.float32
        reversed_ = any(value for key, value in numbers.items() if key.startswith("reversed_"))
        known = not reversed_ and numbers["delay"] == 0
        known &= all(abs(value - 1) < 1e-4 for key, value in numbers.items() if key.startswith("gain_"))
        assert (numbers["hidden"] == 0) == (task.group == "visible")
        assert task.group != "hidden_goal" or known
        assert task.group != "both_hidden" or reversed_


@pytest.mark.parametrize("name", BRAX)
def test_the_bounds_are_covered(name):
    """Visible goals: every feature in every size, all patterns of motors. All: both ends of every number that slides."""
    made, seen = family(name), [(task, values(task)) for task in suite(name) if task.group == "visible"]
    for size in holdout.SIZES:
        assert {v["feature"] for task, v in seen if task.size == size} == set(range(len(made.features)))
    whole = [v for _, v in seen if v.get("links", 3) == 3 or made.actuators == 2]
    patterns = {tuple(v[f"reversed_{i}"] for i in range(made.actuators)) for v in whole}
    assert len(patterns) == 2**made.actuators
    slow = type(made)(bounds=InterfaceBounds(max_delay=1))
    assert {int(slow.decode(task.vector).interface.delay) for task in holdout.rows(SUITE, slow)} == {0, 1}
    units = np.stack([task.vector for task in suite(name)])
    for i, spec in enumerate(made.specs):
        if not (spec.pinned or spec.structural or spec.name.startswith("obstacle")):
            assert units[:, i].min() <= 0.25 and units[:, i].max() >= 0.8 - 1e-6, spec.name


def test_arms_and_obstacles_come_in_all_numbers():
    for group in ("visible", "hidden_goal", "both_hidden"):
        assert {values(task)["links"] for task in suite("reacher") if task.group == group} == {2.0, 3.0}
    counts = {sum(values(task)[f"obstacle_{i}"] for i in range(3)) for task in suite("navigator")}
    assert counts == {0.0, 1.0, 2.0, 3.0}


def test_larger_is_farther():
    """Goals lie farther from the middle of their bounds, and bodies and worlds farther from theirs, with every size."""
    for name in BRAX:
        units = {size: np.stack([t.vector for t in suite(name) if t.size == size]) for size in holdout.SIZES}
        spread = [float(np.mean(np.abs(units[size] - 0.5))) for size in holdout.SIZES]
        assert spread[0] < spread[1] < spread[2], (name, spread)


def test_a_pinned_number_keeps_the_pinned_value():
    """Without hidden motors and goals the same rows are tasks whose goals are all seen."""
    plain = InterfaceBounds(signs=False, gain_low=1.0, gain_high=1.0, max_delay=0, max_noise=0.0)
    found = holdout.tasks(SUITE, {"probe": Probe(bounds=plain, hidden_goals=False)})
    assert len(found) == len(suite("probe")) and {task.group for task in found} == {"visible"}
    known = holdout.tasks(SUITE, {"probe": Probe(bounds=plain)})
    assert Counter(task.group for task in known)["hidden_goal"] == 3


def test_bounds_that_exclude_a_task_are_refused():
    narrow = Probe(bounds=InterfaceBounds(gain_low=1.1, gain_high=1.4))
    with pytest.raises(
        holdout.HoldoutError, match=r"does not fit the bounds of this run: gain_0 is 1 x; allowed: 1\.1 to 1\.4"
    ):
        holdout.tasks(SUITE, {"probe": narrow})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("reacher", {"most_links": 5}),
        ("reacher", {"spatial": True}),
        ("reacher", {"most_links": 4, "spatial": True}),
        ("navigator", {"gates": True}),
    ],
)
@pytest.mark.parametrize("suite_name", [SUITE, "sampled"])
def test_options_that_widen_a_family_keep_the_tasks(name, options, suite_name):
    """The same numbers by name; what an option adds is not there: no wall, no twist, no pull along z, motors not reversed."""
    made, wide = family(name), type(family(name))(**options)
    old, new = (holdout.rows(suite_name, f) for f in (made, wide))
    assert len(old) == len(new) and len(wide.specs) > len(made.specs)
    for before, after in zip(old, new, strict=True):
        assert (before.group, before.size) == (after.group, after.size)
        a, b = (decode(f.specs, task.vector) for f, task in ((made, before), (wide, after)))
        assert all(float(b[key]) == pytest.approx(float(a[key]), abs=2e-5) for key in a)
        aims = [f.features[int(float(values["feature"]))] for f, values in ((made, a), (wide, b))]
        assert aims[0] == aims[1]
        added = {key: float(value) for key, value in b.items() if key not in a}
        off = [x for key, x in added.items() if key in ("gate_0", "gate_1") or key.startswith(("gravity", "twist", "reversed"))]
        assert off and max(map(abs, off)) < 1e-6


def test_every_way_to_write_a_cell():
    specs = family("navigator").specs
    assert holdout._values(specs, "wind", "-,0.4") == {"wind_y": 0.4}
    assert holdout._values(specs, "friction", "50%")["friction"] == pytest.approx((0.3 * 2.0) ** 0.5)
    assert holdout._values(specs, "obstacle_1", "1,0.8") == {"obstacle_1": 1.0, "obstacle_1_angle": 0.8}
    assert holdout._goal(family("navigator").features, "x:-0.5") == {"feature": 1.0, "target_a": 0.25}
    with pytest.raises(ValueError, match="column 'mass' has 1 numbers, its cell '1,2' 2"):
        holdout._values(specs, "mass", "1,2")


def test_the_command_prints_numbers_and_hash(capsys):
    holdout.main()
    text = capsys.readouterr().out
    assert "navigator   40 tasks: 24 visible, 12 hidden_goal, 4 both_hidden" in text
    assert f"{SUITE}  {holdout.HASHES[SUITE]}  frozen" in text


def cost(goal, value):
    """How many tolerances the goal is missed by at worst, in the best window of the hold time; f32[T, 2] -> f32[]."""
    time = jnp.arange(value.shape[0])
    miss = jnp.linalg.norm(value - goal.target[0], axis=-1) / goal.tolerance[0]
    inside = (time[None, :] <= time[:, None]) & (time[None, :] > time[:, None] - goal.hold)
    worst = jnp.max(jnp.where(inside, miss, 0.0), axis=1)
    return jnp.min(jnp.where((time + 1 >= goal.hold) & (time + 1 <= goal.limit), worst, jnp.inf))


def witness(made, vector, key):
    """Whether a search over action sequences finds one that solves exactly this task from one start."""
    model = made.prepare(vector)
    start_key, *keys = jax.random.split(key, 1 + RESTARTS)
    strategy = SNES(population_size=MEMBERS, solution=jnp.zeros((KNOTS, made.actuators)))
    settings = strategy.default_params.replace(std_init=0.7)
    at = jnp.linspace(0.0, KNOTS - 1.0, made.episode_steps)

    def attempt(knots):
        actions = jax.vmap(lambda k: jnp.interp(at, jnp.arange(KNOTS), jnp.clip(k, -1.0, 1.0)), 1, 1)(knots)
        steps = validity.play(made, model, start_key, actions)
        return jnp.where(steps.broken[-1], validity.BROKEN, cost(model.task.goal, steps.value[:, 0])), steps.success[-1]

    def generation(state, key):
        ask_key, tell_key = jax.random.split(key)
        members, state = strategy.ask(ask_key, state, settings)
        missed, solved = jax.vmap(attempt)(members)
        state, _ = strategy.tell(tell_key, members, missed, state, settings)
        return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), state), jnp.any(solved)

    def search(key):
        init_key, loop_key = jax.random.split(key)
        state = strategy.init(init_key, jnp.zeros((KNOTS, made.actuators)), settings)
        state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), state)
        return jnp.any(jax.lax.scan(generation, state, jax.random.split(loop_key, GENERATIONS))[1])

    return jnp.any(jax.lax.map(search, jnp.stack(keys)))


def solved_by(name, actions_of):
    """Share f[tasks] of EPISODES episodes that are solved by ``actions_of(key) -> f32[T, actuators]``."""
    made = family(name)

    def episode(vector, key):
        start_key, action_key = jax.random.split(key)
        return validity.play(made, made.prepare(vector), start_key, actions_of(action_key)).success[-1]

    keys = jax.random.split(jax.random.key(1), EPISODES)
    each = jax.jit(lambda vectors: jax.lax.map(lambda v: jnp.mean(jax.vmap(lambda k: episode(v, k))(keys)), vectors))
    return np.asarray(each(jnp.stack([task.vector for task in suite(name)])))


@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_every_task_has_a_witness(name):
    made = family(name)
    vectors = jnp.stack([task.vector for task in suite(name)])
    keys = jax.random.split(jax.random.key(0), len(vectors))
    found = np.asarray(jax.jit(jax.vmap(lambda v, k: witness(made, v, k)))(vectors, keys))
    assert found.all(), f"rows without a witness: {np.flatnonzero(~found).tolist()}"


@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_neither_nothing_nor_chance_solves_a_task(name):
    shape = (family(name).episode_steps, family(name).actuators)
    nothing = solved_by(name, lambda key: jnp.zeros(shape))
    chance = solved_by(name, lambda key: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0))
    assert nothing.max() == 0.0, f"solved by no-op: {np.flatnonzero(nothing).tolist()}"
    # Contacts amplify rounding, so another processor draws other episodes: fail on evidence, not on a lucky draw.
    above = binom.sf(np.rint(chance * EPISODES) - 1, EPISODES, CHANCE) < 1e-3
    assert not above.any(), f"solved by chance: { {int(i): float(chance[i]) for i in np.flatnonzero(above)} }"
