"""Juggler: a paddle or a cup in a vertical plane, a ball that falls, bounces and slides, perhaps a second ball and a peg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from envs import physics
from envs.base import Model
from envs.embodied import EmbodiedFamily
from envs.goals import FeatureSpec
from envs.spec import ParamSpec

BALLS = 2
RADIUS = 0.04  # m, of the plate and the rims
FLOOR = -0.7  # m
REACH = 0.5  # m, of the paddle from its home to any side at full command
TILT = 0.5  # rad, of the paddle at full command
RIM = (0.04, 0.06)  # m, from the end of the plate to the middle of a rim: outwards and upwards
PARKED = 50.0  # m from the plane of motion, or above it: where a part waits that does not exist
SUBSTEPS = 4
DAMPING = 0.8  # of the paddle's servos, of critical
FLYWHEEL = 0.02  # m^2: rotational inertia per mass that the tilting motor adds to the paddle
BALL_INERTIA = 0.5  # kg m^2: a ball does not turn; this keeps the springs that hold it slow against the timestep

_BAR = f'type="capsule" size="{RADIUS}" contype="0" conaffinity="1"'
_RIMS = "".join(
    f'<geom name="rim_{side}" {_BAR} fromto="{sign * 0.25} 0 0 {sign * (0.25 + 2 * RIM[0])} 0 {2 * RIM[1]}"/>'
    for side, sign in (("left", -1), ("right", 1))
)
_BALL = """<body name="ball_{i}"><joint name="ball_{i}_x" type="slide" axis="1 0 0"/>
<joint name="ball_{i}_z" type="slide" axis="0 0 1"/>
<geom name="ball_{i}" type="sphere" size="0.1" mass="0.2" contype="1" conaffinity="1"/></body>"""
_MOTORS = "".join(
    f'<general joint="{name}" gainprm="1" biastype="affine" ctrllimited="true" ctrlrange="-1 1"/>'
    for name in ("x", "z", "tilt")
)
_FIXED = 1  # geoms of the model before those that `_geoms` places: the floor


def _xml() -> str:
    # Brax pushes a ball out of what it overlaps at a speed of erp / timestep x depth and adds that to the rebound: its default
    # of 0.1 would lift the ball at least a fifth higher than restitution allows.
    return f"""<mujoco><option timestep="0.0125" gravity="0 0 0"/>
