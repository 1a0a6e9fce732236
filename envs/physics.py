"""Brax for the families: load a body once, rebuild its System from a task inside the vmapped rollout, step it.

Brax's spring pipeline (``brax/spring/pipeline.py``) works at acceleration level with joints as stiff springs. The spring
constants scale with the mass of each link here, so the joint's frequency, and with it the largest stable timestep, is the
same for every task.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing printed and no warning: brax and mjx do both at import and on loading a model."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


with quiet():
    import mujoco

    # `as` the same name: `envs.walking` uses these parts of Brax from here.
    from brax import actuator as actuator
    from brax import com as com
    from brax import envs as own_envs
    from brax import kinematics as kinematics
    from brax.base import Motion as Motion
    from brax.base import System as System
    from brax.base import Transform as Transform
    from brax.io import mjcf
    from brax.math import inv_rotate as inv_rotate
    from brax.math import quat_inv as quat_inv
    from brax.math import quat_mul as quat_mul
    from brax.math import quat_rot_axis
    from brax.math import rotate as rotate
    from brax.spring import integrator as integrator
    from brax.spring import pipeline as spring

Correction = Callable[[System, Any], Any]  # a pipeline state -> the same at the same time, mended or acted upon

STIFFNESS = 2000.0  # N/m and N m/rad per kg of link; three chained links then stay stable to a timestep of 0.0125 s
JOINT_DAMPING = 8.0  # N s/m per kg of link


class Fluid(NamedTuple):
    """What a fluid does to L links: rates f32[L] at which it slows them, 1/s, and its own velocity."""

    along: jax.Array  # their x axis
    across: jax.Array
    turning: jax.Array
    current: jax.Array  # f32[3] m/s


def load(xml: str) -> System:
    """System of an MJCF model: the static part of a family."""
    with quiet():
        system = mjcf.loads(xml)
    return system.replace(mj_model=None)  # only needed by pipelines that are not used here; it would defeat caching


class Stock(NamedTuple):
    """One of Brax's own environments."""

    system: System
    observe: Callable[[Any], jax.Array]  # pipeline state -> Brax's observation


@functools.cache
def stock(name: str) -> Stock:
    """Brax's environment of that name for the spring pipeline; the swimmer's is for another one.

    Brax's forces of a fluid do not run on this version of JAX: they are left out.
    """
    with quiet(), jax.ensure_compile_time_eval():  # whoever asks first may be tracing
        mujoco.set_mju_user_warning(lambda text: None)  # else MuJoCo writes a log into the working directory
        try:
            env = own_envs.get_environment(name, backend="generalized" if name == "swimmer" else "spring")
        finally:
            mujoco.set_mju_user_warning(None)
    return Stock(env.sys.replace(mj_model=None, enable_fluid=False), env._get_obs)


def set_links(
    system: System, mass: jax.Array, inertia: jax.Array, center: jax.Array, offset: jax.Array, turn: jax.Array | None = None
) -> System:
    """Give every link its own mass properties.

    Args:
        mass: f32[L] kg. inertia: f32[L, 3] diagonal about the centre of mass, kg m^2. center: f32[L, 3] centre of mass in
            the link's frame, m. offset: f32[L, 3] link frame in its parent's frame, m. turn: f32[L, 4] how the link's frame
            is turned in its parent's where the joint is at 0, as the model has it if left out.
    """
    link = system.link
    ratio = link.inertia.mass / mass
    link = link.replace(
        transform=Transform(pos=offset, rot=link.transform.rot if turn is None else turn),
        inertia=link.inertia.replace(
            mass=mass,
            i=jax.vmap(jnp.diag)(inertia),
            transform=Transform.create(pos=center),  # MuJoCo's principal axes are dropped: inertia is in the link's frame
        ),
        invweight=link.invweight * ratio,
        constraint_stiffness=STIFFNESS * mass,
        constraint_vel_damping=JOINT_DAMPING * mass,
    )
    return system.replace(link=link)


