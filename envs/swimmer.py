"""Swimmer: a planar chain of two to six active links that rows itself through a fluid with a current."""

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

LINKS = 6
JOINTS = LINKS - 1
RADIUS = 0.035  # m, of every link
SUBSTEPS = 4
DAMPING = 0.5  # of the joints' servos, of critical
FLYWHEEL = 0.02  # m^2: rotational inertia per mass that rotors and dragged fluid add to each link


def _xml() -> str:
    root = '<joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>'
    bodies = "".join(
        f'<body name="link_{i}" pos="{-0.25 * (i > 0)} 0 0">{root * (i == 0)}<joint name="turn_{i}" type="hinge" axis="0 0 1"/>'
        f'<geom type="capsule" fromto="0 0 0 -0.25 0 0" size="{RADIUS}" mass="0.25" contype="0" conaffinity="0"/>'
        for i in range(LINKS)
    )
    spring = 'gainprm="1" biastype="affine" ctrllimited="true" ctrlrange="-1 1"'
    motors = "".join(f'<general joint="turn_{i}" {spring}/>' for i in range(1, LINKS))
    return f"""<mujoco><option timestep="0.0125" gravity="0 0 0"/><worldbody>{bodies}{"</body>" * LINKS}</worldbody>
<actuator>{motors}</actuator></mujoco>"""


