"""Steps of a free body with hinged limbs on ground that is given by its distance: the spring pipeline's equations, quicker.

The equations are those of ``brax/spring/joints.py``, ``brax/actuator.py`` and ``brax/spring/integrator.py``, version 0.14.2, in
the same order; contacts those of its ``collisions.py`` without restitution, but a ball meets only what it is deepest in, so
nothing is averaged. As in `envs.planar`, every coordinate of L links is an array f32[L] of its own. Links come in the order of
their depth, so that parents and children are found by slices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.physics import Motion, System, Transform, com, inv_rotate, quat_inv, quat_mul, rotate
from envs.pipelines import Surface
from envs.rows import Frame, Turn, Vector, summed, taken


class Ground(NamedTuple):
    """Ground that a ball on each of L links meets, and nothing else of the body. It is the same all along y."""

    near: Surface
    center: jax.Array  # f32[L, 3] middle of the ball in its link's frame, m
    radius: jax.Array  # f32[L] m
    exists: jax.Array  # f32[L] 0 for a link without one
    friction: jax.Array  # f32[] coefficient


class Moving(NamedTuple):
    """Mass centres of L links."""

    place: Vector
    turn: Turn
    velocity: Vector
    spin: Vector


class Numbers(NamedTuple):
    """What a timestep needs of a System with L links, f32[L] each unless it says otherwise. The root's joint does nothing."""

    center: Vector  # m, mass centre in the link's frame
    lever: Vector  # m, the link's origin from its parent's mass centre, in the parent's frame
    axis: Vector  # of the hinge, in the link's frame
    base: Vector  # of the hinge, in the parent's frame
    straight: Turn  # of the link in its parent's frame where the hinge is at 0
    across: Turn  # this by half a turn about the axis
    light: jax.Array  # 1 / mass
    inertia: Vector  # about the link's axes, kg m^2
    stiff: jax.Array
    damping: jax.Array  # of the joint's velocity
    turning: jax.Array  # of its turning
    push: jax.Array  # torque of the motor: push + by_q q + by_qd qd
    by_q: jax.Array
    by_qd: jax.Array
    gravity: Vector  # f32[] m/s^2
    kept: tuple[jax.Array, jax.Array]  # f32[] share of velocities and of spins that a timestep leaves
    step: jax.Array  # f32[] s
    ease: jax.Array  # f32[] 1/s, how fast depth is undone
    unity: jax.Array  # f32[L] 1, which the compiler does not know

    def once(self, parts: Any) -> Any:
        """The same, computed once: on CPUs XLA repeats sums and products for each of their uses, quotients it keeps.

        Twelve uses of a vector by a vector are else a thousand products; a quotient by 1 is exact.
        """
        return jax.tree.map(lambda part: part / self.unity, parts)


class Tree(NamedTuple):
    """Links in the order of their depth."""

    order: list[int]  # the System's link at each place
    parents: list[int]  # places; -1 of the root


def tree_of(system: System) -> Tree:
    """See `Tree`."""
    parents = [int(parent) for parent in system.link_parents]
    depth: list[int] = []
    for parent in parents:
        depth.append(depth[parent] + 1 if parent >= 0 else 0)
    order = sorted(range(len(parents)), key=depth.__getitem__)
    return Tree(order, [order.index(parents[link]) if parents[link] >= 0 else -1 for link in order])


def _vector(rows: jax.Array, order: list[int]) -> Vector:
    return Vector(*(taken(rows[:, i], order) for i in range(3)))


def _turn(rows: jax.Array, order: list[int]) -> Turn:
    return Turn(*(taken(rows[:, i], order) for i in range(4)))


