"""Brax's own environments as families: bodies that nobody drew for this project, for measuring only (the suite ``stock``).

The System, its timestep and what is sensed are Brax's own, in its spring pipeline; goals, interface and episodes are those of
every family. Nothing of a body changes from task to task. No configuration names these families, so nothing trains on them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs import physics
from envs.base import Model
from envs.embodied import EmbodiedFamily
from envs.goals import FeatureSpec
from envs.interface import PROJECTED, InterfaceBounds
from envs.pipelines import Traits
from envs.spec import ParamSpec

SPHERE, CAPSULE, CYLINDER = 2, 3, 5  # MuJoCo's types of geoms
NOISE = 0.01  # m or rad: each joint begins within it of where Brax's model has it


class Stock(EmbodiedFamily):
    """One of Brax's environments, ``stock_NAME``, with a control step of 0.05 s, behind the projection unless told otherwise.

    Sensors: Brax's observation o as ``arcsinh(o)``, so that fast joints are of order one too. Actions: its motors.
    """

    own_specs: tuple[ParamSpec, ...] = ()
    control_dt = 0.05
    speed_unit = "m/s"

    def __init__(self, bounds: InterfaceBounds | None = None, **options: Any):
        super().__init__(bounds=PROJECTED if bounds is None else bounds, **options)

    @property
    def body(self) -> str:
        """Brax's name of it."""
        return self.name.removeprefix("stock_")

    def build(self, world: dict, body: dict) -> Any:
        """Brax's own System."""
        return physics.stock(self.body).system

    def begin(self, model: Model, key: jax.Array) -> Any:
        """At rest, near the joint positions of Brax's model."""
        noise = jax.random.uniform(key, model.system.init_q.shape, minval=-NOISE, maxval=NOISE)
        q = self.placed(model, model.system.init_q + noise)
        return self.moves.begin(model.system, q, jnp.zeros(model.system.qd_size()))

    def placed(self, model: Model, q: jax.Array) -> jax.Array:
        """Joint positions with the task's own objects where they belong."""
        return q

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """Timesteps of the system for 0.05 s; full command is the end of the motor's range."""
        system = model.system
        substeps = round(self.control_dt / float(physics.stock(self.body).system.opt.timestep))
        return self.moves.advance(
            system, state, control * system.actuator.ctrl_range[:, 1], substeps, Traits(fluid=self.fluid())
        )

    def fluid(self) -> physics.Fluid | None:
        """What resists the links, besides Brax."""
        return None

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[sensors], see the class."""
        return jnp.arcsinh(physics.stock(self.body).observe(state))

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[F, 2], features in the order of ``features``, a second component of 0 where there is none."""
        return jnp.stack([jnp.pad(jnp.atleast_1d(value), (0, 2 - jnp.size(value))) for value in self.values(state)])

    def values(self, state: Any) -> tuple[jax.Array, ...]:
        """Every feature, f32[] or f32[2]."""
        raise NotImplementedError

    def speed(self, model: Model, state: Any) -> jax.Array:
        """Speed of the fastest link, m/s."""
        return jnp.max(jnp.linalg.norm(state.xd.vel, axis=1))

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        return f"Brax's own {self.body.replace('_', ' ')}"

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """The geoms of its links and of the world; a cylinder is drawn as a capsule, the ground not at all."""
        return _drawn(model.system, state)


class Runner(Stock):
    """A body with legs in a vertical plane: q = x, z, pitch, joints."""

    view = "side"
    max_speed = 30.0
    features = (
        FeatureSpec("x", "m", 1, -1.5, 1.5, 0.1, "how far along the torso is"),
        FeatureSpec("height", "m", 1, 0.2, 1.8, 0.06, "height of the torso"),
        FeatureSpec("pitch", "rad", 1, -1.2, 1.2, 0.12, "how far the torso leans"),
        FeatureSpec("speed", "m/s", 1, -2.0, 2.0, 0.25, "speed of the torso along x"),
    )

    def values(self, state: Any) -> tuple[jax.Array, ...]:
        """x, height, pitch, speed."""
        return state.x.pos[0, 0], state.x.pos[0, 2], state.q[2], state.xd.vel[0, 0]


class Hopper(Runner):
    """Brax's hopper: a torso on one leg of three joints. In Brax only its foot meets the ground: fallen, the torso sinks in."""

    name = "stock_hopper"
    sensors = 11
    actuators = 3


class Walker2d(Runner):
    """Brax's walker2d: a torso on two legs of three joints each."""

    name = "stock_walker2d"
    sensors = 17
    actuators = 6


class HalfCheetah(Runner):
    """Brax's half-cheetah: a long torso on two legs of three joints each."""

    name = "stock_halfcheetah"
    sensors = 17
    actuators = 6


class Ant(Stock):
    """Brax's ant: a free torso on four legs of two joints each."""

    name = "stock_ant"
    sensors = 27
    actuators = 8
    view = "3d"
    max_speed = 30.0
    features = (
        FeatureSpec("position", "m", 2, -1.0, 1.0, 0.15, "where the torso is"),
        FeatureSpec("height", "m", 1, 0.2, 1.2, 0.06, "height of the torso"),
        FeatureSpec("velocity", "m/s", 2, -1.0, 1.0, 0.25, "how the torso moves over the ground"),
    )

    def values(self, state: Any) -> tuple[jax.Array, ...]:
        """Position, height, velocity."""
        return state.x.pos[0, :2], state.x.pos[0, 2], state.xd.vel[0, :2]


