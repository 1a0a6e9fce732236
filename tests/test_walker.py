"""Legs that a task lacks take no part, what is measured is where the feet are, and two legs can walk."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import walker
from envs.spec import encode
from envs.walker import LEGS, RADIUS, SEGMENTS, Walker

pytestmark = pytest.mark.slow  # every test compiles physics
FAMILY = Walker()
FLAT = {"step": 0, "stump": 0, "slope": 0.0, "wind": 0.0, "uneven": 0.0, "noise": 0.0, "delay": 0}
FLAT |= {f"reversed_{i}": 0 for i in range(FAMILY.actuators)} | {f"gain_{i}": 1.0 for i in range(FAMILY.actuators)}
TWO = FLAT | {"legs": 2, "segments_0": 2, "segments_1": 2, "gravity": 9.81, "friction": 0.9}


def drive(family, values, actions, q=None):
    """Model and pipeline states [T] of a task given by its values, from its own start or from q at rest."""

    @jax.jit
    def run(vector, actions, q):
        model = family.prepare(vector)
        start = family.begin(model, jax.random.key(0)) if q is None else family.moves.begin(model.system, q, jnp.zeros(len(q)))
        return jax.lax.scan(lambda s, a: (family.move(model, s, a),) * 2, start, actions)[1]

    vector = jnp.asarray(encode(family.specs, values))
    return family.prepare(vector), run(vector, jnp.asarray(actions, jnp.float32), q)


@pytest.mark.parametrize(("legs", "segments"), [(2, 2), (1, 2), (2, 1)])
def test_absent_legs_and_segments_never_existed(monkeypatch, legs, segments):
    """The rest moves as in a model without them, over a step and a log that it meets."""
    values = {"legs": legs, "step": 1, "step_gap": 0.45, "stump": 1, "stump_gap": 0.45, "slope": 0.1}
    values |= {f"segments_{i}": segments for i in range(LEGS)}
    actions = np.array(jax.random.uniform(jax.random.key(0), (40, LEGS, SEGMENTS), minval=-1.0, maxval=1.0))
    actions[:20] = 0.6
    joints = np.zeros((LEGS, SEGMENTS), np.float32) + 0.05
    root = np.array([0.0, 0.45, 0.1], np.float32)
    there = np.concatenate([np.ones(3, bool), (np.mgrid[:LEGS, :SEGMENTS] < [[[legs]], [[segments]]]).all(axis=0).ravel()])
    whole = np.asarray(drive(Walker(), values, actions.reshape(40, -1), np.append(root, joints))[1].q)[:, there]
    monkeypatch.setattr(walker, "LEGS", legs)
    monkeypatch.setattr(walker, "SEGMENTS", segments)
    few = actions[:, :legs, :segments].reshape(40, -1)
    small = np.asarray(drive(Walker(), values, few, np.append(root, joints[:legs, :segments]))[1].q)
    assert small.shape == whole.shape and np.ptp(small[:, 1]) > 0.05 and np.ptp(small[:, 3]) > 0.3
    np.testing.assert_allclose(whole, small, atol=1e-5)


def test_what_a_task_lacks_is_neither_seen_nor_drawn():
    values = FLAT | {"legs": 2, "segments_0": 1, "segments_1": 2}
    model, states = drive(FAMILY, values, 0.8 * np.ones((20, FAMILY.actuators)))
    last = jax.tree.map(lambda x: x[-1], states)
    sensors = np.asarray(FAMILY.sense(model, last))
    for numbers in (sensors[7:13], sensors[13:19]):
        assert numbers[[0, 2, 3]].all() and not numbers[[1, 4, 5]].any()
    assert not sensors[21] and not sensors[22:].any(), "no third foot, no obstacles"
    radii = np.asarray(FAMILY.shapes(model, last)["capsules"])[:, -1]
    np.testing.assert_allclose(radii[1:], RADIUS * np.array([1, 0, 1, 1, 0, 0, 0]), atol=1e-6)  # the last is the log
    wild = dataclasses.replace(last, moving=last.moving._replace(du=last.moving.du.at[2].set(1e3)))
    assert float(FAMILY.speed(model, wild)) < FAMILY.max_speed


@pytest.mark.parametrize("segments", [1, 2])
def test_where_the_foot_is(segments):
    """Both joints turn forwards: hip and knee angles add up; the torso leans as well."""
    values = FLAT | {"legs": 2, "segments_0": segments, "leg": 0.4, "hip_0": -0.5, "torso": 0.2}
    model = FAMILY.prepare(jnp.asarray(encode(FAMILY.specs, values)))
    pitch, hip, knee = 0.3, 0.4, 0.5
    q = jnp.zeros(3 + FAMILY.actuators).at[:5].set(jnp.array([0.1, 0.6, pitch, hip, knee]))
    values = np.asarray(FAMILY.measure(model, FAMILY.moves.begin(model.system, q, jnp.zeros(len(q)))))
    foot = np.array([0.1 - 0.1 * np.cos(pitch), 0.6 - 0.1 * np.sin(pitch)])
    for angle in [pitch + hip, pitch + hip + knee][:segments]:
        foot += 0.4 / segments * np.array([np.sin(angle), -np.cos(angle)])
    np.testing.assert_allclose(values[-1], foot, atol=1e-5)
    np.testing.assert_allclose(values[:3, 0], [0.1, 0.6, pitch], atol=1e-5)
    assert values[4, 0] <= foot[1] - RADIUS + 1e-5


def test_two_legs_stand_and_walk():
    """Without commands they stay; open-loop waves in hips and knees carry them forwards, with the torso off the ground."""
    still = drive(FAMILY, TWO, np.zeros((40, FAMILY.actuators)))[1]
    assert abs(float(still.q[-1, 0])) < 0.1 and float(still.q[-1, 1]) > 0.9 * float(still.q[0, 1])
    walking = drive(FAMILY, TWO, gait())[1]
    assert float(walking.q[-1, 0]) > 0.3
    assert float(jnp.min(walking.q[:, 1])) > 0.2 and float(jnp.max(jnp.abs(walking.q[:, 2]))) < 0.6


def gait():
    """Commands f32[40, 6]: 2.3 Hz, the front leg a quarter of a period ahead of the rear one, knees against hips."""
    turn = 2.279 * 0.05 * np.arange(40)
    command = np.zeros((40, LEGS, SEGMENTS))
    for leg, (phase, hip, knee) in enumerate([(0.0, -0.02, -0.37), (0.26, 0.0, 0.24)]):
        command[:, leg, 0] = hip + 0.85 * np.sin(2.0 * np.pi * (turn + phase))
        command[:, leg, 1] = knee + 0.55 * np.sin(2.0 * np.pi * (turn + phase + 0.52))
    return np.clip(command, -1.0, 1.0).reshape(40, -1)


def test_bang_bang_commands_break_nothing():
    """32 tasks, commands that jump between the extremes every control step or every fifth."""
    keys = jax.random.split(jax.random.key(1), 3)
    vectors = jax.random.uniform(keys[0], (32, len(FAMILY.specs)))
    signs = jnp.sign(jax.random.uniform(keys[1], (32, 40, FAMILY.actuators), minval=-1.0, maxval=1.0))
    signs = signs.at[16:].set(jnp.repeat(signs[16:, ::5], 5, axis=1))

    def one(vector, key, actions):
        model = FAMILY.prepare(vector)
        state, _ = FAMILY.reset(model, key)
        step = lambda s, a: (FAMILY.step(model, s, a)[0],) * 2  # noqa: E731
        states = jax.lax.scan(step, state, actions)[1]
        return states.broken[-1], states.physics.q

    broken, q = jax.jit(jax.vmap(one))(vectors, jax.random.split(keys[2], 32), signs)
    assert not bool(jnp.any(broken))
    assert float(jnp.min(q[:, :, 1])) > 0.0, "no torso sinks into the ground"
