"""Pusher: a puck with two motors that must move a heavy object across a table, round up to two obstacles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from envs import physics
from envs.base import Model
from envs.embodied import EmbodiedFamily
from envs.goals import FeatureSpec
from envs.pipelines import Traits
from envs.spec import ParamSpec

OBSTACLES = 2
RADIUS = 0.08  # m, of the puck
PARKED = 50.0  # m above the table: where an absent obstacle waits
SUBSTEPS = 4
GRAVITY = 9.81  # m/s^2, presses the object on the table


def mjcf(obstacles: int = OBSTACLES) -> str:
    """Model of puck and object among so many obstacles; the family's own has them all."""
    geoms = "".join(f'<geom name="obstacle_{i}" type="sphere" size="0.1" pos="0 0 {PARKED}"/>' for i in range(obstacles))
    bodies = "".join(
        f'<body name="{name}"><joint name="{name}_x" type="slide" axis="1 0 0"/>'
        f'<joint name="{name}_y" type="slide" axis="0 1 0"/><geom name="{name}" type="sphere" size="{RADIUS}" mass="1"/></body>'
        for name in ("puck", "object")
    )
    motors = "".join(f'<general joint="puck_{axis}" gainprm="1" ctrllimited="true" ctrlrange="-1 1"/>' for axis in "xy")
    return f"""<mujoco><option timestep="{0.05 / SUBSTEPS}" gravity="0 0 0"/><worldbody>{geoms}{bodies}</worldbody>
<actuator>{motors}</actuator></mujoco>"""


def _obstacle_specs(i: int) -> tuple[ParamSpec, ...]:
    return (
        ParamSpec(f"obstacle_{i}", "world", 0.0, 1.0, "", f"obstacle {i} exists", "flag"),
        ParamSpec(f"obstacle_{i}_angle", "world", 0.8, 5.4832, "rad", f"direction of obstacle {i}, from that of the object"),
        ParamSpec(f"obstacle_{i}_distance", "world", 0.4, 1.0, "m", f"distance of obstacle {i} from the middle"),
        ParamSpec(f"obstacle_{i}_radius", "world", 0.06, 0.15, "m", f"radius of obstacle {i}"),
    )


