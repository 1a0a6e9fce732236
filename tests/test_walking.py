"""A crawler moves by the equations of Brax's spring pipeline: in 64 bits the two agree to the last digits.

What is written here in matrices and quaternions is computed by `envs.walking` for each coordinate on its own. In the air Brax's
own timesteps are the reference; its contacts are wrong in size (docs/notes/2026-11-25-legs.md), so theirs is written out.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import crawler, physics, walking
from envs.crawler import Crawler
from tests.comparing import HASTE, widened

TASKS, STEPS = 8, 4


def tossed(family, vector, key, height):
    """Model, and a state with whole joints, the torso turned, everything in motion."""
    model = widened(family.prepare(vector))
    turning, bending, moving = jax.random.split(key, 3)
    turn = jax.random.normal(turning, (4,))
    bent = jax.random.uniform(bending, (12,), minval=-0.6, maxval=0.6)
    place = jnp.stack([0.0 * turn[0], 0.0 * turn[0], height + 0.0 * turn[0]])
    q = jnp.concatenate([place, turn / jnp.linalg.norm(turn), bent])
    state = physics.begin(model.system, q, jax.random.uniform(moving, (18,), minval=-2.0, maxval=2.0))
    return model, walking._moved(model.system, state, state.x_i, state.xd_i)


def compared(one):
    """What ``one(family, vector, key)`` gives for random tasks in 64 bits."""
    with jax.enable_x64(True):
        family = Crawler()
        family._system = widened(family._system)
        vectors = jax.random.uniform(jax.random.key(3), (TASKS, len(family.specs)))
        run = jax.jit(jax.vmap(lambda vector, key: one(family, vector, key)), compiler_options=HASTE)
        return jax.tree.map(np.asarray, run(vectors, jax.random.split(jax.random.key(4), TASKS)))


@pytest.mark.slow
def test_in_the_air_it_moves_as_in_brax():
    def one(family, vector, key):
        model, state = tossed(family, vector, key, 50.0)

        def step(states, control):
            own, brax = states
            own = walking.walk(model.system, own, control, crawler.SUBSTEPS, crawler._ground(model))
            # Joints as `walking` has them: Brax's angles of a joint that is a little out of line are others.
            brax = physics.advance(
                model.system, brax, control, crawler.SUBSTEPS, then=lambda system, s: walking._moved(system, s, s.x_i, s.xd_i)
            )
            return (own, brax), [(s.x, s.xd, s.x_i, s.xd_i, s.q, s.qd) for s in (own, brax)]

        return jax.lax.scan(step, (state, state), jax.random.uniform(key, (STEPS, 12), minval=-1.0, maxval=1.0))[1]

    own, brax = compared(one)
    assert own[0].pos.dtype == np.float64 and np.std(own[4][:, :, 7:]) > 0.1, "it moves"
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(brax), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def landed(system, state, ground):
    """What the ground changes of velocities and spins, [13, 3] each, with inertias as matrices in the world."""
    inverse = physics.com.inv_inertia(system, state.x)
    middle = state.x.vmap().do(physics.Transform.create(pos=ground.center)).pos
    gap, out_x, out_z = ground.near(middle[:, 0], middle[:, 2])
    gap, normal = gap - ground.radius, jnp.stack([out_x, 0.0 * out_x, out_z], axis=1)
    arm = middle - normal * (ground.radius + 0.5 * gap)[:, None] - state.x_i.pos
    velocity = state.xd_i.vel + jnp.cross(state.xd_i.ang, arm)

    def turned(torque):
        return jnp.einsum("lij,lj->li", inverse, torque)

    def response(way):
        return 1.0 / state.mass + jnp.sum(way * jnp.cross(turned(jnp.cross(arm, way)), arm), axis=1)

    leaving = jnp.sum(velocity * normal, axis=1)
    sliding = velocity - leaving[:, None] * normal
    speed = jnp.sqrt(jnp.sum(sliding**2, axis=1) + 1e-12)
    way = sliding / (speed[:, None] + 1e-6)
    push = -(leaving + system.baumgarte_erp / system.opt.timestep * gap) / response(normal)
    drag = jnp.minimum(speed / response(way), ground.friction * push) * (speed > 1e-3)
    touches = (gap < 0.0) & (leaving < 0.0) & (push > 0.0) & (ground.exists > 0.0)
    impulse = jnp.where(touches[:, None], push[:, None] * normal - drag[:, None] * way, 0.0)
    return impulse / state.mass[:, None], turned(jnp.cross(arm, impulse))


@pytest.mark.slow
def test_impulses_of_the_ground():
    def one(family, vector, key):
        model, state = tossed(family, vector, key, 0.2)
        ground = crawler._ground(model)
        change = walking._landing(model.system, state, ground)
        return (change.vel, change.ang), landed(model.system, state, ground)

    own, expected = compared(one)
    met = np.any(expected[0], axis=2)
    assert 0.1 < met.mean() < 0.9
    for a, b in zip(own, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
