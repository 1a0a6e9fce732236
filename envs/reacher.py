"""Reacher: an arm of two to five active links, planar or twisted into space, with gravity and joint friction."""

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

LINKS = 3  # that a task may have at most, unless a run allows more
MOST = 5
RADIUS = 0.04  # m, of every link
SUBSTEPS = 4
FLYWHEEL = 0.2  # m^2: rotational inertia per mass that the motors add to each link, at least
ROTOR = 0.1  # of the inertia that a motor carries is its own rotor's, at least: more than FLYWHEEL from four links on


def _xml(links: int) -> str:
    bodies = "".join(
        f'<body name="link_{i}" pos="{0 if i == 0 else 0.4} 0 0"><joint name="joint_{i}" type="hinge" axis="0 0 1"/>'
        f'<geom type="capsule" fromto="0 0 0 0.4 0 0" size="{RADIUS}" mass="1" contype="0" conaffinity="0"/>'
        for i in range(links)
    )
    motors = "".join(f'<general joint="joint_{i}" gainprm="1" ctrllimited="true" ctrlrange="-1 1"/>' for i in range(links))
    return f"""<mujoco><option timestep="0.0125" gravity="0 0 0"/><worldbody>{bodies}{"</body>" * links}</worldbody>
<actuator>{motors}</actuator></mujoco>"""


TWIST = 1.5708  # rad, most of a joint's axis against the one before it
_REACH = 0.9  # m, bound of every tip target
_HIGHER = (
    FeatureSpec("tip_z", "m", 1, -_REACH, _REACH, 0.1, "how far the tip is along z"),
    FeatureSpec("tip_xz", "m", 2, -_REACH, _REACH, 0.14, "where the tip is along x and z"),
)


def _specs(links: int) -> tuple[ParamSpec, ...]:
    return (
        ParamSpec("gravity_x", "world", -1.5, 1.5, "m/s^2", "gravity along x in the arm's plane"),
        ParamSpec("gravity_y", "world", -1.5, 1.5, "m/s^2", "gravity along y in the arm's plane"),
        ParamSpec("friction", "world", 1.0, 3.0, "1/s", "rate at which velocities decay", "log"),
        ParamSpec("links", "body", 2, links, "", "how many links the arm has", "integer"),
        *(ParamSpec(f"length_{i}", "body", 0.25, 0.45, "m", f"length of link {i}") for i in range(links)),
        ParamSpec("mass", "body", 0.5, 2.0, "kg/link", "mass of each link", "log"),
        ParamSpec("strength", "body", 8.0, 16.0, "rad/s^2", "acceleration of a joint at full command", "log"),
    )


def _spatial_specs(links: int) -> tuple[ParamSpec, ...]:
    turn = "how far joint {}'s axis is turned about the link before it, the first about x"
    return (
        ParamSpec("gravity_z", "world", -1.5, 1.5, "m/s^2", "gravity along z"),
        *(ParamSpec(f"twist_{i}", "body", -TWIST, TWIST, "rad", turn.format(i)) for i in range(links)),
    )


