"""Contacts in a plane: balls against balls, capsules, planes and given ground, with the impulses of Brax's spring pipeline.

Where two geoms are nearest is as in MuJoCo (``mjx/_src/collision_primitive.py``), the impulses are those of
``brax/spring/collisions.py``, version 0.14.2: restitution, a push out of what overlaps, friction, and the mean of all that act
on one link. Its two directions of friction are one in a plane.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs import physics
from envs.pipelines import Surface
from envs.rows import summed, taken

BALL, CAPSULE, FLAT = 2, 3, 0  # mjtGeom: sphere, capsule, plane
Pair = tuple[jax.Array, jax.Array]


class Moving(NamedTuple):
    """L links in a plane, f32[L] each."""

    u: jax.Array  # m, mass centre
    v: jax.Array
    cos: jax.Array  # of the angle
    sin: jax.Array
    du: jax.Array  # m/s
    dv: jax.Array
    spin: jax.Array  # rad/s

    def turned(self, u: jax.Array, v: jax.Array) -> Pair:
        """Vectors in the links' frames as they are in the world."""
        return self.cos * u - self.sin * v, self.sin * u + self.cos * v

    def taken(self, rows: list[int]) -> Moving:
        """Of the links in these rows; row -1 is the world."""
        return Moving(*(taken(part, rows, float(name == "cos")) for name, part in zip(self._fields, self, strict=True)))


class Pairs(NamedTuple):
    """Which of a System's geoms may meet, K pairs; a ball on a link is the second of each. Link -1 is the world."""

    order: list[int]  # of those that the System names
    geoms: tuple[list[int], list[int]]
    kinds: list[int]  # of the first geoms, in order
    links: tuple[list[int], list[int]]


class Meeting(NamedTuple):
    """What pairs need to know of their geoms, f32[K] each: the first geoms' places, axes and sizes, the second ones' places."""

    first: Pair  # m from the mass centre of their link, in its frame
    second: Pair
    axis: Pair  # normal of a plane; from the middle to the end of a capsule
    radii: Pair
    beside: jax.Array  # m, how far one of them is from the plane of motion
    friction: jax.Array
    restitution: jax.Array
    lift: jax.Array  # f32[], 1/s: speed out of what overlaps per depth
    turn_ease: Pair  # of both links, 1/(kg m^2), in what an impulse is worth: see `_turn_ease`


class Contact(NamedTuple):
    """K places of contact, f32[K] each."""

    gap: jax.Array  # m, negative where geoms overlap
    u: jax.Array
    v: jax.Array
    out_u: jax.Array  # from the first geom to the second, of length 1
    out_v: jax.Array


def pairs(system: physics.System) -> Pairs:
    """Of the System's static part: its own pairs, or what MuJoCo lets meet (``contype``, ``conaffinity``, no neighbours).

    Raises:
        ValueError: too many links, other geoms than balls, capsules and planes, or two of which none is a ball on a link.
    """
    kind, link = np.asarray(system.geom_type), np.asarray(system.geom_bodyid) - 1
    if system.npair:
        found = list(zip(system.pair_geom1.tolist(), system.pair_geom2.tolist(), strict=True))
    else:
        found = [(a, b) for a in range(len(kind)) for b in range(a + 1, len(kind)) if _meet(system, a, b)]
    found = [(a, b) if kind[b] == BALL and link[b] >= 0 else (b, a) for a, b in found]
    if found and len(system.link_parents) > 9:
        raise ValueError("contacts in a plane are for nine links at most")  # see `_turn_ease`
    if any(kind[b] != BALL or link[b] < 0 or kind[a] not in (BALL, CAPSULE, FLAT) for a, b in found):
        raise ValueError("contacts in a plane are those of balls on links with balls, capsules and planes")
    order = sorted(range(len(found)), key=lambda i: int(kind[found[i][0]]))
    geoms = [found[i][0] for i in order], [found[i][1] for i in order]
    links = tuple([int(link[geom]) for geom in side] for side in geoms)
    return Pairs(order, geoms, [int(kind[a]) for a in geoms[0]], (links[0], links[1]))


def _meet(system: physics.System, a: int, b: int) -> bool:
    with_, to = np.asarray(system.geom_conaffinity), np.asarray(system.geom_contype)
    bodies, parent = np.asarray(system.geom_bodyid), np.asarray(system.body_parentid)
    one, two = int(bodies[a]), int(bodies[b])
    near = one == two or (one > 0 and two > 0 and (parent[one] == two or parent[two] == one))
    return not near and bool(to[a] & with_[b] or to[b] & with_[a])


