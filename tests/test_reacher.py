"""The arm moves like an arm: what its motors do can be told from its motion, and agrees with reduced coordinates."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import physics, reacher
from envs.spec import encode

ARM = reacher.Reacher()
FOUR = reacher.Reacher(most_links=4, spatial=True)
FIVE = reacher.Reacher(most_links=5, spatial=True)
OPEN = ("gravity_z", *(f"twist_{i}" for i in range(5)))  # 0 for an arm that stays in the plane


def vectors(arm, rows, links, flat=False):
    """Task vectors f32[rows, D] of arms with that many links, uniform in everything else."""
    out = np.random.default_rng(0).uniform(size=(rows, len(arm.specs))).astype(np.float32)
    for i, spec in enumerate(arm.specs):
        if spec.name == "links":
            out[:, i] = (links - spec.low + 0.5) / spec.cells
        if flat and spec.name in OPEN:
            out[:, i] = 0.5
    return jnp.asarray(out)


def random_actions(arm, rows, steps=40):
    draw = 0.5 * jax.random.normal(jax.random.key(1), (rows, steps, arm.actuators))
    return jnp.clip(draw, -1.0, 1.0)


@functools.cache
def film(arm):
    """(vectors f32[N, D], q f32[N, L], actions f32[N, T, L]) -> joint positions, velocities f32[N, T, L], tips f32[N, T, 2]."""

    def one(vector, q, actions):
        model = arm.prepare(vector)

        def step(state, action):
            state = arm.move(model, state, action * arm.active(model))
            return state, (state.q, state.qd, arm._joints(model, state)[0][-1])

        return jax.lax.scan(step, arm.moves.begin(model.system, q, jnp.zeros(arm.actuators)), actions)[1]

    return jax.jit(jax.vmap(one))


def test_what_is_allowed():
    for links in (2, 6, 4.5):
        with pytest.raises(ValueError, match=f"families.reacher.most_links is {links}; allowed: 3 to 5"):
            reacher.Reacher(most_links=links)


@pytest.mark.slow
def test_a_twisted_arm_in_numbers():
    """The tip is where Brax has the end of the last link, and the sensors tell how it moves as each joint turns."""
    twists = {"twist_0": 0.4, "twist_1": -1.2, "twist_2": 0.9, "twist_3": 0.3}
    model = FIVE.prepare(jnp.asarray(encode(FIVE.specs, {"links": 4, "length_3": 0.3} | twists)))
    state = physics.begin(model.system, jnp.array([0.7, -0.4, 1.1, 0.5, 2.0]), jnp.zeros(5))
    tip = physics.point(state, 3, jnp.array([0.3, 0.0, 0.0]))
    assert abs(float(tip[2])) > 0.2, "it has left the plane"
    values = FIVE.measure(model, state)
    expected = [tip[:2], [tip[0], 0.0], [tip[1], 0.0], [0.7, 0.0], [tip[2], 0.0], tip[::2]]
    np.testing.assert_allclose(values, np.array([np.asarray(row) for row in expected]), atol=1e-5)
    seen = FIVE.sense(model, state)
    assert seen.shape == (FIVE.sensors,)
    np.testing.assert_allclose(seen[:3], tip, atol=1e-5)
    columns = jax.jacfwd(lambda q: FIVE._joints(model, state.replace(q=q))[0][-1])(state.q)
    np.testing.assert_allclose(seen[3:18].reshape(5, 3), columns.T, atol=1e-5)
    drawn = FIVE.shapes(model, state)["capsules"]
    np.testing.assert_allclose(drawn[3, 3:6], tip, atol=1e-5)
    assert np.asarray(drawn[:, 6] > 0).tolist() == [True] * 4 + [False]


def test_words_of_a_twisted_arm():
    values = {"links": 3.0, "mass": 1.0, "gravity_x": 0.0, "gravity_y": 0.0, "gravity_z": -1.0} | {
        f"{name}_{i}": x for name, x in (("length", 0.3), ("twist", 1.5708)) for i in range(5)
    }
    words = "a 3-link arm of 0.90 m reach with joints twisted by 90°, 90°, 90°, 1.0 kg a link, gravity 1.0 m/s²"
    assert FIVE.describe(values) == words


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "links", "flat"), [(ARM, 3, True), (FOUR, 4, False)])
def test_an_arm_in_a_longer_system_moves_like_one_that_was_never_longer(arm, links, flat):
    """In the System of five links in space; without twists and pull along z it is also the arm of the plane."""
    rows = 16
    whole = vectors(FIVE, rows, links, flat)
    names = [spec.name for spec in FIVE.specs]
    values = {spec.name: whole[:, names.index(spec.name)] for spec in arm.specs}
    values["links"] = jnp.full(rows, 0.99)
    short = jnp.stack([values[spec.name] for spec in arm.specs], axis=1)
    q = jax.random.uniform(jax.random.key(2), (rows, 5), minval=-0.5, maxval=0.5)
    actions = random_actions(FIVE, rows)
    long = film(FIVE)(whole, q, actions)
    own = film(arm)(short, q[:, :links], actions[:, :, :links])
    assert float(jnp.median(jnp.ptp(own[2], axis=1))) > 0.3, "it moves"
    np.testing.assert_allclose(long[0][:, :, :links], own[0], atol=1e-5)
    np.testing.assert_allclose(long[2][:, :, : own[2].shape[2]], own[2], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("flat", [True, False])
def test_no_long_arm_breaks(flat):
    """400 random tasks under random commands, and under commands that jump from one end to the other."""
    tasks, actions = vectors(FIVE, 400, 5, flat), random_actions(FIVE, 400)
    start = jnp.tile(jnp.array([0.0, 0.5, 0.5, 0.5, 0.5]), (400, 1))
    for commands, median in ((actions, 20.0), (jnp.sign(actions), 30.0)):
        speed = np.abs(np.asarray(film(FIVE)(tasks, start, commands)[1])).max(axis=(1, 2))
        assert np.all(speed <= FIVE.max_speed), np.sort(speed)[-5:]
        assert np.median(speed) < median


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "links", "flat"), [(ARM, 3, True), (FIVE, 5, False)])
def test_the_direction_of_a_motor_shows_in_its_joint(arm, links, flat):
    """Correlation of commands and changes of joint velocity has the motor's sign: rings in the joint springs would hide it."""
    tasks, actions = vectors(arm, 256, links, flat), random_actions(arm, 256)
    start = jnp.tile(jnp.full(arm.actuators, 0.5).at[0].set(0.0), (256, 1))
    velocity = film(arm)(tasks, start, actions)[1]
    change = jnp.diff(jnp.concatenate([jnp.zeros((256, 1, arm.actuators)), velocity], axis=1), axis=1)
    told = np.asarray(jnp.sum(actions * change, axis=1)) > 0
    assert np.all(np.mean(told, axis=0) > 0.92), np.mean(told, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "most"), [(ARM, 0.08), (FIVE, 0.12)])
