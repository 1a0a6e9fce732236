"""A free body on limbs: it stands and crawls by friction, lacking parts never existed, and its physics is the pipeline's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import crawler, physics, terrain, walking
from envs.base import Model
from envs.crawler import LIMBS, RADIUS, SEGMENTS, SUBSTEPS, Crawler
from envs.spec import encode

slow = pytest.mark.slow  # compiles physics
FAMILY = Crawler()
FLAT = {"slope": 0.0, "slope_y": 0.0, "wind": 0.0, "drag": 0.05, "friction": 0.8, "gravity": 9.0, "step": 0, "stump": 0}
BODY = {"limbs": 4, "stance": 0.2, "torso": 0.1, "mass": 2.0, "limb_mass": 2.0, "response": 12.0, "swing": 0.9}
BODY |= {
    f"{name}_{i}": x for i in range(LIMBS) for name, x in (("segments", 2), ("upper", 0.25), ("lower", 0.3), ("slant", 0.0))
}
REST = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], np.float32)  # of the root


def task(family=FAMILY, **values):
    return jnp.asarray(encode(family.specs, FLAT | BODY | values))


def model_of(family, vector, **world):
    """Model with numbers of the world that may lie outside their bounds."""
    decoded = family.decode(vector)
    decoded = decoded._replace(world=decoded.world | world)
    return Model(decoded, family.build(decoded.world, decoded.body))


def placed(model, height, turn=(1.0, 0.0, 0.0, 0.0), bent=0.0):
    """At rest, the torso so high and turned so, all joints bent alike."""
    q = jnp.concatenate([jnp.array([0.0, 0.0, height, *turn]), jnp.full(FAMILY.actuators, bent)])
    return physics.begin(model.system, q, jnp.zeros(6 + FAMILY.actuators))


@functools.cache
def film():
    """(vectors, friction f32[N], start f32[N, 7], actions f32[N, T, 12]) -> states [N, T] and features f32[N, T, 6, 2]."""

    def one(vector, friction, start, actions):
        model = model_of(FAMILY, vector, friction=friction)
        state = physics.begin(model.system, jnp.concatenate([start, jnp.zeros(12)]), jnp.zeros(18))

        def step(state, action):
            state = FAMILY.move(model, state, action * FAMILY.active(model))
            return state, (state, FAMILY.measure(model, state))

        return jax.lax.scan(step, state, actions)[1]

    return jax.jit(jax.vmap(one))


@functools.cache
def scenes():
    """Standing still; crawling; crawling without friction; waving its limbs in the air; standing with two segments less."""
    time = 0.05 * np.arange(1, 41)
    side = np.array([0.0, 1.0, 0.0, -1.0, 0.0, 0.0])  # sine of the direction of each of four limbs
    hips, knees = np.outer(np.sin(3.0 * np.pi * time), side), np.outer(np.sin(3.0 * np.pi * time - np.pi), np.abs(side))
    row = np.stack([hips, knees], axis=2).reshape(40, 12)
    wave = np.random.default_rng(0).uniform(-1.0, 1.0, (40, 12))
    actions = np.stack([0.0 * row, row, row, wave, 0.0 * row])
    vectors = jnp.stack([task()] * 4 + [task(segments_0=1, segments_2=1)])
    start = np.tile(REST, (5, 1))
    start[:, 2] = [0.2, 0.2, 0.2, 30.0, 0.2]
    friction = jnp.array([0.8, 0.8, 1e-3, 0.8, 0.8])
    return jax.tree.map(np.asarray, film()(vectors, friction, jnp.asarray(start), jnp.asarray(actions, jnp.float32)))


@slow
@pytest.mark.parametrize("row", [0, 4])
def test_it_stands(row):
    """Limbs hold the torso above the ground, level, and soon at rest, its feet on the ground."""
    states, features = scenes()
    assert 0.11 < features[row, -1, 1, 0] < 0.2 and features[row, -1, 3, 0] < 0.1
    assert np.max(np.abs(states.xd_i.vel[row, 20:, 0])) < 0.3
    assert np.linalg.norm(features[row, -1, 0]) < 0.05


@slow
def test_friction_lets_it_crawl():
    """Two limbs that row move it by more than 0.3 m in 2 s, straight ahead; without friction they do not."""
    features = scenes()[1]
    way = features[:, -1, 0] - features[:, 0, 0]
    assert way[1, 0] > 0.3 and abs(way[1, 1]) < 0.1
    assert np.linalg.norm(way[2]) < 0.1


@slow
def test_in_the_air_limbs_do_not_move_the_mass_centre():
    """It falls by gravity against drag, within 3 % or the timestep, whatever the limbs do; to the side it stays."""
    system = model_of(FAMILY, task()).system
    mass = np.asarray(system.link.inertia.mass) * np.concatenate([[1.0], np.arange(12) < 8])
    place = np.einsum("tlx,l->tx", scenes()[0].x_i.pos[3], mass) / mass.sum()
    time = 0.05 * np.arange(40)
    speed, timestep = (place[1, 2] - place[0, 2]) / 0.05, 0.05 / SUBSTEPS
    fallen = place[0, 2] - place[:, 2]
    rate = 0.05
    first = -(speed + 9.0 * 0.025)  # m/s, of the first state
    expected = 9.0 / rate * (time - (1.0 - np.exp(-rate * time)) / rate) + first * (1.0 - np.exp(-rate * time)) / rate
    np.testing.assert_allclose(fallen, expected, rtol=0.03, atol=9.0 * timestep * 0.1)
    assert np.ptp(place[:, :2], axis=0).max() < 1e-3 < 0.2 < np.ptp(scenes()[0].q[3, :, 7:], axis=0).max()


def tossed(height):
    """Model, and a state so high with whole joints, the torso turned, everything in motion."""
    model = model_of(FAMILY, task(limbs=6, **{f"slant_{i}": 0.4 for i in range(LIMBS)}))
    keys = jax.random.split(jax.random.key(1), 2)
    turn = jnp.array([1.0, 0.1, -0.1, 0.2]) / np.linalg.norm([1.0, 0.1, -0.1, 0.2])
    bent = jax.random.uniform(keys[0], (12,), minval=-0.6, maxval=0.6)
    speed = jax.random.uniform(keys[1], (18,), minval=-2.0, maxval=2.0)
    state = physics.begin(model.system, jnp.concatenate([jnp.array([0.0, 0.0, height]), turn, bent]), speed)
    return model, physics.joint_velocities(model.system, state)


@slow
def test_a_timestep_in_the_air_is_the_pipelines():
    model, state = tossed(height=5.0)
    control = jnp.linspace(-1.0, 1.0, 12)
    own = jax.jit(lambda s: walking.walk(model.system, s, control, 1, crawler._ground(model)))(state)
    brax = jax.jit(lambda s: physics.advance(model.system, s, control, 1, then=physics.joint_velocities))(state)
    for part in ("x", "xd", "x_i", "xd_i", "jd"):
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-4), getattr(own, part), getattr(brax, part))
    np.testing.assert_allclose(own.q, brax.q, atol=3e-3)  # the angle of a joint that is a little out of line is a convention
    np.testing.assert_allclose(own.qd, brax.qd, atol=3e-2)


@slow
def test_sliding_friction_is_coulombs():
    """Balls that go into the ground are pushed up, and back along it with friction x that; the others are left alone."""
    friction = 0.2
    model, state = tossed(height=0.3)
    ground = crawler._ground(model)._replace(friction=jnp.asarray(friction))
    ends = np.asarray(crawler._ends(model, state))
    state = state.replace(i_inv=physics.com.inv_inertia(model.system, state.x))
    change = walking._landing(model.system, state, ground)
    impulses = np.asarray(change.vel) * np.asarray(model.system.link.inertia.mass)[:, None]
    meets = 0
    for end, place, velocity, spin, impulse in zip(
        ends, *(np.asarray(x)[1:] for x in (state.x_i.pos, state.xd_i.vel, state.xd_i.ang, impulses)), strict=True
    ):
        gap = end[2] - RADIUS
        before = velocity + np.cross(spin, end - [0.0, 0.0, RADIUS + gap / 2] - place)
        if gap > 0.0 or before[2] > 0.0:
            assert not impulse.any()
            continue
        meets += 1
        assert impulse[2] > 0.0
        np.testing.assert_allclose(impulse[:2], -friction * impulse[2] * before[:2] / np.linalg.norm(before[:2]), rtol=1e-3)
    assert 0 < meets < 12


@slow
def test_a_ball_under_its_links_mass_centre_stops_dead():
    """No arm couples what is along the ground to what is across it: after one impulse the ball neither slides nor sinks."""
    model = model_of(FAMILY, task())
    q = jnp.concatenate([jnp.asarray(REST).at[2].set(0.09), jnp.zeros(12)])
    state = physics.begin(model.system, q, jnp.zeros(18).at[:6].set(jnp.array([0.5, -0.3, -1.0, 2.0, 1.0, 0.0])))
    state = state.replace(i_inv=physics.com.inv_inertia(model.system, state.x))
    ground = crawler._ground(model)._replace(friction=jnp.asarray(100.0))
    change = walking._landing(model.system, state, ground)
    velocity, spin = (np.asarray(x[0]) for x in (state.xd_i.vel + change.vel, state.xd_i.ang + change.ang))
    lifted = 0.02 / float(model.system.opt.timestep) * 0.01
    np.testing.assert_allclose(velocity + np.cross(spin, [0.0, 0.0, -0.095]), [0.0, 0.0, lifted], atol=1e-4)


@slow
@pytest.mark.parametrize("limbs,segments", [(3, 2), (4, 1)])
def test_absent_parts_never_existed(limbs, segments, monkeypatch):
    """The rest moves as in a model that never had them, on the ground, for an episode."""
    values = {"limbs": limbs} | {f"segments_{i}": segments for i in range(LIMBS)}
    actions = np.array(jax.random.uniform(jax.random.key(0), (40, LIMBS, SEGMENTS), minval=-1.0, maxval=1.0))

    def play(family, actions):
        def run():
            model = model_of(family, task(family, **values))
            start = jnp.concatenate([jnp.asarray(REST).at[2].set(0.2), jnp.zeros(family.actuators)])
            state = physics.begin(model.system, start, jnp.zeros(len(start) - 1))

            def step(state, action):
                state = family.move(model, state, action)
                return state, (state.q, family.measure(model, state))

            return jax.lax.scan(step, state, jnp.asarray(actions))[1]

        return jax.tree.map(np.asarray, jax.jit(run)())

    whole, features = play(Crawler(), actions.reshape(40, -1))
    monkeypatch.setattr(crawler, "LIMBS", limbs)
    monkeypatch.setattr(crawler, "SEGMENTS", segments)
    monkeypatch.setattr(Crawler, "actuators", limbs * segments)
    small, alone = play(Crawler(), actions[:, :limbs, :segments].reshape(40, -1))
    kept = np.concatenate(
        [np.arange(7), 7 + np.arange(LIMBS * SEGMENTS).reshape(LIMBS, SEGMENTS)[:limbs, :segments].reshape(-1)]
    )
    assert np.max(np.abs(small - small[0])) > 0.1
    np.testing.assert_allclose(whole[:, kept], small, atol=1e-5)
    np.testing.assert_allclose(features, alone, atol=1e-5)


@slow
def test_hardly_any_command_breaks_it():
    """Random and bang-bang commands on random bodies: within the guard, and joints do not open far."""
    rows = 64
    keys = jax.random.split(jax.random.key(3), 4)
    vectors = jax.random.uniform(keys[0], (rows, len(FAMILY.specs)))
    noise = jax.random.uniform(keys[1], (rows, 40, 12), minval=-1.0, maxval=1.0)
    actions = jnp.where(jnp.arange(rows)[:, None, None] % 2, noise, jnp.sign(noise))

    def one(vector, key, actions):
        model = FAMILY.prepare(vector)
        state, _ = FAMILY.reset(model, key)
        there = FAMILY.active(model)

        def step(state, action):
            state, timestep = FAMILY.step(model, state, action)
            return state, (timestep.broken, jnp.linalg.norm(state.physics.j.pos[1:], axis=1) * there)

        return jax.lax.scan(step, state, actions)[1]

    broken, open_ = jax.jit(jax.vmap(one))(vectors, jax.random.split(keys[2], rows), actions)
    assert float(jnp.mean(broken[:, -1])) <= 0.03
    assert float(jnp.median(jnp.max(open_, axis=2))) < 0.06


@slow
def test_limbs_stand_around_the_torso():
    """At rest each foot is as deep below the torso, in the direction of its limb; what is measured is where things are."""
    shape = {"upper_0": 0.35, "place_1": 0.2, "slant_0": 0.8, "slant_1": -0.5, "segments_2": 1, "upper_2": 0.3}
    model = model_of(FAMILY, task(limbs=3, **shape))
    state = placed(model, 0.5)
    feet = np.asarray(crawler._feet(model, state))[:3]
    np.testing.assert_allclose(feet[:, 2], 0.5 - (0.2 - RADIUS), atol=1e-5)
    around = 2.0 * np.pi / 3.0 * np.array([0.0, 1.2, 2.0])
    np.testing.assert_allclose(np.angle(np.exp(1j * (np.arctan2(feet[:, 1], feet[:, 0]) - around))), 0.0, atol=1e-5)
    depth = 0.2 - RADIUS
    reach = [0.1 + 0.35 + np.sqrt(0.3**2 - depth**2), 0.1 + 0.25 + np.sqrt(0.3**2 - depth**2), 0.1 + np.sqrt(0.3**2 - depth**2)]
    np.testing.assert_allclose(np.linalg.norm(feet[:, :2], axis=1), reach, atol=1e-5)
    np.testing.assert_allclose(FAMILY.measure(model, state)[5], feet[0, :2], atol=1e-6)


@slow
def test_positive_commands_turn_anticlockwise_and_lift():
    model = model_of(FAMILY, task())
    still, bent = (np.asarray(crawler._feet(model, placed(model, 0.5, bent=angle))) for angle in (0.0, 0.2))
    turned = np.angle((bent[:4, :2] @ [1, 1j]) / (still[:4, :2] @ [1, 1j]))
    assert np.all(turned > 0.05) and np.all(bent[:4, 2] > still[:4, 2])


@slow
def test_what_is_measured_and_sensed():
    """Heading and tilt of a turned torso; nothing of what is absent."""
    model = model_of(FAMILY, task(limbs=3, segments_1=1))
    heading, tilt = 0.7, 0.4
    w, z, c, s = np.cos(heading / 2), np.sin(heading / 2), np.cos(tilt / 2), np.sin(tilt / 2)  # about z, then its own x
    state = placed(model, 0.45, (w * c, w * s, z * s, z * c))
    values = np.asarray(FAMILY.measure(model, state))[:, 0]
    np.testing.assert_allclose(values[[1, 2, 3, 4]], [0.45, heading, tilt, 0.0], atol=1e-4)
    sensors = np.asarray(FAMILY.sense(model, placed(model, 0.45, bent=0.3)))
    assert sensors.shape == (FAMILY.sensors,)
    angles, feet = sensors[14:26].reshape(LIMBS, SEGMENTS), sensors[38:44]
    np.testing.assert_allclose(angles[:3], [[0.3, 0.3], [0.3, 0.0], [0.3, 0.3]], atol=1e-5)
    assert not angles[3:].any() and feet[:3].all() and not feet[3:].any()
    assert int(np.sum(np.asarray(FAMILY.active(model)))) == 5


def test_distance_from_the_terrain():
    """Above ground, step and log, beside the step, at its corner, and inside it."""
    near = {"step": 1, "step_ahead": 1, "step_gap": 0.5, "step_width": 0.4, "step_height": 0.08}
    near |= {"stump": 1, "stump_ahead": 0, "stump_gap": 0.5, "stump_radius": 0.1, "stump_height": 0.08}
    world = FAMILY.decode(task(**near)).world
    root = np.sqrt(0.5)
    cases = [
        ((0.0, 1.0, 0.3), 0.3, (0, 0, 1)),
        ((0.7, 0.0, 0.3), 0.22, (0, 0, 1)),
        ((0.48, 0.0, 0.05), 0.02, (-1, 0, 0)),
        ((0.46, 0.0, 0.11), 0.05, (-0.8, 0, 0.6)),
        ((0.7, 0.0, 0.06), -0.02, (0, 0, 1)),
        ((-0.6, 2.0, 0.18), 0.1, (0, 0, 1)),
        ((-0.45, 0.0, 0.13), 0.15 / root - 0.1, (root, 0, root)),
    ]
    places, gaps, normals = (np.array([case[i] for case in cases], np.float32) for i in range(3))
    gap, normal = terrain.nearest(world, jnp.asarray(places))
    np.testing.assert_allclose(gap, gaps, atol=1e-4)
    np.testing.assert_allclose(normal, normals, atol=1e-4)
    bare = terrain.nearest(world | {"step": jnp.zeros(()), "stump": jnp.zeros(())}, jnp.asarray(places))
    np.testing.assert_allclose(bare[0], places[:, 2], atol=1e-6)


@slow
def test_it_starts_on_the_terrain():
    """Whatever the task, no ball starts inside the terrain, and the lowest is on it."""
    for seed in range(4):
        vector = jax.random.uniform(jax.random.key(seed), (len(FAMILY.specs),))
        model = FAMILY.prepare(vector)
        state = FAMILY.begin(model, jax.random.key(seed))
        gap = np.asarray(terrain.nearest(model.task.world, crawler._ends(model, state))[0]) - RADIUS
        there = np.asarray(FAMILY.active(model)) > 0
        torso = float(state.x.pos[0, 2] - model.task.body["torso"])
        assert gap[there].min() > -2e-3 and min(gap[there].min(), torso) < 0.06
