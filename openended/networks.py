"""The policy network: a body, one of three memories, an actor and a critic. Plain pytrees, one lifetime at a time.

``step`` runs one percept with an explicit memory (acting); ``sequence`` runs a whole lifetime at once (learning). Both give
the same numbers, which a test checks.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from openended.types import Output, Params, Percept

MEMORIES = ("fast_weights", "gru", "none")
HISTORY = 2  # own actions that a percept holds: with one, a motor delay of a single step stops all learning
_LOG_STD = (-2.3, 0.5)  # below 0.1 every update of the mean changes everything, and accepted tasks are forgotten
_LEAST = 1e-3  # writing strength below which a memory reads as empty
_KEEP = (2.0, 6.0)  # logits of the share kept a step at birth, first to last head: 88 % to 99.8 %, seconds to lifetimes


def _dense(key: jax.Array, inputs: int, outputs: int, scale: float = 1.0) -> dict[str, jax.Array]:
    weight = jax.nn.initializers.orthogonal(scale)(key, (inputs, outputs), jnp.float32)
    return {"w": weight, "b": jnp.zeros(outputs)}


def _apply(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer["w"] + layer["b"]


def _gated(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """``tanh(a) tanh(1 + b)`` of one affine map's two halves: products of inputs, which signs and Jacobians are made of.

    Source: gated linear units (Dauphin et al. 2017, arXiv 1612.08083), with bounded factors that start half open.
    """
    a, b = jnp.split(_apply(layer, x), 2, axis=-1)
    return jnp.tanh(a) * jnp.tanh(1.0 + b)


@dataclasses.dataclass(frozen=True)
class Policy:
    """Gaussian policy and value of a lifetime.

    memory: ``fast_weights`` (outer-product memory ``S <- f S + w tanh(v) tanh(k)^T``, read by ``S q`` over the decayed sum of
    the writing strengths w; Schmidhuber 1992, Ba et al. 2016), ``gru``, or ``none``. A policy without memory sees the
    observation only: neither its change nor the previous action and reward.
    """

    observation: int
    actions: int
    memory: str = "fast_weights"
    width: int = 64
    heads: int = 4
    head: int = 8
    chunk: int = 8

    def __post_init__(self):
        if self.memory not in MEMORIES:
            raise ValueError(f"learner.memory is '{self.memory}'; allowed: {', '.join(MEMORIES)}")

    @property
    def inputs(self) -> int:
        """Numbers the body reads."""
        return self.observation if self.memory == "none" else 2 * self.observation + HISTORY * self.actions + 2

    def init(self, key: jax.Array) -> Params:
        """Parameters; the mean starts near zero and the standard deviation at 0.6."""
        keys = jax.random.split(key, 6)
        recalled = {"fast_weights": self.heads * self.head, "gru": self.width, "none": 0}[self.memory]
        params = {
            "body": _dense(keys[0], self.inputs, 2 * self.width, math.sqrt(2.0)),
            "mix": _dense(keys[1], self.width + recalled, 2 * self.width, math.sqrt(2.0)),
            "actor": _dense(keys[2], self.width, self.actions, 0.01),
            "critic": _dense(keys[3], self.width, 1, 1.0),
            "log_std": jnp.full((self.actions,), -0.5, jnp.float32),
        }
        if self.memory == "fast_weights":
            params["write"] = _dense(keys[4], self.width, 3 * recalled)
            params["keep"] = _dense(keys[5], self.width, 2 * self.heads, 0.1)
        if self.memory == "gru":
            params["write"] = _dense(keys[4], self.width, 3 * self.width)
            params["keep"] = _dense(keys[5], self.width, 3 * self.width)
        return params

    def initial_memory(self) -> Any:
        """Memory at birth."""
        if self.memory == "fast_weights":
            return jnp.zeros((self.heads, self.head, self.head)), jnp.zeros(self.heads)
        return jnp.zeros(self.width if self.memory == "gru" else 0)

    def step(self, params: Params, memory: Any, percept: Percept) -> tuple[Any, Output]:
        """One percept."""
        hidden = self._body(params, percept)
        if self.memory == "fast_weights":
            memory, recalled = self._fast_step(params, memory, hidden, percept.live)
        elif self.memory == "gru":
            memory = recalled = _gru_cell(params, memory, hidden, percept.live)
        else:
            recalled = jnp.zeros(0)
        return memory, self._heads(params, hidden, recalled)

    def sequence(self, params: Params, percepts: Percept) -> Output:
        """A lifetime, percepts [T, ...] -> outputs [T, ...], from the memory at birth."""
        hidden = self._body(params, percepts)
        if self.memory == "fast_weights":
            recalled = self._fast_sequence(params, hidden, percepts.live)
        elif self.memory == "gru":

            def cell(memory, inputs):
                memory = _gru_cell(params, memory, *inputs)
                return memory, memory

            recalled = jax.lax.scan(cell, self.initial_memory(), (hidden, percepts.live))[1]
        else:
            recalled = jnp.zeros((hidden.shape[0], 0))
        return self._heads(params, hidden, recalled)

    def _body(self, params: Params, percept: Percept) -> jax.Array:
        parts = [percept.observation]
        if self.memory != "none":
            # Steps change little: the factor 5 brings changes and rewards to the size of the other inputs.
            scalars = jnp.stack([5.0 * percept.reward, percept.first], axis=-1)
            parts += [5.0 * percept.change, percept.action, scalars]
        return _gated(params["body"], jnp.concatenate(parts, axis=-1))

    def _heads(self, params: Params, hidden: jax.Array, recalled: jax.Array) -> Output:
        mixed = _gated(params["mix"], jnp.concatenate([hidden, recalled], axis=-1))
        mean = _apply(params["actor"], mixed)
        log_std = jnp.broadcast_to(jnp.clip(params["log_std"], *_LOG_STD), mean.shape)
        return Output(mean, log_std, _apply(params["critic"], mixed)[..., 0])

    def _queries(self, params: Params, hidden: jax.Array, live: jax.Array) -> tuple[jax.Array, ...]:
        """q, k, v [..., H, d], the strength of writing and the log of the share kept [..., H], both 0 where nothing counts."""
        shape = (*hidden.shape[:-1], 3, self.heads, self.head)
        q, k, v = jnp.moveaxis(_apply(params["write"], hidden).reshape(shape), -3, 0)
        keep, strength = jnp.split(_apply(params["keep"], hidden), 2, axis=-1)
        keep += jnp.linspace(*_KEEP, self.heads)
        live = live[..., None]
        return q, jnp.tanh(k), jnp.tanh(v), live * jax.nn.sigmoid(strength), live * jax.nn.log_sigmoid(keep)

    def _fast_step(self, params: Params, memory: Any, hidden: jax.Array, live: jax.Array) -> tuple[Any, jax.Array]:
        weights, count = memory
        q, k, v, strength, log_keep = self._queries(params, hidden, live)
        keep = jnp.exp(log_keep)
        weights = keep[:, None, None] * weights + strength[:, None, None] * v[:, :, None] * k[:, None, :]
        count = keep * count + strength
        read = jnp.einsum("hvk,hk->hv", weights, q) / (count[:, None] + _LEAST)
        return (weights, count), read.reshape(-1)

    def _fast_sequence(self, params: Params, hidden: jax.Array, live: jax.Array) -> jax.Array:
        """The same recurrence in chunks: matrix products inside a chunk, the memory carried between chunks."""
        total = hidden.shape[0]
        chunk = max(steps for steps in range(1, self.chunk + 1) if total % steps == 0)
        parts = jax.tree.map(lambda x: x.reshape(total // chunk, chunk, *x.shape[1:]), self._queries(params, hidden, live))
        causal = jnp.tril(jnp.ones((chunk, chunk), bool))[:, :, None]

        def block(memory, part):
            weights, count = memory
            q, k, v, strength, log_keep = part
            decay = jnp.cumsum(log_keep, axis=0)
            between = strength[None] * jnp.exp(jnp.where(causal, decay[:, None] - decay[None, :], -jnp.inf))
            since = jnp.exp(decay)
            read = jnp.einsum("tsh,thk,shk,shv->thv", between, q, k, v)
            read += since[:, :, None] * jnp.einsum("hvk,thk->thv", weights, q)
            counts = jnp.sum(between, axis=1) + since * count
            left = strength * jnp.exp(decay[-1] - decay)
            weights = since[-1][:, None, None] * weights + jnp.einsum("sh,shv,shk->hvk", left, v, k)
            return (weights, counts[-1]), read / (counts[:, :, None] + _LEAST)

        read = jax.lax.scan(block, self.initial_memory(), parts)[1]
        return read.reshape(total, -1)


def _gru_cell(params: Params, memory: jax.Array, hidden: jax.Array, live: jax.Array) -> jax.Array:
    """Gated recurrent unit (Cho et al. 2014); where nothing counts it keeps what it has."""
    reset_x, update_x, new_x = jnp.split(_apply(params["write"], hidden), 3)
    reset_m, update_m, new_m = jnp.split(_apply(params["keep"], memory), 3)
    update = jax.nn.sigmoid(update_x + update_m)
    new = jnp.tanh(new_x + jax.nn.sigmoid(reset_x + reset_m) * new_m)
    return jnp.where(live > 0, update * memory + (1.0 - update) * new, memory)


def log_prob(output: Output, action: jax.Array, mask: jax.Array) -> jax.Array:
    """Log density f32[...] of an action under the Gaussian, over the motors that exist."""
    z = (action - output.mean) * jnp.exp(-output.log_std)
    each = -0.5 * jnp.square(z) - output.log_std - 0.5 * math.log(2.0 * math.pi)
    return jnp.sum(each * mask, axis=-1)


def entropy(output: Output, mask: jax.Array) -> jax.Array:
    """Entropy f32[...] of the Gaussian, over the motors that exist."""
    return jnp.sum((output.log_std + 0.5 * math.log(2.0 * math.pi * math.e)) * mask, axis=-1)
