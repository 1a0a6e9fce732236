"""Walker: a torso on one to three legs of one or two segments in a vertical plane, on sloping ground with a step and a log."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from envs import physics, terrain
from envs.base import Model
from envs.embodied import EmbodiedFamily
from envs.goals import FeatureSpec
from envs.pipelines import Traits
from envs.spec import ParamSpec

LEGS = 3
SEGMENTS = 2  # of a leg, at most
RADIUS = 0.04  # m, of legs and feet
TORSO = 0.06  # m, radius of the torso
SUBSTEPS = 3
DAMPING = 0.5  # of the joints' servos, of critical
FLYWHEEL = 0.1  # m^2: rotational inertia per mass that geared rotors add to torso and segments
AHEAD = (-0.3, 0.3, 0.6)  # m from the torso along x: where the height of the terrain is sensed
HIPS = ((-1.0, -0.4), (0.4, 1.0), (-0.3, 0.3))  # bounds of the place of each hip, as a share of half the torso


def _xml() -> str:
    legs = "".join(_leg(i) for i in range(LEGS))
    root = '<joint name="x" type="slide" axis="1 0 0"/><joint name="z" type="slide" axis="0 0 1"/>'
    ends = "".join(_ball(f"torso_{side}", TORSO, f"{x} 0 0") for side, x in (("back", -0.2), ("front", 0.2)))
    spring = 'gainprm="1" biastype="affine" ctrllimited="true" ctrlrange="-1 1"'
    segments = [f"{i}_{k}" for i in range(LEGS) for k in range(SEGMENTS)]
    balls = [("torso", "torso_back"), ("torso", "torso_front"), *((f"segment_{name}", f"end_{name}") for name in segments)]
    planes, contacts = terrain.tangents(balls)
    motors = "".join(f'<general joint="joint_{name}" {spring}/>' for name in segments)
    return f"""<mujoco><option timestep="{0.05 / SUBSTEPS}" gravity="0 0 0"/>