def turned(axes: str, *angles: jax.Array) -> jax.Array:
    """Quaternions f32[N, 4] of turns by angles f32[N], rad, about a frame's own ``x``, ``y`` or ``z``, one after the other."""
    turns = [
        jax.vmap(quat_rot_axis, (None, 0))(jnp.eye(3)["xyz".index(axis)], angle)
        for axis, angle in zip(axes, angles, strict=True)
    ]
    return functools.reduce(jax.vmap(quat_mul), turns)


def cut_loose(system: System, attached: jax.Array) -> System:
    """Detach links: attached f32[L] is 0 for a link whose joint exerts no force, so the rest moves as if it did not exist.

    Numbers between 0 and 1 soften a joint.
    """
    link = system.link
    link = link.replace(
        constraint_stiffness=link.constraint_stiffness * attached,
        constraint_vel_damping=link.constraint_vel_damping * attached,
        constraint_limit_stiffness=link.constraint_limit_stiffness * attached,
        constraint_ang_damping=link.constraint_ang_damping * attached,
    )
    return system.replace(link=link)


def set_motors(system: System, strength: jax.Array) -> System:
    """Motor strength f32[motors], N or N m at full command."""
    return system.replace(actuator=system.actuator.replace(gain=strength))


def set_servos(system: System, reach: jax.Array, stiffness: jax.Array, damping: jax.Array) -> System:
    """Motors that pull their joint to ``reach`` times the command like a damped spring.

    Args:
        reach: f32[motors] joint position at full command, m or rad. stiffness: f32[motors] N/m or N m/rad. damping:
            f32[motors] N s/m or N m s/rad; explicit, so ``damping x timestep`` must stay well below the moving inertia.
    """
    actuator = system.actuator.replace(gain=reach * stiffness, bias_q=-stiffness, bias_qd=-damping)
    return system.replace(actuator=actuator)


def set_drag(system: System, rate: jax.Array) -> System:
    """Every velocity decays as exp(-rate t), rate f32[] in 1/s.

    The spring pipeline ignores MJCF joint damping, and a velocity bias on a motor acts on the inertia of a single link,
    which is explicit and unstable for light links; the integrator's own decay is exact for any rate.
    """
    return system.replace(vel_damping=-rate, ang_damping=-rate)


def set_gravity(system: System, gravity: jax.Array) -> System:
    """Gravity f32[3], m/s^2."""
    return system.replace(gravity=gravity)


def set_geoms(system: System, index: list[int], position: jax.Array, size: jax.Array, turn: jax.Array | None = None) -> System:
    """Place geoms in the frame of their link, or in the world: position f32[N, 3] m, the first S sizes f32[N, S] m.

    A sphere's size is its radius, a capsule's radius and half length along its own z. turn: f32[N, 4], as the model has it if
    left out.
    """
    rows, sizes = jnp.array(index), size.shape[1]
    placed = system.geom_size.at[rows, :sizes].set(size)
    turned_ = system.geom_quat if turn is None else jnp.asarray(system.geom_quat).at[rows].set(turn)
    return system.replace(geom_pos=system.geom_pos.at[rows].set(position), geom_size=placed, geom_quat=turned_)


def set_dry_friction(system: System, force: jax.Array) -> System:
    """Friction of each link on what it slides on, force f32[L] in N whatever the speed; `rub` applies it.

    It is MuJoCo's ``frictionloss`` of the link's joints, which Brax's spring pipeline ignores.
    """
    link = np.asarray(system.dof_bodyid) - 1
    return system.replace(dof_frictionloss=force[link])


def set_contacts(system: System, friction: jax.Array, restitution: jax.Array) -> System:
    """All geoms alike: coefficient of friction f32[] and restitution f32[], 0 for a dead stop, 1 for no loss."""
    sliding = jnp.asarray(system.geom_friction).at[:, 0].set(friction)
    return system.replace(geom_friction=sliding, elasticity=jnp.full(system.ngeom, restitution))


@functools.partial(jax.jit, inline=True)  # bodies that are set down on the ground begin twice
def begin(system: System, q: jax.Array, qd: jax.Array) -> Any:
    """Pipeline state with these joint positions and velocities."""
    return spring.init(system, q, qd)


def as_it_is(system: System, state: Any) -> Any:
    """The correction that corrects nothing."""
    return state


