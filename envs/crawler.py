"""Crawler: a free body in three dimensions with two to six limbs of one or two segments around it, on uneven ground."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from envs import physics, terrain, walking
from envs.base import Model
from envs.embodied import EmbodiedFamily
from envs.goals import FeatureSpec
from envs.rows import Frame, Turn
from envs.spec import ParamSpec

LIMBS = 6
SEGMENTS = 2  # of a limb, at most
RADIUS = 0.04  # m, of limbs and feet
SUBSTEPS = 4
DAMPING = 0.8  # of the joints' servos, of critical
FLYWHEEL = 0.2  # m^2: rotational inertia per mass that geared rotors add to torso and segments
SOFT = 0.7  # stiffness of joints, of what is usual: they have to hold in all directions at this timestep
SHARE = 1.0  # mass of limb, of the torso's, by which all hips together are as stiff at most
STEEP = 0.95  # sine of the steepest droop at rest
AHEAD = (-0.5, -0.25, 0.25, 0.5)  # m from the torso along x: where the height of the terrain is sensed


def mjcf(limbs: int, segments: int) -> str:
    """Model with so many limbs and segments."""
    servo = 'gainprm="1" biastype="affine" ctrllimited="true" ctrlrange="-1 1"'
    names = [f"joint_{i}_{k}" for i in range(limbs) for k in range(segments)]
    motors = "".join(f'<general joint="{name}" {servo}/>' for name in names)
    return f"""<mujoco><option timestep="{0.05 / SUBSTEPS}" gravity="0 0 0"/>
<custom><numeric name="baumgarte_erp" data="0.02"/></custom><worldbody>{terrain.mjcf()}
<body name="torso"><freejoint name="root"/><geom name="torso" type="sphere" size="0.1" mass="2" contype="1" conaffinity="0"/>
{"".join(_limb(i, segments) for i in range(limbs))}</body></worldbody><actuator>{motors}</actuator></mujoco>"""


def _limb(i: int, segments: int) -> str:
    """Hip about the segment's z, knee about its y; capsules to be seen only, balls at their ends to meet the terrain."""
    bodies = "".join(
        f'<body name="segment_{i}_{k}" pos="{0.3 if k else 0.1} 0 0"><joint name="joint_{i}_{k}" type="hinge" axis="{axis}"/>'
        f'<geom name="segment_{i}_{k}" type="capsule" fromto="0 0 0 0.3 0 0" size="{RADIUS}" mass="0.5" contype="0" '
        f'conaffinity="0"/><geom name="end_{i}_{k}" type="sphere" pos="0.3 0 0" size="{RADIUS}" mass="0" contype="1" '
        f'conaffinity="0"/>'
        for k, axis in zip(range(segments), ("0 0 1", "0 -1 0"), strict=False)
    )
    return bodies + "</body>" * segments