<custom><numeric name="baumgarte_erp" data="0.02"/></custom><worldbody>{terrain.mjcf()}{planes}
<body name="torso">{root}<joint name="pitch" type="hinge" axis="0 -1 0"/>{_rod("torso", TORSO, "-0.2 0 0 0.2 0 0", 3)}{ends}
{legs}</body></worldbody>{contacts}<actuator>{motors}</actuator></mujoco>"""


def _leg(i: int) -> str:
    segments = "".join(
        f'<body name="segment_{i}_{k}" pos="0 0 {-0.2 * (k > 0)}"><joint name="joint_{i}_{k}" type="hinge" axis="0 -1 0"/>'
        f"{_rod(f'segment_{i}_{k}', RADIUS, '0 0 0 0 0 -0.2', 0.6)}{_ball(f'end_{i}_{k}', RADIUS, '0 0 -0.2')}"
        for k in range(SEGMENTS)
    )
    return segments + "</body>" * SEGMENTS


def _rod(name: str, radius: float, ends: str, mass: float) -> str:
    """To be seen only: spheres at the ends of torso and segments meet the ground, which is cheaper."""
    return f'<geom name="{name}" type="capsule" fromto="{ends}" size="{radius}" mass="{mass}" contype="0" conaffinity="0"/>'


def _ball(name: str, radius: float, at: str) -> str:
    return f'<geom name="{name}" type="sphere" pos="{at}" size="{radius}" mass="0" contype="1" conaffinity="0"/>'


class Walker(EmbodiedFamily):
    """A torso on legs in the plane x-z, x forwards; one control step is 3 timesteps of 1/60 s.

    Legs beyond ``legs`` and the lower segment of a leg of one are cut loose. A single leg stands under the middle, the first
    of more behind, the second in front, the third between. Torso and segments touch the terrain with spheres at their ends and
    never each other; wind and slope come with the terrain. Sensors (25): torso x and height [m], cosine and sine of its pitch,
    its velocity / 2 [m/s] and turning rate / 5 [rad/s], joint angles [rad], joint velocities / 10 [rad/s], height of each foot
    above the terrain x 4 [m] (0 where absent), height of the terrain x 10 [m] 0.3 m behind, 0.3 and 0.6 m ahead of the torso.
    Actions (6): where the joints' servos pull, hip and knee of each leg; 0 is straight down, positive is forwards.
    """

    name = "walker"
    plane = "xz"
    view = "side"
    sensors = 7 + 2 * LEGS * SEGMENTS + LEGS + len(AHEAD)
    actuators = LEGS * SEGMENTS
    control_dt = 0.05
    max_speed = 16.0
    speed_unit = "m/s"
    features = (
        FeatureSpec("torso_x", "m", 1, -0.8, 0.8, 0.06, "how far the middle of the torso is along x"),
        FeatureSpec("torso_height", "m", 1, 0.1, 0.45, 0.03, "height of the middle of the torso above the ground"),
        FeatureSpec("pitch", "rad", 1, -1.2, 1.2, 0.12, "how far the torso's front is turned upwards"),
        FeatureSpec("speed_x", "m/s", 1, -1.0, 1.0, 0.08, "speed of the torso along x"),
        FeatureSpec("jump", "m", 1, 0.05, 0.3, 0.03, "height of the lowest foot above the ground"),
        FeatureSpec("foot", "m", 2, -0.6, 0.6, 0.08, "where the first leg's foot is: along x and above the ground"),
    )
    own_specs = (
        *terrain.specs(),
        ParamSpec("legs", "body", 1, LEGS, "", "how many legs the walker has", "integer"),
        *(ParamSpec(f"segments_{i}", "body", 1, SEGMENTS, "", f"segments of leg {i}", "integer") for i in range(LEGS)),
        ParamSpec("leg", "body", 0.25, 0.42, "m", "length of a leg, all its segments"),
        ParamSpec("uneven", "body", -0.06, 0.06, "m", "how much longer the second leg is than the first"),
        *(ParamSpec(f"hip_{i}", "body", *HIPS[i], "", f"hip of leg {i}, 1 at the torso's front") for i in range(LEGS)),
        ParamSpec("torso", "body", 0.18, 0.32, "m", "half the length of the torso"),
        ParamSpec("mass", "body", 1.5, 4.0, "kg", "mass of the torso", "log"),
        ParamSpec("leg_mass", "body", 3.0, 5.0, "kg/m", "mass of the legs per length", "log"),
        ParamSpec("response", "body", 15.0, 24.0, "rad/s", "natural frequency of a segment on its joint's servo", "log"),
        ParamSpec("swing", "body", 0.7, 1.2, "rad", "angle of a joint at full command"),
    )

    def template(self) -> str:
        """MJCF of the body; see the base."""
        return _xml()

    def build(self, world: dict, body: dict) -> Any:
        """System with this task's torso, legs, servos and terrain."""
        length, exists, half = _lengths(body), _exists(body), body["torso"]
        mass = body["leg_mass"] * length
        zero = jnp.zeros(LEGS * SEGMENTS)
        # Only the turn about y moves a planar body. The torso has half of its mass at either end.
        rod = mass * (length**2 / 12.0 + FLYWHEEL)
        inertia = jnp.concatenate([(body["mass"] * (half**2 + FLYWHEEL))[None], rod])
        masses = jnp.concatenate([body["mass"][None], mass])
        inertia = jnp.broadcast_to(0.5 * masses[:, None], (len(masses), 3)).at[:, 1].set(inertia)
        center = _with_torso(jnp.stack([zero, zero, -length / 2.0], axis=1))
        system = physics.set_links(self._system, masses, inertia, center, _with_torso(_joints(body)))
        system = physics.cut_loose(system, jnp.concatenate([jnp.ones(1), exists]))
        segment = body["leg"] / 2.0  # every servo is as strong as the segments of a leg of two can bear
        turned = body["leg_mass"] * segment * (segment**2 / 3.0 + FLYWHEEL) * exists
        rate, swing = body["response"], jnp.full(LEGS * SEGMENTS, body["swing"])
        system = physics.set_servos(system, swing, turned * rate**2, 2.0 * DAMPING * turned * rate)
        system = physics.set_geoms(system, *_geoms(length, half))
        return terrain.place(system, world)

    def begin(self, model: Model, key: jax.Array) -> Any:
        """The torso level above the origin, joints within 0.05 rad of straight, the lowest foot just on the ground, at rest."""
        bent = jax.random.uniform(key, (LEGS * SEGMENTS,), minval=-0.05, maxval=0.05)
        start = jnp.concatenate([jnp.zeros(3), bent])
        still = jnp.zeros(3 + LEGS * SEGMENTS)
        feet = _feet(model, self.moves.begin(model.system, start, still))
        lowest = jnp.min(jnp.where(_legs(model.task.body) > 0, feet[:, 1], 0.0))
        return self.moves.begin(model.system, start.at[1].set(RADIUS - lowest), still)

    def move(self, model: Model, state: Any, control: jax.Array) -> Any:
        """Three timesteps of 1/60 s."""
        ground = terrain.surface(model.task.world)
        return self.moves.advance(model.system, state, control, SUBSTEPS, Traits(chained=True, ground=ground))

    def active(self, model: Model) -> jax.Array:
        """Motors of segments that exist."""
        return _exists(model.task.body)

    def sense(self, model: Model, state: Any) -> jax.Array:
        """f32[25], see the class."""
        world, body = model.task.world, model.task.body
        q, qd, there, feet = state.q, state.qd, _exists(body), _feet(model, state)
        torso = jnp.stack([q[0], q[1], jnp.cos(q[2]), jnp.sin(q[2]), qd[0] / 2.0, qd[1] / 2.0, qd[2] / 5.0])
        above = (feet[:, 1] - RADIUS - terrain.height(world, feet[:, 0])) * _legs(body)
        ground = terrain.height(world, q[0] + jnp.array(AHEAD))
        return jnp.concatenate([torso, q[3:] * there, qd[3:] * there / 10.0, 4.0 * above, 10.0 * ground])

    def measure(self, model: Model, state: Any) -> jax.Array:
        """f32[6, 2]: torso_x, torso_height, pitch, speed_x, jump, foot."""
        feet, zero = _feet(model, state), jnp.zeros(())
        lowest = jnp.min(jnp.where(_legs(model.task.body) > 0, feet[:, 1], jnp.inf)) - RADIUS
        scalars = (state.q[0], state.q[1], state.q[2], state.qd[0], lowest)
        return jnp.stack([*(jnp.stack([value, zero]) for value in scalars), feet[0]])

    def speed(self, model: Model, state: Any) -> jax.Array:
        """The fastest centre of mass of torso and segments that exist, m/s."""
        there = jnp.concatenate([jnp.ones(1), _exists(model.task.body)])
        return jnp.max(jnp.linalg.norm(state.xd_i.vel, axis=1) * there)

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        legs = int(values["legs"])
        segments = [int(values[f"segments_{i}"]) for i in range(legs)]
        count = {1: "one leg", 2: "two legs", 3: "three legs"}[legs]
        knees = f"{' and '.join(map(str, segments))} segment{'s' if segments != [1] else ''}"
        heavy = f"{values['mass']:.1f} kg and {2 * values['torso']:.2f} m"
        return f"a torso of {heavy} on {count} of {knees}, {terrain.describe(values)}"

    def shapes(self, model: Model, state: Any) -> dict[str, jax.Array]:
        """Capsules: torso, segments (radius 0 when absent), log. Boxes: ground, step."""
        body, zero = model.task.body, jnp.zeros(())
        half = jnp.stack([body["torso"], zero, zero])
        torso = jnp.concatenate([physics.point(state, 0, -half), physics.point(state, 0, half), jnp.full(1, TORSO)])
        ends = jnp.insert(_ends(model, state), 1, 0.0, axis=1)
        segments = jnp.concatenate([state.x.pos[1:], ends, (RADIUS * _exists(body))[:, None]], axis=1)
        log, boxes = terrain.shapes(model.task.world)
        capsules = jnp.concatenate([torso[None], segments, log])
        return {"capsules": capsules, "spheres": jnp.zeros((0, 4)), "boxes": boxes}