def advance(
    system: System, state: Any, control: jax.Array, substeps: int, first: Correction = as_it_is, then: Correction = as_it_is
) -> Any:
    """Pipeline state after ``substeps`` timesteps of the system under a constant command, each between ``first`` and ``then``.

    A loop in the program, not unrolled: that compiles in half the time and runs as fast.
    """

    def one(_, now: Any) -> Any:
        return then(system, spring.step(system, first(system, now), control))

    return jax.lax.fori_loop(0, substeps, one, state)


def joint_velocities(system: System, state: Any) -> Any:
    """Velocities in the joints as they are, for bodies with chained joints that are damped.

    Brax takes the velocity of a joint's place on the parent, r from the parent's origin, as v - w x r where it is v + w x r
    (``kinematics.world_to_joint``, version 0.14.2). A joint at its parent's origin is the same either way; elsewhere the
    joint's damping drives the parent's turning on instead of damping the spring, until chains of links ring and break.
    """
    parents = np.asarray(system.link_parents)
    x_p = state.x.concatenate(Transform.zero((1,))).take(parents)
    xd_p = state.xd.concatenate(Motion.zero((1,))).take(parents)
    place = Transform.create(pos=state.a_p.pos - x_p.pos).vmap().do(xd_p)
    jd = jax.tree.map(lambda v: jax.vmap(inv_rotate)(v, state.a_p.rot), state.xd - place)
    return state.replace(jd=jd)


def rub(system: System, state: Any) -> Any:
    """Slow down the links that `set_dry_friction` names, for one timestep: |v| falls by (force / mass) dt, not below 0.

    What the links moved in the timestep shrinks alike, so that one that friction holds does not creep.
    """
    first = np.asarray(system.body_dofadr)[1:]  # the first degree of freedom of each link
    most = system.dof_frictionloss[first] / system.link.inertia.mass * system.opt.timestep
    speed = jnp.linalg.norm(state.xd_i.vel, axis=1)
    lost = state.xd_i.vel * jnp.minimum(most / jnp.maximum(speed, 1e-9), 1.0)[:, None]
    x_i = state.x_i.replace(pos=state.x_i.pos - lost * system.opt.timestep)
    xd_i = state.xd_i.replace(vel=state.xd_i.vel - lost)
    # As in the pipeline's own step, whose results for these the compiler then leaves out.
    x, xd = com.to_world(system, x_i, xd_i)
    j, jd, a_p, a_c = kinematics.world_to_joint(system, x, xd)
    q, qd = kinematics.inverse(system, j, jd)
    return state.replace(x_i=x_i, xd_i=xd_i, x=x, xd=xd, j=j, jd=jd, a_p=a_p, a_c=a_c, q=q, qd=qd)


def resist(fluid: Fluid) -> Correction:
    """What a fluid does before each timestep, along, across and in turning: `slowed`.

    It is exact and stable for any rate; Brax's own fluid is isotropic at low speed and explicit.
    """

    def slow(system: System, now: Any) -> Any:
        return now.replace(xd_i=slowed(fluid, system.opt.timestep, now.x_i, now.xd_i))

    return slow


def slowed(fluid: Fluid, seconds: jax.Array, x_i: Transform, xd_i: Motion) -> Motion:
    """Velocities of mass centres after so long: relative to the current they decay as exp(-rate t)."""
    rates = (fluid.along, fluid.across, fluid.turning)
    along_kept, across_kept, turning_kept = (jnp.exp(-rate * seconds)[:, None] for rate in rates)
    axis = jax.vmap(rotate, (None, 0))(jnp.array([1.0, 0.0, 0.0]), x_i.rot)
    relative = xd_i.vel - fluid.current
    along = jnp.sum(relative * axis, axis=1, keepdims=True) * axis
    velocity = fluid.current + along_kept * along + across_kept * (relative - along)
    return xd_i.replace(vel=velocity, ang=turning_kept * xd_i.ang)


def point(state: Any, link: int, offset: jax.Array) -> jax.Array:
    """World position f32[3] of a point fixed to a link."""
    return Transform.create(pos=state.x.pos[link], rot=state.x.rot[link]).do(Transform.create(pos=offset)).pos
