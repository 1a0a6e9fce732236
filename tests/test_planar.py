"""Bodies in a plane move as in Brax's own spring pipeline, which moves the same Systems in space.

In 64 bits, where rounding is far below everything else, the two agree to the last digits over whole episodes: the equations
are the same. In 32 bits they agree until contacts and chains have amplified the rounding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mujoco import mjx

from envs import touching
from envs.cartpole import Cartpole
from envs.embodied import PIPELINES
from envs.juggler import Juggler
from envs.navigator import Navigator
from envs.planar import Planar
from envs.pusher import Pusher
from envs.reacher import Reacher
from envs.rows import summed, taken
from envs.swimmer import Swimmer
from envs.walker import Walker
from tests.comparing import HASTE, widened

TASKS, STEPS = 32, 40
FAMILIES = (Cartpole, Navigator, Reacher, Pusher, Walker, Swimmer, Juggler)
# A walker starts with its lowest foot exactly on the ground: rounding decides whether it touches in the first timestep.
LOWERED = {"walker": 1e-3}


class Way(NamedTuple):
    """What is compared, [tasks, steps, ...]."""

    q: np.ndarray
    place: np.ndarray
    velocity: np.ndarray
    spin: np.ndarray
    turn: np.ndarray
    features: np.ndarray


def ways(cls, bits, **options):
    """Random tasks under random actions: in the plane, and in space."""
    with jax.enable_x64(bits == 64):
        return [_way(cls(**options), flat) for flat in (True, False)]


def _way(family, flat):
    assert isinstance(family.moves, Planar)
    family._system = widened(family._system)
    family.moves = family.moves if flat else PIPELINES["spring"]

    def one(vector, key):
        model = widened(family.prepare(vector))
        start = family.begin(model, key)
        q = widened(start.q).at[1].add(-LOWERED.get(family.name, 0.0))
        state = family.moves.begin(model.system, q, widened(start.qd))
        actions = jax.random.uniform(key, (STEPS, family.actuators), minval=-1.0, maxval=1.0)

        def step(state, action):
            state = family.move(model, state, action * family.active(model))
            return state, Way(state.q, state.x.pos, state.xd.vel, state.xd.ang, state.x.rot, family.measure(model, state))

        return jax.lax.scan(step, state, actions)[1]

    key = jax.random.key(3)
    vectors = jax.random.uniform(key, (TASKS, len(family.specs)))
    run = jax.jit(jax.vmap(one), compiler_options=HASTE)
    return Way(*(np.asarray(part) for part in run(vectors, jax.random.split(key, TASKS))))


def apart(one, other):
    """Largest difference f[tasks, steps] of angles on the circle, places, velocities, turns up to their sign, features."""
    parts = [np.abs(getattr(one, name) - getattr(other, name)) for name in ("place", "velocity", "features")]
    parts.append(np.minimum(np.abs(one.turn - other.turn), np.abs(one.turn + other.turn)))
    return np.max([part.reshape(TASKS, STEPS, -1).max(axis=2) for part in parts], axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("cls", FAMILIES)
def test_the_equations_are_the_same(cls):
    flat, deep = ways(cls, 64)
    assert flat.q.dtype == np.float64 and np.std(flat.features) > 0.05, "it moves"
    found = apart(flat, deep)
    assert found[:, :10].max() < 1e-10
    assert np.quantile(found.max(axis=1), 0.75) < 1e-8
    # The way out of an edge is of length 1 but for what keeps it finite (`terrain`); in space Brax makes it so.
    assert found.max() < (1e-3 if cls is Walker else 1e-8)
    # A puck that rubs on an obstacle spins at thousands of rad/s in Brax.
    np.testing.assert_allclose(flat.spin, deep.spin, rtol=1e-8, atol=1e-3 if cls is Walker else 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("cls", FAMILIES)
def test_in_32_bits_only_rounding_differs(cls):
    found = apart(*ways(cls, 32))
    assert found[:, :4].max() < 1e-4
    assert np.quantile(found.max(axis=1), 0.75) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Cartpole, Swimmer, Juggler])
def test_the_start_and_its_views(cls):
    """Frames, mass centres and their velocities of any positions and velocities of the joints are Brax's."""
    family = cls()
    model = family.prepare(jnp.full(len(family.specs), 0.6))
    q, qd = (jax.random.uniform(jax.random.key(i), (family._system.nv,), minval=-1.0, maxval=1.0) for i in range(2))
    one, other = (jax.jit(moves.begin)(model.system, q, qd) for moves in (family.moves, PIPELINES["spring"]))
    for name in ("x", "xd", "x_i", "xd_i"):
        for a, b in zip(jax.tree.leaves(getattr(one, name)), jax.tree.leaves(getattr(other, name)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("made", [Navigator(gates=True), Pusher(), Walker(), Juggler(), Cartpole()], ids=lambda made: made.name)
def test_as_many_pairs_meet_as_in_mujoco(made):
    system = made._system
    assert len(touching.pairs(system).kinds) == mjx.make_data(system)._impl.ncon


@pytest.mark.parametrize(
    ("joints", "plane"),
    [
        ('<joint type="hinge" axis="1 0 0"/>', "xy"),
        ('<joint type="slide" axis="0 0 1"/>', "xy"),
        ('<joint type="slide" axis="0 1 0"/>', "xy"),
        ('<joint type="hinge" axis="0 0 1" pos="0.1 0 0"/>', "xy"),
        ('<joint type="hinge" axis="0 0 1" limited="true" range="-1 1"/>', "xy"),
        ('<joint type="slide" axis="1 0 0"/><joint type="hinge" axis="0 1 0"/>', "xz"),
        ("<freejoint/>", "xz"),
    ],
)
def test_a_body_that_is_not_planar_is_refused(joints, plane):
    xml = f'<mujoco><worldbody><body name="thing">{joints}<geom size="0.1"/></body></worldbody></mujoco>'
    with pytest.raises(ValueError, match="plane"):
        Planar(plane).load(xml)


def test_rows():
    values = np.arange(1.0, 6.0)
    rows = [-1, 0, 1, 0, 3, -1, -1, 4]
    np.testing.assert_array_equal(taken(jnp.asarray(values), rows, 9.0), [9, 1, 2, 1, 4, 9, 9, 5])
    expected = np.zeros(3)
    np.add.at(expected, [0, 2, 2, 0], values[[0, 1, 2, 4]])
    np.testing.assert_array_equal(summed(jnp.asarray(values), [0, 2, 2, -1, 0], 3), expected)


def test_spatial_arms_and_other_pipelines_stay_in_space():
    assert not isinstance(Reacher(spatial=True).moves, Planar)
    assert not isinstance(Navigator(gates=True).moves, Planar) and isinstance(Pusher().moves, Planar)
    assert not isinstance(Cartpole(pipeline="mjx").moves, Planar)
    assert isinstance(Reacher().moves, Planar) and Reacher().pipeline == "spring"
