"""Ground for bodies with legs: a plane whose slope is a tilt of gravity, and perhaps a step and a stump across the way.

The plane is z = 0 of the world; a slope turns gravity instead of the ground, which is exact and costs nothing. The step is a
box and the stump a lying log, both endless enough along y. What a task lacks is parked far below. A body's geoms have contype 1
and conaffinity 0, so that they meet the terrain and nothing else.

Balls of a body can meet the same terrain with a third of the contacts: `tangents` gives each a plane of its own. A pipeline
that is told the `surface` lays it there, so that a ball has one contact instead of three (Brax averages the impulses of
several), and MuJoCo models of tasks still have the bodies themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from envs import physics
from envs.pipelines import Surface
from envs.spec import ParamSpec

PARKED = -50.0  # m: height at which a part waits that does not exist
ACROSS = 3.0  # m, half the length of step and stump along y
BURIED = 0.1  # m, how far the step goes on below the ground
GEOMS = 3  # of `mjcf`: ground, step, stump


def specs(sideways: bool = False) -> tuple[ParamSpec, ...]:
    """Numbers of the world: gravity, slope (along y as well if ``sideways``), air, friction, step, stump."""
    across = ParamSpec("slope_y", "world", -0.12, 0.12, "rad", "how much the ground rises along y")
    return (
        ParamSpec("gravity", "world", 4.0, 10.0, "m/s^2", "strength of gravity", "log"),
        ParamSpec("slope", "world", -0.12, 0.12, "rad", "how much the ground rises along x"),
        *((across,) if sideways else ()),
        ParamSpec("wind", "world", -2.0, 2.0, "m/s", "velocity of the air along x"),
        ParamSpec("drag", "world", 0.05, 0.4, "1/s", "rate at which velocities approach that of the air", "log"),
        ParamSpec("friction", "world", 0.4, 1.2, "", "coefficient of friction of all ground", "log"),
        ParamSpec("step", "world", 0.0, 1.0, "", "there is a step across the way", "flag"),
        ParamSpec("step_ahead", "world", 0.0, 1.0, "", "the step is on the side of positive x", "flag"),
        ParamSpec("step_gap", "world", 0.45, 0.9, "m", "distance of the step's near edge along x"),
        ParamSpec("step_width", "world", 0.1, 0.6, "m", "width of the step along x"),
        ParamSpec("step_height", "world", 0.02, 0.08, "m", "height of the step"),
        ParamSpec("stump", "world", 0.0, 1.0, "", "there is a lying log across the way", "flag"),
        ParamSpec("stump_ahead", "world", 0.0, 1.0, "", "the log is on the side of positive x", "flag"),
        ParamSpec("stump_gap", "world", 0.45, 0.9, "m", "distance of the log's near side along x"),
        ParamSpec("stump_radius", "world", 0.04, 0.1, "m", "radius of the log"),
        ParamSpec("stump_height", "world", 0.03, 0.08, "m", "how far the log rises above the ground"),
    )


def mjcf() -> str:
    """The world's geoms, to be written first into the worldbody."""
    solid = 'contype="0" conaffinity="1"'
    return (
        f'<geom name="ground" type="plane" size="5 5 0.1" {solid}/>'
        f'<geom name="step" type="box" size="0.2 {ACROSS} 0.1" pos="0 0 {PARKED}" {solid}/>'
        f'<geom name="stump" type="capsule" size="0.05 {ACROSS}" pos="0 0 {PARKED}" euler="90 0 0" {solid}/>'
    )