def _of_legs(body: dict, name: str) -> jax.Array:
    """A number of each leg, f32[LEGS]."""
    return jnp.stack([body[f"{name}_{i}"] for i in range(LEGS)])


def _lengths(body: dict) -> jax.Array:
    """f32[LEGS x SEGMENTS], m; all segments of a leg alike."""
    longer = jnp.array([-0.5, 0.5, *[0.0] * LEGS])[:LEGS] * (body["legs"] > 1)
    return jnp.repeat((body["leg"] + longer * body["uneven"]) / _of_legs(body, "segments"), SEGMENTS)


def _legs(body: dict) -> jax.Array:
    """f32[LEGS]: 1 for a leg that exists."""
    return (jnp.arange(LEGS) < body["legs"]).astype(jnp.float32)


def _exists(body: dict) -> jax.Array:
    """f32[LEGS x SEGMENTS]."""
    inside = jnp.arange(SEGMENTS) < _of_legs(body, "segments")[:, None]
    return (inside * _legs(body)[:, None]).reshape(-1)


def _with_torso(rows: jax.Array) -> jax.Array:
    """Rows f32[1 + N, 3] of all links from those of the segments; the torso's is 0."""
    return jnp.concatenate([jnp.zeros((1, 3)), rows])


def _joints(body: dict) -> jax.Array:
    """Where each segment hangs, f32[LEGS x SEGMENTS, 3] in the frame of its parent: hips on the torso, knees at the ends."""
    hips = _of_legs(body, "hip") * body["torso"] * (body["legs"] > 1)
    first = jnp.arange(LEGS * SEGMENTS) % SEGMENTS == 0
    x, z = jnp.where(first, jnp.repeat(hips, SEGMENTS), 0.0), jnp.where(first, 0.0, -_lengths(body))
    return jnp.stack([x, jnp.zeros(LEGS * SEGMENTS), z], axis=1)


