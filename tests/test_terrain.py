"""The shared ground: where its surfaces are, how gravity leans, and that balls rest and roll on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import physics, terrain
from envs.pipelines import Spring, Traits
from envs.spec import decode, encode

SPECS = terrain.specs()
PLAIN = {"gravity": 9.0, "slope": 0.0, "wind": 0.0, "drag": 0.05, "friction": 0.6, "step": 1, "step_ahead": 1, "step_gap": 0.5}
PLAIN |= {"step_width": 0.4, "step_height": 0.08, "stump": 1, "stump_ahead": 0, "stump_gap": 0.5, "stump_radius": 0.1}
PLAIN |= {"stump_height": 0.06}  # the step covers x from 0.5 to 0.9, the log's middle is at x = -0.6, z = -0.04
BALL = 0.05


def world(**values):
    return decode(SPECS, jnp.asarray(encode(SPECS, PLAIN | values)))


def test_heights():
    x = jnp.array([0.0, 0.51, 0.89, 0.91, -0.6, -0.65, -0.75])
    expected = [0.0, 0.08, 0.08, 0.0, 0.06, np.sqrt(0.1**2 - 0.05**2) - 0.04, 0.0]
    np.testing.assert_allclose(terrain.height(world(), x), expected, atol=1e-5)
    np.testing.assert_array_equal(terrain.height(world(step=0, stump=0), x), np.zeros(7))


@pytest.mark.parametrize(
    ("point", "gap", "way"),
    [
        ((0.0, 0.2), 0.2, (0, 1)),  # above the ground
        ((0.7, 0.1), 0.02, (0, 1)),  # above the step
        ((0.7, 0.07), -0.01, (0, 1)),  # inside it, the top is nearest
        ((0.51, 0.04), -0.01, (-1, 0)),  # inside it, its near side is
        ((0.47, 0.04), 0.03, (-1, 0)),  # before it
        ((0.93, 0.12), 0.05, (0.6, 0.8)),  # off its far edge
        ((-0.6, 0.09), 0.03, (0, 1)),  # above the log
        ((-0.52, 0.02), 0.0, (0.8, 0.6)),  # on its side
    ],
)
def test_the_nearest_surface(point, gap, way):
    where = jnp.array([[point[0], 1.0, point[1]]])
    distance, out = terrain.nearest(world(), where)
    np.testing.assert_allclose(distance, [gap], atol=1e-5)
    np.testing.assert_allclose(out, [[way[0], 0.0, way[1]]], atol=1e-3)
    bare = terrain.nearest(world(step=0, stump=0), where)
    np.testing.assert_allclose(bare[0], [point[1]], atol=1e-6)


def test_gravity_leans_and_keeps_its_strength():
    down = -terrain.gravity(world(slope=0.1))
    np.testing.assert_allclose(down, [9.0 * np.sin(0.1), 0.0, 9.0 * np.cos(0.1)], rtol=1e-5)
    both = terrain.gravity({**world(slope=0.1), "slope_y": jnp.float32(-0.05)})
    assert float(jnp.linalg.norm(both)) == pytest.approx(9.0, rel=1e-5) and float(both[1]) > 0.0
    np.testing.assert_allclose(terrain.gravity(world(wind=2.0, drag=0.4)), [0.8, 0.0, -9.0], rtol=1e-5)


def test_what_is_drawn():
    log, boxes = terrain.shapes(world())
    np.testing.assert_allclose(log[0, [0, 2, 6]], [-0.6, -0.04, 0.1], atol=1e-6)
    np.testing.assert_allclose(boxes[1, [0, 2, 7, 9]], [0.7, 0.04, 0.2, 0.04], atol=1e-6)
    log, boxes = terrain.shapes(world(step=0, stump=0))
    assert float(log[0, 6]) == 0.0 and not np.any(boxes[1, 7:])


def balls(count, tangent):
    """System of free balls in the plane x-z, which meet the terrain itself or planes laid against it."""
    names = [(f"body_{i}", f"ball_{i}") for i in range(count)]
    bodies = "".join(
        f'<body name="{body}"><joint name="x_{ball}" type="slide" axis="1 0 0"/><joint name="z_{ball}" type="slide" '
        f'axis="0 0 1"/><geom name="{ball}" type="sphere" size="{BALL}" mass="1" contype="1" conaffinity="0"/></body>'
        for body, ball in names
    )
    planes, contacts = terrain.tangents(names) if tangent else ("", "")
    system = physics.load(
        f'<mujoco><option timestep="0.0125" gravity="0 0 0"/><custom><numeric name="baumgarte_erp" data="0.02"/></custom>'
        f"<worldbody>{terrain.mjcf()}{planes}{bodies}</worldbody>{contacts}</mujoco>"
    )
    zero = jnp.zeros((count, 3))
    return physics.set_links(system, jnp.ones(count), jnp.ones((count, 3)), zero, zero)


@pytest.mark.slow
def test_balls_rest_and_roll_on_tangents_as_on_the_terrain():
    """Dropped, they lie within 1.5 cm of the surface; thrown along, they go the same way over ground, step and log."""
    starts = np.array([(0.0, 0.2), (0.6, 0.2), (-0.6, 0.2), (-0.1, 0.05), (0.2, 0.06), (-0.45, 0.15)], np.float32)
    speeds = np.array([(0, 0), (0, 0), (0, 0), (1.0, 0), (2.0, 1.5), (-0.8, 0)], np.float32)
    q, qd = starts.reshape(-1), speeds.reshape(-1)

    def way(tangent):
        def run(values):
            system = terrain.place(balls(len(starts), tangent), values)

            def step(state, _):
                if tangent:
                    ground = terrain.surface(values)
                    state = Spring().advance(system, state, jnp.zeros(0), 4, Traits(chained=True, ground=ground))
                else:
                    state = physics.advance(system, state, jnp.zeros(0), 4)
                return state, state.q

            return jax.lax.scan(step, physics.begin(system, jnp.asarray(q), jnp.asarray(qd)), None, length=30)[1]

        return np.asarray(jax.jit(run)(world())).reshape(30, len(starts), 2)

    laid, own = way(True), way(False)
    surface = np.asarray(terrain.height(world(), jnp.asarray(laid[-1, :3, 0])))
    np.testing.assert_allclose(laid[-1, :3, 1], surface + BALL, atol=0.015)
    assert laid[-1, 4, 0] > 0.5 and np.ptp(laid[:, 5, 0]) > 0.03
    np.testing.assert_allclose(laid, own, atol=0.02)
