"""A task as a brax environment gives the family's own numbers; a task as MJCF is the body that the task describes."""

import functools
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from brax.envs.base import Env
from brax.envs.wrappers.training import wrap
from hydra.utils import instantiate

from envs.adapters import as_brax, mjcf
from envs.interface import InterfaceBounds
from envs.navigator import Navigator
from envs.probe import Probe
from envs.reacher import Reacher
from envs.spec import encode
from openended import configuration

NAMES = sorted(path.stem for path in (configuration.folder() / "family").glob("*.yaml"))
FAST = ("probe", "navigator")  # the others take as long to load and say less


@functools.cache
def family(name):
    return instantiate(configuration.read([f"family=[{name}]"]).families[name])


def vector(made, seed=0, **values):
    """A random task with some of its numbers set."""
    random = np.random.default_rng(seed).random(len(made.specs)).astype(np.float32)
    index = [spec.name for spec in made.specs]
    fixed = encode(made.specs, values)
    for name in values:
        random[index.index(name)] = fixed[index.index(name)]
    return random


def test_rewards_and_endings_are_the_familys():
    made = Probe()
    task = vector(made, feature=1, target_a=0.8, drift_x=0.0, gain_0=1.0, reversed_0=0, delay=0, tolerance=1.0)
    env = as_brax(made, task)
    assert isinstance(env, Env) and (env.observation_size, env.action_size, env.dt) == (made.layout.observation, 2, 0.05)
    actions = jnp.zeros((made.episode_steps, made.actuators)).at[:4, 0].set(1.0)
    key = jax.random.PRNGKey(3)
    model = made.prepare(jnp.asarray(task))
    start, first = made.reset(model, key)
    _, steps = jax.lax.scan(lambda s, a: made.step(model, s, a), start, actions)
    state = jax.jit(env.reset)(key)
    _, states = jax.lax.scan(lambda s, a: (env.step(s, a),) * 2, state, actions)
    np.testing.assert_array_equal(state.obs, first.observation)
    np.testing.assert_array_equal(states.reward, steps.reward)
    np.testing.assert_array_equal(states.obs, steps.observation)
    np.testing.assert_array_equal(states.done, steps.terminated | steps.truncated)
    assert float(states.metrics["success"][-1]) == 1.0 and float(jnp.sum(states.done)) == 2.0  # solved, then the limit


def test_brax_training_wrappers_scan_over_it():
    """Episodes end by themselves and start anew inside one compiled scan over a batch."""
    made = Probe()
    task = vector(made, feature=0, target_a=0.0, target_b=0.0, limit=1.5)
    env = wrap(as_brax(made, task), episode_length=1000)

    @jax.jit
    def play(key):
        state = env.reset(jax.random.split(key, 6))
        actions = jax.random.uniform(key, (100, 6, made.actuators), minval=-1.0, maxval=1.0)
        return jax.lax.scan(lambda s, a: (env.step(s, a), (s.done, s.reward, s.obs)), state, actions)[1]

    done, reward, observation = play(jax.random.PRNGKey(0))
    assert reward.shape == (100, 6) and bool(jnp.all(jnp.isfinite(observation)))
    ends = [np.flatnonzero(np.asarray(done[:, row])) for row in range(6)]
    assert all(len(end) >= 3 for end in ends), "the limit of 30 steps ends an episode at least three times in 100"
    assert all(np.all(np.diff(end) <= 30) and end[0] <= 30 for end in ends)


def loaded(name, task, title=""):
    return mujoco.MjModel.from_xml_string(mjcf(family(name), task, title))


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_mujoco_loads_and_simulates(name):
    made = family(name)
    if name == "probe":
        with pytest.raises(ValueError, match="'probe' is free of physics"):
            mjcf(made, vector(made))
        return
    model = loaded(name, vector(made, seed=1), "a title -- with two hyphens")
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    data.ctrl[:] = model.actuator_ctrlrange[:, 1]
    before = data.qpos.copy()
    for _ in range(50):
        mujoco.mj_step(model, data)
    assert np.all(np.isfinite(data.qpos)) and np.max(np.abs(data.qpos - before)) > 0.05
    assert data.warning.number.sum() == 0


def test_reacher_has_the_tasks_links_and_motors():
    made = Reacher()
    values = {"links": 3, "length_0": 0.3, "length_1": 0.26, "length_2": 0.44, "mass": 1.5, "gravity_x": 0.5, "gravity_y": -1.0}
    motors = {"reversed_0": 1, "reversed_1": 0, "gain_0": 1.25, "gain_1": 0.8}
    goal = {"feature": 0, "target_a": 0.75, "target_b": 0.25, "tolerance": 1.0}
    model = loaded("reacher", vector(made, **values, **motors, **goal))
    assert model.nq == 3 and model.nu == 3
    np.testing.assert_allclose(model.body_mass[1:], 1.5, rtol=1e-5)
    np.testing.assert_allclose(model.body_pos[2:, 0], [0.3, 0.26], rtol=1e-5)
    np.testing.assert_allclose(2 * model.geom_size[:, 1], [0.3, 0.26, 0.44], rtol=1e-5)
    np.testing.assert_allclose(2 * model.geom_pos[:, 0], [0.3, 0.26, 0.44], rtol=1e-5)
    np.testing.assert_allclose(model.opt.gravity, [0.5, -1.0, 0.0], rtol=1e-5)
    assert np.sign(model.actuator_gear[:2, 0]).tolist() == [-1.0, 1.0]
    np.testing.assert_allclose(model.actuator_ctrlrange[:2, 1], [0.8, 1.0], rtol=1e-5)
    np.testing.assert_allclose(model.site("target").pos, [0.45, -0.45, 0.0], atol=1e-5)
    assert model.site("target").size[0] == pytest.approx(0.14, rel=1e-5)