class Reacher(EmbodiedFamily):
    """Capsule links on hinges about z; one control step is 4 timesteps of 0.0125 s.

    The third link exists or not (``links`` 3 or 2); an absent link is cut loose and takes no part. Sensors (11): the
    vector from each joint to the tip [m], cosine and sine of the first link's angle, joint velocities / 8 [rad/s]. Actions
    (3): joint torques, sized so that a joint swings once in about a second whatever the masses.

    With ``most_links`` 4 or 5 tasks may have that many links, each with a sensor and an action more. A ``spatial`` arm may
    leave the plane: every joint's axis is turned about the link before it by a twist of the task (Denavit and Hartenberg
    1955; without twists the arm is the planar one), gravity acts along z too, and goals may be about z. Its sensors (5 + 4
    per link): the tip [m], how the tip moves as each joint turns [m/rad], and the rest as above.
    """

    name = "reacher"
    plane = "xy"
    pipelines = ("spring", "generalized", "mjx")
    control_dt = 0.05
    max_speed = 60.0
    speed_unit = "rad/s"
    features: tuple[FeatureSpec, ...] = (
        FeatureSpec("tip", "m", 2, -_REACH, _REACH, 0.14, "where the tip is"),
        FeatureSpec("tip_x", "m", 1, -_REACH, _REACH, 0.1, "how far the tip is along x"),
        FeatureSpec("tip_y", "m", 1, -_REACH, _REACH, 0.1, "how far the tip is along y"),
        FeatureSpec("shoulder", "rad", 1, -2.0, 2.0, 0.2, "angle of the first link"),
    )

    def __init__(self, most_links: int = LINKS, spatial: bool = False, **options):
        if most_links not in range(LINKS, MOST + 1):
            raise ValueError(f"families.reacher.most_links is {most_links}; allowed: {LINKS} to {MOST}")
        self.spatial = spatial
        self.actuators = most_links
        self.sensors = 5 + 4 * most_links if spatial else 2 + 3 * most_links
        self.own_specs = _specs(most_links)
        if spatial:
            self.option_specs = _spatial_specs(most_links)
            self.view, self.plane = "3d", ""
            self.features = (*self.features, *_HIGHER)  # at the end: the others keep their numbers
        super().__init__(**options)

    def template(self) -> str:
        """MJCF of the body; see the base."""
        return _xml(self.actuators)

    def build(self, world: dict, body: dict) -> Any:
        """System with this task's lengths, twists, masses, motors and gravity."""
        length, exists = _lengths(body), _exists(body)
        mass = jnp.full(length.size, body["mass"])
        rotor = jnp.maximum(FLYWHEEL, ROTOR * _carried_inertia(exists, length * exists, jnp.zeros(length.size)))
        across = mass * (length**2 / 12.0 + rotor)
        zero = jnp.zeros(length.size)
        center = jnp.stack([length / 2.0, zero, zero], axis=1)
        offset = jnp.stack([jnp.concatenate([jnp.zeros(1), length[:-1]]), zero, zero], axis=1)
        # Brax resolves joints as springs, link by link: without the inertia of a geared motor's rotor a light link rings on
        # them at the rate of the control steps, and a motor's effect comes back reversed one step later. Only the turn about
        # z moves a planar arm: the other axes get an inertia that keeps the springs' frequency far below the timestep.
        inertia = jnp.stack([0.5 * mass, 0.5 * mass, across], axis=1)
        turn = physics.turned("x", _twists(body)) if self.spatial else None
        system = physics.set_links(self._system, mass, inertia, center, offset, turn)
        system = physics.cut_loose(system, exists)
        load = _carried_inertia(mass * exists, length * exists, rotor)
        # The load grows with the cube of the links: motors that swing a long arm as fast would whip it when it is folded.
        slower = jnp.minimum(1.0, LINKS / body["links"]) ** 2
        system = physics.set_motors(system, body["strength"] * load * exists * slower)
        system = physics.set_drag(system, world["friction"])
        upwards = world["gravity_z"] if self.spatial else jnp.zeros(())
        return physics.set_gravity(system, jnp.stack([world["gravity_x"], world["gravity_y"], upwards]))

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The arm is bent by about half a radian per joint, within 0.1 rad, at rest."""
        bent = jnp.full(self.actuators, 0.5).at[0].set(0.0)
        start = bent + jax.random.uniform(key, (self.actuators,), minval=-0.1, maxval=0.1)
        return self.moves.begin(model.system, start, jnp.zeros(self.actuators))

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """Four timesteps of 0.0125 s."""
        return self.moves.advance(model.system, state, control, SUBSTEPS, Traits(chained=True))

    def active(self, model: Model) -> jax.Array:
        """Motors of the links that exist."""
        return _exists(model.task.body)

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[sensors], see the class."""
        exists = _exists(model.task.body)
        shoulder = jnp.stack([jnp.cos(state.q[0]), jnp.sin(state.q[0])])
        ends, axes = self._joints(model, state)
        starts = jnp.concatenate([jnp.zeros((1, ends.shape[1])), ends[:-1]])
        arms = (ends[-1] - starts) * exists[:, None]  # turned by 90 degrees: the columns of a planar tip's Jacobian
        reach = [ends[-1], jnp.cross(axes, arms).reshape(-1)] if self.spatial else [arms.reshape(-1)]
        return jnp.concatenate([*reach, shoulder, state.qd * exists / 8.0])

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[4 or 6, 2]: tip, tip_x, tip_y, shoulder, and of a spatial arm tip_z, tip_xz."""
        tip, zero = self._joints(model, state)[0][-1], jnp.zeros(())
        rows = [tip[:2], *(jnp.stack([value, zero]) for value in (tip[0], tip[1], state.q[0]))]
        if self.spatial:
            rows += [jnp.stack([tip[2], zero]), tip[::2]]
        return jnp.stack(rows)

    def speed(self, model: Model, state: Any) -> jax.Array:
        """Fastest joint of the links that exist, rad/s."""
        return jnp.max(jnp.abs(state.qd) * _exists(model.task.body))

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        links = int(values["links"])
        reach = sum(values[f"length_{i}"] for i in range(links))
        pull = sum(values.get(f"gravity_{axis}", 0.0) ** 2 for axis in "xyz") ** 0.5
        twists = [f"{57.2958 * values[f'twist_{i}']:.0f}°" for i in range(links)] if self.spatial else []
        twisted = f" with joints twisted by {', '.join(twists)}" if twists else ""
        return f"a {links}-link arm of {reach:.2f} m reach{twisted}, {values['mass']:.1f} kg a link, gravity {pull:.1f} m/s²"

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """One capsule per link (radius 0 when absent)."""
        exists = _exists(model.task.body)
        ends = self._joints(model, state)[0]
        points = jnp.concatenate([jnp.zeros((1, ends.shape[1])), ends])
        points = jnp.pad(points, ((0, 0), (0, 3 - ends.shape[1])))
        capsules = jnp.concatenate([points[:-1], points[1:], (RADIUS * exists)[:, None]], axis=1)
        return {"capsules": capsules, "spheres": jnp.zeros((0, 4)), "boxes": jnp.zeros((0, 10))}

    def _joints(self, model: Model, state: Any) -> tuple[jax.Array, jax.Array]:
        """End of each link f32[L, 2 or 3] and the joints' axes f32[L, 3], from the joint angles; absent links have length 0."""
        body = model.task.body
        length = (_lengths(body) * _exists(body))[:, None]
        if not self.spatial:
            angle = jnp.cumsum(state.q)
            ends = jnp.cumsum(length * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1), axis=0)
            return ends, jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (len(angle), 3))
        frames = jax.lax.associative_scan(jax.vmap(physics.quat_mul), physics.turned("xz", _twists(body), state.q))
        along, axes = (jax.vmap(physics.rotate, (None, 0))(jnp.eye(3)[axis], frames) for axis in (0, 2))
        return jnp.cumsum(length * along, axis=0), axes


