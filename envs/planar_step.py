"""One timestep of links in a plane, without contacts: what joints, motors, a fluid and dry friction do, and how links move.

The equations are those of ``brax/spring/joints.py``, ``brax/actuator.py`` and ``brax/spring/integrator.py``, version 0.14.2,
and of `envs.physics`; see `envs.planar`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.physics import Fluid, System
from envs.rows import summed, taken
from envs.touching import Moving, Pair

SLIDE, HINGE = 2, 3  # mjtJoint
KINDS = ("u", "v", "turn")  # of joints


class Plane(NamedTuple):
    """Axes of the world: the two of the plane, and the one across it, about which angles count in this sense."""

    u: int
    v: int
    across: int
    sense: float  # so that a quarter turn takes u to v

    @property
    def axes(self) -> np.ndarray:
        """u and v."""
        return np.array([self.u, self.v])


class Numbers(NamedTuple):
    """What a timestep needs of a System with L links, f32[L] each unless it says otherwise."""

    out: Pair  # m, mass centre in the link's frame
    lever: Pair  # m, the link's origin from its parent's mass centre, in the parent's frame
    ease: Pair  # 1 / mass, 1 / inertia
    stiff: tuple[jax.Array, ...]  # of the joint along u, along v and in turning; 0 where it is free
    damping: tuple[jax.Array, ...]
    sense: jax.Array  # of the hinge's axis in that of the plane
    gravity: Pair  # f32[] m/s^2
    kept: Pair  # f32[] share of velocities and of spins that a timestep leaves
    step: jax.Array  # f32[] s
    rubbing: jax.Array  # m/s that dry friction takes in a timestep


class Motor(NamedTuple):
    """What acts on the links' joints along u, along v or in turning, f32[L] each: ``push + by_q q + by_qd qd``."""

    push: jax.Array
    by_q: jax.Array
    by_qd: jax.Array


class Joint(NamedTuple):
    """The links' joints, f32[L] each, in the world's directions."""

    place: Pair  # m, of the origin from where the parent has it
    rate: Pair  # m/s
    turn: Pair  # cosine and sine of the angle
    turning: jax.Array  # rad/s
    arm: Pair  # m, from the origin to the mass centre
    lever: Pair  # m, from the parent's mass centre to where it has the origin


def joints_of(system: System) -> list[dict[str, int]]:
    """Of each link, which degree of freedom is along u, along v and in turning."""
    found = []
    for link in range(len(system.link_parents)):
        dofs = np.flatnonzero(np.asarray(system.dof_bodyid) == link + 1).tolist()
        kinds = [int(system.jnt_type[system.dof_jntid[dof]]) for dof in dofs]
        slides = iter("uvw")  # no plane has the last
        found.append({"turn" if kind == HINGE else next(slides): dof for dof, kind in zip(dofs, kinds, strict=True)})
    return found


def numbers_of(system: System, plane: Plane) -> Numbers:
    link, joints = system.link, joints_of(system)
    parents, u, v = np.asarray(system.link_parents), plane.u, plane.v
    center, step = link.inertia.transform.pos, system.opt.timestep
    lever = link.transform.pos - jnp.concatenate([center, jnp.zeros((1, 3))])[parents]
    pinned = [np.array([float(kind not in joint) for joint in joints]) for kind in ("u", "v")]
    # What keeps a slide from turning: springs on two axes of the world, of which only those in the plane count.
    slides = np.array([0 if "turn" in joint else len(joint) for joint in joints])
    x, y, z = (float(axis != plane.across) for axis in range(3))
    by_joint, by_limit = np.where(slides == 1, x + y, np.where(slides == 2, z, 0.0)), np.where(slides == 2, y, 0.0)
    turning = link.constraint_stiffness * by_joint + link.constraint_limit_stiffness * by_limit
    hinge = np.array([joint.get("turn", 0) for joint in joints])
    first = np.asarray(system.body_dofadr)[1:]
    return Numbers(
        out=(center[:, u], center[:, v]),
        lever=(lever[:, u], lever[:, v]),
        ease=(1.0 / link.inertia.mass, 1.0 / link.inertia.i[:, plane.across, plane.across]),
        stiff=(*(link.constraint_stiffness * each for each in pinned), turning),
        damping=(*(link.constraint_vel_damping * each for each in pinned), link.constraint_ang_damping),
        sense=plane.sense * system.dof.motion.ang[hinge, plane.across],
        gravity=(system.gravity[u], system.gravity[v]),
        kept=(jnp.exp(system.vel_damping * step), jnp.exp(system.ang_damping * step)),
        step=step,
        rubbing=system.dof_frictionloss[first] / link.inertia.mass * step,
    )


def motors_of(system: System, joints: list[dict[str, int]], control: jax.Array) -> dict[str, Motor]:
    """Of each kind of joint that has any, under this command."""
    actuator = system.actuator
    reach = actuator.ctrl_range
    push = actuator.gear * actuator.gain * jnp.clip(control, reach[:, 0], reach[:, 1])
    by_q, by_qd = actuator.gear**2 * actuator.bias_q, actuator.gear**2 * actuator.bias_qd
    driven = np.asarray(system.jnt_dofadr)[np.asarray(system.actuator_trnid)[:, 0]].tolist()
    motors = {}
    for kind in KINDS:
        rows = [driven.index(joint[kind]) if joint.get(kind) in driven else -1 for joint in joints]
        if max(rows) >= 0:
            motors[kind] = Motor(*(taken(part, rows) for part in (push, by_q, by_qd)))
    return motors


