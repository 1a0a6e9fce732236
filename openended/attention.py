"""A transformer's memory: causal attention over what counted in a lifetime, the last ``span`` percepts of it.

Sources: Vaswani et al. 2017 (arXiv 1706.03762); norms before the maps and gated residuals, with which it begins as a policy
that hardly looks at its memory, from GTrXL (Parisotto et al. 2020, arXiv 1910.06764); attention and the feed-forward part side
by side in one map as in PaLM (Chowdhery et al. 2022, arXiv 2204.02311); what is older weighs less, by a slope of each head's
own, from ALiBi (Press et al. 2022, arXiv 2108.12409); queries and keys of one length times a learned gain from Henry et al.
2020 (arXiv 2010.04245). Weights are ``e^s / (1 + sum e^s)``: a memory that is empty, or fits nothing, reads as nothing.

`step` is one percept with a ring of keys and values as the memory, `sequence` whole lifetimes at once with the same results.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.fusion import apart
from openended.maps import affine, dense
from openended.types import Params

SHUT = 2.0  # logit by which the gates are shut at birth, as in GTrXL: 12 % passes
FLATTEST = 8.0  # minus the binary logarithm of the last head's slope, as in ALiBi: its weights fall by half in 177 percepts
SHARPEST = 20.0  # bound of a score: no sum of weights can overflow, and none needs its largest score to be known first


class Sizes(NamedTuple):
    """Layers, heads, width of a head's keys and values, percepts that are remembered."""

    layers: int
    heads: int
    head: int
    span: int


class Cache(NamedTuple):
    """Keys and values of what counted, by layer; the n-th percept that counted is in slot n mod span."""

    keys: tuple[jax.Array, ...]  # L times f32[H, head, span]: rows of slots, written in place while acting
    values: tuple[jax.Array, ...]  # likewise
    counted: jax.Array  # i32[] percepts that did


def init(sizes: Sizes, key: jax.Array, width: int) -> Params:
    """Parameters, layer by layer."""
    wide = sizes.heads * sizes.head

    def layer(key: jax.Array) -> Params:
        ask, use = jax.random.split(key)
        return {
            "ask": dense(ask, width, 3 * wide),
            "use": dense(use, wide + width, 2 * width, math.sqrt(2.0)),
            "gain": jnp.full(sizes.heads, math.sqrt(sizes.head)),
        }

    return [layer(each) for each in jax.random.split(key, sizes.layers)]


def born(sizes: Sizes) -> Cache:
    """The empty memory."""
    empty = (jnp.zeros((sizes.heads, sizes.head, sizes.span)),) * sizes.layers
    return Cache(empty, empty, jnp.zeros((), jnp.int32))


def step(sizes: Sizes, params: Params, memory: Cache, hidden: jax.Array, live: jax.Array) -> tuple[Cache, jax.Array]:
    """The memory after one percept, hidden f32[width], and what comes out of the last layer, f32[width]."""
    count = memory.counted + (live > 0)
    slot = jnp.where(live > 0, memory.counted % sizes.span, sizes.span)  # out of bounds: written nowhere
    ahead = (count - 1) % sizes.span - jnp.arange(sizes.span)  # negative: of the ring's last turn
    back = jnp.where(ahead < 0, ahead + sizes.span, ahead)
    fall = _slopes(sizes)[:, None] * jnp.where(back < count, back, jnp.inf)
    layers = []
    for layer, keys, values in zip(params, memory.keys, memory.values, strict=True):
        query, key, value = _asked(sizes, layer, hidden)
        keys, values = (old.at[:, :, slot].set(new, mode="drop") for old, new in ((keys, key), (values, value)))
        weights = jnp.exp(jnp.einsum("hd,hds->hs", query, keys) - fall)
        read = jnp.einsum("hs,hds->hd", weights, values) / (1.0 + jnp.sum(weights, axis=-1, keepdims=True))
        hidden = _used(layer, hidden, read.reshape(-1))
        layers.append((keys, values))
    all_keys, all_values = zip(*layers, strict=True)
    return Cache(all_keys, all_values, count), hidden


def sequence(sizes: Sizes, params: Params, hidden: jax.Array, live: jax.Array) -> jax.Array:
    """What comes out of the last layer in B lifetimes, f32[B, T, width], from hidden f32[B, T, width] and live f32[B, T]."""
    back = apart(lambda live: _back(sizes, live))(live)
    slopes = _slopes(sizes)[:, None, None]
    for layer in params:
        query, key, value = _asked(sizes, layer, hidden)
        weights = jnp.exp(jnp.einsum("bthd,bshd->bhts", query, key) - slopes * back)
        # A value of one beside the others: one product gives the sum of the weights as well.
        ones = jnp.ones((*value.shape[:-1], 1))
        read = jnp.einsum("bhts,bshd->bthd", weights, jnp.concatenate([value, ones], axis=-1))
        read = read[..., :-1] / (1.0 + read[..., -1:])
        hidden = _used(layer, hidden, read.reshape(*live.shape, -1))
    return hidden


def _slopes(sizes: Sizes) -> jax.Array:
    return 2.0 ** (-FLATTEST / sizes.heads * jnp.arange(1, sizes.heads + 1))


def _back(sizes: Sizes, live: jax.Array) -> jax.Array:
    """How many percepts that count lie between t and s, f32[B, 1, T, S]; infinitely many where t does not remember s."""
    place = jnp.cumsum(live > 0, axis=1)
    back = place[:, :, None] - place[:, None]
    causal = jnp.tril(jnp.ones(back.shape[1:], bool))
    return jnp.where(causal & (live > 0)[:, None] & (back < sizes.span), back, jnp.inf)[:, None]


def _normed(x: jax.Array) -> jax.Array:
    """Root mean square one (Zhang and Sennrich 2019, arXiv 1910.07467); the map that follows has the scale."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)


def _asked(sizes: Sizes, layer: Params, hidden: jax.Array) -> list[jax.Array]:
    """Query, key and value f32[..., H, head] of hidden f32[..., width]; a score is the cosine of two, times the head's gain."""
    parts = jnp.split(affine(layer["ask"], _normed(hidden)), 3, axis=-1)
    query, key, value = (part.reshape(*hidden.shape[:-1], sizes.heads, sizes.head) for part in parts)
    gain = jnp.clip(layer["gain"], -SHARPEST, SHARPEST) / sizes.head
    return [gain[:, None] * _normed(query), _normed(key), value]


def _used(layer: Params, hidden: jax.Array, read: jax.Array) -> jax.Array:
    """The residual: what was read, f32[..., H head], and hidden itself, through one map and its gate."""
    a, b = jnp.split(affine(layer["use"], jnp.concatenate([read, _normed(hidden)], axis=-1)), 2, axis=-1)
    return hidden + jnp.tanh(a) * jax.nn.sigmoid(b - SHUT)
