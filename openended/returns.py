"""Returns and advantages of one trajectory ``[T]``; the caller vmaps."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def advantages(reward: jax.Array, value: jax.Array, running: jax.Array, discount: float, decay: float) -> jax.Array:
    """Generalised advantage estimates f32[T] of a whole lifetime.

    ``delta_t = r_t + discount v_{t+1} - v_t`` and ``A_t = delta_t + discount decay A_{t+1}`` with ``v_T = 0``. Values are
    carried across the ends of episodes, because a lifetime is one problem. Steps that are not running are skipped: they
    take the value of the next running step and contribute nothing.

    Source: Schulman et al. 2016 (arXiv 1506.02438), equation 16. Shapes: all f32[T] or bool[T].
    """

    def back(carry, step):
        advantage, following = carry
        r, v, live = step
        delta = r + discount * following - v
        here = jnp.where(live, delta + discount * decay * advantage, advantage)
        return (here, jnp.where(live, v, following)), jnp.where(live, here, 0.0)

    start = (jnp.zeros(()), jnp.zeros(()))
    return jax.lax.scan(back, start, (reward, value, running), reverse=True)[1]


def normalise(x: jax.Array, weight: jax.Array, mean_fn=lambda v: v) -> jax.Array:
    """``x`` with weighted mean 0 and variance 1; ``mean_fn`` averages the moments over devices."""
    total = mean_fn(jnp.sum(weight)) + 1e-8
    mean = mean_fn(jnp.sum(x * weight)) / total
    variance = mean_fn(jnp.sum(jnp.square(x - mean) * weight)) / total
    return (x - mean) * weight * jax.lax.rsqrt(variance + 1e-8)