<custom><numeric name="baumgarte_erp" data="0.02"/></custom>
<worldbody><geom name="floor" type="plane" size="3 1 0.1" pos="0 0 {FLOOR}" contype="0" conaffinity="1"/>
<geom name="peg" type="sphere" size="0.1" pos="0 {PARKED} 0" contype="0" conaffinity="1"/>
<body name="paddle"><joint name="x" type="slide" axis="1 0 0"/><joint name="z" type="slide" axis="0 0 1"/>
<joint name="tilt" type="hinge" axis="0 -1 0"/>
<geom name="plate" {_BAR} fromto="-0.25 0 0 0.25 0 0" mass="3"/>{_RIMS}</body>
{"".join(_BALL.format(i=i) for i in range(BALLS))}</worldbody><actuator>{_MOTORS}</actuator></mujoco>"""


class Juggler(EmbodiedFamily):
    """A paddle on servos and one or two balls in the plane x-z; one control step is 4 timesteps of 0.0125 s.

    The paddle's home is the origin, the floor is 0.7 m below it. Rims at either end of the plate, the second ball and the peg
    exist or not; what is absent is parked beside the plane. A ball does not turn: it slides with friction. Goals are about
    the first ball. Sensors (17): paddle x z [m] and tilt [rad], their velocities / 4, first ball x z [m] relative to the paddle
    and its velocity / 4 [m/s], height of the ball [m], the same four numbers of the second ball (0 when absent), direction to
    the peg from the ball times ``exp(-gap / 0.3 m)``. Actions (3): where servos pull the paddle along x and z, and its tilt.
    """

    name = "juggler"
    plane = "xz"
    view = "side"
    object_rows: ClassVar[Mapping[str, tuple[int, ...]]] = {"spheres": tuple(range(BALLS))}
    unexported = "contacts bounce back with a coefficient of restitution of their own"
    sensors = 17
    actuators = 3
    control_dt = 0.05
    max_speed = 20.0
    speed_unit = "m/s"
    features = (
        FeatureSpec("ball", "m", 2, -0.6, 0.7, 0.12, "where the ball is, x and z from the paddle's home"),
        FeatureSpec("ball_height", "m", 1, -0.5, 0.9, 0.08, "height of the ball above the paddle's home"),
        FeatureSpec("ball_x", "m", 1, -0.8, 0.8, 0.08, "how far the ball is along x"),
        FeatureSpec("ball_speed", "m/s", 1, 0.0, 3.0, 0.2, "speed of the ball"),
        FeatureSpec("clearance", "m", 1, -0.3, 0.9, 0.08, "height of the ball above the middle of the paddle"),
        FeatureSpec("paddle", "m", 2, -0.5, 0.5, 0.08, "where the middle of the paddle is"),
    )
    own_specs = (
        ParamSpec("gravity", "world", 3.0, 9.0, "m/s^2", "gravity downwards", "log"),
        ParamSpec("wind", "world", -0.6, 0.6, "m/s^2", "steady push along x on everything"),
        ParamSpec("drag", "world", 0.02, 0.5, "1/s", "rate at which velocities decay in the air", "log"),
        ParamSpec("bounce", "world", 0.2, 0.85, "", "coefficient of restitution of every contact"),
        ParamSpec("friction", "world", 0.1, 1.0, "", "coefficient of sliding friction of every contact", "log"),
        ParamSpec("drop", "world", 0.2, 0.7, "m", "height of the ball above the plate at the start, from surface to surface"),
        ParamSpec("offset", "world", -0.25, 0.25, "m", "where the ball starts along x"),
        ParamSpec("throw", "world", -0.5, 0.5, "m/s", "speed of the ball along x at the start"),
        ParamSpec("peg", "world", 0.0, 1.0, "", "a round peg stands in the way", "flag"),
        ParamSpec("peg_x", "world", 0.55, 0.9, "m", "distance of the peg along x"),
        ParamSpec("peg_side", "world", 0.0, 1.0, "", "the peg stands on the right", "flag"),
        ParamSpec("peg_z", "world", -0.3, 0.6, "m", "height of the peg above the paddle's home"),
        ParamSpec("peg_radius", "world", 0.06, 0.15, "m", "radius of the peg"),
        ParamSpec("second", "body", 0.0, 1.0, "", "there is a second ball", "flag"),
        ParamSpec("second_height", "body", 0.3, 0.8, "m", "gap above the first ball at which the second starts"),
        ParamSpec("second_offset", "body", -0.4, 0.4, "m", "how far to the side of the first ball the second starts"),
        ParamSpec("rim_left", "body", 0.0, 1.0, "", "the plate has a rim at its left end", "flag"),
        ParamSpec("rim_right", "body", 0.0, 1.0, "", "the plate has a rim at its right end", "flag"),
        ParamSpec("width", "body", 0.15, 0.35, "m", "half the length of the plate"),
        ParamSpec("radius", "body", 0.07, 0.12, "m", "radius of the balls"),
        ParamSpec("ball_mass", "body", 0.1, 0.5, "kg", "mass of a ball", "log"),
        ParamSpec("mass", "body", 1.5, 5.0, "kg", "mass of the paddle", "log"),
        ParamSpec("response", "body", 8.0, 14.0, "rad/s", "natural frequency of the paddle's servos", "log"),
    )

    def template(self) -> str:
        """MJCF of the body; see the base."""
        return _xml()

    def build(self, world: dict, body: dict) -> Any:
        """System with this task's plate, rims, balls, peg, masses, servos, contacts and gravity."""
        exists, mass = _exists(body), body["mass"]
        tilting = mass * (body["width"] ** 2 / 3.0 + FLYWHEEL)
        inertia = jnp.stack([jnp.stack([0.5 * mass, tilting, 0.5 * mass]), *[jnp.full(3, BALL_INERTIA)] * BALLS])
        masses = jnp.concatenate([mass[None], jnp.full(BALLS, body["ball_mass"])])
        zero = jnp.zeros((1 + BALLS, 3))
        system = physics.set_links(self._system, masses, inertia, zero, zero)
        system = physics.cut_loose(system, jnp.concatenate([jnp.ones(1), exists]))
        moved = jnp.stack([mass, mass, tilting])
        rate = body["response"]
        system = physics.set_servos(system, jnp.array([REACH, REACH, TILT]), moved * rate**2, 2.0 * DAMPING * moved * rate)
        system = physics.set_contacts(system, world["friction"], world["bounce"])
        position, size = _geoms(world, body)
        system = physics.set_geoms(system, list(range(_FIXED, _FIXED + len(position))), position, size)
        system = physics.set_drag(system, world["drag"])
        return physics.set_gravity(system, jnp.stack([world["wind"], jnp.zeros(()), -world["gravity"]]))

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The paddle hangs in its servos; the balls are above it, within 0.02 m, the first with its throw."""
        world, body = model.task.world, model.task.body
        sag = -world["gravity"] / body["response"] ** 2
        above = sag + RADIUS + world["drop"] + body["radius"]
        first = jnp.stack([world["offset"], above])
        second = first + jnp.stack([body["second_offset"], body["second_height"] + 2.0 * body["radius"]])
        start = jnp.concatenate([jnp.stack([jnp.zeros(()), sag, jnp.zeros(())]), first, second])
        start = start + jnp.concatenate([jnp.zeros(3), jax.random.uniform(key, (2 * BALLS,), minval=-0.02, maxval=0.02)])
        return self.moves.begin(model.system, start, jnp.zeros(3 + 2 * BALLS).at[3].set(world["throw"]))

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """Four timesteps of 0.0125 s."""
        return self.moves.advance(model.system, state, control, SUBSTEPS)

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[17], see the class."""
        q, qd, radius = state.q, state.qd / 4.0, model.task.body["radius"]
        second = jnp.concatenate([q[5:7] - q[:2], qd[5:7]]) * _exists(model.task.body)[1]
        center, size, there = _peg(model.task.world)
        offset = center - q[3:5]
        distance = jnp.sqrt(jnp.sum(offset**2) + 1e-8)
        near = there * jnp.exp(-jnp.maximum(distance - size - radius, 0.0) / 0.3)
        return jnp.concatenate([q[:3], qd[:3], q[3:5] - q[:2], qd[3:5], q[4:5], second, offset / distance * near])

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[6, 2]: ball, ball_height, ball_x, ball_speed, clearance, paddle."""
        paddle, ball, zero = state.q[:2], state.q[3:5], jnp.zeros(())
        speed = jnp.sqrt(jnp.sum(state.qd[3:5] ** 2) + 1e-12)
        scalars = (ball[1], ball[0], speed, ball[1] - paddle[1])
        return jnp.stack([ball, *(jnp.stack([value, zero]) for value in scalars), paddle])

    def speed(self, model: Model, state: Any) -> jax.Array:
        """The fastest of the paddle and the balls that exist, m/s."""
        velocity = jnp.concatenate([state.qd[None, :2], state.qd[3:].reshape(BALLS, 2)])
        there = jnp.concatenate([jnp.ones(1), _exists(model.task.body)])
        return jnp.max(jnp.sqrt(jnp.sum(velocity**2, axis=1)) * there)

    def fault(self, model: Model, state: Any) -> jax.Array:
        """A ball starts inside the peg."""
        center, size, there = _peg(model.task.world)
        gap = jnp.sqrt(jnp.sum((state.q[3:].reshape(BALLS, 2) - center) ** 2, axis=1)) - size - model.task.body["radius"]
        return jnp.any((gap < 0.0) & (_exists(model.task.body) * there > 0))

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        rims = [side for side in ("left", "right") if values[f"rim_{side}"] >= 0.5]
        paddle = {0: "flat paddle", 1: f"paddle with a {rims[0] if rims else ''} rim", 2: "cup"}[len(rims)]
        balls = "two balls" if values["second"] >= 0.5 else "a ball"
        peg = f", a peg on the {'right' if values['peg_side'] >= 0.5 else 'left'}" if values["peg"] >= 0.5 else ""
        return (
            f"a {2 * values['width']:.2f} m wide {paddle} and {balls} of {values['ball_mass']:.2f} kg bouncing to "
            f"{values['bounce'] ** 2:.0%} of their height{peg}, gravity {values['gravity']:.1f} m/s²"
        )

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """Capsules: plate, rims. Spheres: balls, peg. Box: the floor."""
        body, zero = model.task.body, jnp.zeros(())
        half = body["width"]
        out, up = half + 2 * RIM[0], jnp.full((), 2 * RIM[1])
        bars = [
            _bar(state, (-half, zero), (half, zero), jnp.full((), RADIUS)),
            _bar(state, (-half, zero), (-out, up), RADIUS * body["rim_left"]),
            _bar(state, (half, zero), (out, up), RADIUS * body["rim_right"]),
        ]
        center, size, there = _peg(model.task.world)
        places = jnp.concatenate([state.q[3:].reshape(BALLS, 2), center[None]])
        radii = jnp.concatenate([body["radius"] * _exists(body), (size * there)[None]])
        return {
            "capsules": jnp.stack(bars),
            "spheres": jnp.stack([places[:, 0], jnp.zeros(BALLS + 1), places[:, 1], radii], axis=1),
            "boxes": jnp.array([[0.0, 0.0, FLOOR - 0.05, 1.0, 0.0, 0.0, 0.0, 1.2, 0.3, 0.05]]),
        }


def _exists(body: dict) -> jax.Array:
    """f32[BALLS]."""
    return jnp.stack([jnp.ones(()), body["second"]])[:BALLS]


def _peg(world: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Centre f32[2] in the plane, radius f32[] and existence f32[] of the peg."""
    return jnp.stack([world["peg_x"] * (2.0 * world["peg_side"] - 1.0), world["peg_z"]]), world["peg_radius"], world["peg"]


