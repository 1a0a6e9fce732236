"""Physics with known answers: what the families' bodies do against the textbook's formula, each within a stated tolerance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import juggler, physics, swimmer
from envs.base import Model, Task
from envs.cartpole import POLES, Cartpole
from envs.juggler import FLOOR, Juggler
from envs.pusher import OBSTACLES, Pusher
from envs.spec import encode
from envs.swimmer import LINKS, Swimmer

pytestmark = pytest.mark.slow  # every test compiles physics

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
            state = family.moves.advance(model.system, state, still, 1)
            return state, state.q

        return jax.lax.scan(step, family.moves.begin(model.system, q, qd), None, length=160)[1]

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

        start = family.moves.begin(model.system, jnp.zeros(3 + family.actuators), jnp.zeros(3 + family.actuators))
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

        return jax.lax.scan(step, family.moves.begin(model.system, jnp.asarray(q), jnp.zeros(len(q))), actions)[1]

    return np.asarray(jax.jit(run)())


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


# Cartpole and pusher: a pendulum on a free cart, a falling chain, dry friction and drag, a collision.


def film(family, values, q, qd, controls):
    """Pipeline states [T] under commands f32[T, A] from these coordinates, one per control step, on straight motors."""
    plain = {f"reversed_{i}": 0 for i in range(family.actuators)} | {f"gain_{i}": 1.0 for i in range(family.actuators)}
    vector = jnp.asarray(encode(family.specs, plain | {"delay": 0, "noise": 0.0} | values))

    @jax.jit
    def run(vector, controls):
        model = family.prepare(vector)
        state = family.moves.begin(model.system, jnp.asarray(q, jnp.float32), jnp.asarray(qd, jnp.float32))
        return jax.lax.scan(lambda s, c: (family.move(model, s, c),) * 2, state, controls)[1]

    return run(vector, jnp.asarray(controls, jnp.float32))


@pytest.mark.parametrize("length,gravity", [(0.3, 9.81), (0.5, 4.0)])
def test_period_of_a_pole_under_a_free_cart(length, gravity):
    """omega^2 = m g d / (I - (m d)^2 / (M + m)) - (drag / 2)^2 with I = m l^2 / 2, half the mass at either end; within 2 %."""
    cart, mass, drag, steps = 1.2, 0.2, 0.2, 160
    values = {"poles": 1, "tilt": 0.0, "gravity": gravity, "friction": drag}
    values |= {"length_0": length, "pole_mass": mass, "cart_mass": cart}
    start = jnp.zeros(1 + POLES).at[1].set(jnp.pi - 0.1)
    states = film(Cartpole(), values, start, jnp.zeros(1 + POLES), jnp.zeros((steps, 1)))
    angle = np.asarray(2.0 * np.arctan2(states.x.rot[:, 1, 2], states.x.rot[:, 1, 0]))
    angle = np.angle(np.exp(1j * (angle - np.pi)))  # from hanging
    rising = np.flatnonzero((angle[:-1] < 0.0) & (angle[1:] >= 0.0))
    times = 0.05 * (rising + angle[rising] / (angle[rising] - angle[rising + 1]))
    assert len(times) >= 4
    center, inertia = length / 2.0, mass * length**2 / 2.0
    omega = np.sqrt(mass * gravity * center / (inertia - (mass * center) ** 2 / (cart + mass)) - (drag / 2.0) ** 2)
    assert np.diff(times).mean() == pytest.approx(2.0 * np.pi / omega, rel=0.02)


def test_joints_of_a_turning_chain_do_not_move_apart():
    """In a rigid swing the velocity in every hinge is 0, and so is what the joint's damping sees."""
    family = Cartpole()
    system = family.prepare(jnp.asarray(encode(family.specs, {"poles": 3}))).system
    state = physics.begin(system, jnp.array([0.1, 0.5, -0.3, 0.4]), jnp.array([0.3, 3.0, -2.0, 4.0]))
    apart = physics.joint_velocities(system, state).jd.vel
    np.testing.assert_allclose(apart[1:], np.zeros((POLES, 3)), atol=1e-5)
    np.testing.assert_allclose(apart[0], [0.3, 0.0, 0.0], atol=1e-5)