class Crawler(EmbodiedFamily):
    """A round torso with a free joint and limbs around it that row, step and push; one control step is 4 timesteps of 0.0125 s.

    Limbs beyond ``limbs`` and the second segment of a limb of one are cut loose. A hip swings its limb sideways about an axis
    that is perpendicular to it and leans from upright by the limb's slant; a knee lifts the second segment. At rest all feet
    are as deep below the torso. The torso and the end of each segment touch the terrain with spheres and never each other;
    wind and slopes come with the terrain. Sensors (48): torso x y and height [m]; cosine and sine of its heading; which way is
    up, seen from the torso (3); its velocity / 2 [m/s] along and across the heading and upwards; its turning / 5 [rad/s] about
    its own axes; joint angles [rad] and velocities / 10 [rad/s], hip and knee of each limb; height of each foot above the
    terrain x 4 [m] (all 0 where absent); height of the terrain x 10 [m] at four places along x. Actions (12): where the
    joints' servos pull, hip and knee of each limb; positive is anticlockwise seen from above, and upwards.
    """

    name = "crawler"
    view = "3d"
    sensors = 14 + 2 * LIMBS * SEGMENTS + LIMBS + len(AHEAD)
    actuators = LIMBS * SEGMENTS
    control_dt = 0.05
    max_speed = 12.0
    speed_unit = "m/s"
    features = (
        FeatureSpec("torso", "m", 2, -0.8, 0.8, 0.1, "where the torso is on the ground"),
        FeatureSpec("torso_height", "m", 1, 0.05, 0.45, 0.03, "height of the middle of the torso above the ground"),
        FeatureSpec("heading", "rad", 1, -1.5, 1.5, 0.15, "direction of the torso's front seen from above"),
        FeatureSpec("tilt", "rad", 1, 0.0, 1.2, 0.12, "how far the torso leans from upright, to any side"),
        FeatureSpec("speed", "m/s", 1, 0.0, 1.2, 0.1, "speed of the torso along the ground"),
        FeatureSpec("foot", "m", 2, -1.0, 1.0, 0.1, "where the first limb's foot is, seen from above"),
    )
    own_specs = (
        *terrain.specs(sideways=True),
        ParamSpec("limbs", "body", 2, LIMBS, "", "how many limbs the crawler has", "integer"),
        *(ParamSpec(f"segments_{i}", "body", 1, SEGMENTS, "", f"segments of limb {i}", "integer") for i in range(LIMBS)),
        *(ParamSpec(f"upper_{i}", "body", 0.2, 0.4, "m", f"length of limb {i}'s first segment") for i in range(LIMBS)),
        *(ParamSpec(f"lower_{i}", "body", 0.2, 0.4, "m", f"length of limb {i}'s second segment") for i in range(LIMBS)),
        *(ParamSpec(f"place_{i}", "body", -0.2, 0.2, "gap", f"how far limb {i} is off an even round") for i in range(LIMBS)),
        *(ParamSpec(f"slant_{i}", "body", -1.0, 1.0, "rad", f"lean of limb {i}'s hip from upright") for i in range(LIMBS)),
        ParamSpec("stance", "body", 0.14, 0.26, "m", "height of the torso's middle on straight limbs"),
        ParamSpec("torso", "body", 0.08, 0.12, "m", "radius of the torso"),
        ParamSpec("mass", "body", 1.5, 4.0, "kg", "mass of the torso", "log"),
        ParamSpec("limb_mass", "body", 1.5, 3.0, "kg/m", "mass of the limbs per length", "log"),
        ParamSpec("response", "body", 10.0, 16.0, "rad/s", "natural frequency of a segment on its joint's servo", "log"),
        ParamSpec("swing", "body", 0.7, 1.2, "rad", "angle of a joint at full command"),
    )

    def template(self) -> str:
        """MJCF of the body; see the base."""
        return mjcf(LIMBS, SEGMENTS)

    def build(self, world: dict, body: dict) -> Any:
        """System with this task's torso, limbs, servos and terrain."""
        length, exists = _lengths(body), _exists(body)
        mass, torso = body["limb_mass"] * length, body["mass"]
        thin = jnp.stack([0.0 * length, length**2, length**2], axis=1) / 12.0 + FLYWHEEL
        ball = jnp.full((1, 3), torso * (0.4 * body["torso"] ** 2 + FLYWHEEL))
        center = jnp.concatenate([jnp.zeros((1, 3)), _along(length / 2.0)])
        inertia, masses = jnp.concatenate([ball, mass[:, None] * thin]), jnp.concatenate([torso[None], mass])
        system = physics.set_links(self._system, masses, inertia, center, *_frames(body))
        # A joint is as stiff as the lighter of what it joins can bear at this timestep, and so is its servo: see the swimmer.
        upper, lower = _of_limbs(body, "upper"), _of_limbs(body, "lower")
        shorter = _both(upper, jnp.minimum(upper, lower))
        hips = jnp.minimum(1.0, SHARE * torso / (body["limbs"] * mass[::SEGMENTS]))
        attached = SOFT * exists * _both(hips, jnp.minimum(1.0, upper / lower))
        system = physics.cut_loose(system, jnp.concatenate([jnp.ones(1), attached]))
        moved = body["limb_mass"] * shorter * (shorter**2 / 3.0 + FLYWHEEL) * exists
        rate, swing = body["response"], jnp.full(len(mass), body["swing"])
        system = physics.set_servos(system, swing, moved * rate**2, 2.0 * DAMPING * moved * rate)
        ends = jnp.concatenate([jnp.zeros((1, 3)), _along(length)])
        sizes = jnp.full((1 + len(mass), 1), RADIUS).at[0].set(body["torso"])
        rows = [terrain.GEOMS, *(terrain.GEOMS + 2 + 2 * k for k in range(len(mass)))]
        return terrain.place(physics.set_geoms(system, rows, ends, sizes), world)

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The torso level above the origin, joints within 0.1 rad of rest, the lowest ball just on the terrain, at rest."""
        bent = jax.random.uniform(key, (self.actuators,), minval=-0.1, maxval=0.1)
        start = jnp.concatenate([jnp.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), bent])
        still = jnp.zeros(6 + self.actuators)
        ends = _ends(model, physics.begin(model.system, start, still))
        ground = [terrain.height(model.task.world, ends[:, 0] + side) for side in (-RADIUS, 0.0, RADIUS)]
        lift = jnp.max(jnp.where(_exists(model.task.body) > 0, jnp.max(jnp.stack(ground), axis=0) + RADIUS - ends[:, 2], 0.0))
        return physics.begin(model.system, start.at[2].set(jnp.maximum(lift, model.task.body["torso"])), still)

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """Four timesteps of 0.0125 s."""
        return walking.walk(model.system, state, control, SUBSTEPS, _ground(model))

    def active(self, model: Model) -> jax.Array:
        """Motors of segments that exist."""
        return _exists(model.task.body)

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[48], see the class."""
        world, there, place = model.task.world, _exists(model.task.body), state.x.pos[0]
        (cos, sin), velocity = _toward(state), state.xd.vel[0] / 2.0
        turning = physics.inv_rotate(state.xd.ang[0], state.x.rot[0]) / 5.0
        motion = jnp.stack([velocity[0] * cos + velocity[1] * sin, velocity[1] * cos - velocity[0] * sin, velocity[2]])
        feet = _feet(model, state)
        above = (feet[:, 2] - terrain.height(world, feet[:, 0])) * 4.0 * there[::SEGMENTS]
        ahead = terrain.height(world, place[0] + jnp.array(AHEAD)) * 10.0
        torso = [place, jnp.stack([cos, sin]), _up(state), motion, turning]
        return jnp.concatenate([*torso, state.q[7:] * there, state.qd[6:] * there / 10.0, above, ahead])

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[6, 2]: torso, torso_height, heading, tilt, speed, foot."""
        place, up, (cos, sin), zero = state.x.pos[0], _up(state), _toward(state), jnp.zeros(())
        tilt = jnp.arctan2(_size(up[:2]), up[2])
        scalars = (place[2], jnp.arctan2(sin, cos), tilt, _size(state.xd.vel[0, :2]))
        return jnp.stack([place[:2], *(jnp.stack([value, zero]) for value in scalars), _feet(model, state)[0, :2]])

    def speed(self, model: Model, state: Any) -> jax.Array:
        """Fastest mass centre of the torso and of the segments that exist, m/s."""
        there = jnp.concatenate([jnp.ones(1), _exists(model.task.body)])
        return jnp.max(jnp.linalg.norm(state.xd_i.vel, axis=1) * there)

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        limbs = int(values["limbs"])
        two = sum(values[f"segments_{i}"] >= 2 for i in range(limbs))
        knees = {0: "none with a knee", limbs: "all with knees"}.get(two, f"{two} with {'a knee' if two == 1 else 'knees'}")
        return f"a {values['mass']:.1f} kg crawler with {limbs} limbs, {knees}, on {terrain.describe(values)}"

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """Capsules: segments (radius 0 when absent), log. Sphere: torso. Boxes: ground, step."""
        body = model.task.body
        segments = jnp.concatenate([state.x.pos[1:], _ends(model, state), (RADIUS * _exists(body))[:, None]], axis=1)
        log, boxes = terrain.shapes(model.task.world, breadth=1.2)
        torso = jnp.concatenate([state.x.pos[0], body["torso"][None]])
        return {"capsules": jnp.concatenate([segments, log]), "spheres": torso[None], "boxes": boxes}


def _both(upper: jax.Array, lower: jax.Array) -> jax.Array:
    """Numbers f32[LIMBS * SEGMENTS] in the order of the links, limb after limb, from those of first and second segments."""
    return jnp.stack([upper, lower][:SEGMENTS], axis=1).reshape(-1)


def _of_limbs(body: dict, name: str) -> jax.Array:
    return jnp.stack([body[f"{name}_{i}"] for i in range(LIMBS)])


def _lengths(body: dict) -> jax.Array:
    return _both(_of_limbs(body, "upper"), _of_limbs(body, "lower"))


def _exists(body: dict) -> jax.Array:
    """f32[LIMBS * SEGMENTS]."""
    limb = (jnp.arange(LIMBS) < body["limbs"]).astype(jnp.float32)
    return _both(limb, limb * _two(body))


def _two(body: dict) -> jax.Array:
    """f32[LIMBS]: the limb has two segments."""
    return (_of_limbs(body, "segments") > 1.5).astype(jnp.float32)


def _along(length: jax.Array) -> jax.Array:
    """Points f32[N, 3] so far along x."""
    return jnp.pad(length[:, None], ((0, 0), (0, 2)))


def _frames(body: dict) -> tuple[jax.Array, jax.Array]:
    """Places f32[L, 3] and turns f32[L, 4] of all links in their parents' frames; x runs along a segment."""
    upper, lower, slant, two = *(_of_limbs(body, name) for name in ("upper", "lower", "slant")), _two(body)
    around = 2.0 * jnp.pi * (jnp.arange(LIMBS) + _of_limbs(body, "place")) / body["limbs"]
    deep = body["stance"] - RADIUS
    droop = jnp.arcsin(jnp.minimum(deep / upper, STEEP)) * (1.0 - two)
    bend = jnp.arcsin(jnp.minimum(deep / lower, STEEP))
    hips = body["torso"] * jnp.stack([jnp.cos(around), jnp.sin(around), jnp.zeros(LIMBS)], axis=1)
    turns = [physics.turned("zyx", around, droop, slant), physics.turned("xy", -slant, bend)]
    place = jnp.stack([hips, _along(upper)][:SEGMENTS], axis=1).reshape(-1, 3)
    turn = jnp.stack(turns[:SEGMENTS], axis=1).reshape(-1, 4)
    return jnp.concatenate([jnp.zeros((1, 3)), place]), jnp.concatenate([jnp.array([[1.0, 0.0, 0.0, 0.0]]), turn])