def _each(body: dict, name: str) -> jax.Array:
    """The numbers ``name_0``, ``name_1``, ... of a body, one for each link that may exist."""
    return jnp.stack([body[f"{name}_{i}"] for i in range(sum(key.startswith(f"{name}_") for key in body))])


def _lengths(body: dict) -> jax.Array:
    return _each(body, "length")


def _twists(body: dict) -> jax.Array:
    return _each(body, "twist")


def _exists(body: dict) -> jax.Array:
    return (jnp.arange(_lengths(body).size) < body["links"]).astype(jnp.float32)


def _carried_inertia(mass: jax.Array, length: jax.Array, rotor: jax.Array) -> jax.Array:
    """Inertia f32[L] about each joint of the outstretched links beyond it, kg m^2; absent links have mass and length 0.

    rotor: f32[L] m^2, what motors add to each link per mass.
    """
    start = jnp.concatenate([jnp.zeros(1), jnp.cumsum(length)[:-1]])
    middle = start + length / 2.0
    arm = jnp.maximum(middle[None, :] - start[:, None], 0.0)
    index = jnp.arange(length.size)
    beyond = index[None, :] >= index[:, None]
    return jnp.sum(beyond * mass[None, :] * (arm**2 + length[None, :] ** 2 / 12.0 + rotor[None, :]), axis=1)
