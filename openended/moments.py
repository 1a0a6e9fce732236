"""Running mean and variance of vectors, by which their numbers are told in comparable units."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from openended import trees

RATE = 0.02  # of the running averages, once so many updates were seen
_LEAST = 1e-4  # variance below which a number counts as constant
_MOST = 5.0  # standard deviations that a number may be told to be away


class Moments(NamedTuple):
    """Of vectors with W numbers."""

    mean: jax.Array  # f32[W]
    variance: jax.Array  # f32[W]
    updates: jax.Array  # f32[]


def unknown(width: int) -> Moments:
    """Before anything was seen."""
    return Moments(jnp.zeros(width), jnp.ones(width), jnp.zeros(()))


def seen(moments: Moments, values: jax.Array, live: jax.Array) -> Moments:
    """After values f32[..., W] that count where ``live`` f32[...] is 1, of all devices."""
    axes, weight = tuple(range(live.ndim)), live[..., None]
    number = trees.mean(jnp.sum(live))
    away = jnp.where(weight > 0, values - moments.mean, 0.0)
    step, square = (trees.mean(jnp.sum(x, axis=axes)) / jnp.maximum(number, 1e-6) for x in (away, jnp.square(away)))
    share = jnp.where(number > 0, jnp.maximum(RATE, 1.0 / (moments.updates + 1.0)), 0.0)
    variance = (1.0 - share) * moments.variance + share * square - jnp.square(share * step)  # West 1979, for a whole batch
    return Moments(moments.mean + share * step, variance, moments.updates + jnp.sign(number))


def standard(moments: Moments, values: jax.Array) -> jax.Array:
    """Values in standard deviations from the mean, within five; numbers that never change are zero."""
    away = (values - moments.mean) / jnp.sqrt(moments.variance + _LEAST)
    return jnp.clip(away, -_MOST, _MOST)


def varied(moments: Moments) -> jax.Array:
    """f32[W], 1 for numbers that change."""
    return (moments.variance > _LEAST).astype(jnp.float32)
