"""Poles that a task lacks take no part, and what is measured is where the poles are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import cartpole, physics
from envs.cartpole import POLES, Cartpole
from envs.pipelines import Traits
from envs.spec import encode

pytestmark = pytest.mark.slow  # every test compiles physics
FAMILY = Cartpole()


def task(**values):
    """A task without noise or hidden motor direction, with some of its numbers set."""
    plain = {"tilt": 0.0, "noise": 0.0, "gain_0": 1.0, "reversed_0": 0, "delay": 0, "upright": 0}
    return jnp.asarray(encode(FAMILY.specs, plain | values))


def alone(system, poles):
    """The System of a model that has only so many poles, with the numbers of the first links of another."""
    links = slice(poles + 1)
    inertia = jax.vmap(jnp.diag)(system.link.inertia.i[links])
    center, offset = system.link.inertia.transform.pos[links], system.link.transform.pos[links]
    small = physics.set_links(physics.load(cartpole.mjcf(poles)), system.link.inertia.mass[links], inertia, center, offset)
    small = physics.set_motors(small, system.actuator.gain)
    return physics.set_gravity(physics.set_drag(small, -system.vel_damping), system.gravity)


@pytest.mark.parametrize("poles", [1, 2])
def test_absent_poles_take_no_part(poles):
    """The body moves as in a model that never had the other poles."""
    system = FAMILY.prepare(task(poles=poles, upright=1, gravity=9.81)).system
    start = jnp.array([0.0, 0.3, -0.2, 0.1])
    controls = jax.random.uniform(jax.random.key(0), (FAMILY.episode_steps, 1), minval=-1.0, maxval=1.0)

    def way(system, q):
        state = FAMILY.moves.begin(system, q, jnp.zeros_like(q))

        def move(s, c):
            after = FAMILY.moves.advance(system, s, c, cartpole.SUBSTEPS, Traits(chained=True))
            return after, after

        states = jax.lax.scan(move, state, controls)[1]
        return states.x.pos[:, : poles + 1], states.x.rot[:, : poles + 1]

    assert poles < POLES
    whole = jax.jit(way)(system, start)
    small = jax.jit(way)(alone(system, poles), start[: poles + 1])
    assert np.ptp(np.asarray(whole[1][:, 1]), axis=0).max() > 0.5, "the poles swing"
    for one, other in zip(whole, small, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("poles", range(1, POLES + 1))
@pytest.mark.parametrize("upright", [0, 1])
def test_where_the_tip_is(poles, upright):
    model = FAMILY.prepare(task(poles=poles, upright=upright, length_0=0.3, length_1=0.4, length_2=0.5))
    lean = 0.2
    q = jnp.zeros(1 + POLES).at[0].set(0.1).at[1].set(lean + (0.0 if upright else jnp.pi))
    long = sum((0.3, 0.4, 0.5)[:poles])
    up = 1.0 if upright else -1.0
    tip = [0.1 + up * long * np.sin(lean), up * long * np.cos(lean)]
    state = FAMILY.moves.begin(model.system, q, jnp.zeros(1 + POLES))
    values = np.asarray(FAMILY.measure(model, state))
    np.testing.assert_allclose(values[1], tip, atol=1e-5)
    np.testing.assert_allclose(values[[0, 2, 3], 0], [0.1, tip[1], lean if upright else np.pi - lean], atol=1e-5)
    sensors = np.asarray(FAMILY.sense(model, state)).round(5)
    np.testing.assert_allclose(sensors[-2:], [tip[0] - 0.1, tip[1]], atol=1e-5)
    assert not sensors[2 + 3 * poles : -2].any() and sensors[2 : 2 + 3 * poles].any()