def _ground(model: Model) -> walking.Ground:
    """Balls of the torso and at the ends of the segments that exist, on the task's terrain."""
    world, body = model.task.world, model.task.body
    center = jnp.concatenate([jnp.zeros((1, 3)), _along(_lengths(body))])
    exists = jnp.concatenate([jnp.ones(1), _exists(body)])
    radius = jnp.full(len(exists), RADIUS).at[0].set(body["torso"])
    return walking.Ground(terrain.surface(world), center, radius, exists, world["friction"])


def _ends(model: Model, state: Any) -> jax.Array:
    """Ends f32[LIMBS * SEGMENTS, 3] of all segments in the world."""
    along = _frames_of(state.x.rot[1:]).x
    return state.x.pos[1:] + jnp.stack([along.x, along.y, along.z], axis=1) * _lengths(model.task.body)[:, None]


def _feet(model: Model, state: Any) -> jax.Array:
    """End f32[LIMBS, 3] of the last segment of each limb that exists."""
    ends = _ends(model, state).reshape(LIMBS, SEGMENTS, 3)
    return jnp.where(_two(model.task.body)[:, None] > 0, ends[:, -1], ends[:, 0])


def _frames_of(turns: jax.Array) -> Frame:
    """Axes of N frames that are turned so, f32[N, 4]."""
    return Turn(*turns.T).frame()


def _up(state: Any) -> jax.Array:
    """Which way is up, seen from the torso, f32[3]; the torso's own z axis, seen from the world, leans as far."""
    return jnp.concatenate([axis.z for axis in _frames_of(state.x.rot[:1])])


def _toward(state: Any) -> jax.Array:
    """Cosine and sine f32[2] of the torso's heading."""
    ahead = _frames_of(state.x.rot[:1]).x
    front = jnp.concatenate([ahead.x, ahead.y])
    return front / _size(front)


def _size(vector: jax.Array) -> jax.Array:
    """Its length; differentiable at 0."""
    return jnp.sqrt(jnp.sum(vector**2) + 1e-12)