def test_a_link_that_does_not_exist_is_left_out():
    made = Reacher()
    model = loaded("reacher", vector(made, links=2))
    assert (model.nq, model.nu, model.nbody) == (2, 2, 3)


def test_navigator_has_the_tasks_obstacles():
    made = Navigator()
    there = {"obstacle_0": 1, "obstacle_0_angle": 0.5, "obstacle_0_distance": 0.9, "obstacle_0_radius": 0.15}
    model = loaded("navigator", vector(made, **there, obstacle_1=0, obstacle_2=0))
    (index,) = np.flatnonzero(model.geom_bodyid == 0)
    np.testing.assert_allclose(model.geom_pos[index], [0.9 * np.cos(0.5), 0.9 * np.sin(0.5), 0.0], atol=1e-5)
    assert model.geom_size[index, 0] == pytest.approx(0.15, rel=1e-5)


def test_a_gate_is_a_wall_with_an_opening():
    """Two capsules whose ends leave the opening free; the gate that is absent and the obstacles are left out."""
    made = Navigator(gates=True)
    there = {"gate_0": 1, "gate_0_angle": 0.5, "gate_0_distance": 0.6, "gate_0_offset": 0.2, "gate_0_width": 0.3, "gate_1": 0}
    model = mujoco.MjModel.from_xml_string(mjcf(made, vector(made, **there, obstacle_0=0, obstacle_1=0, obstacle_2=0)))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    walls = np.flatnonzero(model.geom_bodyid == 0)
    assert model.geom_type[walls].tolist() == [mujoco.mjtGeom.mjGEOM_CAPSULE] * 2
    assert np.all(model.geom_contype[walls] > 0), "it blocks"
    across, along = np.array([np.cos(0.5), np.sin(0.5), 0.0]), np.array([-np.sin(0.5), np.cos(0.5), 0.0])
    half = model.geom_size[walls, 1:2] * data.geom_xmat[walls].reshape(-1, 3, 3)[:, :, 2]
    ends = np.concatenate([data.geom_xpos[walls] - half, data.geom_xpos[walls] + half]) - 0.6 * across
    np.testing.assert_allclose(ends @ across, 0.0, atol=1e-5)
    inner = np.sort(np.sort(ends @ along)[1:3])
    np.testing.assert_allclose(inner, [0.2 - 0.15 - 0.08, 0.2 + 0.15 + 0.08], atol=1e-5)


def test_a_twisted_arm_has_its_axes():
    """Joint 1 turns about an axis that its twist has laid into the plane: MuJoCo's own reading of the file."""
    made = Reacher(most_links=4, spatial=True)
    twists = {"twist_0": 0.0, "twist_1": 1.2, "twist_2": 0.0, "twist_3": 0.0}
    task = vector(made, links=4, gravity_z=-1.0, **twists)
    model = mujoco.MjModel.from_xml_string(mjcf(made, task))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    assert (model.nq, model.nu) == (4, 4) and model.opt.gravity[2] == pytest.approx(-1.0, rel=1e-5)
    np.testing.assert_allclose(data.xaxis, [[0, 0, 1], *[[0, -np.sin(1.2), np.cos(1.2)]] * 3], atol=1e-5)


def test_a_puck_moves_alike_in_both():
    """Without obstacles the same commands move the puck the same way: mass, motors, wind and friction are all carried."""
    made = Navigator()
    still = {f"obstacle_{i}": 0 for i in range(3)} | {"delay": 0, "wind_x": 0.5, "friction": 1.5, "reversed_0": 1}
    task = vector(made, **still)
    model = loaded("navigator", task)
    data = mujoco.MjData(model)
    brax_model = made.prepare(jnp.asarray(task))
    state, _ = made.reset(brax_model, jax.random.key(0))
    data.qpos[:] = state.physics.q
    step = jax.jit(lambda s: made.step(brax_model, s, jnp.array([0.7, 0.4, 0.0]))[0])
    for _ in range(20):
        state = step(state)
        data.ctrl[:] = [0.7, 0.4]
        mujoco.mj_step(model, data)
    assert np.linalg.norm(data.qpos) > 0.5
    np.testing.assert_allclose(data.qpos, state.physics.q, rtol=0.06)


def test_the_comment_says_what_is_lost():
    made = Reacher(bounds=InterfaceBounds(max_delay=2))
    text = mjcf(made, vector(made, delay=1, noise=0.02), "reacher-1: a title")
    ET.fromstring(text)
    assert "reacher-1: a title" in text and "delay of 1 control steps" in text and "noise of 0.02" in text