def numbers_of(system: System, tree: Tree, control: jax.Array) -> Numbers:
    """See `Numbers`; control: f32[motors]."""
    link, actuator, order, step = system.link, system.actuator, tree.order, system.opt.timestep
    center, rot = link.inertia.transform.pos, link.transform.rot
    lever = link.transform.pos - center[np.asarray(system.link_parents)]  # the root's counts for nothing
    axis = jnp.concatenate([jnp.zeros((1, 3)), system.dof.motion.ang[6:]])
    across = jax.vmap(quat_mul)(rot, jnp.pad(axis, ((0, 0), (1, 0))))
    driven = np.asarray(system.jnt_dofadr)[np.asarray(system.actuator_trnid)[:, 0]].tolist()
    motors = [driven.index(5 + at) if 5 + at in driven and at else -1 for at in order]
    reach = actuator.ctrl_range
    push = actuator.gear * actuator.gain * jnp.clip(control, reach[:, 0], reach[:, 1])
    jointed = jnp.asarray([0.0] + [1.0] * (len(order) - 1))
    mass = taken(link.inertia.mass, order)
    return Numbers(
        center=_vector(center, order),
        lever=_vector(lever, order),
        axis=_vector(axis, order),
        base=_vector(jax.vmap(rotate)(axis, rot), order),
        straight=_turn(rot, order),
        across=_turn(across, order),
        light=1.0 / mass,
        inertia=_vector(jnp.diagonal(link.inertia.i, axis1=1, axis2=2), order),
        stiff=jointed * taken(link.constraint_stiffness, order),
        damping=jointed * taken(link.constraint_vel_damping, order),
        turning=jointed * taken(link.constraint_ang_damping, order),
        push=taken(push, motors),
        by_q=taken(actuator.gear**2 * actuator.bias_q, motors),
        by_qd=taken(actuator.gear**2 * actuator.bias_qd, motors),
        gravity=Vector(*system.gravity),
        kept=(jnp.exp(system.vel_damping * step), jnp.exp(system.ang_damping * step)),
        step=step,
        ease=system.baumgarte_erp / step,
        unity=mass / mass,
    )


def forces(numbers: Numbers, tree: Tree, now: Moving, frame: Frame) -> tuple[Vector, Vector]:
    """Forces on the mass centres and torques about them by joints and motors, N and N m."""
    once = numbers.once
    base: Moving = once(jax.tree.map(lambda part: taken(part, [max(parent, 0) for parent in tree.parents]), now))
    of_base = base.turn.frame()
    arm, lever = once((frame.out(numbers.center), of_base.out(numbers.lever)))
    axis, own = once((of_base.out(numbers.base), frame.out(numbers.axis)))
    apart = now.place - arm - base.place - lever
    rate = now.velocity - now.spin.cross(arm) - base.velocity - base.spin.cross(lever)
    turning = now.spin - base.spin
    torque = numbers.push + numbers.by_q * _angle(numbers, now.turn.since(base.turn)) + numbers.by_qd * own.dot(turning)
    pull = once(apart * -numbers.stiff - rate * numbers.damping)
    twist = once(axis * torque - axis.cross(own) * numbers.stiff - turning * numbers.turning)
    on_parent = once(twist + lever.cross(pull))
    back = jax.tree.map(lambda part: summed(part, tree.parents, len(tree.parents)), (pull, on_parent))
    return once((pull - back[0], twist - arm.cross(pull) - back[1]))


def _angle(numbers: Numbers, turn: Turn) -> jax.Array:
    """Of the hinges f32[L], rad; turn: of links seen from their parents."""
    cos, sin = numbers.straight.dot(turn), numbers.across.dot(turn)
    return 2.0 * jnp.arctan2(sin * jnp.sign(cos), jnp.abs(cos))


class Balls(NamedTuple):
    """Of a `Ground`, f32[L]."""

    reach: Vector  # m, from the mass centre to the middle of the ball, in the link's frame
    radius: jax.Array
    exists: jax.Array


def balls_of(ground: Ground, numbers: Numbers, tree: Tree) -> Balls:
    """See `Balls`."""
    radius, exists = (taken(part, tree.order) for part in (ground.radius, ground.exists))
    return Balls(_vector(ground.center, tree.order) - numbers.center, radius, exists)