def joint_of(numbers: Numbers, parents: list[int], now: Moving) -> Joint:
    base = now.taken(parents)
    arm, lever = now.turned(*numbers.out), base.turned(*numbers.lever)
    return Joint(
        place=(now.u - arm[0] - base.u - lever[0], now.v - arm[1] - base.v - lever[1]),
        rate=(
            now.du + now.spin * arm[1] - base.du + base.spin * lever[1],
            now.dv - now.spin * arm[0] - base.dv - base.spin * lever[0],
        ),
        turn=(now.cos * base.cos + now.sin * base.sin, now.sin * base.cos - now.cos * base.sin),
        turning=now.spin - base.spin,
        arm=arm,
        lever=lever,
    )


def _angle(joint: Joint) -> jax.Array:
    return jnp.arctan2(joint.turn[1], joint.turn[0])


def forces(numbers: Numbers, parents: list[int], joint: Joint, motors: dict[str, Motor], biased: bool) -> tuple[jax.Array, ...]:
    """Accelerations f32[L] of the mass centres along u, along v and in turning by joints and motors."""
    forces = []
    places = (*joint.place, _angle(joint) if biased and "turn" in motors else joint.turn[1])
    for i, (kind, place, rate) in enumerate(zip(KINDS, places, (*joint.rate, joint.turning), strict=True)):
        bent = joint.turn[1] if kind == "turn" else place
        force = -numbers.stiff[i] * bent - numbers.damping[i] * rate
        if kind in motors:
            push = motors[kind].push * (numbers.sense if kind == "turn" else 1.0)
            force = force + push
            if biased:
                force = force + motors[kind].by_q * place + motors[kind].by_qd * rate
        forces.append(force)
    (u, v, turn), (arm, lever), size = forces, (joint.arm, joint.lever), len(parents)
    on_link = turn - (arm[0] * v - arm[1] * u)
    on_parent = turn + (lever[0] * v - lever[1] * u)
    return (
        (u - summed(u, parents, size)) * numbers.ease[0],
        (v - summed(v, parents, size)) * numbers.ease[0],
        (on_link - summed(on_parent, parents, size)) * numbers.ease[1],
    )


def moved(numbers: Numbers, now: Moving, half: Pair, hit: tuple[jax.Array, ...] | None) -> tuple[Moving, Pair]:
    """The links after a timestep at these velocities, changed by what hits them, and half of their angles."""
    du, dv, spin = numbers.kept[0] * now.du, numbers.kept[0] * now.dv, numbers.kept[1] * now.spin
    if hit is not None:
        du, dv, spin = du + hit[0], dv + hit[1], spin + hit[2]
    quarter = 0.5 * numbers.step * spin
    cos, sin = half[0] - quarter * half[1], half[1] + quarter * half[0]
    long = jax.lax.rsqrt(cos * cos + sin * sin)
    cos, sin = cos * long, sin * long
    place = now.u + numbers.step * du, now.v + numbers.step * dv
    return Moving(*place, cos * cos - sin * sin, 2.0 * cos * sin, du, dv, spin), (cos, sin)


def rubbed(numbers: Numbers, now: Moving) -> Moving:
    """`physics.rub`."""
    speed = jnp.sqrt(now.du * now.du + now.dv * now.dv)
    share = jnp.minimum(numbers.rubbing / jnp.maximum(speed, 1e-9), 1.0)
    lost_u, lost_v = share * now.du, share * now.dv
    return now._replace(
        u=now.u - numbers.step * lost_u, v=now.v - numbers.step * lost_v, du=now.du - lost_u, dv=now.dv - lost_v
    )


def resisting(fluid: Fluid, numbers: Numbers, plane: Plane) -> Callable[[Moving], Moving]:
    """`physics.slowed`."""
    along_kept, across_kept, turning_kept = (
        jnp.exp(-rate * numbers.step) for rate in (fluid.along, fluid.across, fluid.turning)
    )
    current_u, current_v = fluid.current[plane.u], fluid.current[plane.v]

    def slow(now: Moving) -> Moving:
        u, v = now.du - current_u, now.dv - current_v
        along = (along_kept - across_kept) * (u * now.cos + v * now.sin)
        return now._replace(
            du=current_u + across_kept * u + along * now.cos,
            dv=current_v + across_kept * v + along * now.sin,
            spin=turning_kept * now.spin,
        )

    return slow


def coordinates(numbers: Numbers, joints: list[dict[str, int]], joint: Joint) -> Pair:
    """q and qd."""
    size = len(joints)
    slots: dict[int, int] = {}
    for link, mine in enumerate(joints):
        slots |= {dof: KINDS.index(kind) * size + link for kind, dof in mine.items()}
    rows = [slots[dof] for dof in range(len(slots))]
    places, rates = (*joint.place, numbers.sense * _angle(joint)), (*joint.rate, numbers.sense * joint.turning)
    return taken(jnp.concatenate(places), rows), taken(jnp.concatenate(rates), rows)