def test_links_turn_as_in_reduced_coordinates(arm, most):
    """Half a second under random torques without drag: brax in generalised coordinates is the reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brax.generalized import pipeline as generalized
        from brax.io import mjcf

        whole = mjcf.loads(reacher._xml(arm.actuators))
    step_s, start = arm.control_dt / 40, jnp.full(arm.actuators, 0.5).at[0].set(0.0)

    def angles(pipeline, system, actions, timesteps):
        def step(state, action):
            state = jax.lax.fori_loop(0, timesteps, lambda _, now: pipeline.step(system, now, action), state)
            return state, jnp.cumsum(state.q)

        return jax.lax.scan(step, pipeline.init(system, start, jnp.zeros(arm.actuators)), actions)[1]

    def one(vector, key):
        system = arm.prepare(vector).system.replace(vel_damping=0.0, ang_damping=0.0)
        actions = jnp.repeat(jnp.clip(0.5 * jax.random.normal(key, (5, arm.actuators)), -1.0, 1.0), 2, axis=0)
        exact = whole.replace(link=system.link, actuator=system.actuator, gravity=system.gravity, dof=system.dof)
        exact = exact.replace(opt=whole.opt.replace(timestep=jnp.float32(step_s)))
        return angles(reacher.physics.spring, system, actions, reacher.SUBSTEPS), angles(generalized, exact, actions, 40)

    tasks = vectors(arm, 32, arm.actuators)
    here, there = jax.jit(jax.vmap(one))(tasks, jax.random.split(jax.random.key(0), 32))
    apart, turned = np.abs(np.asarray(here - there))[:, -1], np.abs(np.asarray(there[:, -1] - there[:, 0]))
    assert np.all(np.median(apart, axis=0) < most), np.median(apart, axis=0)
    assert np.all(np.median(turned, axis=0) > 0.15), "nothing turns"