class Pusher(EmbodiedFamily):
    """A puck of 0.08 m radius and a round object, both on two slide joints; one control step is 4 timesteps of 0.0125 s.

    Puck, object and obstacles touch with Brax's contacts; the object rubs on the table (dry friction), and both are slowed
    by the air. Sensors (12): the puck's position [m] and velocity / 2 [m/s]; the object seen from the puck [m] and its velocity
    / 2; for each obstacle the direction to it from the object, scaled by ``exp(-gap / 0.3 m)`` (zero when absent). Actions (2):
    force on the puck along x and y.
    """

    name = "pusher"
    sensors = 8 + 2 * OBSTACLES
    actuators = 2
    plane = "xy"
    pipelines = ("spring", "mjx")  # generalized would throw what bounces back along the surface, too
    control_dt = 0.05
    max_speed = 12.0
    speed_unit = "m/s"
    object_rows: ClassVar[Mapping[str, tuple[int, ...]]] = {"spheres": (1,)}
    features = (
        FeatureSpec("object", "m", 2, -0.9, 0.9, 0.12, "where the object is"),
        FeatureSpec("object_x", "m", 1, -0.9, 0.9, 0.08, "how far the object is along x"),
        FeatureSpec("object_y", "m", 1, -0.9, 0.9, 0.08, "how far the object is along y"),
        FeatureSpec("puck", "m", 2, -0.9, 0.9, 0.12, "where the puck is"),
    )
    own_specs = (
        ParamSpec("slope_x", "world", -0.4, 0.4, "m/s^2", "pull of a sloping table along x"),
        ParamSpec("slope_y", "world", -0.4, 0.4, "m/s^2", "pull of a sloping table along y"),
        ParamSpec("friction", "world", 0.3, 2.0, "1/s", "rate at which velocities decay", "log"),
        ParamSpec("rubbing", "world", 0.05, 0.25, "", "coefficient of friction between object and table", "log"),
        ParamSpec("grip", "world", 0.0, 1.0, "", "coefficient of friction where puck, object and obstacles touch"),
        ParamSpec("bounce", "world", 0.0, 0.8, "", "restitution of collisions: 0 sticks, 1 loses nothing"),
        *(spec for i in range(OBSTACLES) for spec in _obstacle_specs(i)),
        ParamSpec("object_angle", "world", -3.1416, 3.1416, "rad", "direction of the object from the middle"),
        ParamSpec("object_distance", "world", 0.3, 0.6, "m", "distance of the object from the middle"),
        ParamSpec("object_radius", "world", 0.08, 0.16, "m", "radius of the object"),
        ParamSpec("object_mass", "world", 0.2, 1.0, "kg", "mass of the object", "log"),
        ParamSpec("gap", "world", 0.03, 0.15, "m", "free space between object and puck at the start"),
        ParamSpec("side", "world", -0.5, 0.5, "rad", "direction of the puck from the object, from that of the object"),
        ParamSpec("mass", "body", 0.7, 1.5, "kg", "mass of the puck", "log"),
        ParamSpec("strength", "body", 4.0, 8.0, "N", "force of each motor at full command", "log"),
    )

    def template(self) -> str:
        """MJCF of the body; see the base."""
        return mjcf()

    def build(self, world: dict, body: dict) -> Any:
        """System with this task's masses, sizes, motors, frictions and obstacles."""
        mass, zero = jnp.stack([body["mass"], world["object_mass"]]), jnp.zeros((2, 3))
        radius = jnp.stack([jnp.full((), RADIUS), world["object_radius"]])
        inertia = jnp.broadcast_to(0.4 * (mass * radius**2)[:, None], (2, 3))
        system = physics.set_links(self._system, mass, inertia, zero, zero)
        system = physics.set_motors(system, jnp.full(2, body["strength"]))
        system = physics.set_drag(system, world["friction"])
        system = physics.set_gravity(system, jnp.stack([world["slope_x"], world["slope_y"], jnp.zeros(())]))
        dry = world["rubbing"] * GRAVITY * world["object_mass"]
        system = physics.set_dry_friction(system, jnp.stack([jnp.zeros(()), dry]))
        centers, radii, exists = _obstacles(world)
        height = jnp.where(exists > 0, 0.0, PARKED)
        spots = jnp.concatenate([jnp.concatenate([centers, height[:, None]], axis=1), zero])
        sizes = jnp.concatenate([radii, radius])[:, None]
        system = physics.set_geoms(system, list(range(OBSTACLES + 2)), spots, sizes)
        return physics.set_contacts(system, world["grip"], world["bounce"])

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The object rests in its place and the puck behind it, seen from the middle; both within 0.01 m."""
        world = model.task.world
        angle, away = world["object_angle"], RADIUS + world["object_radius"] + world["gap"]
        place = world["object_distance"] * _toward(angle)
        start = jnp.concatenate([place + away * _toward(angle + world["side"]), place])
        return self.moves.begin(model.system, start + jax.random.uniform(key, (4,), minval=-0.01, maxval=0.01), jnp.zeros(4))

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """Four timesteps of 0.0125 s."""
        return self.moves.advance(model.system, state, control, SUBSTEPS, Traits(rubbing=True))

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[12], see the class."""
        centers, radii, exists = _obstacles(model.task.world)
        puck, thing = state.q[:2], state.q[2:]
        offset = centers - thing
        distance = jnp.sqrt(jnp.sum(offset**2, axis=1) + 1e-8)
        near = exists * jnp.exp(-jnp.maximum(distance - radii - model.task.world["object_radius"], 0.0) / 0.3)
        walls = (offset / distance[:, None] * near[:, None]).reshape(-1)
        return jnp.concatenate([puck, state.qd[:2] / 2.0, thing - puck, state.qd[2:] / 2.0, walls])

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[4, 2]: object, object_x, object_y, puck."""
        puck, thing, zero = state.q[:2], state.q[2:], jnp.zeros(())
        return jnp.stack([thing, *(jnp.stack([value, zero]) for value in thing), puck])

    def speed(self, model: Model, state: Any) -> jax.Array:
        """Speed of puck or object, whichever is faster, m/s."""
        return jnp.max(jnp.linalg.norm(state.qd.reshape(2, 2), axis=1))

    def fault(self, model: Model, state: Any) -> jax.Array:
        """Puck or object start inside an obstacle."""
        centers, radii, exists = _obstacles(model.task.world)
        own = jnp.stack([jnp.full((), RADIUS), model.task.world["object_radius"]])
        away = jnp.linalg.norm(centers[:, None, :] - state.q.reshape(2, 2)[None], axis=-1)
        return jnp.any((away < radii[:, None] + own[None]) & (exists[:, None] > 0))

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        count = sum(values[f"obstacle_{i}"] >= 0.5 for i in range(OBSTACLES))
        obstacles = {0: "in the open", 1: "with one obstacle"}.get(count, f"with {count} obstacles")
        thing = f"an object of {values['object_mass']:.1f} kg and {200 * values['object_radius']:.0f} cm across"
        return f"a {values['mass']:.1f} kg puck and {thing} {obstacles}, friction on the table {values['rubbing']:.2f}"

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """Puck, object and the obstacles that exist (absent ones have radius 0)."""
        centers, radii, exists = _obstacles(model.task.world)
        own = jnp.stack([jnp.full((), RADIUS), model.task.world["object_radius"]])
        places = jnp.concatenate([state.q.reshape(2, 2), centers])
        sizes = jnp.concatenate([own, radii * exists])
        spheres = jnp.concatenate([places, jnp.zeros((2 + OBSTACLES, 1)), sizes[:, None]], axis=1)
        return {"capsules": jnp.zeros((0, 7)), "spheres": spheres, "boxes": jnp.zeros((0, 10))}


def _obstacles(world: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Centres f32[O, 2], radii f32[O] and existence f32[O] of the obstacles."""

    def column(suffix: str) -> jax.Array:
        return jnp.stack([world[f"obstacle_{i}{suffix}"] for i in range(OBSTACLES)])

    angle, distance = world["object_angle"] + column("_angle"), column("_distance")
    return distance[:, None] * _toward(angle), column("_radius"), column("")


def _toward(angle: jax.Array) -> jax.Array:
    """Unit vectors f32[..., 2] in these directions."""
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
