"""The arm moves like an arm: what its motors do can be told from its motion, and agrees with reduced coordinates."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import reacher

pytestmark = pytest.mark.slow  # every test compiles physics
ARM = reacher.Reacher()


def vectors(rows, links):
    """Task vectors f32[rows, D] of arms with that many links, uniform in everything else."""
    out = np.random.default_rng(0).uniform(size=(rows, len(ARM.specs))).astype(np.float32)
    out[:, [spec.name for spec in ARM.specs].index("links")] = 0.9 if links == 3 else 0.1
    return jnp.asarray(out)


def test_the_direction_of_a_motor_shows_in_its_joint():
    """Correlation of commands and changes of joint velocity has the motor's sign: rings in the joint springs would hide it."""

    def one(vector, key):
        model = ARM.prepare(vector)
        actions = jnp.clip(0.5 * jax.random.normal(key, (ARM.episode_steps, ARM.actuators)), -1.0, 1.0)

        def step(state, action):
            state, _ = ARM.step(model, state, action)
            return state, state.physics.qd

        state, _ = ARM.reset(model, key)
        _, velocity = jax.lax.scan(step, state, actions)
        change = jnp.diff(jnp.concatenate([state.physics.qd[None], velocity]), axis=0)
        return jnp.sum(actions * change, axis=0) * model.task.interface.sign

    told = np.asarray(jax.jit(jax.vmap(one))(vectors(128, 3), jax.random.split(jax.random.key(0), 128)))
    assert np.all(np.mean(told > 0, axis=0) > 0.92), np.mean(told > 0, axis=0)


def test_links_turn_as_in_reduced_coordinates():
    """Half a second under random torques without drag: brax in generalised coordinates is the reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brax.generalized import pipeline as generalized
        from brax.io import mjcf

        whole = mjcf.loads(reacher._XML)
    step_s, start = ARM.control_dt / 40, jnp.array([0.0, 0.5, 0.5])

    def angles(pipeline, system, actions, timesteps):
        def step(state, action):
            state = jax.lax.fori_loop(0, timesteps, lambda _, now: pipeline.step(system, now, action), state)
            return state, jnp.cumsum(state.q)

        return jax.lax.scan(step, pipeline.init(system, start, jnp.zeros(3)), actions)[1]

    def one(vector, key):
        system = ARM.prepare(vector).system.replace(vel_damping=0.0, ang_damping=0.0)
        actions = jnp.repeat(jnp.clip(0.5 * jax.random.normal(key, (5, 3)), -1.0, 1.0), 2, axis=0)
        exact = whole.replace(link=system.link, actuator=system.actuator, gravity=system.gravity, dof=system.dof)
        exact = exact.replace(opt=whole.opt.replace(timestep=jnp.float32(step_s)))
        return angles(reacher.physics.spring, system, actions, reacher.SUBSTEPS), angles(generalized, exact, actions, 40)

    here, there = jax.jit(jax.vmap(one))(vectors(32, 3), jax.random.split(jax.random.key(0), 32))
    apart, turned = np.abs(np.asarray(here - there))[:, -1], np.abs(np.asarray(there[:, -1] - there[:, 0]))
    assert np.all(np.median(apart, axis=0) < 0.08), np.median(apart, axis=0)
    assert np.all(np.median(turned, axis=0) > 0.15), "nothing turns"
