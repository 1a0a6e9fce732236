"""Obstacles that a task lacks take no part, the puck moves the object, and MuJoCo gets the same friction."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs import adapters, physics, pusher
from envs.pipelines import Traits
from envs.pusher import OBSTACLES, Pusher
from envs.spec import encode
from tests.comparing import HASTE

pytestmark = pytest.mark.slow  # every test compiles physics
FAMILY = Pusher()
AHEAD = {"object_angle": 3.1416, "side": 0.0, "object_distance": 0.4, "object_radius": 0.1}  # on the puck's way along x


def task(**values):
    """A task in the open, without slope, noise or hidden motor direction, with some of its numbers set."""
    plain = {f"obstacle_{i}": 0 for i in range(OBSTACLES)} | {f"reversed_{i}": 0 for i in range(2)}
    plain |= {"slope_x": 0.0, "slope_y": 0.0, "noise": 0.0, "delay": 0, "gain_0": 1.0, "gain_1": 1.0}
    return jnp.asarray(encode(FAMILY.specs, plain | values))


@jax.jit
@jax.vmap
def drive(vector, actions):
    """Positions f32[T, 4] of puck and object."""
    model = FAMILY.prepare(vector)
    state, _ = FAMILY.reset(model, jax.random.key(0))
    return jax.lax.scan(lambda s, a: (FAMILY.step(model, s, a)[0],) * 2, state, actions)[1].physics.q


def test_absent_obstacles_take_no_part():
    """Puck and object move exactly as in a model that never had obstacles, in arithmetic as it is written.

    The optimising compiler rounds programs of different sizes differently, and contacts amplify that: 4e-5 m over an episode.
    """
    model = FAMILY.prepare(task(**AHEAD))
    big = model.system
    small = physics.load(pusher.mjcf(0))
    inertia = jax.vmap(jnp.diag)(big.link.inertia.i)
    small = physics.set_links(small, big.link.inertia.mass, inertia, jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    small = physics.set_motors(small, big.actuator.gain)
    small = physics.set_gravity(physics.set_drag(small, -big.vel_damping), big.gravity)
    small = physics.set_geoms(small, [0, 1], jnp.zeros((2, 3)), big.geom_size[OBSTACLES:, :1])
    small = physics.set_contacts(small, big.geom_friction[0, 0], big.elasticity[0])
    small = small.replace(dof_frictionloss=big.dof_frictionloss)
    actions = jnp.zeros((FAMILY.episode_steps, 2)).at[:, 0].set(1.0).at[15:, 1].set(0.7)

    def way(system):
        start = FAMILY.begin(model, jax.random.key(0)).q
        state = FAMILY.moves.begin(system, start, jnp.zeros(4))
        advance = lambda s, a: FAMILY.moves.advance(system, s, a, pusher.SUBSTEPS, Traits(rubbing=True))  # noqa: E731
        return jax.lax.scan(lambda s, a: (advance(s, a),) * 2, state, actions)[1].q

    assert small.ngeom == 2
    as_written = jax.jit(way, compiler_options=HASTE)
    whole = np.asarray(as_written(big))
    assert np.linalg.norm(whole[-1, 2:] - whole[0, 2:]) > 0.3, "the object is pushed"
    np.testing.assert_array_equal(whole, as_written(small))
    np.testing.assert_allclose(jax.jit(way)(big), jax.jit(way)(small), rtol=0.0, atol=2e-4)


def test_the_object_moves_when_it_is_pushed_and_stops_at_an_obstacle():
    """Along x the puck drives the object away, and an obstacle behind it holds both; along y it misses it."""
    wall = {"obstacle_0": 1, "obstacle_0_angle": 3.1416, "obstacle_0_distance": 0.4, "obstacle_0_radius": 0.15}
    vectors = jnp.stack([task(**AHEAD, **extra) for extra in ({}, wall, {})])
    actions = jnp.zeros((3, FAMILY.episode_steps, 2)).at[:2, :, 0].set(1.0).at[2, :, 1].set(1.0)
    way = np.asarray(drive(vectors, actions))
    thing = way[:, :, 2:]
    assert thing[0, -1, 0] > 0.6 and thing[1, :, 0].max() < 0.4 - 0.25 + 0.1  # they press
    np.testing.assert_allclose(thing[2], np.broadcast_to(thing[2, 0], thing[2].shape), atol=1e-5)
    gaps = np.linalg.norm(way[:2, :, :2] - way[:2, :, 2:], axis=-1) - pusher.RADIUS - 0.1
    assert gaps.min() > -0.05, "they do not pass through each other"


def test_an_object_that_is_left_alone_stays():
    """Friction holds the object on a slope, whatever the task."""
    steep = task(object_angle=0.0, side=0.0, slope_x=0.4, slope_y=0.4, rubbing=0.06)
    way = np.asarray(drive(steep[None], jnp.zeros((1, FAMILY.episode_steps, 2)).at[0, :, :].set(1.0)))
    np.testing.assert_allclose(way[0, -1, 2:], way[0, 0, 2:], atol=1e-4)


def test_mujoco_gets_friction_sizes_and_masses():
    vector = task(object_mass=0.8, object_radius=0.12, rubbing=0.2, mass=1.2, grip=0.5)
    model = mujoco.MjModel.from_xml_string(adapters.mjcf(FAMILY, np.asarray(vector)))
    np.testing.assert_allclose(model.dof_frictionloss, [0.0, 0.0, *[0.2 * pusher.GRAVITY * 0.8] * 2], rtol=1e-5)
    np.testing.assert_allclose(model.body_mass[1:], [1.2, 0.8], rtol=1e-5)
    np.testing.assert_allclose(model.geom_size[:, 0], [pusher.RADIUS, 0.12], rtol=1e-5)
    assert model.geom_friction[:, 0] == pytest.approx([0.5, 0.5])
