"""Navigator: a puck with two motors in the plane, with wind, friction, up to three round obstacles, and perhaps gates."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs import physics
from envs.base import Model
from envs.embodied import EmbodiedFamily
from envs.goals import FeatureSpec
from envs.spec import ParamSpec

OBSTACLES = 3
GATES = 2
RADIUS = 0.08  # m, of the puck
WALL = 0.08  # m, half the thickness of a gate's wall
ARM = 5.0  # m, half the length of a wall to either side of its opening: no puck gets round it
SHOWN = 1.2  # m, how far a wall is drawn to either side of the middle of its opening
# Where there may be gates: in one timestep of 0.05 s a fast puck would jump through a wall, and in a corner of two, whose
# impulses Brax averages, it keeps half of its speed in every timestep. With these it seldom gets through one.
SUBSTEPS = 8
PARKED = 50.0  # m above the plane: where an absent obstacle waits
_ANY = (-3.1416, 3.1416)  # rad
_TURN = (1.05, 2.09)  # rad between gates: a fast puck would wedge itself through where walls cross at a sharper angle


def _xml(gates: int) -> str:
    spheres = "".join(f'<geom name="obstacle_{i}" type="sphere" size="0.1" pos="0 0 {PARKED}"/>' for i in range(OBSTACLES))
    walls = "".join(
        f'<geom name="gate_{i}_{side}" type="capsule" size="{WALL} {ARM}" pos="0 0 {PARKED}"/>'
        for side in ("left", "right")
        for i in range(gates)
    )
    motors = "".join(f'<general joint="{axis}" gainprm="1" ctrllimited="true" ctrlrange="-1 1"/>' for axis in "xy")
    return f"""<mujoco><option timestep="{0.05 / SUBSTEPS if gates else 0.05}" gravity="0 0 0"/>
