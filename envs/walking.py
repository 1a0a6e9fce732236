"""Steps of a free body with hinged limbs on ground that is given by its distance: the spring pipeline's equations, quicker.

The parts of Brax that are used come through `envs.physics`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.physics import Motion, System, Transform, actuator, com, integrator, inv_rotate, quat_inv, quat_mul, rotate


class Ground(NamedTuple):
    """Ground that a ball on each of L links meets, and nothing else of the body."""

    near: Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # places f32[L, 3] -> distance f32[L], way out f32[L, 3]
    center: jax.Array  # f32[L, 3] middle of the ball in its link's frame, m
    radius: jax.Array  # f32[L] m
    exists: jax.Array  # f32[L] 0 for a link without one
    friction: jax.Array  # f32[] coefficient


def walk(system: System, state: Any, control: jax.Array, substeps: int, ground: Ground) -> Any:
    """As `physics.advance` with `physics.joint_velocities`, for a free root and hinges at the origins of all other links.

    The equations are those of the spring pipeline (``brax/spring``), contacts those of its ``collisions.py`` without
    restitution; but a ball meets only what it is deepest in, so nothing is averaged. Contacts in closed form and joints that
    are known to be hinges take a third of the time.
    """

    def one(_, now: Any) -> Any:
        now = now.replace(i_inv=com.inv_inertia(system, now.x))
        force = _hinges(system, now, actuator.to_tau(system, control, now.q, now.qd)[6:])
        gained = Motion(ang=_turned_by(now.i_inv, force.ang), vel=force.vel / now.mass[:, None] + system.gravity)
        now = now.replace(xd_i=now.xd_i + gained * system.opt.timestep)
        return _moved(system, now, *integrator.integrate(system, now.x_i, now.xd_i, _landing(system, now, ground)))

    return jax.lax.fori_loop(0, substeps, one, state)


def _turned_by(inverse: jax.Array, torque: jax.Array) -> jax.Array:
    return jax.vmap(jnp.matmul)(inverse, torque)


def _hinges(system: System, state: Any, torque: jax.Array) -> Motion:
    """Force and torque f32[L, 3] on the mass centres of all links by the joints; torque: f32[L - 1] of their motors."""
    parents, turn = np.asarray(system.link_parents)[1:], jax.vmap(rotate)
    parts = (system.link, state.j, state.jd, state.a_p, state.a_c, state.x_i)
    link, j, jd, a_p, a_c, x_i = (part.take(1 + np.arange(len(parents))) for part in parts)
    axis, stiffness = system.dof.motion.ang[6:], link.constraint_stiffness[:, None]
    pull = -stiffness * j.pos - link.constraint_vel_damping[:, None] * jd.vel
    twist = torque[:, None] * axis - stiffness * jnp.cross(axis, turn(axis, j.rot))
    twist = twist - link.constraint_ang_damping[:, None] * jd.ang
    pull, twist = turn(pull, a_p.rot), turn(twist, a_p.rot)
    on_child = jnp.concatenate([pull, twist + jnp.cross(a_c.pos - x_i.pos, pull)], axis=1)
    on_parent = jnp.concatenate([pull, twist + jnp.cross(a_p.pos - state.x_i.pos[parents], pull)], axis=1)
    # A product with a matrix of 0 and 1: the scatter of a segment sum is slow on CPUs.
    belongs = jnp.asarray(np.arange(1 + len(parents))[:, None] == parents[None], jnp.float32)
    force = jnp.pad(on_child, ((1, 0), (0, 0))) - jnp.dot(belongs, on_parent, precision="highest")
    return Motion(vel=force[:, :3], ang=force[:, 3:])


def _moved(system: System, state: Any, x_i: Transform, xd_i: Motion) -> Any:
    """The state with mass centres there, at these velocities, and what follows for joints that are hinges but for the root."""
    x, xd = com.to_world(system, x_i, xd_i)
    parents, back = np.asarray(system.link_parents)[1:], jax.vmap(inv_rotate)
    x_p, xd_p, at, axis = x.take(parents), xd.take(parents), system.link.transform.pos[1:], system.dof.motion.ang[6:]
    arm = jax.vmap(rotate)(at, x_p.rot)
    a_p = Transform(pos=x_p.pos + arm, rot=jax.vmap(quat_mul)(x_p.rot, system.link.transform.rot[1:]))
    apart = xd.vel[1:] - xd_p.vel - jnp.cross(xd_p.ang, arm)
    jd = Motion(vel=back(apart, a_p.rot), ang=back(xd.ang[1:] - xd_p.ang, a_p.rot))
    turn = jax.vmap(quat_mul)(jax.vmap(quat_inv)(a_p.rot), x.rot[1:])
    j = Transform(pos=back(x.pos[1:] - a_p.pos, a_p.rot), rot=turn)
    angle = 2.0 * jnp.arctan2(jnp.sum(turn[:, 1:] * axis, axis=1) * jnp.sign(turn[:, 0]), jnp.abs(turn[:, 0]))
    rate = jnp.sum(jax.vmap(rotate)(axis, turn) * jd.ang, axis=1)
    q = jnp.concatenate([x.pos[0], x.rot[0], angle])
    qd = jnp.concatenate([xd.vel[0], inv_rotate(xd.ang[0], x.rot[0]), rate])
    whole = {"j": _root(x).concatenate(j), "jd": _root(xd).concatenate(jd), "a_p": Transform.zero((1,)).concatenate(a_p)}
    return state.replace(x_i=x_i, xd_i=xd_i, x=x, xd=xd, a_c=x, q=q, qd=qd, **whole)


def _root(part: Any) -> Any:
    return part.take(np.array([0]))


def _landing(system: System, state: Any, ground: Ground) -> Motion:
    """What the ground changes of the links' velocities in one timestep."""
    middle = state.x.vmap().do(Transform.create(pos=ground.center)).pos
    gap, normal = ground.near(middle)
    gap = gap - ground.radius
    arm = middle - normal * (ground.radius + 0.5 * gap)[:, None] - state.x_i.pos
    velocity = state.xd_i.vel + jnp.cross(state.xd_i.ang, arm)

    def response(direction: jax.Array) -> jax.Array:
        """Velocity at the place of contact in this direction by an impulse in it, 1/kg."""
        turning = jnp.cross(_turned_by(state.i_inv, jnp.cross(arm, direction)), arm)
        return 1.0 / state.mass + jnp.sum(direction * turning, axis=1)

    leaving = jnp.sum(velocity * normal, axis=1)
    sliding = velocity - leaving[:, None] * normal
    speed = jnp.sqrt(jnp.sum(sliding**2, axis=1) + 1e-12)
    way = sliding / (speed[:, None] + 1e-6)
    push = -(leaving + system.baumgarte_erp / system.opt.timestep * gap) / response(normal)
    drag = jnp.minimum(speed / response(way), ground.friction * push) * (speed > 1e-3)
    touches = (gap < 0.0) & (leaving < 0.0) & (push > 0.0) & (ground.exists > 0.0)
    impulse = jnp.where(touches[:, None], push[:, None] * normal - drag[:, None] * way, 0.0)
    return Motion(ang=_turned_by(state.i_inv, jnp.cross(arm, impulse)), vel=impulse / state.mass[:, None])
