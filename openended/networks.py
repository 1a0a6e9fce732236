"""The policy network: a body, one of three memories, an actor and a critic. Plain pytrees.

``step`` runs one percept with an explicit memory (acting); ``sequence`` runs whole lifetimes at once (learning). Both give the
same numbers, which a test checks.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from openended import fast_weights
from openended.types import Output, Params, Percept

MEMORIES = ("fast_weights", "gru", "none")
HISTORY = 2  # own actions that a percept holds: with one, a motor delay of a single step stops all learning
_LOG_STD = (-2.3, 0.5)  # below 0.1 every update of the mean changes everything, and accepted tasks are forgotten


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

    memory: ``fast_weights`` (see `openended.fast_weights`), ``gru``, or ``none``. A policy without memory sees the observation
    only: neither its change nor the previous action and reward.
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
            return fast_weights.born(self._sizes)
        return jnp.zeros(self.width if self.memory == "gru" else 0)

    def step(self, params: Params, memory: Any, percept: Percept) -> tuple[Any, Output]:
        """One percept."""
        hidden = self._body(params, percept)
        if self.memory == "fast_weights":
            memory, recalled = fast_weights.step(self._sizes, params, memory, hidden, percept.live)
        elif self.memory == "gru":
            memory = recalled = _gru_cell(params, memory, hidden, percept.live)
        else:
            recalled = jnp.zeros(0)
        return memory, self._heads(params, hidden, recalled)

    def sequence(self, params: Params, percepts: Percept) -> Output:
        """Lifetimes, percepts [B, T, ...] -> outputs [B, T, ...], each from the memory at birth."""
        hidden = self._body(params, percepts)
        if self.memory == "fast_weights":
            recalled = fast_weights.sequence(self._sizes, params, hidden, percepts.live)
        elif self.memory == "gru":
            recalled = jax.vmap(self._gru_sequence, in_axes=(None, 0, 0))(params, hidden, percepts.live)
        else:
            recalled = jnp.zeros((*hidden.shape[:-1], 0))
        return self._heads(params, hidden, recalled)

    @property
    def _sizes(self) -> fast_weights.Sizes:
        return fast_weights.Sizes(self.heads, self.head, self.chunk)

    def _gru_sequence(self, params: Params, hidden: jax.Array, live: jax.Array) -> jax.Array:
        def cell(memory: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            memory = _gru_cell(params, memory, *inputs)
            return memory, memory

        return jax.lax.scan(cell, self.initial_memory(), (hidden, live))[1]

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
