"""Fast weights: the memory ``S <- f S + w tanh(v) tanh(k)^T``, read by ``S q`` over the decayed sum of the strengths w.

Sources: Schmidhuber 1992 ("Learning to control fast-weight memories"), Ba et al. 2016 (arXiv 1610.06258); the chunks of
`sequence` as in Hua et al. 2022 (arXiv 2202.10447). Every head has a matrix S of its own and its own pace of forgetting.

`step` is one percept, `sequence` whole lifetimes at once with the same results. There all arrays are f32[H, ..., N] with
N = chunks x lifetimes last: products of 8 x 8 matrices are then sums of a few products of long rows. A library's product of
matrices, called for each of them, takes most of its time to begin.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.fusion import apart, stage
from openended.types import Params

KEEP = (2.0, 6.0)  # logits of the share kept a step at birth, first to last head: 88 % to 99.8 %, seconds to lifetimes
LEAST = 1e-3  # writing strength below which a memory reads as empty


class Sizes(NamedTuple):
    """Heads, width of a head's keys and values, most steps in a chunk."""

    heads: int
    head: int
    chunk: int


class Written(NamedTuple):
    """What a percept asks and writes; strength and log_keep are 0 where it does not count."""

    query: jax.Array
    key: jax.Array
    value: jax.Array
    strength: jax.Array  # of writing, 0 to 1
    log_keep: jax.Array  # logarithm of the share kept


def born(sizes: Sizes) -> tuple[jax.Array, jax.Array]:
    """The empty memory: weights f32[H, value, key], decayed sum of strengths f32[H]."""
    return jnp.zeros((sizes.heads, sizes.head, sizes.head)), jnp.zeros(sizes.heads)


def step(sizes: Sizes, params: Params, memory: Any, hidden: jax.Array, live: jax.Array) -> tuple[Any, jax.Array]:
    """The memory after one percept, hidden f32[width], and what was read, f32[heads x head]."""
    weights, count = memory
    weight, bias = _maps(params)
    wide, heads = (sizes.heads, sizes.head), sizes.heads
    q, k, v, keep, strength = jnp.split(hidden @ weight + bias, _ends(sizes))
    q, k, v = q.reshape(wide), k.reshape(wide), v.reshape(wide)
    now = _written(q, k, v, keep + jnp.linspace(*KEEP, heads), strength, live)
    kept = jnp.exp(now.log_keep)
    weights = kept[:, None, None] * weights + now.strength[:, None, None] * now.value[:, :, None] * now.key[:, None, :]
    count = kept * count + now.strength
    read = jnp.einsum("hvk,hk->hv", weights, now.query) / (count[:, None] + LEAST)
    return (weights, count), read.reshape(-1)


def sequence(sizes: Sizes, params: Params, hidden: jax.Array, live: jax.Array) -> jax.Array:
    """What B lifetimes read, f32[B, T, heads x head], from hidden f32[B, T, width] and live f32[B, T].

    The memory is carried from chunk to chunk; within a chunk every step reads what the ones before it wrote.
    """
    rows, total = live.shape
    chunk = max(steps for steps in range(1, sizes.chunk + 1) if total % steps == 0)
    chunks, heads, head = total // chunk, sizes.heads, sizes.head
    ordered = hidden.reshape(rows, chunks, chunk, -1).transpose(2, 1, 0, 3).reshape(total * rows, -1)
    counts = live.reshape(rows, chunks, chunk).transpose(2, 1, 0).reshape(chunk, chunks * rows)
    weight, bias = _maps(params)
    asked = _ready(sizes)(jnp.tensordot(weight, ordered, (0, 1)) + bias[:, None], counts)
    decay, since, left = _decays(asked.strength, asked.log_keep)
    share, count = _weighed(_inner(asked.query, asked.key), asked.strength, decay)
    added = _outer_t(_scaled(left, asked.key), asked.value)
    before = _carried(chunks, since[:, -1], added, count[:, -1])
    read = _mixed(_outer(share, asked.value), _outer(asked.query, before[0]), since, count, before[1])
    return read.reshape(heads, chunk, head, chunks, rows).transpose(4, 3, 1, 0, 2).reshape(rows, total, heads * head)


def _maps(params: Params) -> tuple[jax.Array, jax.Array]:
    """The affine map of hidden to all that is asked and written, f32[width, 3 H d + 2 H] and f32[3 H d + 2 H]."""
    weight, bias = (jnp.concatenate([params["write"][name], params["keep"][name]], axis=-1) for name in ("w", "b"))
    return weight, bias


def _ends(sizes: Sizes) -> list[int]:
    """Where that is cut: query, key, value, keep, strength."""
    wide = sizes.heads * sizes.head
    return [wide, 2 * wide, 3 * wide, 3 * wide + sizes.heads]