def landing(numbers: Numbers, ground: Ground, balls: Balls, now: Moving, frame: Frame) -> tuple[Vector, Vector]:
    """What the ground changes of the mass centres' velocities and of the links' spins in one timestep."""
    once = numbers.once
    to_middle = once(frame.out(balls.reach))
    gap, out_x, out_z = ground.near(now.place.x + to_middle.x, now.place.z + to_middle.z)
    gap, out_x, out_z = once((gap - balls.radius, out_x, out_z))
    normal = Vector(out_x, jnp.zeros_like(out_x), out_z)
    arm = once(to_middle - normal * (balls.radius + 0.5 * gap))
    velocity = once(now.velocity + now.spin.cross(arm))
    leaving = once(velocity.dot(normal))
    sliding = velocity - normal * leaving
    speed = jnp.sqrt(sliding.dot(sliding) + 1e-12)
    way = sliding / (speed + 1e-6)
    # In the link's frame, by an impulse of 1 N s out of the ground and along it; what moves the place of contact is
    # 1 / mass + arm x direction . spin.
    push_spin, drag_spin = (frame.into(once(arm.cross(along))).over(numbers.inertia) for along in (normal, way))
    push = -(leaving + numbers.ease * gap) / (numbers.light + push_spin.each(push_spin).dot(numbers.inertia))
    slip = speed / (numbers.light + drag_spin.each(drag_spin).dot(numbers.inertia))
    drag = jnp.minimum(slip, ground.friction * push) * (speed > 1e-3)
    touches = (gap < 0.0) & (leaving < 0.0) & (push > 0.0) & (balls.exists > 0.0)
    push, drag = once((jnp.where(touches, push, 0.0), jnp.where(touches, drag, 0.0)))
    return (normal * push - way * drag) * numbers.light, frame.out(once(push_spin * push - drag_spin * drag))


def walk(system: System, state: Any, control: jax.Array, substeps: int, ground: Ground) -> Any:
    """As `physics.advance` with `physics.joint_velocities`, for a free root and hinges at the origins of all other links."""
    tree = tree_of(system)
    numbers = numbers_of(system, tree, control)
    balls, once, step = balls_of(ground, numbers, tree), numbers.once, numbers.step

    def one(_: Any, now: Moving) -> Moving:
        frame = once(now.turn.frame())
        force, torque = forces(numbers, tree, now, frame)
        velocity = now.velocity + (force * numbers.light + numbers.gravity) * step
        spin = once(now.spin + frame.out(frame.into(torque).over(numbers.inertia)) * step)
        hit = landing(numbers, ground, balls, now._replace(velocity=velocity, spin=spin), frame)
        velocity, spin = once((velocity * numbers.kept[0] + hit[0], spin * numbers.kept[1] + hit[1]))
        return Moving(now.place + velocity * step, now.turn.spun(spin * (0.5 * step)), velocity, spin)

    now = jax.lax.fori_loop(0, substeps, one, _moving(state, tree))
    x_i = Transform(_rows(now.place, tree), jnp.stack(now.turn, axis=1)[np.argsort(tree.order)])
    return _moved(system, state, x_i, Motion(vel=_rows(now.velocity, tree), ang=_rows(now.spin, tree)))


def _landing(system: System, state: Any, ground: Ground) -> Motion:
    """`landing` for a state of Brax's, in its order of links."""
    tree = tree_of(system)
    numbers, now = numbers_of(system, tree, jnp.zeros(len(system.actuator_trnid))), _moving(state, tree)
    velocity, spin = landing(numbers, ground, balls_of(ground, numbers, tree), now, now.turn.frame())
    return Motion(vel=_rows(velocity, tree), ang=_rows(spin, tree))


def _moving(state: Any, tree: Tree) -> Moving:
    velocity, spin = (_vector(rows, tree.order) for rows in (state.xd_i.vel, state.xd_i.ang))
    return Moving(_vector(state.x_i.pos, tree.order), _turn(state.x_i.rot, tree.order), velocity, spin)


def _rows(vector: Vector, tree: Tree) -> jax.Array:
    """f32[L, 3] in the System's order."""
    return jnp.stack([vector.x, vector.y, vector.z], axis=1)[np.argsort(tree.order)]


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