<worldbody>{spheres}{walls}<body name="puck"><joint name="x" type="slide" axis="1 0 0"/>
<joint name="y" type="slide" axis="0 1 0"/><geom type="sphere" size="{RADIUS}" mass="1"/></body></worldbody>
<actuator>{motors}</actuator></mujoco>"""


def _obstacle_specs(i: int) -> tuple[ParamSpec, ...]:
    return (
        ParamSpec(f"obstacle_{i}", "world", 0.0, 1.0, "", f"obstacle {i} exists", "flag"),
        ParamSpec(f"obstacle_{i}_angle", "world", -3.1416, 3.1416, "rad", f"direction of obstacle {i} from the start"),
        ParamSpec(f"obstacle_{i}_distance", "world", 0.45, 1.1, "m", f"distance of obstacle {i} from the start"),
        ParamSpec(f"obstacle_{i}_radius", "world", 0.08, 0.2, "m", f"radius of obstacle {i}"),
    )


def _gate_specs(i: int) -> tuple[ParamSpec, ...]:
    since = f"that of gate {i - 1}" if i else "the start"
    return (
        ParamSpec(f"gate_{i}", "world", 0.0, 1.0, "", f"a wall with an opening, gate {i}, crosses the plane", "flag"),
        ParamSpec(
            f"gate_{i}_angle", "world", *(_TURN if i else _ANY), "rad", f"direction of gate {i} from {since}, across its wall"
        ),
        ParamSpec(f"gate_{i}_distance", "world", 0.35, 0.8, "m", f"distance of the wall of gate {i} from the start"),
        ParamSpec(f"gate_{i}_offset", "world", -0.4, 0.4, "m", f"where the opening of gate {i} is along its wall"),
        ParamSpec(f"gate_{i}_width", "world", 0.24, 0.5, "m", f"width of the opening of gate {i}"),
    )


class Navigator(EmbodiedFamily):
    """A puck of 0.08 m radius on two slide joints; one control step is one timestep of 0.05 s.

    Sensors (10): position x y [m], velocity x y [m/s], and for each obstacle the direction to it scaled by
    ``exp(-gap / 0.3 m)`` (zero when absent). Actions (2): force along x and y. Contacts are Brax's own.

    With ``gates`` a task may have two: walls across the plane with one opening each, which cross each other at 60 to 120
    degrees. For each of them there are four sensors more: the way to the middle of the opening [m] and the direction to the
    nearest point of the wall, scaled like that to an obstacle. One control step is then 8 timesteps of 1/160 s.
    """

    name = "navigator"
    plane = "xy"
    actuators = 2
    pipelines = ("spring", "generalized", "mjx")
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

    def __init__(self, gates: bool = False, **options):
        self.gates = GATES if gates else 0
        if gates:
            # In space a puck that rubs on a wall is soon tilted out of the plane, by its spin and by rounding. In the plane it
            # is not, and the walls' corners did not hold as they do: docs/notes/2026-11-26-planar-physics.md.
            self.plane = ""
        self.sensors = 10 + 4 * self.gates
        self.option_specs = tuple(spec for i in range(self.gates) for spec in _gate_specs(i))
        super().__init__(**options)

    def template(self) -> str:
        """MJCF of the body; see the base."""
        return _xml(self.gates)

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
        system = physics.set_geoms(
            system, list(range(OBSTACLES)), jnp.concatenate([centers, height[:, None]], axis=1), radii[:, None]
        )
        return _place_walls(system, _walls(world, self.gates)) if self.gates else system

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The puck rests within 0.05 m of the origin."""
        start = jax.random.uniform(key, (2,), minval=-0.05, maxval=0.05)
        return self.moves.begin(model.system, start, jnp.zeros(2))

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """One timestep of 0.05 s, or eight of 1/160 s."""
        return self.moves.advance(model.system, state, control, SUBSTEPS if self.gates else 1)

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[sensors], see the class."""
        centers, radii, exists = _obstacles(model.task.world)
        seen = [state.q, state.qd, _near(centers - state.q, radii, exists)]
        if self.gates:
            walls = _walls(model.task.world, self.gates)
            offset = walls.nearest(state.q) - state.q
            nearer = jnp.argmin(jnp.sum(offset**2, axis=-1), axis=0)
            wall = jnp.take_along_axis(offset, nearer[None, :, None], axis=0)[0]
            openings = (walls.opening - state.q) * walls.exists[:, None]
            seen += [openings.reshape(-1), _near(wall, WALL, walls.exists)]
        return jnp.concatenate(seen)

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[4, 2]: position, x, y, velocity."""
        zero = jnp.zeros(())
        return jnp.stack([state.q, jnp.stack([state.q[0], zero]), jnp.stack([state.q[1], zero]), state.qd])

    def speed(self, model: Model, state: Any) -> jax.Array:
        """Speed of the puck, m/s."""
        return jnp.sqrt(jnp.sum(state.qd**2))

    def fault(self, model: Model, state: Any) -> jax.Array:
        """The puck starts inside an obstacle or a wall."""
        centers, radii, exists = _obstacles(model.task.world)
        gap = jnp.sqrt(jnp.sum((centers - state.q) ** 2, axis=1)) - radii - RADIUS
        inside = jnp.any((gap < 0.0) & (exists > 0))
        if not self.gates:
            return inside
        walls = _walls(model.task.world, self.gates)
        away = jnp.linalg.norm(walls.nearest(state.q) - state.q, axis=-1)
        return inside | jnp.any((away < WALL + RADIUS) & (walls.exists > 0))

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        wind = (values["wind_x"] ** 2 + values["wind_y"] ** 2) ** 0.5
        count = sum(values[f"obstacle_{i}"] >= 0.5 for i in range(OBSTACLES))
        obstacles = {0: "in the open", 1: "with one obstacle"}.get(count, f"with {count} obstacles")
        widths = [f"{values[f'gate_{i}_width']:.2f}" for i in range(self.gates) if values[f"gate_{i}"] >= 0.5]
        gates = {0: "", 1: ", a gate"}.get(len(widths), ", gates") + (f" {' and '.join(widths)} m wide" if widths else "")
        return f"a {values['mass']:.1f} kg puck {obstacles}{gates}, wind {wind:.1f} m/s², friction {values['friction']:.1f} /s"

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """The puck, the obstacles that exist (absent ones have radius 0), and the middle of each wall."""
        centers, radii, exists = _obstacles(model.task.world)
        places = jnp.concatenate([state.q[None], centers])
        sizes = jnp.concatenate([jnp.full(1, RADIUS), radii * exists])
        spheres = jnp.concatenate([places, jnp.zeros((1 + OBSTACLES, 1)), sizes[:, None]], axis=1)
        walls = _walls(model.task.world, self.gates).shown() if self.gates else jnp.zeros((0, 7))
        return {"capsules": walls, "spheres": spheres, "boxes": jnp.zeros((0, 10))}