def _geoms(world: dict, body: dict) -> tuple[jax.Array, jax.Array]:
    """Positions f32[6, 3] and sizes f32[6, 2] of peg, plate, rims and balls, each in its link's frame."""
    zero, rim = jnp.zeros(()), jnp.sqrt(RIM[0] ** 2 + RIM[1] ** 2)
    center, size, there = _peg(world)
    out = body["width"] + RIM[0]
    at = [
        (center[0], PARKED * (1.0 - there), center[1]),
        (zero, zero, zero),
        (-out, PARKED * (1.0 - body["rim_left"]), RIM[1]),
        (out, PARKED * (1.0 - body["rim_right"]), RIM[1]),
        *[(zero, zero, PARKED * (1.0 - there)) for there in _exists(body)],  # above: the floor has no end
    ]
    sizes = [(size, zero), (RADIUS, body["width"]), (RADIUS, rim), (RADIUS, rim), *[(body["radius"], zero)] * BALLS]
    return _table(at), _table(sizes)


def _table(rows: Sequence[tuple]) -> jax.Array:
    return jnp.stack([jnp.stack([jnp.asarray(x, jnp.float32) for x in row]) for row in rows])


def _bar(state: Any, start: tuple, end: tuple, radius: jax.Array) -> jax.Array:
    """Capsule f32[7] in the world between two points (x, z) of the paddle."""
    ends = [physics.point(state, 0, jnp.stack([x, jnp.zeros(()), z])) for x, z in (start, end)]
    return jnp.concatenate([*ends, radius[None]])
