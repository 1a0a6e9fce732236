"""Cartpole: a driven cart on an endless rail with a chain of one to three passive poles, to be swung up and balanced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from envs import physics
from envs.base import Model
from envs.embodied import EmbodiedFamily
from envs.goals import FeatureSpec
from envs.pipelines import Traits
from envs.spec import ParamSpec

POLES = 3
RADIUS = 0.03  # m, of every pole
CART = (0.12, 0.06, 0.05)  # m, half sizes to draw
SUBSTEPS = 3


def mjcf(poles: int = POLES) -> str:
    """Model of the cart with so many poles; the family's own has them all."""
    chain = "".join(
        f'<body name="pole_{i}" pos="0 0 {0 if i == 0 else 0.4}"><joint name="hinge_{i}" type="hinge" axis="0 1 0"/>'
        f'<geom type="capsule" fromto="0 0 0 0 0 0.4" size="{RADIUS}" mass="0.2" contype="0" conaffinity="0"/>'
        for i in range(poles)
    )
    return f"""<mujoco><option timestep="{0.05 / SUBSTEPS}" gravity="0 0 -9.81"/><worldbody>
<body name="cart"><joint name="rail" type="slide" axis="1 0 0"/>
<geom type="box" size="{CART[0]} {CART[1]} {CART[2]}" mass="1" contype="0" conaffinity="0"/>{chain}{"</body>" * poles}</body>
</worldbody><actuator><general joint="rail" gainprm="1" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>"""