def _obstacles(world: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Centres f32[O, 2], radii f32[O] and existence f32[O] of the obstacles."""

    def column(suffix: str) -> jax.Array:
        return jnp.stack([world[f"obstacle_{i}{suffix}"] for i in range(OBSTACLES)])

    angle, distance = column("_angle"), column("_distance")
    return jnp.stack([distance * jnp.cos(angle), distance * jnp.sin(angle)], axis=1), column("_radius"), column("")


def _near(offset: jax.Array, radius: jax.Array | float, exists: jax.Array) -> jax.Array:
    """Directions to things of this radius that are ``offset`` f32[N, 2] away, scaled by how near they are; f32[2 N]."""
    distance = jnp.sqrt(jnp.sum(offset**2, axis=1) + 1e-8)
    near = exists * jnp.exp(-jnp.maximum(distance - radius - RADIUS, 0.0) / 0.3)
    return (offset / distance[:, None] * near[:, None]).reshape(-1)


class _Walls(NamedTuple):
    """G gates; the two arms of a wall lie along its direction, to either side of the opening."""

    opening: jax.Array  # f32[G, 2] m, middle
    angle: jax.Array  # f32[G] rad, across the wall
    along: jax.Array  # f32[G, 2] direction of the wall
    width: jax.Array  # f32[G] m
    exists: jax.Array  # f32[G]

    def reach(self, far: float) -> jax.Array:
        """Points f32[2, G, 2] on the axes of both arms, ``far`` beyond their inner ends."""
        out = (self.width / 2.0 + WALL + far)[:, None] * self.along
        return jnp.stack([self.opening - out, self.opening + out])

    def nearest(self, place: jax.Array) -> jax.Array:
        """The point f32[2, G, 2] on the axis of each arm that is nearest to a place f32[2]."""
        inner = self.reach(0.0)
        out = jnp.stack([-self.along, self.along])
        share = jnp.clip(jnp.sum((place - inner) * out, axis=-1, keepdims=True), 0.0, 2.0 * ARM)
        return inner + share * out

    def shown(self) -> jax.Array:
        """Capsules f32[2 G, 7] to draw."""
        start, end = (jnp.pad(self.reach(far).reshape(-1, 2), ((0, 0), (0, 1))) for far in (0.0, SHOWN))
        return jnp.concatenate([start, end, jnp.tile(WALL * self.exists, 2)[:, None]], axis=1)


def _walls(world: dict, gates: int) -> _Walls:
    def column(suffix: str) -> jax.Array:
        return jnp.stack([world[f"gate_{i}{suffix}"] for i in range(gates)])

    angle = jnp.cumsum(column("_angle"))
    across, along = (jnp.stack([jnp.cos(a), jnp.sin(a)], axis=1) for a in (angle, angle + jnp.pi / 2.0))
    opening = column("_distance")[:, None] * across + column("_offset")[:, None] * along
    return _Walls(opening, angle, along, column("_width"), column(""))


def _place_walls(system: Any, walls: _Walls) -> Any:
    """System with the walls' arms where they are; the geoms after the obstacles, left arms first."""
    count = 2 * len(walls.angle)
    height = jnp.tile(jnp.where(walls.exists > 0, 0.0, PARKED), 2)
    place = jnp.concatenate([walls.reach(ARM).reshape(-1, 2), height[:, None]], axis=1)
    lying = physics.turned("zx", jnp.tile(walls.angle, 2), jnp.full(count, -jnp.pi / 2.0))
    size = jnp.broadcast_to(jnp.array([WALL, ARM]), (count, 2))
    return physics.set_geoms(system, list(range(OBSTACLES, OBSTACLES + count)), place, size, lying)
