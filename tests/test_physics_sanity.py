"""Physics with known answers: what the families' bodies do against the textbook's formula, each within a stated tolerance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import juggler, physics, swimmer
from envs.base import Model, Task
from envs.juggler import FLOOR, Juggler
from envs.spec import encode
from envs.swimmer import LINKS, Swimmer

# Juggler: the ball is set anywhere beside the paddle, so that it meets only air and floor.

BALL = {"wind": 0.0, "drag": 0.02, "peg": 0, "second": 0, "rim_left": 0, "rim_right": 0, "radius": 0.1, "gravity": 6.0}
FALL, DRAG, GROUND = 6.0, 0.02, FLOOR + 0.1  # m/s^2, 1/s, height of a resting ball's middle
DT = 0.05 / juggler.SUBSTEPS


@functools.cache
def _thrown():
    """(vectors f32[N, D], q f32[N, 7], qd f32[N, 7]) -> q f32[N, 160, 7] after every timestep."""
    family = Juggler()

    def one(vector, q, qd):
        model = family.prepare(vector)
        still = jnp.zeros(family.actuators)

        def step(state, _):
            state = physics.advance(model.system, state, still, 1)
            return state, state.q

        return jax.lax.scan(step, physics.begin(model.system, q, qd), None, length=160)[1]

    return jax.jit(jax.vmap(one))


@functools.cache
def throws():
    """Four throws at once, one compiled program: at rest, sideways, with a low and with a high coefficient of restitution."""
    family = Juggler()
    tasks = [{"bounce": 0.5}, {"bounce": 0.5, "friction": 0.1}, {"bounce": 0.4}, {"bounce": 0.8}]
    vectors = jnp.stack([jnp.asarray(encode(family.specs, BALL | task)) for task in tasks])
    q, qd = np.zeros((4, 7), np.float32), np.zeros((4, 7), np.float32)
    q[:, 3], q[:, 4], q[:, 5] = 1.5, 0.8, 5.0
    qd[1, 3] = 0.8
    return np.asarray(_thrown()(vectors, jnp.asarray(q), jnp.asarray(qd)))[:, :, 3:5]


def fallen(t):
    """How far a body falls from rest in t seconds against linear drag, m."""
    return FALL / DRAG * (t - (1.0 - np.exp(-DRAG * t)) / DRAG)


def test_free_fall_with_drag():
    """Within 3 % of the fall, or the first order of the timestep, g dt t / 2."""
    t = DT * np.arange(1, 41)  # the first state is one timestep old
    error = np.abs((0.8 - throws()[0, :40, 1]) - fallen(t))
    assert np.all(error <= np.maximum(0.03 * fallen(t), 0.6 * FALL * DT * t)), error.max()


def test_projectile_range():
    """A ball thrown sideways lands at speed x sqrt(2 h / g) (drag 0.02 /s is within the 3 %)."""
    x, z = throws()[1].T
    landing = int(np.argmax(z <= GROUND))
    share = (z[landing - 1] - GROUND) / (z[landing - 1] - z[landing])
    distance = x[landing - 1] + share * (x[landing] - x[landing - 1]) - 1.5
    assert distance == pytest.approx(0.8 * np.sqrt(2.0 * (0.8 - GROUND) / FALL), rel=0.03)


@pytest.mark.parametrize(("row", "restitution"), [(2, 0.4), (3, 0.8)])
def test_rebound_height(row, restitution):
    """The apex after the first bounce is the drop times the restitution squared, within a timestep of fall and of rise."""
    z = throws()[row, :, 1]
    lowest = int(np.argmax(np.diff(z) > 0))
    apex = z[lowest + int(np.argmax(np.diff(z[lowest:]) < 0))] - GROUND
    step = DT * np.sqrt(2.0 * FALL * (0.8 - GROUND))  # m, the way of one timestep at impact
    assert abs(apex - restitution**2 * (0.8 - GROUND)) < 1.2 * step


# Swimmer: a straight chain pushed steadily, and a chain that only its own joints move.


@functools.cache
def _pushed():
    """(vectors, push f32[N, 3] m/s^2, grip f32[N], actions f32[N, T, 5]) -> mass centre f32[N, T, 2] and its velocity."""
    family = Swimmer()

    def one(vector, push, grip, actions):
        task = family.decode(vector)
        task = task._replace(world=task.world | {"grip": grip})
        model = Model(task, physics.set_gravity(family.build(task.world, task.body), push))

        def step(state, action):
            state = family.move(model, state, action)
            return state, (swimmer._mean(model, state.x_i.pos), swimmer._mean(model, state.xd_i.vel))

        start = physics.begin(model.system, jnp.zeros(3 + family.actuators), jnp.zeros(3 + family.actuators))
        return jax.lax.scan(step, start, actions)[1]

    return jax.jit(jax.vmap(one))


@functools.cache
def pushes():
    """Rows: pushed along, pushed across, rowing in an isotropic fluid, rowing with grip; 4 s."""
    family, steps = Swimmer(), 80
    still = {"current_x": 0.0, "current_y": 0.0, "viscosity": 0.5, "mass": 1.0, "links": 4, "swing": 1.0, "response": 12.0}
    vectors = jnp.broadcast_to(jnp.asarray(encode(family.specs, still)), (4, len(family.specs)))
    push = jnp.zeros((4, 3)).at[0, 0].set(0.4).at[1, 1].set(0.4)
    time = 0.05 * jnp.arange(steps)[:, None]
    wave = jnp.sin(2.0 * jnp.pi * (1.2 * time - 0.18 * jnp.arange(family.actuators)))
    actions = jnp.zeros((4, steps, family.actuators)).at[2:].set(wave)
    place, velocity = _pushed()(vectors, push, jnp.array([6.0, 6.0, 1.0, 30.0]), actions)
    return np.asarray(place), np.asarray(velocity)


@pytest.mark.parametrize(("row", "axis", "rate"), [(0, 0, 0.5), (1, 1, 3.0)])
def test_terminal_velocity(row, axis, rate):
    """Push over drag: viscosity 0.5 kg/(m s) over 1 kg/m is 0.5 /s along the links, grip 6 times that across; within 3 %."""
    expected = 0.4 / rate * (1.0 - np.exp(-rate * 0.05 * 80))
    assert pushes()[1][row, -1, axis] == pytest.approx(expected, rel=0.03)
    assert abs(pushes()[1][row, -1, 1 - axis]) < 1e-3


def test_only_grip_makes_it_swim():
    """With as much drag along as across the links the mass centre stays (Purcell's argument); with grip 30 it swims."""
    place = pushes()[0]
    assert np.max(np.linalg.norm(place[2] - place[2, 0], axis=-1)) < 2e-3
    assert np.linalg.norm(place[3, -1] - place[3, 0]) > 0.3


# Parts that do not exist: the rest moves like a System loaded from a model that never had them.


def _play(family, values, q, actions):
    """Joint positions f32[T, Q] of a task given by its values, from q at rest."""

    def run():
        task = family.decode(jnp.asarray(encode(family.specs, values)))
        model = Model(Task(task.world, task.body, task.interface, task.goal), family.build(task.world, task.body))

        def step(state, action):
            state = family.move(model, state, action)
            return state, state.q

        return jax.lax.scan(step, physics.begin(model.system, jnp.asarray(q), jnp.zeros(len(q))), actions)[1]

    return np.asarray(jax.jit(run)())


@pytest.mark.slow
def test_absent_links_of_a_swimmer_never_existed(monkeypatch):
    values = {"links": 3, "current_x": 0.1}
    actions = jax.random.uniform(jax.random.key(0), (40, LINKS - 1), minval=-1.0, maxval=1.0)
    q = np.array([0.0, 0.0, 0.0, 0.1, -0.1, 0.05, 0.0, -0.05], np.float32)
    whole = _play(Swimmer(), values, q, actions)
    monkeypatch.setattr(swimmer, "LINKS", 3)
    monkeypatch.setattr(swimmer, "JOINTS", 2)
    short = _play(Swimmer(), values, q[:5], actions[:, :2])
    assert np.max(np.abs(short - short[0])) > 0.1
    np.testing.assert_allclose(whole[:, :5], short, atol=1e-5)


@pytest.mark.slow
def test_an_absent_second_ball_never_existed(monkeypatch):
    """It starts right above the first ball, where it would hit it; parked rims and peg have other sizes as well."""
    values = BALL | {"bounce": 0.7, "throw": 0.3}
    actions = jax.random.uniform(jax.random.key(0), (40, 3), minval=-1.0, maxval=1.0)
    q = np.array([0.0, -0.05, 0.0, 0.0, 0.4, 0.0, 0.7], np.float32)
    whole = _play(Juggler(), values, q, actions)
    there = _play(Juggler(), values | {"second": 1}, q, actions)
    monkeypatch.setattr(juggler, "BALLS", 1)
    single = _play(Juggler(), values | {"peg_radius": 0.15, "peg_x": 0.55}, q[:5], actions)
    assert np.max(np.abs(there[:, :5] - single)) > 0.01
    np.testing.assert_allclose(whole[:, :5], single, atol=1e-5)
