"""Affine maps and gates: what the modules of a policy are made of. Inputs f32[..., I], outputs f32[..., O]."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def dense(key: jax.Array, inputs: int, outputs: int, scale: float = 1.0) -> dict[str, jax.Array]:
    """Parameters of an affine map: an orthogonal matrix f32[I, O] times ``scale``, and no bias at first."""
    weight = jax.nn.initializers.orthogonal(scale)(key, (inputs, outputs), jnp.float32)
    return {"w": weight, "b": jnp.zeros(outputs)}


def affine(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """``x W + b``."""
    return x @ layer["w"] + layer["b"]


def lstm(gates: jax.Array, cell: jax.Array, keep: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """What a cell f32[..., H] shows and holds after a step, by its four gates f32[..., 4 H]; keep: bias of what it keeps.

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    let, stay, new, show = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(stay + keep) * cell + jax.nn.sigmoid(let) * jnp.tanh(new)
    return jax.nn.sigmoid(show) * jnp.tanh(cell), cell


def gated(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """``tanh(a) tanh(1 + b)`` of one affine map's two halves: products of inputs, which signs and Jacobians are made of.

    Source: gated linear units (Dauphin et al. 2017, arXiv 1612.08083), with bounded factors that start half open.
    """
    a, b = jnp.split(affine(layer, x), 2, axis=-1)
    return jnp.tanh(a) * jnp.tanh(1.0 + b)