def meeting(system: physics.System, found: Pairs, axes: np.ndarray, center: jax.Array) -> Meeting:
    """Numbers of the pairs. axes: of the world, the two of the plane; center: f32[L, 3] mass centres in their links' frames."""
    first, second = (np.array(side, int) for side in found.geoms)
    across = 3 - int(axes.sum())

    def places(geoms: np.ndarray, links: list[int]) -> jax.Array:
        inside = jnp.concatenate([center, jnp.zeros((1, 3))])[np.array(links)]
        return jnp.asarray(system.geom_pos)[geoms] - inside

    places_a, places_b = places(first, found.links[0]), places(second, found.links[1])
    size, alone = jnp.asarray(system.geom_size), np.array(found.kinds) == FLAT
    out = jax.vmap(physics.rotate, (None, 0))(jnp.array([0.0, 0.0, 1.0]), jnp.asarray(system.geom_quat)[first])
    axis = out * jnp.where(alone, 1.0, size[first, 1])[:, None]
    sliding, turn_ease = jnp.asarray(system.geom_friction)[:, 0], _turn_ease(system)
    friction = system.pair_friction[np.array(found.order), 0] if system.npair else jnp.maximum(sliding[first], sliding[second])
    return Meeting(
        first=(places_a[:, axes[0]], places_a[:, axes[1]]),
        second=(places_b[:, axes[0]], places_b[:, axes[1]]),
        axis=(axis[:, axes[0]], axis[:, axes[1]]),
        radii=(jnp.where(alone, 0.0, size[first, 0]), size[second, 0]),
        beside=jnp.where(alone, 0.0, jnp.abs(places_a[:, across] - places_b[:, across])),
        friction=friction,
        restitution=0.5 * (system.elasticity[first] + system.elasticity[second]),
        lift=system.baumgarte_erp / system.opt.timestep,
        turn_ease=(taken(turn_ease, found.links[0]), taken(turn_ease, found.links[1])),
    )


