"""Gaussian noise from a counter, a few operations for each number.

JAX's own generator (threefry, a cipher) took a third of a control step of a small body: on CPUs it runs as a loop of many tiny
kernels. The noise of a sensor needs to look random, no more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from envs.fusion import apart

_LEAST = np.nextafter(np.float32(-1.0), np.float32(0.0))  # the inverse error function is infinite at -1 and 1


def stream(key: jax.Array) -> jax.Array:
    """What `gaussian` draws from, u32[2], of a key of JAX's."""
    return jax.random.key_data(key)


def gaussian(stream: jax.Array, time: jax.Array, count: int) -> jax.Array:
    """f32[count] of the standard normal distribution, others for every stream u32[2] and time i32[]."""
    return _drawn(count)(stream, time)


@functools.cache
def _drawn(count: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Apart from what uses it: among the branches of a concatenation it would be computed number by number."""

    def draw(stream: jax.Array, time: jax.Array) -> jax.Array:
        row = _mixed(stream[0] + jnp.uint32(0x9E3779B9) * time.astype(jnp.uint32)) ^ stream[1]
        bits = _mixed(_mixed(row + jnp.uint32(0x85EBCA6B) * jnp.arange(count, dtype=jnp.uint32)) + stream[0])
        uniform = (bits >> 8).astype(jnp.float32) * (2.0**-23) - 1.0
        return np.float32(np.sqrt(2.0)) * jax.lax.erf_inv(jnp.maximum(uniform, _LEAST))

    return apart(draw)


def _mixed(x: jax.Array) -> jax.Array:
    """A bijection of u32 in which every bit of the result depends on every bit of x.

    Source: Wellons 2018, "Prospecting for hash functions" (``lowbias32``).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