def _written(q: jax.Array, k: jax.Array, v: jax.Array, keep: jax.Array, strength: jax.Array, live: jax.Array) -> Written:
    return Written(q, jnp.tanh(k), jnp.tanh(v), live * jax.nn.sigmoid(strength), live * jax.nn.log_sigmoid(keep))


def _ready(sizes: Sizes) -> Callable[[jax.Array, jax.Array], Written]:
    heads, head = sizes.heads, sizes.head

    @stage
    def ready(rows: jax.Array, live: jax.Array) -> Written:
        chunk = len(live)
        wide = (heads, head, chunk, -1)
        q, k, v, keep, strength = jnp.split(rows, _ends(sizes))
        q, k, v = (part.reshape(wide).swapaxes(1, 2) for part in (q, k, v))
        keep, strength = (part.reshape(heads, chunk, -1) for part in (keep, strength))
        return _written(q, k, v, keep + jnp.linspace(*KEEP, heads)[:, None, None], strength, live)

    return ready


@stage
def _decays(strength: jax.Array, log_keep: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log share left of the chunk's beginning, the share itself, and what is left of each step's writing at the end."""
    decay = jnp.cumsum(log_keep, axis=1)
    return decay, jnp.exp(decay), strength * jnp.exp(decay[:, -1:] - decay)


@stage
def _weighed(scores: jax.Array, strength: jax.Array, decay: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores f32[H, T, S, N] of step s for step t by what is left of it then, 0 for later ones; the sum of what is left."""
    causal = jnp.tril(jnp.ones(scores.shape[1:3], bool))[:, :, None]
    between = strength[:, None] * jnp.exp(jnp.where(causal, decay[:, :, None] - decay[:, None], -jnp.inf))
    return between * scores, jnp.sum(between, axis=2)


@stage
def _scaled(left: jax.Array, key: jax.Array) -> jax.Array:
    return left[:, :, None] * key


@stage
def _mixed(within: jax.Array, earlier: jax.Array, since: jax.Array, count: jax.Array, before: jax.Array) -> jax.Array:
    """What is read, of this chunk and of those before it."""
    return (within + since[:, :, None] * earlier) / ((count + since * before[:, None])[:, :, None] + LEAST)


def _carried(chunks: int, kept: jax.Array, added: jax.Array, counted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Memory f32[H, key, value, N] and its sum of strengths f32[H, N] before every chunk, by what each keeps and adds."""

    def chunked(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x.reshape(*x.shape[:-1], chunks, -1), -2, 0)

    def one(memory: tuple[jax.Array, jax.Array], parts: tuple[jax.Array, ...]) -> Any:
        (weights, count), (share, more, number) = memory, parts
        return (share[:, None, None] * weights + more, share * count + number), memory

    parts = chunked(kept), chunked(added), chunked(counted)
    empty = jnp.zeros(parts[1].shape[1:]), jnp.zeros(parts[2].shape[1:])
    before = jax.lax.scan(one, empty, parts)[1]
    weights, count = (jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1) for x in before)
    return weights, count


def _contraction(equation: str, unrolled: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable:
    quick = apart(unrolled)

    def contract(a: jax.Array, b: jax.Array) -> jax.Array:
        return quick(a, b) if jax.default_backend() == "cpu" else jnp.einsum(equation, a, b)

    return contract


def _with_gradient(product: Callable, of_first: Callable, of_second: Callable) -> Callable:
    whole = jax.custom_vjp(product)
    whole.defvjp(lambda a, b: (product(a, b), (a, b)), lambda kept, g: (of_first(*kept, g), of_second(*kept, g)))
    return whole


def _total(parts: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, parts)


# Products of the small matrices of every head and row n: a b^T, a b and a^T b, each the gradient of the others.
_a_bt = _contraction("hikn,hjkn->hijn", lambda a, b: _total(a[:, :, i, None] * b[:, None, :, i] for i in range(a.shape[2])))
_a_b = _contraction("hijn,hjkn->hikn", lambda a, b: _total(a[:, :, j, None] * b[:, None, j] for j in range(a.shape[2])))
_at_b = _contraction("hijn,hikn->hjkn", lambda a, b: _total(a[:, i, :, None] * b[:, i, None] for i in range(a.shape[1])))
_inner = _with_gradient(_a_bt, lambda a, b, g: _a_b(g, b), lambda a, b, g: _at_b(g, a))
_outer = _with_gradient(_a_b, lambda a, b, g: _a_bt(g, b), lambda a, b, g: _at_b(a, g))
_outer_t = _with_gradient(_at_b, lambda a, b, g: _a_bt(b, g), lambda a, b, g: _a_b(a, g))