class Cartpole(EmbodiedFamily):
    """Poles hinged in a chain on a cart, in the vertical plane of the rail (x along it, z up); they pass through the rail.

    A pole is a light rod with half of its mass at either end; one control step is 3 timesteps of 1/60 s. Poles beyond the
    task's number are cut loose and take no part. The chain starts hanging or standing. Sensors (13): cart position [m] and
    velocity / 3 [m/s]; sine and cosine of each pole's angle from upright, angular velocity / 8 [rad/s]; the tip of the last
    pole seen from the cart [m]. Action (1): force along the rail, in terms of the whole body's acceleration.
    """

    name = "cartpole"
    sensors = 4 + 3 * POLES
    actuators = 1
    pipelines = ("spring", "generalized", "mjx")
    control_dt = 0.05
    max_speed = 20.0
    speed_unit = "m/s"
    view = "side"
    plane = "xz"
    features = (
        FeatureSpec("cart_x", "m", 1, -1.2, 1.2, 0.08, "where the cart is on the rail"),
        FeatureSpec("tip", "m", 2, -0.9, 0.9, 0.14, "where the end of the last pole is: along the rail and above it"),
        FeatureSpec("tip_height", "m", 1, -0.9, 0.9, 0.1, "how high the end of the last pole is above the rail"),
        FeatureSpec("lean", "rad", 1, 0.0, 3.1, 0.2, "angle of the first pole from upright, to either side"),
    )
    own_specs = (
        ParamSpec("gravity", "world", 3.0, 12.0, "m/s^2", "strength of gravity"),
        ParamSpec("tilt", "world", -0.12, 0.12, "rad", "how much the rail rises along x"),
        ParamSpec("friction", "world", 0.2, 1.5, "1/s", "rate at which velocities decay", "log"),
        ParamSpec("upright", "world", 0.0, 1.0, "", "the poles start upright instead of hanging", "rare"),
        ParamSpec("poles", "body", 1, POLES, "", "how many poles the chain has", "integer"),
        *(ParamSpec(f"length_{i}", "body", 0.25, 0.5, "m", f"length of pole {i}") for i in range(POLES)),
        ParamSpec("pole_mass", "body", 0.1, 0.4, "kg/pole", "mass of each pole", "log"),
        ParamSpec("cart_mass", "body", 0.7, 1.5, "kg", "mass of the cart", "log"),
        ParamSpec("strength", "body", 4.0, 10.0, "m/s^2", "acceleration of the whole body at full command", "log"),
    )

    def template(self) -> str:
        """MJCF of the body; see the base."""
        return mjcf()

    def build(self, world: dict, body: dict) -> Any:
        """System with this task's lengths, masses, motor and gravity."""
        length, exists, zero = _lengths(body), _exists(body), jnp.zeros(POLES)
        mass = jnp.concatenate([body["cart_mass"][None], jnp.full(POLES, body["pole_mass"])])
        # Only the turn about y moves a planar chain: the other axes, and the cart, get an inertia that keeps the spring joints'
        # frequency far below the timestep. A rod's own inertia, m l^2 / 12, would need 5 timesteps where weights need 3.
        inertia = jnp.broadcast_to(mass[:, None], (1 + POLES, 3)).at[1:, 1].set(mass[1:] * length**2 / 4.0)
        center = jnp.concatenate([jnp.zeros((1, 3)), jnp.stack([zero, zero, length / 2.0], axis=1)])
        up = jnp.concatenate([jnp.zeros(2), length[:-1]])
        offset = jnp.stack([jnp.zeros(1 + POLES), jnp.zeros(1 + POLES), up], axis=1)
        system = physics.set_links(self._system, mass, inertia, center, offset)
        system = physics.cut_loose(system, jnp.concatenate([jnp.ones(1), exists]))
        whole = body["cart_mass"] + body["pole_mass"] * body["poles"]
        system = physics.set_motors(system, (body["strength"] * whole)[None])
        system = physics.set_drag(system, world["friction"])
        down = jnp.stack([jnp.sin(world["tilt"]), jnp.zeros(()), jnp.cos(world["tilt"])])
        return physics.set_gravity(system, -world["gravity"] * down)

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The cart within 0.05 m of the origin and every hinge within 0.05 rad of straight, at rest."""
        noise = jax.random.uniform(key, (1 + POLES,), minval=-0.05, maxval=0.05)
        start = noise.at[1].add(jnp.pi * (1.0 - model.task.world["upright"]))
        return self.moves.begin(model.system, start, jnp.zeros(1 + POLES))

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """Three timesteps of 1/60 s."""
        return self.moves.advance(model.system, state, control, SUBSTEPS, Traits(chained=True))

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[13], see the class."""
        exists = _exists(model.task.body)[:, None]
        spin = state.xd.ang[1:, 1:2] / 8.0
        cart = jnp.stack([state.x.pos[0, 0], state.xd.vel[0, 0] / 3.0])
        poles = jnp.concatenate([_directions(state), spin], axis=1) * exists
        return jnp.concatenate([cart, poles.reshape(-1), _tip(model, state) - state.x.pos[0, ::2]])

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[4, 2]: cart_x, tip, tip_height, lean."""
        tip, (sine, cosine), zero = _tip(model, state), _directions(state)[0], jnp.zeros(())
        lean = jnp.arctan2(jnp.abs(sine), cosine)
        cart, height, angle = (jnp.stack([value, zero]) for value in (state.x.pos[0, 0], tip[1], lean))
        return jnp.stack([cart, tip, height, angle])

    def speed(self, model: Model, state: Any) -> jax.Array:
        """Fastest centre of mass of cart and poles that exist, m/s."""
        exists = jnp.concatenate([jnp.ones(1), _exists(model.task.body)])
        return jnp.max(jnp.linalg.norm(state.xd_i.vel, axis=1) * exists)

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        poles = int(values["poles"])
        long = sum(values[f"length_{i}"] for i in range(poles))
        chain = "a pole" if poles == 1 else f"a chain of {poles} poles"
        start = "standing" if values["upright"] >= 0.5 else "hanging"
        slope = "" if abs(values["tilt"]) < 0.01 else f", rail tilted by {57.2958 * values['tilt']:.1f}°"
        return f"a cart with {chain}, {long:.2f} m long and {start} at the start, gravity {values['gravity']:.1f} m/s²{slope}"

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """A capsule per pole (radius 0 when absent) and the cart's box."""
        exists = _exists(model.task.body)
        ends = jnp.insert(_ends(model, state), 1, 0.0, axis=1)
        capsules = jnp.concatenate([state.x.pos[1:], ends, (RADIUS * exists)[:, None]], axis=1)
        boxes = jnp.concatenate([state.x.pos[0], state.x.rot[0], jnp.array(CART)])[None]
        return {"capsules": capsules, "spheres": jnp.zeros((0, 4)), "boxes": boxes}


def _lengths(body: dict) -> jax.Array:
    return jnp.stack([body[f"length_{i}"] for i in range(POLES)])


def _exists(body: dict) -> jax.Array:
    return (jnp.arange(POLES) < body["poles"]).astype(jnp.float32)


def _directions(state: Any) -> jax.Array:
    """Sine and cosine f32[P, 2] of each pole's angle from upright; the poles turn about y only."""
    w, y = state.x.rot[1:, 0], state.x.rot[1:, 2]
    return jnp.stack([2.0 * w * y, w**2 - y**2], axis=1)


def _ends(model: Model, state: Any) -> jax.Array:
    """End of each pole f32[P, 2]: along the rail and above it."""
    return state.x.pos[1:, ::2] + _lengths(model.task.body)[:, None] * _directions(state)


def _tip(model: Model, state: Any) -> jax.Array:
    """End f32[2] of the last pole that exists."""
    last = jax.nn.one_hot(model.task.body["poles"].astype(jnp.int32) - 1, POLES)
    return last @ _ends(model, state)
