"""Reacher: a planar arm of two or three active links, with in-plane gravity and joint friction."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from envs import physics
from envs.base import AbstractFamily, Model
from envs.goals import FeatureSpec
from envs.spec import ParamSpec

LINKS = 3
RADIUS = 0.04  # m, of every link
SUBSTEPS = 4
FLYWHEEL = 0.2  # m^2: rotational inertia per mass that the motors add to each link

_BODIES = (
    "".join(
        f'<body name="link_{i}" pos="{0 if i == 0 else 0.4} 0 0"><joint name="joint_{i}" type="hinge" axis="0 0 1"/>'
        f'<geom type="capsule" fromto="0 0 0 0.4 0 0" size="{RADIUS}" mass="1" contype="0" conaffinity="0"/>'
        for i in range(LINKS)
    )
    + "</body>" * LINKS
)
_MOTORS = "".join(f'<general joint="joint_{i}" gainprm="1" ctrllimited="true" ctrlrange="-1 1"/>' for i in range(LINKS))
_XML = f"""<mujoco><option timestep="0.0125" gravity="0 0 0"/><worldbody>{_BODIES}</worldbody>
<actuator>{_MOTORS}</actuator></mujoco>"""

_REACH = 0.9  # m, bound of every tip target


class Reacher(AbstractFamily):
    """Capsule links on hinges about z; one control step is 4 timesteps of 0.0125 s.

    The third link exists or not (``links`` 3 or 2); an absent link is cut loose and takes no part. Sensors (11): the
    vector from each joint to the tip [m], cosine and sine of the first link's angle, joint velocities / 8 [rad/s]. Actions
    (3): joint torques, sized so that a joint swings once in about a second whatever the masses.
    """

    name = "reacher"
    sensors = 11
    actuators = LINKS
    control_dt = 0.05
    max_speed = 60.0
    speed_unit = "rad/s"
    features = (
        FeatureSpec("tip", "m", 2, -_REACH, _REACH, 0.14, "where the tip is"),
        FeatureSpec("tip_x", "m", 1, -_REACH, _REACH, 0.1, "how far the tip is along x"),
        FeatureSpec("tip_y", "m", 1, -_REACH, _REACH, 0.1, "how far the tip is along y"),
        FeatureSpec("shoulder", "rad", 1, -2.0, 2.0, 0.2, "angle of the first link"),
    )
    own_specs = (
        ParamSpec("gravity_x", "world", -1.5, 1.5, "m/s^2", "gravity along x in the arm's plane"),
        ParamSpec("gravity_y", "world", -1.5, 1.5, "m/s^2", "gravity along y in the arm's plane"),
        ParamSpec("friction", "world", 1.0, 3.0, "1/s", "rate at which velocities decay", "log"),
        ParamSpec("links", "body", 2, 3, "", "how many links the arm has", "integer"),
        *(ParamSpec(f"length_{i}", "body", 0.25, 0.45, "m", f"length of link {i}") for i in range(LINKS)),
        ParamSpec("mass", "body", 0.5, 2.0, "kg/link", "mass of each link", "log"),
        ParamSpec("strength", "body", 8.0, 16.0, "rad/s^2", "acceleration of a joint at full command", "log"),
    )

    def __init__(self, **options):
        super().__init__(**options)
        self._system = physics.load(_XML)

    def build(self, world: dict, body: dict) -> Any:
        """System with this task's lengths, masses, motors and gravity."""
        length, exists = _lengths(body), _exists(body)
        mass = jnp.full(LINKS, body["mass"])
        across = mass * (length**2 / 12.0 + FLYWHEEL)
        zero = jnp.zeros(LINKS)
        center = jnp.stack([length / 2.0, zero, zero], axis=1)
        offset = jnp.stack([jnp.concatenate([jnp.zeros(1), length[:-1]]), zero, zero], axis=1)
        # Brax resolves joints as springs, link by link: without the inertia of a geared motor's rotor a light link rings on
        # them at the rate of the control steps, and a motor's effect comes back reversed one step later. Only the turn about
        # z moves a planar arm: the other axes get an inertia that keeps the springs' frequency far below the timestep.
        inertia = jnp.stack([0.5 * mass, 0.5 * mass, across], axis=1)
        system = physics.set_links(self._system, mass, inertia, center, offset)
        system = physics.cut_loose(system, exists)
        load = _carried_inertia(mass * exists, length * exists)
        system = physics.set_motors(system, body["strength"] * load * exists)
        system = physics.set_drag(system, world["friction"])
        return physics.set_gravity(system, jnp.stack([world["gravity_x"], world["gravity_y"], jnp.zeros(())]))

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The arm is bent by about half a radian per joint, within 0.1 rad, at rest."""
        start = jnp.array([0.0, 0.5, 0.5]) + jax.random.uniform(key, (LINKS,), minval=-0.1, maxval=0.1)
        return physics.begin(model.system, start, jnp.zeros(LINKS))

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """Four timesteps of 0.0125 s."""
        return physics.advance(model.system, state, control, SUBSTEPS, then=physics.joint_velocities)

    def active(self, model: Model) -> jax.Array:
        """Motors of the links that exist."""
        return _exists(model.task.body)

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[11], see the class."""
        exists = _exists(model.task.body)
        ends = _joints(model, state)
        starts = jnp.concatenate([jnp.zeros((1, 2)), ends[:-1]])
        arms = (ends[-1] - starts) * exists[:, None]  # turned by 90 degrees: the columns of the tip's Jacobian
        shoulder = jnp.stack([jnp.cos(state.q[0]), jnp.sin(state.q[0])])
        return jnp.concatenate([arms.reshape(-1), shoulder, state.qd * exists / 8.0])

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[4, 2]: tip, tip_x, tip_y, shoulder."""
        tip, zero = _tip(model, state), jnp.zeros(())
        return jnp.stack([tip, *(jnp.stack([value, zero]) for value in (tip[0], tip[1], state.q[0]))])

    def speed(self, model: Model, state: Any) -> jax.Array:
        """Fastest joint of the links that exist, rad/s."""
        return jnp.max(jnp.abs(state.qd) * _exists(model.task.body))

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        links = int(values["links"])
        reach = sum(values[f"length_{i}"] for i in range(links))
        pull = (values["gravity_x"] ** 2 + values["gravity_y"] ** 2) ** 0.5
        return f"a {links}-link arm of {reach:.2f} m reach, {values['mass']:.1f} kg a link, gravity {pull:.1f} m/s²"

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """One capsule per link (radius 0 when absent)."""
        exists = _exists(model.task.body)
        joints = jnp.concatenate([jnp.zeros((1, 2)), _joints(model, state)])
        points = jnp.concatenate([joints, jnp.zeros((LINKS + 1, 1))], axis=1)
        capsules = jnp.concatenate([points[:-1], points[1:], (RADIUS * exists)[:, None]], axis=1)
        return {"capsules": capsules, "spheres": jnp.zeros((0, 4)), "boxes": jnp.zeros((0, 10))}


def _lengths(body: dict) -> jax.Array:
    return jnp.stack([body[f"length_{i}"] for i in range(LINKS)])


def _exists(body: dict) -> jax.Array:
    return (jnp.arange(LINKS) < body["links"]).astype(jnp.float32)


def _carried_inertia(mass: jax.Array, length: jax.Array) -> jax.Array:
    """Inertia f32[L] about each joint of the outstretched links beyond it, kg m^2; absent links have mass and length 0."""
    start = jnp.concatenate([jnp.zeros(1), jnp.cumsum(length)[:-1]])
    middle = start + length / 2.0
    arm = jnp.maximum(middle[None, :] - start[:, None], 0.0)
    beyond = jnp.arange(LINKS)[None, :] >= jnp.arange(LINKS)[:, None]
    return jnp.sum(beyond * mass[None, :] * (arm**2 + length[None, :] ** 2 / 12.0 + FLYWHEEL), axis=1)


def _joints(model: Model, state: Any) -> jax.Array:
    """End of each link in the plane f32[L, 2] from the joint angles; absent links have length 0."""
    length = (_lengths(model.task.body) * _exists(model.task.body))[:, None]
    angle = jnp.cumsum(state.q)
    return jnp.cumsum(length * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1), axis=0)


def _tip(model: Model, state: Any) -> jax.Array:
    return _joints(model, state)[-1]
