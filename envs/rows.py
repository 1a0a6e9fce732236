"""Numbers of a body's L links as arrays f32[L] of their own: rows by indices that are known beforehand, vectors, turns.

Gathers and scatters are slow on CPUs, slices are not.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


def taken(values: jax.Array, rows: Sequence[int], nothing: float = 0.0) -> jax.Array:
    """The values f32[N] in these rows, f32[len(rows)]; row -1 has ``nothing``."""
    if list(rows) == list(range(len(values))):
        return values
    parts, start = [], 0
    while start < len(rows):
        first, pace = rows[start], rows[start + 1] - rows[start] if start + 1 < len(rows) else 0
        # A run is of one row again and again, or of rows at the same distance; two at some distance are no run yet.
        stop = start + 1
        while stop < len(rows) and rows[stop] == first + (stop - start) * pace and (rows[stop] < 0) == (first < 0):
            stop += 1
        if pace < 0 or (pace > 1 and stop == start + 2):
            stop = start + 1
        parts.append(_run(values, first, pace, stop - start, nothing))
        start = stop
    return jnp.concatenate(parts)


def _run(values: jax.Array, first: int, pace: int, count: int, nothing: float) -> jax.Array:
    if first < 0:
        return jnp.full(count, nothing)
    if count > 1 and pace == 0:
        return jnp.broadcast_to(values[first], (count,))
    return values[first : first + (count - 1) * pace + 1 : max(pace, 1)] if count > 1 else values[first : first + 1]


def summed(values: jax.Array, rows: Sequence[int], size: int) -> jax.Array:
    """f32[size]: the sum of the values f32[len(rows)] whose row it is; those of row -1 are left out."""
    of = [[i for i, row in enumerate(rows) if row == place] for place in range(size)]
    parts, start = [], 0
    while start < size:  # places one after the other with as many values
        stop = start + 1
        while stop < size and len(of[stop]) == len(of[start]):
            stop += 1
        layers = [taken(values, same) for same in zip(*of[start:stop], strict=True)]
        parts.append(sum(layers[1:], layers[0]) if layers else jnp.zeros(stop - start))
        start = stop
    return jnp.concatenate(parts)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["x", "y", "z"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Vector:
    """Vectors of L links, f32[L] along each axis."""

    x: jax.Array
    y: jax.Array
    z: jax.Array

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.x + other.x, self.y + other.y, self.z + other.z)

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.x - other.x, self.y - other.y, self.z - other.z)

    def __mul__(self, factor: jax.Array) -> Vector:
        return Vector(self.x * factor, self.y * factor, self.z * factor)

    def __truediv__(self, divisor: jax.Array) -> Vector:
        return Vector(self.x / divisor, self.y / divisor, self.z / divisor)

    def over(self, other: Vector) -> Vector:
        """Quotients along each axis."""
        return Vector(self.x / other.x, self.y / other.y, self.z / other.z)

    def each(self, other: Vector) -> Vector:
        """Products along each axis."""
        return Vector(self.x * other.x, self.y * other.y, self.z * other.z)

    def dot(self, other: Vector) -> jax.Array:
        """f32[L]."""
        return self.x * other.x + self.y * other.y + self.z * other.z

    def cross(self, other: Vector) -> Vector:
        """Perpendicular to both."""
        return Vector(
            self.y * other.z - self.z * other.y, self.z * other.x - self.x * other.z, self.x * other.y - self.y * other.x
        )


class Turn(NamedTuple):
    """Unit quaternions of L links, f32[L] each."""

    w: jax.Array
    x: jax.Array
    y: jax.Array
    z: jax.Array

    def frame(self) -> Frame:
        """The same as axes."""
        w, x, y, z = self
        xx, yy, zz, xy, xz, yz, wx, wy, wz = x * x, y * y, z * z, x * y, x * z, y * z, w * x, w * y, w * z
        return Frame(
            Vector(1.0 - 2.0 * (yy + zz), 2.0 * (xy + wz), 2.0 * (xz - wy)),
            Vector(2.0 * (xy - wz), 1.0 - 2.0 * (xx + zz), 2.0 * (yz + wx)),
            Vector(2.0 * (xz + wy), 2.0 * (yz - wx), 1.0 - 2.0 * (xx + yy)),
        )

    def dot(self, other: Turn) -> jax.Array:
        """f32[L]."""
        return self.w * other.w + self.x * other.x + self.y * other.y + self.z * other.z

    def since(self, other: Turn) -> Turn:
        """What takes the other one to this one, seen from the other."""
        (w, x, y, z), (a, b, c, d) = self, other
        return Turn(
            self.dot(other),
            a * x - b * w - c * z + d * y,
            a * y + b * z - c * w - d * x,
            a * z - b * y + c * x - d * w,
        )

    def spun(self, by: Vector) -> Turn:
        """After a small turn by twice this vector of the world, rad."""
        w, x, y, z = self
        w, x, y, z = (
            w - (by.x * x + by.y * y + by.z * z),
            x + by.x * w + by.y * z - by.z * y,
            y + by.y * w + by.z * x - by.x * z,
            z + by.z * w + by.x * y - by.y * x,
        )
        long = jnp.sqrt(w * w + x * x + y * y + z * z)
        return Turn(w / long, x / long, y / long, z / long)


class Frame(NamedTuple):
    """Axes of L links in the world."""

    x: Vector
    y: Vector
    z: Vector

    def out(self, inside: Vector) -> Vector:
        """A vector of the frame in the world."""
        return self.x * inside.x + self.y * inside.y + self.z * inside.z

    def into(self, outside: Vector) -> Vector:
        """A vector of the world in the frame."""
        return Vector(self.x.dot(outside), self.y.dot(outside), self.z.dot(outside))