class Reacher(Stock):
    """Brax's reacher: an arm of two links in the plane. Its own target stands still and means nothing here."""

    name = "stock_reacher"
    sensors = 11
    actuators = 2
    max_speed = 30.0
    features = (
        FeatureSpec("tip", "m", 2, -0.21, 0.21, 0.03, "where the tip is"),
        FeatureSpec("tip_x", "m", 1, -0.21, 0.21, 0.02, "how far along x the tip is"),
        FeatureSpec("elbow", "rad", 1, -2.5, 2.5, 0.25, "bend of the elbow"),
    )

    def values(self, state: Any) -> tuple[jax.Array, ...]:
        """Tip, its x, elbow."""
        tip = physics.point(state, 1, jnp.array([0.11, 0.0, 0.0]))
        return tip[:2], tip[0], state.q[1]


class InvertedPendulum(Stock):
    """Brax's inverted pendulum: a pole on a driven cart, upright at the start."""

    name = "stock_inverted_pendulum"
    sensors = 4
    actuators = 1
    view = "side"
    max_speed = 30.0
    features = (
        FeatureSpec("cart", "m", 1, -0.9, 0.9, 0.08, "where the cart is"),
        FeatureSpec("pole", "rad", 1, -1.4, 1.4, 0.15, "angle of the pole from upright"),
    )

    def values(self, state: Any) -> tuple[jax.Array, ...]:
        """Cart, pole."""
        return state.q[0], state.q[1]


class Pusher(Stock):
    """Brax's pusher: an arm of seven joints over a table with a cylinder. Its own goal stands still and means nothing here."""

    name = "stock_pusher"
    sensors = 23
    actuators = 7
    view = "3d"
    max_speed = 30.0
    features = (
        FeatureSpec("hand", "m", 2, -1.0, 1.0, 0.06, "where the wrist is over the table"),
        FeatureSpec("object", "m", 2, -1.0, 1.0, 0.05, "where the cylinder is on the table"),
    )
    own_specs = (
        ParamSpec("object_x", "world", -0.3, -0.17, "m", "place of the cylinder, along x"),
        ParamSpec("object_y", "world", -0.2, 0.2, "m", "place of the cylinder, along y"),
    )

    def placed(self, model: Model, q: jax.Array) -> jax.Array:
        """The cylinder where the task has it, the goal at its origin, as in Brax's own episodes."""
        world = model.task.world
        return q.at[-4:].set(jnp.stack([world["object_x"], world["object_y"], jnp.zeros(()), jnp.zeros(())]))

    def values(self, state: Any) -> tuple[jax.Array, ...]:
        """Hand, object."""
        names = physics.stock(self.body).system.link_names
        hand, cylinder = (state.x_i.pos[names.index(link)] for link in ("r_wrist_flex_link", "object"))
        return hand[:2], cylinder[:2]


class Swimmer(Stock):
    """Brax's swimmer: three links in a plane of fluid. Brax has it for another pipeline; here it is in the spring one.

    The fluid is that of this project's swimmer, linear in the velocity: Brax's does not run on this version of JAX. Its rates
    are about those that Brax's, which is quadratic, has for these links at 0.5 m/s and 1 rad/s.
    """

    name = "stock_swimmer"
    sensors = 8
    actuators = 2
    max_speed = 30.0
    features = (
        FeatureSpec("position", "m", 2, -1.0, 1.0, 0.12, "where the head's joint is"),
        FeatureSpec("heading", "rad", 1, -1.5, 1.5, 0.15, "how far the first link has turned"),
        FeatureSpec("bend", "rad", 1, -1.5, 1.5, 0.15, "angle between the first two links"),
    )

    def values(self, state: Any) -> tuple[jax.Array, ...]:
        """Position, heading, bend."""
        return state.q[:2], state.q[2], state.q[3]

    def fluid(self) -> physics.Fluid:
        """Of the class, at rest."""
        along, across, turning = (jnp.full(3, rate) for rate in (0.8, 6.0, 5.0))
        return physics.Fluid(along, across, turning, current=jnp.zeros(3))


BODIES: tuple[type[Stock], ...] = (Reacher, InvertedPendulum, Hopper, Walker2d, HalfCheetah, Ant, Pusher, Swimmer)


def _drawn(system: Any, state: Any) -> dict[str, jax.Array]:
    """Shapes of a model's spheres, capsules and cylinders (as capsules), those of links first."""
    places = state.x.concatenate(physics.Transform.zero((1,)))
    link = np.asarray(system.geom_bodyid) - 1  # -1, the last of the places, is the world
    rows = np.argsort(link < 0, kind="stable").tolist()

    def placed(*kinds: int) -> tuple[Any, jax.Array]:
        mine = np.array([row for row in rows if int(system.geom_type[row]) in kinds], int)
        at = physics.Transform(pos=jnp.asarray(system.geom_pos)[mine], rot=jnp.asarray(system.geom_quat)[mine])
        return places.take(link[mine]).vmap().do(at), jnp.asarray(system.geom_size)[mine]

    (balls, radii), (bars, sizes) = placed(SPHERE), placed(CAPSULE, CYLINDER)
    half = jax.vmap(physics.rotate)(jnp.zeros((len(sizes), 3)).at[:, 2].set(sizes[:, 1]), bars.rot)
    return {
        "capsules": jnp.concatenate([bars.pos - half, bars.pos + half, sizes[:, :1]], axis=1),
        "spheres": jnp.concatenate([balls.pos, radii[:, :1]], axis=1),
        "boxes": jnp.zeros((0, 10)),
    }
