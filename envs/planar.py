"""Bodies that move in a plane: the equations of Brax's spring pipeline for two coordinates and an angle of each link.

The pipeline (``brax/spring/pipeline.py``, version 0.14.2) moves every body in space: quaternions, vectors of three, inertias
of nine numbers. Where nothing leaves a plane most of these are 0. What is left of a timestep, in the same order: motors
(``brax/actuator.py``), joints as stiff damped springs (``spring/joints.py``), semi-implicit Euler, impulses of contacts
(``spring/collisions.py``, here `envs.touching`), decay of velocities and the new places (``spring/integrator.py``). Results
are Brax's up to rounding, with `physics.joint_velocities`, `physics.rub` and `physics.resist` in their places.

Numbers of L links are arrays f32[L] of their own, one for each coordinate: whole arrays are then added and multiplied without
strides, which is what makes it quick.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs import planar_step as step
from envs import touching
from envs.physics import Motion, System, Transform
from envs.pipelines import PLAIN, Pipeline, Traits
from envs.planar_step import KINDS, Plane
from envs.touching import Moving, Pair

PLANES = {"xy": Plane(0, 1, 2, 1.0), "xz": Plane(0, 2, 1, -1.0)}


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["q", "qd", "moving", "half", "arm"],
    meta_fields=["plane"],
)
@dataclasses.dataclass(frozen=True)
class Flat:
    """State of a planar body. It has the fields of `pipelines.Moved`, of which the ones in space are made when asked for."""

    q: jax.Array
    qd: jax.Array
    moving: Moving  # mass centres
    half: Pair  # f32[L] cosine and sine of half the angle, as in a quaternion
    arm: Pair  # f32[L] m, from the link's origin to its mass centre
    plane: Plane

    def _in_space(self, u: jax.Array, v: jax.Array) -> jax.Array:
        rows = {self.plane.u: u, self.plane.v: v}
        return jnp.stack([rows.get(axis, jnp.zeros_like(u)) for axis in range(3)], axis=-1)

    @property
    def _turn(self) -> jax.Array:
        cos, sin, zero = self.half[0], self.plane.sense * self.half[1], jnp.zeros_like(self.half[1])
        return jnp.stack([cos, *(sin if axis == self.plane.across else zero for axis in range(3))], axis=-1)

    def _motion(self, du: jax.Array, dv: jax.Array) -> Motion:
        spin, zero = self.plane.sense * self.moving.spin, jnp.zeros_like(du)
        ang = jnp.stack([spin if axis == self.plane.across else zero for axis in range(3)], axis=-1)
        return Motion(ang=ang, vel=self._in_space(du, dv))

    @property
    def x(self) -> Transform:
        """Frames of the links in the world."""
        return Transform(pos=self._in_space(self.moving.u - self.arm[0], self.moving.v - self.arm[1]), rot=self._turn)

    @property
    def xd(self) -> Motion:
        """Their velocities."""
        now = self.moving
        return self._motion(now.du + now.spin * self.arm[1], now.dv - now.spin * self.arm[0])

    @property
    def x_i(self) -> Transform:
        """Mass centres."""
        return Transform(pos=self._in_space(self.moving.u, self.moving.v), rot=self._turn)

    @property
    def xd_i(self) -> Motion:
        """Their velocities."""
        return self._motion(self.moving.du, self.moving.dv)


@dataclasses.dataclass(frozen=True)
class Planar(Pipeline):
    """The spring pipeline for bodies in the plane ``xy`` or ``xz``.

    Links of the world are on one or two slides along the axes of the plane, in this order, perhaps with a hinge after them,
    or on a hinge; all others are on hinges at their origins.
    """

    plane: str

    def load(self, xml: str) -> System:
        """See the base.

        Raises:
            ValueError: the body leaves the plane, or has joints of other kinds.
        """
        system = super().load(xml)
        _check(system, PLANES[self.plane])
        return system

    def adopt(self, system: System) -> System:
        """Nothing is to be done."""
        return system

    def begin(self, system: System, q: jax.Array, qd: jax.Array) -> Flat:
        """Where joints put the links, one after the other."""
        plane, numbers, none = PLANES[self.plane], step.numbers_of(system, PLANES[self.plane]), jnp.zeros(())
        half_angle: list[jax.Array] = []
        links: list[Moving] = []
        for i, (parent, joint) in enumerate(zip(system.link_parents, step.joints_of(system), strict=True)):
            base = links[parent] if parent >= 0 else Moving(none, none, none + 1.0, none, none, none, none)
            (x, y, turn), (dx, dy, turning) = ([of[joint[k]] if k in joint else none for k in KINDS] for of in (q, qd))
            turn = 0.5 * numbers.sense[i] * turn + (half_angle[parent] if parent >= 0 else 0.0)
            spin = base.spin + numbers.sense[i] * turning
            lever = base.turned(numbers.lever[0][i], numbers.lever[1][i])
            angle = Moving(none, none, jnp.cos(2.0 * turn), jnp.sin(2.0 * turn), none, none, none)
            arm = angle.turned(numbers.out[0][i], numbers.out[1][i])
            half_angle.append(turn)
            links.append(
                angle._replace(
                    u=base.u + lever[0] + x + arm[0],
                    v=base.v + lever[1] + y + arm[1],
                    du=base.du - base.spin * lever[1] + dx - spin * arm[1],
                    dv=base.dv + base.spin * lever[0] + dy + spin * arm[0],
                    spin=spin,
                )
            )
        now, angles = Moving(*map(jnp.stack, zip(*links, strict=True))), jnp.stack(half_angle)
        return Flat(q, qd, now, (jnp.cos(angles), jnp.sin(angles)), now.turned(*numbers.out), plane)

    def advance(self, system: System, state: Flat, control: jax.Array, substeps: int, traits: Traits = PLAIN) -> Flat:
        """See the base; ``chained`` is no matter: velocities in the joints are as they are."""
        plane, parents, joints = PLANES[self.plane], [int(parent) for parent in system.link_parents], step.joints_of(system)
        numbers, motors = step.numbers_of(system, plane), step.motors_of(system, joints, control)
        found = touching.pairs(system)
        meeting = touching.meeting(system, found, plane.axes, system.link.inertia.transform.pos) if found.kinds else None
        biased = bool(np.any(np.asarray(system.actuator_biastype)))
        slow = None if traits.fluid is None else step.resisting(traits.fluid, numbers, plane)

        def one(_: Any, carried: tuple[Moving, Pair]) -> tuple[Moving, Pair]:
            now, half = carried
            gained = step.forces(numbers, parents, step.joint_of(numbers, parents, now), motors, biased)
            now = now if slow is None else slow(now)
            now = now._replace(
                du=now.du + numbers.step * (gained[0] + numbers.gravity[0]),
                dv=now.dv + numbers.step * (gained[1] + numbers.gravity[1]),
                spin=now.spin + numbers.step * gained[2],
            )
            hit = None if meeting is None else touching.impulses(found, meeting, now, numbers.ease, traits.ground)
            now, half = step.moved(numbers, now, half, hit)
            return (step.rubbed(numbers, now) if traits.rubbing else now), half

        now, half = jax.lax.fori_loop(0, substeps, one, (state.moving, state.half))
        joint = step.joint_of(numbers, parents, now)
        q, qd = step.coordinates(numbers, joints, joint)
        return Flat(q, qd, now, half, joint.arm, plane)


def _check(system: System, plane: Plane) -> None:
    motion = system.dof.motion
    kinds = np.asarray(system.jnt_type)
    if not np.all((kinds == step.SLIDE) | (kinds == step.HINGE)):
        raise ValueError("a body in a plane is on slides and hinges")
    joints = step.joints_of(system)
    along = {kind: np.eye(3)[axis] for kind, axis in zip(KINDS, (plane.u, plane.v, plane.across), strict=True)}
    for link, (parent, joint) in enumerate(zip(system.link_parents, joints, strict=True)):
        allowed = ({"u"}, {"u", "v"}, {"u", "v", "turn"}, {"turn"}) if parent < 0 else ({"turn"},)
        for kind, dof in joint.items():
            axis = np.asarray(motion.ang[dof] if kind == "turn" else motion.vel[dof])
            straight = np.allclose(np.abs(axis) if kind == "turn" else axis, along[kind])
            if set(joint) not in allowed or not straight:
                raise ValueError(f"joint {kind} of link {system.link_names[link]} leaves the plane, or is of another kind")
    still = (np.asarray(system.link.joint.pos), np.asarray(system.link.transform.rot)[:, 1:])
    limited = system.dof.limit is not None or np.any(np.isfinite(np.asarray(system.actuator.force_range)))
    if any(np.any(part) for part in still) or limited or system.spring_mass_scale or system.spring_inertia_scale:
        raise ValueError("a body in a plane has joints at its links' origins, no turned links, no limits and no scaled masses")