def test_a_falling_chain_gains_no_energy():
    """Three poles fall from upright, no motor: kinetic and potential energy exceed the start by at most a tenth of the fall."""
    gravity, cart, mass, length = 9.81, 1.0, 0.2, 0.4
    values = {"poles": 3, "tilt": 0.0, "gravity": gravity, "friction": 0.2, "pole_mass": mass, "cart_mass": cart}
    values |= {f"length_{i}": length for i in range(POLES)}
    states = film(Cartpole(), values, [0.0, 0.05, 0.05, 0.0], np.zeros(1 + POLES), np.zeros((80, 1)))
    weights = np.array([cart, mass, mass, mass])
    moving = 0.5 * np.sum(np.asarray(states.xd_i.vel) ** 2, axis=-1) @ weights
    turning = 0.5 * mass * length**2 / 4.0 * np.sum(np.asarray(states.xd.ang)[:, 1:, 1] ** 2, axis=-1)
    lifted = gravity * np.asarray(states.x_i.pos)[:, :, 2] @ weights
    energy, start = moving + turning + lifted, gravity * mass * length * (0.5 + 1.5 + 2.5)
    assert lifted.min() < -0.5 * start, "it falls"
    assert energy.max() < start + 0.1 * 2.0 * start


OPEN = {f"obstacle_{i}": 0 for i in range(OBSTACLES)} | {"slope_x": 0.0, "slope_y": 0.0}


def test_an_object_slides_as_far_as_friction_lets_it():
    """It stops after ln(1 + k v / (mu g)) / k seconds and v / k - (mu g / k^2) ln(1 + k v / (mu g)) metres; within 3 %."""
    speed, rate, rubbing = 1.5, 0.5, 0.15
    q, qd = jnp.array([0.0, 0.5, 0.5, 0.0]), jnp.array([0.0, 0.0, speed, 0.0])
    states = film(Pusher(), OPEN | {"friction": rate, "rubbing": rubbing}, q, qd, jnp.zeros((40, 2)))
    along, pull = np.asarray(states.q[:, 2]) - 0.5, rubbing * 9.81
    seconds = np.log(1.0 + rate * speed / pull) / rate
    stopped = 0.05 * (1 + np.flatnonzero(np.asarray(states.qd[:, 2]) == 0.0)[0])
    assert abs(stopped - seconds) <= 0.05
    assert along[-1] == pytest.approx(speed / rate - pull * seconds / rate, rel=0.03)


def test_a_puck_under_full_command_nears_its_terminal_velocity():
    """v = F / (m k) (1 - exp(-k t)); within 2 %."""
    values = OPEN | {"friction": 2.0, "strength": 5.0, "mass": 0.8}
    states = film(Pusher(), values, [0.0, 0.0, 0.0, 0.5], np.zeros(4), np.tile([1.0, 0.0], (40, 1)))
    time = 0.05 * np.arange(1, 41)
    np.testing.assert_allclose(states.qd[:, 0], 5.0 / (0.8 * 2.0) * (1.0 - np.exp(-2.0 * time)), rtol=0.02)


@pytest.mark.parametrize("bounce", [0.0, 0.6])
def test_a_collision_keeps_the_momentum_and_loses_speed(bounce):
    """Head on: m v + M V is kept within 3 % (friction acts meanwhile); the parting speed is bounce times the closing speed,
    and up to a tenth more, with which Brax takes back the penetration of one timestep."""
    values = OPEN | {"friction": 0.3, "rubbing": 0.05, "bounce": bounce, "mass": 1.0, "object_mass": 0.5, "object_radius": 0.1}
    states = film(Pusher(), values, [0.0, 0.0, 0.25, 0.0], [2.0, 0.0, 0.0, 0.0], np.zeros((4, 2)))
    puck, thing = np.asarray(states.qd[:, 0]), np.asarray(states.qd[:, 2])
    after = np.flatnonzero(thing > 0.1)[0]
    assert puck[after] + 0.5 * thing[after] == pytest.approx(2.0, rel=0.03)
    assert -0.03 <= (thing[after] - puck[after]) / 2.0 - bounce <= 0.11
