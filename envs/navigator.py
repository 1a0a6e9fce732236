"""Navigator: a puck with two motors in the plane, with wind, friction and up to three round obstacles."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from envs import physics
from envs.base import AbstractFamily, Model
from envs.goals import FeatureSpec
from envs.spec import ParamSpec

OBSTACLES = 3
RADIUS = 0.08  # m, of the puck
PARKED = 50.0  # m above the plane: where an absent obstacle waits

_OBSTACLE_GEOMS = "".join(f'<geom name="obstacle_{i}" type="sphere" size="0.1" pos="0 0 {PARKED}"/>' for i in range(OBSTACLES))
_MOTORS = "".join(f'<general joint="{axis}" gainprm="1" ctrllimited="true" ctrlrange="-1 1"/>' for axis in "xy")
_XML = f"""<mujoco><option timestep="0.05" gravity="0 0 0"/>
<worldbody>{_OBSTACLE_GEOMS}<body name="puck"><joint name="x" type="slide" axis="1 0 0"/>
<joint name="y" type="slide" axis="0 1 0"/><geom type="sphere" size="{RADIUS}" mass="1"/></body></worldbody>
<actuator>{_MOTORS}</actuator></mujoco>"""


def _obstacle_specs(i: int) -> tuple[ParamSpec, ...]:
    return (
        ParamSpec(f"obstacle_{i}", "world", 0.0, 1.0, "", f"obstacle {i} exists", "flag"),
        ParamSpec(f"obstacle_{i}_angle", "world", -3.1416, 3.1416, "rad", f"direction of obstacle {i} from the start"),
        ParamSpec(f"obstacle_{i}_distance", "world", 0.45, 1.1, "m", f"distance of obstacle {i} from the start"),
        ParamSpec(f"obstacle_{i}_radius", "world", 0.08, 0.2, "m", f"radius of obstacle {i}"),
    )


class Navigator(AbstractFamily):
    """A puck of 0.08 m radius on two slide joints; one control step is one timestep of 0.05 s.

    Sensors (10): position x y [m], velocity x y [m/s], and for each obstacle the direction to it scaled by
    ``exp(-gap / 0.3 m)`` (zero when absent). Actions (2): force along x and y. Contacts are Brax's own.
    """

    name = "navigator"
    sensors = 10
    actuators = 2
    control_dt = 0.05
    max_speed = 12.0
    speed_unit = "m/s"
    features = (
        FeatureSpec("position", "m", 2, -1.2, 1.2, 0.12, "where the puck is"),
        FeatureSpec("x", "m", 1, -1.2, 1.2, 0.08, "how far along x"),
        FeatureSpec("y", "m", 1, -1.2, 1.2, 0.08, "how far along y"),
        FeatureSpec("velocity", "m/s", 2, -1.0, 1.0, 0.15, "how it moves"),
    )
    own_specs = (
        ParamSpec("wind_x", "world", -0.8, 0.8, "m/s^2", "steady push along x"),
        ParamSpec("wind_y", "world", -0.8, 0.8, "m/s^2", "steady push along y"),
        ParamSpec("friction", "world", 0.3, 2.0, "1/s", "rate at which velocities decay", "log"),
        *(spec for i in range(OBSTACLES) for spec in _obstacle_specs(i)),
        ParamSpec("mass", "body", 0.7, 1.5, "kg", "mass of the puck", "log"),
        ParamSpec("strength", "body", 3.0, 6.0, "N", "force of each motor at full command", "log"),
    )

    def __init__(self, **options):
        super().__init__(**options)
        self._system = physics.load(_XML)

    def build(self, world: dict, body: dict) -> Any:
        """System with this task's mass, motors, wind and obstacles."""
        mass = body["mass"][None]
        zero = jnp.zeros((1, 3))
        inertia = jnp.broadcast_to(0.4 * mass[:, None] * RADIUS**2, (1, 3))
        system = physics.set_links(self._system, mass, inertia, zero, zero)
        system = physics.set_motors(system, jnp.full(2, body["strength"]))
        system = physics.set_drag(system, world["friction"])
        system = physics.set_gravity(system, jnp.stack([world["wind_x"], world["wind_y"], jnp.zeros(())]))
        centers, radii, exists = _obstacles(world)
        height = jnp.where(exists > 0, 0.0, PARKED)
        return physics.set_geoms(
            system, list(range(OBSTACLES)), jnp.concatenate([centers, height[:, None]], axis=1), radii[:, None]
        )

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The puck rests within 0.05 m of the origin."""
        start = jax.random.uniform(key, (2,), minval=-0.05, maxval=0.05)
        return physics.begin(model.system, start, jnp.zeros(2))

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """One timestep of 0.05 s."""
        return physics.advance(model.system, state, control, 1)

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[10], see the class."""
        centers, radii, exists = _obstacles(model.task.world)
        offset = centers - state.q
        distance = jnp.sqrt(jnp.sum(offset**2, axis=1) + 1e-8)
        near = exists * jnp.exp(-jnp.maximum(distance - radii - RADIUS, 0.0) / 0.3)
        return jnp.concatenate([state.q, state.qd, (offset / distance[:, None] * near[:, None]).reshape(-1)])

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[4, 2]: position, x, y, velocity."""
        zero = jnp.zeros(())
        return jnp.stack([state.q, jnp.stack([state.q[0], zero]), jnp.stack([state.q[1], zero]), state.qd])

    def speed(self, model: Model, state: Any) -> jax.Array:
        """Speed of the puck, m/s."""
        return jnp.sqrt(jnp.sum(state.qd**2))

    def fault(self, model: Model, state: Any) -> jax.Array:
        """The puck starts inside an obstacle."""
        centers, radii, exists = _obstacles(model.task.world)
        gap = jnp.sqrt(jnp.sum((centers - state.q) ** 2, axis=1)) - radii - RADIUS
        return jnp.any((gap < 0.0) & (exists > 0))

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        wind = (values["wind_x"] ** 2 + values["wind_y"] ** 2) ** 0.5
        count = sum(values[f"obstacle_{i}"] >= 0.5 for i in range(OBSTACLES))
        obstacles = {0: "in the open", 1: "with one obstacle"}.get(count, f"with {count} obstacles")
        return f"a {values['mass']:.1f} kg puck {obstacles}, wind {wind:.1f} m/s², friction {values['friction']:.1f} /s"

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """The puck and the obstacles that exist (absent ones have radius 0)."""
        centers, radii, exists = _obstacles(model.task.world)
        places = jnp.concatenate([state.q[None], centers])
        sizes = jnp.concatenate([jnp.full(1, RADIUS), radii * exists])
        spheres = jnp.concatenate([places, jnp.zeros((1 + OBSTACLES, 1)), sizes[:, None]], axis=1)
        return {"capsules": jnp.zeros((0, 7)), "spheres": spheres, "boxes": jnp.zeros((0, 10))}


def _obstacles(world: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Centres f32[O, 2], radii f32[O] and existence f32[O] of the obstacles."""

    def column(suffix: str) -> jax.Array:
        return jnp.stack([world[f"obstacle_{i}{suffix}"] for i in range(OBSTACLES)])

    angle, distance = column("_angle"), column("_distance")
    return jnp.stack([distance * jnp.cos(angle), distance * jnp.sin(angle)], axis=1), column("_radius"), column("")
