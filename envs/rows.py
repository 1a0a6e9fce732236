"""Rows of small arrays by indices that are known beforehand: gathers and scatters are slow on CPUs, slices are not."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def taken(values: jax.Array, rows: Sequence[int], nothing: float = 0.0) -> jax.Array:
    """The values f32[N] in these rows, f32[len(rows)]; row -1 has ``nothing``."""
    if list(rows) == list(range(len(values))):
        return values
    parts, start = [], 0
    while start < len(rows):
        stop = start + 1
        while stop < len(rows) and (rows[stop] == rows[stop - 1] + 1 if rows[start] >= 0 else rows[stop] < 0):
            stop += 1
        first = rows[start]
        parts.append(jnp.full(stop - start, nothing) if first < 0 else values[first : first + stop - start])
        start = stop
    return jnp.concatenate(parts)


def summed(values: jax.Array, rows: Sequence[int], size: int) -> jax.Array:
    """f32[size]: the sum of the values f32[len(rows)] whose row it is; those of row -1 are left out."""
    of = [[i for i, row in enumerate(rows) if row == place] for place in range(size)]
    depth = max(map(len, of), default=0)
    layers = [taken(values, [mine[k] if k < len(mine) else -1 for mine in of]) for k in range(depth)]
    return sum(layers[1:], layers[0]) if layers else jnp.zeros(size)