def tangents(balls: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """For balls (body, geom): xml that follows `mjcf` in the worldbody, and xml of the contacts instead of MuJoCo's own."""
    planes = "".join(
        f'<geom name="under_{ball}" type="plane" size="5 5 0.1" pos="0 0 {PARKED}" contype="0" conaffinity="0"/>'
        for _, ball in balls
    )
    pairs = "".join(f'<pair geom1="under_{ball}" geom2="{ball}"/>' for _, ball in balls)
    others = "".join(f'<exclude body1="world" body2="{body}"/>' for body in dict.fromkeys(body for body, _ in balls))
    return planes, f"<contact>{pairs}{others}</contact>"


def place(system: Any, world: dict, first: int = 0) -> Any:
    """System with this task's step, stump, friction, drag and gravity; ``first``: index of the ground among the geoms."""
    (step, half), (stump, radius), zero = _step(world), _stump(world), jnp.zeros(())
    deep = half.at[2].add(BURIED / 2.0)
    position = jnp.stack([step.at[2].add(-BURIED / 2.0), stump])
    parked = position.at[:, 2].set(PARKED)
    position = jnp.where(_there(world)[:, None] > 0, position, parked)
    size = jnp.stack([deep, jnp.stack([radius, zero + ACROSS, zero])])
    system = physics.set_geoms(system, [first + 1, first + 2], position, size)
    system = physics.set_contacts(system, world["friction"], zero)
    system = system.replace(pair_friction=jnp.broadcast_to(world["friction"], (system.npair, 5)))
    system = physics.set_drag(system, world["drag"])
    return physics.set_gravity(system, gravity(world))


def surface(world: dict) -> Surface:
    """Of the terrain in the plane x-z, in which all of it lies."""

    def near(x: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        gap, out_x, out_z = z, jnp.zeros_like(z), jnp.ones_like(z)
        for there, other in zip(_there(world), (_from_step(world, x, z), _from_stump(world, x, z)), strict=True):
            nearer = (there > 0) & (other[0] < gap)
            gap, out_x, out_z = (jnp.where(nearer, a, b) for a, b in zip(other, (gap, out_x, out_z), strict=True))
        return gap, out_x, out_z

    return near


def nearest(world: dict, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Distance f32[N] of points f32[N, 3] from the terrain, negative inside, and the way out f32[N, 3], of length 1."""
    gap, out_x, out_z = surface(world)(points[:, 0], points[:, 2])
    return gap, jnp.stack([out_x, jnp.zeros_like(gap), out_z], axis=1)


def _from_step(world: dict, x: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Distance from the step, buried part and all, and the way out of it, f32[N] each."""
    center, half = _step(world)
    over_x, over_z = jnp.abs(x - center[0]) - half[0], z - 2.0 * half[2]
    side = jnp.where(x < center[0], -1.0, 1.0)
    beyond_x, beyond_z = jnp.maximum(over_x, 0.0), jnp.maximum(over_z, 0.0)
    edge = jnp.sqrt(beyond_x**2 + beyond_z**2 + 1e-12)
    inside, sideways = (over_x <= 0.0) & (over_z <= 0.0), over_x > over_z
    way_x = side * jnp.where(inside, sideways, beyond_x / edge)
    return jnp.where(inside, jnp.maximum(over_x, over_z), edge), way_x, jnp.where(inside, ~sideways, beyond_z / edge)


def _from_stump(world: dict, x: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same from the log."""
    center, radius = _stump(world)
    far = jnp.sqrt((x - center[0]) ** 2 + (z - center[2]) ** 2 + 1e-12)
    return far - radius, (x - center[0]) / far, (z - center[2]) / far


def gravity(world: dict) -> jax.Array:
    """Acceleration f32[3] by the slope and by the wind: velocities decay towards that of the air, not towards 0."""
    x, y = jnp.sin(world["slope"]), jnp.sin(world.get("slope_y", 0.0 * world["slope"]))
    down = jnp.stack([x, y, jnp.sqrt(1.0 - x**2 - y**2)])
    return jnp.array([1.0, 0.0, 0.0]) * world["drag"] * world["wind"] - world["gravity"] * down


def height(world: dict, x: jax.Array) -> jax.Array:
    """Height of the terrain at places ``x`` along the way, of the same shape, m."""
    (step, half), (stump, radius), (is_step, is_stump) = _step(world), _stump(world), _there(world)
    flat = 2.0 * half[2] * is_step * (jnp.abs(x - step[0]) <= half[0])
    inside = radius**2 - (x - stump[0]) ** 2
    log = is_stump * (inside > 0.0) * (stump[2] + jnp.sqrt(jnp.maximum(inside, 1e-9)))
    return jnp.maximum(jnp.maximum(flat, log), 0.0)


def shapes(world: dict, length: float = 1.6, breadth: float = 0.3) -> tuple[jax.Array, jax.Array]:
    """Rows to draw: the stump as a capsule f32[1, 7], the ground and the step as boxes f32[2, 10].

    The ground is drawn so far (half, m) along x and y; what a task lacks has no size.
    """
    (step, half), (stump, radius), (is_step, is_stump) = _step(world), _stump(world), _there(world)
    side = jnp.array([0.0, breadth - 0.05, 0.0])
    log = jnp.concatenate([stump - side, stump + side, (radius * is_stump)[None]])
    turn = jnp.array([1.0, 0.0, 0.0, 0.0])
    ground = jnp.array([0.0, 0.0, -0.05, 1.0, 0.0, 0.0, 0.0, length, breadth, 0.05])
    box = jnp.concatenate([step, turn, half.at[1].set(breadth) * is_step])
    return log[None], jnp.stack([ground, box])


def describe(values: dict[str, float]) -> str:
    """Plain words: slope and obstacles."""
    found = []
    if abs(values["slope"]) >= 0.01:
        found.append(f"a slope of {57.2958 * values['slope']:+.1f}°")
    for name, word in (("step", "step"), ("stump", "log")):
        if values[name] >= 0.5:
            where = "ahead" if values[f"{name}_ahead"] >= 0.5 else "behind"
            found.append(f"a {word} of {100 * values[f'{name}_height']:.0f} cm {where}")
    return f"{', '.join(found) if found else 'flat ground'}, gravity {values['gravity']:.1f} m/s²"


def _there(world: dict) -> jax.Array:
    """f32[2]: step and stump exist."""
    return jnp.stack([world["step"], world["stump"]])


def _step(world: dict) -> tuple[jax.Array, jax.Array]:
    """Centre f32[3] and half sizes f32[3] of the part of the step above the ground, m."""
    half = jnp.stack([world["step_width"] / 2.0, jnp.full((), ACROSS), world["step_height"] / 2.0])
    x = (2.0 * world["step_ahead"] - 1.0) * (world["step_gap"] + half[0])
    return jnp.stack([x, jnp.zeros(()), half[2]]), half


def _stump(world: dict) -> tuple[jax.Array, jax.Array]:
    """Centre f32[3] and radius f32[] of the stump, m."""
    radius = world["stump_radius"]
    x = (2.0 * world["stump_ahead"] - 1.0) * (world["stump_gap"] + radius)
    return jnp.stack([x, jnp.zeros(()), world["stump_height"] - radius]), radius