def _geoms(length: jax.Array, half: jax.Array) -> tuple[list[int], jax.Array, jax.Array]:
    """Indices, positions f32[G, 3] and sizes f32[G, 2] of the torso's and the segments' geoms in the frames of their links."""
    torso_at, torso_size = jnp.outer(jnp.stack([0.0 * half, -half, half]), jnp.array([1.0, 0.0, 0.0])), jnp.full((3, 2), TORSO)
    down = jnp.outer(jnp.stack([length / 2.0, length], axis=1).reshape(-1), jnp.array([0.0, 0.0, -1.0]))
    position = jnp.concatenate([torso_at, down])
    size = jnp.concatenate([torso_size.at[0, 1].set(half), jnp.full((len(down), 2), RADIUS).at[::2, 1].set(length / 2.0)])
    first = terrain.GEOMS + len(position) // 2 + 1
    return list(range(first, first + len(position))), position, size


def _ends(model: Model, state: Any) -> jax.Array:
    """Lower end f32[LEGS x SEGMENTS, 2] of each segment, along x and above the ground; segments turn about y only."""
    x, length = state.x, _lengths(model.task.body)
    w, y = x.rot[1:, 0], x.rot[1:, 2]
    return jnp.stack([x.pos[1:, 0] - 2.0 * w * y * length, x.pos[1:, 2] - (w**2 - y**2) * length], axis=1)


def _feet(model: Model, state: Any) -> jax.Array:
    """Middle of each leg's foot f32[LEGS, 2]: along x and above the ground; absent legs' feet are at the torso."""
    ends = _ends(model, state).reshape(LEGS, SEGMENTS, 2)
    last = jax.nn.one_hot(_of_legs(model.task.body, "segments").astype(jnp.int32) - 1, SEGMENTS)
    feet = jnp.sum(ends * last[:, :, None], axis=1)
    return jnp.where(_legs(model.task.body)[:, None] > 0, feet, state.x.pos[0, ::2])