def _turn_ease(system: physics.System) -> jax.Array:
    """How easily Brax holds an impulse to turn each link, f32[L] in 1/(kg m^2).

    ``collisions.py`` means to take the inverse inertia f32[3, 3] of each link there, but counts through the numbers of them
    all: link 0 has the first number of the first link's, link 1 the second. So contacts are weaker or stronger than they
    should be, and everything that was found out about these bodies was found with it. Inertias about the two axes of the
    plane are taken to be equal, so that the first link's numbers do not change as it turns.
    """
    count = len(system.link_parents)
    numbers = 1.0 / jnp.diagonal(system.link.inertia.i[0])
    return taken(numbers, [i // 4 if i % 4 == 0 else -1 for i in range(count)])


class _Side(NamedTuple):
    """One of the two links that meet in each of K contacts."""

    sign: float  # of the impulses on it, which are those on the second
    links: list[int]
    ease: jax.Array  # f32[K] 1 / mass
    turn_ease: jax.Array  # f32[K]
    out: jax.Array  # f32[K] m, lever of an impulse along the way out
    along: jax.Array  # f32[K] m, of one across it
    du: jax.Array  # f32[K] m/s, velocity at the contact
    dv: jax.Array


def impulses(
    found: Pairs, numbers: Meeting, now: Moving, ease: Pair, ground: Surface | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Changes f32[L] of du, dv and spin by contacts in one timestep. ease: f32[L] each, 1 / mass and 1 / inertia.

    A link that meets several things at once gets the mean of their impulses. ``ground`` takes the place of all first geoms.
    """
    at = _contacts(found, numbers, now, ground)
    both = zip((-1.0, 1.0), found.links, numbers.turn_ease, strict=True)
    sides = [_side(sign, links, now, (taken(ease[0], links), turn), at) for sign, links, turn in both if max(links) >= 0]

    def total(of: Callable[[_Side], jax.Array]) -> jax.Array:
        return functools.reduce(jnp.add, map(of, sides))

    away_u, away_v = total(lambda side: side.sign * side.du), total(lambda side: side.sign * side.dv)
    leaving = away_u * at.out_u + away_v * at.out_v
    sliding = away_v * at.out_u - away_u * at.out_v  # along the way out turned by a right angle
    yields = total(lambda side: side.ease + side.turn_ease * side.out * side.out)
    push = (-(1.0 + numbers.restitution) * leaving - numbers.lift * at.gap) / yields
    speed = jnp.abs(sliding)
    share = speed / (1e-6 + speed)  # Brax's direction is so long
    stop = speed / total(lambda side: side.ease + side.turn_ease * (share * side.along) ** 2)
    drag = jnp.minimum(stop, numbers.friction * push) * jnp.where(sliding < 0.0, share, -share) * (speed > 1e-3)
    touches = (at.gap < 0.0) & (leaving < 0.0) & (push > 0.0)
    return _mean(sides, ease, at, (jnp.where(touches, push, 0.0), jnp.where(touches, drag, 0.0), touches))


def _side(sign: float, links: list[int], now: Moving, ease: Pair, at: Contact) -> _Side:
    link = now.taken(links)
    arm_u, arm_v = at.u - link.u, at.v - link.v
    return _Side(
        sign,
        links,
        *ease,
        out=arm_u * at.out_v - arm_v * at.out_u,
        along=arm_u * at.out_u + arm_v * at.out_v,
        du=link.du - link.spin * arm_v,
        dv=link.dv + link.spin * arm_u,
    )


def _mean(
    sides: list[_Side], ease: Pair, at: Contact, impulse: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Changes of velocities by impulses f32[K] along the way out and across it, and whether there is one."""
    push, drag, touches = impulse
    size = len(ease[0])

    def total(of: Callable[[_Side], jax.Array]) -> jax.Array:
        return functools.reduce(jnp.add, (summed(of(side), side.links, size) for side in sides))

    force_u, force_v = push * at.out_u - drag * at.out_v, push * at.out_v + drag * at.out_u
    share = 1.0 / jnp.maximum(total(lambda _: touches.astype(push.dtype)), 1.0)
    return (
        total(lambda side: side.sign * force_u) * share * ease[0],
        total(lambda side: side.sign * force_v) * share * ease[0],
        total(lambda side: side.sign * (push * side.out + drag * side.along)) * share * ease[1],
    )


def _contacts(found: Pairs, numbers: Meeting, now: Moving, ground: Surface | None) -> Contact:
    ball = _places(now, found.links[1], numbers.second)
    if ground is not None:
        gap, *out = ground(*ball)
        return _beneath(gap - numbers.radii[1], ball, (out[0], out[1]), numbers.radii[1])
    first, axis, parts = _places(now, found.links[0], numbers.first), now.taken(found.links[0]).turned(*numbers.axis), []
    for kind in dict.fromkeys(found.kinds):
        start = found.kinds.index(kind)
        row = slice(start, start + found.kinds.count(kind))
        (a_u, a_v), (b_u, b_v), (along_u, along_v), radii = ((u[row], v[row]) for u, v in (first, ball, axis, numbers.radii))
        if kind == FLAT:
            gap = (b_u - a_u) * along_u + (b_v - a_v) * along_v - radii[1]
            parts.append(_beneath(gap, (b_u, b_v), (along_u, along_v), radii[1]))
            continue
        if kind == CAPSULE:  # the point of its axis that is nearest to the ball
            ahead = (b_u - a_u) * along_u + (b_v - a_v) * along_v
            square = along_u * along_u + along_v * along_v
            share = 2.0 * jnp.clip(2.0 * (ahead + square) / (4.0 * square + 1e-6), 0.0, 1.0) - 1.0
            a_u, a_v = a_u + share * along_u, a_v + share * along_v
        parts.append(_between((a_u, a_v), (b_u, b_v), radii, numbers.beside[row]))
    return parts[0] if len(parts) == 1 else Contact(*map(jnp.concatenate, zip(*parts, strict=True)))


def _beneath(gap: jax.Array, ball: Pair, out: Pair, radius: jax.Array) -> Contact:
    deep = radius + 0.5 * gap
    return Contact(gap, ball[0] - out[0] * deep, ball[1] - out[1] * deep, *out)


def _between(first: Pair, ball: Pair, radii: Pair, beside: jax.Array) -> Contact:
    way_u, way_v = ball[0] - first[0], ball[1] - first[1]
    far = jnp.sqrt(way_u * way_u + way_v * way_v)
    safe = far + (far == 0.0)
    out_u, out_v = jnp.where(far == 0.0, 1.0, way_u / safe), way_v / safe
    gap = far - radii[0] - radii[1]
    deep = radii[0] + 0.5 * gap
    return Contact(gap + beside, first[0] + out_u * deep, first[1] + out_v * deep, out_u, out_v)


def _places(now: Moving, links: list[int], of: Pair) -> Pair:
    """Points of the links, given in their frames from the mass centre, in the world."""
    link = now.taken(links)
    u, v = link.turned(*of)
    return link.u + u, link.v + v
