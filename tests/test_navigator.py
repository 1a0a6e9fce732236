"""Gates: walls that block a puck, openings that let it through, and what is told, drawn and sensed of them."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import navigator
from envs.navigator import RADIUS, WALL, Navigator
from envs.spec import encode

PLAIN, GATED = Navigator(), Navigator(gates=True)
OPEN = {f"obstacle_{i}": 0 for i in range(3)} | {"wind_x": 0.0, "wind_y": 0.0, "gate_1": 0}
GATE = OPEN | {"gate_0": 1, "gate_0_angle": 0.5, "gate_0_distance": 0.6, "gate_0_offset": 0.2, "gate_0_width": 0.3}
ACROSS, ALONG = np.array([np.cos(0.5), np.sin(0.5)]), np.array([-np.sin(0.5), np.cos(0.5)])


def model(**values):
    return GATED.prepare(jnp.asarray(encode(GATED.specs, GATE | values)))


def puck(at, moving=(0.0, 0.0)):
    return SimpleNamespace(q=jnp.asarray(at, jnp.float32), qd=jnp.asarray(moving, jnp.float32))


def test_what_is_sensed():
    """The way to the middle of the opening, and the direction to the wall by how near it is; nothing of an absent gate."""
    seen = np.asarray(GATED.sense(model(), puck([0.1, 0.0])))
    assert seen.shape == (GATED.sensors,) == (18,)
    np.testing.assert_allclose(seen[:10], PLAIN.sense(PLAIN.prepare(jnp.full(len(PLAIN.specs), 0.1)), puck([0.1, 0.0])))
    opening = 0.6 * ACROSS + 0.2 * ALONG
    np.testing.assert_allclose(seen[10:12], opening - [0.1, 0.0], atol=1e-5)
    gap = 0.6 - 0.1 * ACROSS[0] - RADIUS - WALL
    np.testing.assert_allclose(seen[14:16], np.exp(-gap / 0.3) * ACROSS, atol=1e-5)
    assert not seen[12:14].any() and not seen[16:].any()
    through = np.asarray(GATED.sense(model(), puck(opening)))  # in its middle: a post is beside the puck
    np.testing.assert_allclose(np.abs(through[14:16] @ ALONG), np.exp(-(0.15 - RADIUS) / 0.3), atol=1e-4)


def test_a_puck_that_starts_in_a_wall_is_a_fault():
    beside, between = 0.6 * ACROSS - 0.2 * ALONG, 0.6 * ACROSS + 0.2 * ALONG
    assert bool(GATED.fault(model(), puck(beside))) and bool(GATED.fault(model(), puck(beside - 0.15 * ACROSS)))
    assert not bool(GATED.fault(model(), puck(between))) and not bool(GATED.fault(model(), puck(beside - 0.17 * ACROSS)))
    assert not bool(GATED.fault(model(gate_0=0), puck(beside)))


def test_what_is_drawn_and_told():
    drawn = np.asarray(GATED.shapes(model(), puck([0.0, 0.0]))["capsules"])
    assert drawn.shape == (2 * navigator.GATES, 7) and (drawn[:, 6] > 0).tolist() == [True, False, True, False]
    left, right = drawn[[0, 2], :2]
    np.testing.assert_allclose(right - left, (0.3 + 2 * WALL) * ALONG, atol=1e-5)
    np.testing.assert_allclose((left + right) / 2, 0.6 * ACROSS + 0.2 * ALONG, atol=1e-5)
    assert PLAIN.shapes(PLAIN.prepare(jnp.full(len(PLAIN.specs), 0.5)), puck([0.0, 0.0]))["capsules"].shape == (0, 7)
    values = {spec.name: spec.low for spec in GATED.specs} | GATE
    assert ", a gate 0.30 m wide, wind" in GATED.describe(values)
    assert ", gates 0.30 and 0.24 m wide, wind" in GATED.describe(values | {"gate_1": 1})
    assert "gate" not in GATED.describe(values | {"gate_0": 0})


@functools.cache
def driven():
    """(vectors f32[N, D], commands, q, qd f32[N, 2]) -> way, velocity f32[N, T, 2], gap to walls f32[N, T], by timesteps."""

    def one(vector, command, q, qd):
        made = GATED.prepare(vector)
        walls = navigator._walls(made.task.world, GATED.gates)

        def step(state, _):
            state = GATED.moves.advance(made.system, state, command, 1)
            gap = jnp.linalg.norm(walls.nearest(state.q) - state.q, axis=-1) - WALL - RADIUS
            return state, (state.q, state.qd, jnp.min(jnp.where(walls.exists > 0, gap, jnp.inf)))

        return jax.lax.scan(step, GATED.moves.begin(made.system, q, qd), None, length=40 * navigator.SUBSTEPS)[1]

    return jax.jit(jax.vmap(one))


def drive(thrown=0.0, aim=None, **values):
    """256 pucks that head for gate 0, or by ``aim`` rad: what `driven` gives, and bool[256, G]: has gone through a wall."""
    vectors = np.random.default_rng(0).uniform(size=(256, len(GATED.specs))).astype(np.float32)
    fixed, names = encode(GATED.specs, values), [spec.name for spec in GATED.specs]
    for name in values:
        vectors[:, names.index(name)] = fixed[names.index(name)]
    walls = jax.vmap(lambda v: navigator._walls(GATED.decode(v).world, GATED.gates))(jnp.asarray(vectors))
    angle = np.asarray(walls.angle[:, 0]) if aim is None else aim
    ahead = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    way, velocity, gap = map(np.asarray, driven()(jnp.asarray(vectors), ahead, jnp.zeros((256, 2)), thrown * ahead))
    offset, along = way[:, :, None] - np.asarray(walls.opening)[:, None], np.asarray(walls.along)[:, None]
    across = np.stack([along[..., 1], -along[..., 0]], axis=-1)
    side, place = np.sum(offset * across, axis=-1), np.abs(np.sum(offset * along, axis=-1))
    solid = (place > np.asarray(walls.width)[:, None] / 2 + WALL) & (place < 2 * navigator.ARM)
    through = np.any((side[:, 1:] * side[:, :-1] < 0) & solid[:, 1:] & solid[:, :-1], axis=1) & (np.asarray(walls.exists) > 0)
    fast = np.linalg.norm(velocity, axis=2).max(axis=1) > GATED.max_speed + 0.1
    return side[:, :, 0], gap, through & ~fast[:, None]


@pytest.mark.slow
@pytest.mark.parametrize(("thrown", "deepest"), [(0.0, 0.03), (12.0, 0.085)])
def test_a_wall_blocks(thrown, deepest):
    """A puck at full command, or thrown as fast as the guard allows, does not get through, and hardly sinks in."""
    _, gap, through = drive(thrown, **OPEN, gate_0=1, gate_0_offset=0.4, gate_0_width=0.24)
    assert not through.any() and gap.min() > -deepest
    assert np.mean(gap.min(axis=1) < 0.0) > 0.95, "they have reached the wall"


@pytest.mark.slow
def test_corners_seldom_let_through():
    """Two walls and obstacles at random, full command in any direction: 4 of these 256 get through a wall, in a corner."""
    aim = np.random.default_rng(1).uniform(-np.pi, np.pi, 256).astype(np.float32)
    _, gap, through = drive(aim=aim, gate_0=1, gate_1=1)
    assert through.any(axis=1).mean() <= 0.02 and np.mean(gap.min(axis=1) < 0.0) > 0.5


@pytest.mark.slow
def test_an_opening_lets_through_and_so_does_an_absent_wall():
    for values in ({"gate_0": 1, "gate_0_offset": 0.0, "gate_0_width": 0.3}, {"gate_0": 0}):
        beyond, gap, _ = drive(**OPEN, **values)
        assert np.all(beyond[:, -1] > 0.1) and gap.min() > 0.0


@pytest.mark.slow
def test_the_puck_of_the_open_plane_is_the_same():
    """Eight timesteps instead of one: without walls a puck moves alike within the first order of the timestep."""
    values = {f"obstacle_{i}": 0 for i in range(3)} | {"wind_x": 0.5, "friction": 1.5}
    gated, plain = (
        f.prepare(jnp.asarray(encode(f.specs, values | off)))
        for f, off in ((GATED, OPEN | {"gate_0": 0} | values), (PLAIN, {}))
    )
    start, push = jnp.zeros(2), jnp.array([0.7, 0.4])
    ends = []
    for family, made in ((GATED, gated), (PLAIN, plain)):
        state = family.moves.begin(made.system, start, start)
        ends.append(jax.lax.scan(lambda s, _, f=family, m=made: (f.move(m, s, push),) * 2, state, None, length=20)[0].q)
    assert float(jnp.linalg.norm(ends[0])) > 0.5
    np.testing.assert_allclose(ends[0], ends[1], rtol=0.06)