class Swimmer(EmbodiedFamily):
    """Capsule links in a row, the nose of the first at the front; one control step is 4 timesteps of 0.0125 s.

    The fluid resists each link by resistive force theory (Gray and Hancock 1955): a force per length proportional to the
    velocity along the link, and ``grip`` times as much across it, which is what makes swimming possible; added mass is left
    out. The links beyond ``links`` are cut loose. Sensors (17): nose x y [m], cosine and sine of the heading, velocity of the
    mass centre / 0.5 [m/s] along and across the heading, turning rate / 5 [rad/s], joint angles [rad], joint velocities / 10
    [rad/s] (0 where absent). Actions (5): where the joints' servos pull, front to back.
    """

    name = "swimmer"
    plane = "xy"
    unexported = "a fluid resists each link, more across than along it, and may flow"
    sensors = 7 + 2 * JOINTS
    actuators = JOINTS
    pipelines = ("spring", "generalized")  # mjx moves it alike, but 160 times more slowly than spring
    control_dt = 0.05
    max_speed = 60.0
    speed_unit = "rad/s"
    features = (
        FeatureSpec("nose", "m", 2, -0.9, 0.9, 0.08, "where the nose is"),
        FeatureSpec("nose_y", "m", 1, -0.3, 0.3, 0.04, "how far the nose is along y"),
        FeatureSpec("center_x", "m", 1, -0.4, 0.4, 0.03, "how far the mass centre is along x"),
        FeatureSpec("heading", "rad", 1, -1.5, 1.5, 0.12, "direction of the first link"),
        FeatureSpec("forward_speed", "m/s", 1, -0.3, 0.4, 0.03, "speed of the mass centre along the heading"),
        FeatureSpec("bend", "rad", 1, -2.5, 2.5, 0.2, "direction of the last link relative to the first"),
    )
    own_specs = (
        ParamSpec("current_x", "world", -0.15, 0.15, "m/s", "current of the fluid along x"),
        ParamSpec("current_y", "world", -0.15, 0.15, "m/s", "current of the fluid along y"),
        ParamSpec("viscosity", "world", 0.15, 0.6, "kg/(m s)", "drag along a link per length and velocity", "log"),
        ParamSpec("grip", "world", 10.0, 40.0, "x", "drag across a link over drag along it", "log"),
        ParamSpec("links", "body", 2, LINKS, "", "how many links the swimmer has", "integer"),
        *(ParamSpec(f"length_{i}", "body", 0.15, 0.3, "m", f"length of link {i}, counted from the nose") for i in range(LINKS)),
        ParamSpec("mass", "body", 0.7, 1.5, "kg/m", "mass of the links per length", "log"),
        ParamSpec("response", "body", 9.0, 16.0, "rad/s", "natural frequency of a link on its joint's servo", "log"),
        ParamSpec("swing", "body", 0.7, 1.2, "rad", "angle of a joint at full command"),
    )

    def template(self) -> str:
        """MJCF of the body; see the base."""
        return _xml()

    def build(self, world: dict, body: dict) -> Any:
        """System with this task's links and joints; the fluid acts in `move`."""
        length, exists = _lengths(body), _exists(body)
        mass = body["mass"] * length
        across = mass * (length**2 / 12.0 + FLYWHEEL)
        zero = jnp.zeros(LINKS)
        center = jnp.stack([-length / 2.0, zero, zero], axis=1)
        offset = jnp.stack([jnp.concatenate([jnp.zeros(1), -length[:-1]]), zero, zero], axis=1)
        # Only the turn about z moves a planar chain: see the reacher.
        inertia = jnp.stack([0.5 * mass, 0.5 * mass, across], axis=1)
        system = physics.set_links(self._system, mass, inertia, center, offset)
        # A joint is as stiff as the lighter of its links can bear at this timestep, and so is its servo: by the inertia of one
        # link, since one that could lift the whole tail would whip a link between two stiff neighbours.
        shorter = jnp.minimum(length, jnp.concatenate([length[:1], length[:-1]]))
        system = physics.cut_loose(system, exists * shorter / length)
        turned = (body["mass"] * shorter * (shorter**2 / 3.0 + FLYWHEEL) * exists)[1:]
        rate = body["response"]
        return physics.set_servos(system, jnp.full(JOINTS, body["swing"]), turned * rate**2, 2.0 * DAMPING * turned * rate)

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The middle of the body at the origin, heading along x, joints within 0.1 rad of straight, at rest."""
        bent = jax.random.uniform(key, (JOINTS,), minval=-0.1, maxval=0.1)
        nose = jnp.sum(_lengths(model.task.body) * _exists(model.task.body)) / 2.0
        return self.moves.begin(model.system, jnp.concatenate([nose[None], jnp.zeros(2), bent]), jnp.zeros(3 + JOINTS))

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """Four timesteps of 0.0125 s in the fluid."""
        return self.moves.advance(model.system, state, control, SUBSTEPS, Traits(chained=True, fluid=_fluid(model)))

    def active(self, model: Model) -> jax.Array:
        """Motors between links that exist."""
        return _exists(model.task.body)[1:]

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[17], see the class."""
        there, heading = _exists(model.task.body)[1:], state.q[2]
        along, across = _ahead(model, state)
        where = jnp.stack([state.q[0], state.q[1], jnp.cos(heading), jnp.sin(heading)])
        motion = jnp.stack([along / 0.5, across / 0.5, state.qd[2] / 5.0])
        return jnp.concatenate([where, motion, state.q[3:] * there, state.qd[3:] * there / 10.0])

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[6, 2]: nose, nose_y, center_x, heading, forward_speed, bend."""
        zero = jnp.zeros(())
        bend = jnp.sum(state.q[3:] * _exists(model.task.body)[1:])
        scalars = (state.q[1], _mean(model, state.x_i.pos)[0], state.q[2], _ahead(model, state)[0], bend)
        return jnp.stack([state.q[:2], *(jnp.stack([value, zero]) for value in scalars)])

    def speed(self, model: Model, state: Any) -> jax.Array:
        """Fastest turn of a joint that exists or of the first link, rad/s."""
        return jnp.max(jnp.abs(state.qd[2:]) * _exists(model.task.body))

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        links = int(values["links"])
        length = sum(values[f"length_{i}"] for i in range(links))
        current = (values["current_x"] ** 2 + values["current_y"] ** 2) ** 0.5
        return (
            f"a {links}-link swimmer of {length:.2f} m and {values['mass'] * length:.1f} kg in a fluid that resists "
            f"{values['grip']:.0f} times as much across a link as along it, current {current:.2f} m/s"
        )

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """One capsule per link (radius 0 when absent)."""
        length, exists = _lengths(model.task.body), _exists(model.task.body)
        zero = jnp.zeros(LINKS)
        ends = jnp.stack([-length, zero, zero], axis=1)
        tails = jax.vmap(lambda i, end: physics.point(state, i, end))(jnp.arange(LINKS), ends)
        capsules = jnp.concatenate([state.x.pos, tails, (RADIUS * exists)[:, None]], axis=1)
        return {"capsules": capsules, "spheres": jnp.zeros((0, 4)), "boxes": jnp.zeros((0, 10))}


def _lengths(body: dict) -> jax.Array:
    return jnp.stack([body[f"length_{i}"] for i in range(LINKS)])


def _exists(body: dict) -> jax.Array:
    return (jnp.arange(LINKS) < body["links"]).astype(jnp.float32)


def _fluid(model: Model) -> physics.Fluid:
    """Rates from drag per length: of a rod that turns about its middle, the drag across it times length^3 / 12."""
    world, body = model.task.world, model.task.body
    along = world["viscosity"] / body["mass"]
    across = along * world["grip"]
    square = _lengths(body) ** 2 / 12.0
    current = jnp.stack([world["current_x"], world["current_y"], jnp.zeros(())])
    return physics.Fluid(jnp.full(LINKS, along), jnp.full(LINKS, across), across * square / (square + FLYWHEEL), current)


def _mean(model: Model, values: jax.Array) -> jax.Array:
    """Mean f32[2] over the links that exist of values f32[L, 3], by their masses."""
    weight = _lengths(model.task.body) * _exists(model.task.body)
    return (weight @ values / jnp.sum(weight))[:2]


def _ahead(model: Model, state: Any) -> tuple[jax.Array, jax.Array]:
    """Velocity of the mass centre along and across the heading, m/s."""
    velocity, cos, sin = _mean(model, state.xd_i.vel), jnp.cos(state.q[2]), jnp.sin(state.q[2])
    return velocity[0] * cos + velocity[1] * sin, velocity[1] * cos - velocity[0] * sin
