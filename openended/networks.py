"""The policy network: a body, one of the memories, an actor and a critic. Plain pytrees.

``step`` runs one percept with an explicit memory (acting); ``sequence`` runs whole lifetimes at once (learning). Both give the
same numbers, which a test checks.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from openended import attention, fast_weights
from openended.maps import affine, dense, gated
from openended.types import Output, Params, Percept

MEMORIES = ("fast_weights", "gru", "transformer", "none")
HISTORY = 2  # own actions that a percept holds: with one, a motor delay of a single step stops all learning
SCALE = 5.0  # a control step changes most of what is sensed, and is rewarded, by fifths of a unit
LOG_STD = (-2.3, 0.5)  # below 0.1 every update of the mean changes everything, and accepted tasks are forgotten


class AbstractPolicy(abc.ABC):
    """What acts in a lifetime, with a memory that lasts for it."""

    observation: int
    actions: int

    @abc.abstractmethod
    def init(self, key: jax.Array) -> Params:
        """Parameters of a new-born."""

    @abc.abstractmethod
    def initial_memory(self, params: Params) -> Any:
        """Memory at birth."""

    def births(self, params: Params, rows: int) -> Any:
        """Memory at the birth of so many lifetimes, leaves [rows, ...]."""
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape)), self.initial_memory(params))

    @abc.abstractmethod
    def step(self, params: Params, memory: Any, percept: Percept) -> tuple[Any, Output]:
        """One percept, acting."""

    @abc.abstractmethod
    def sequence(self, params: Params, percepts: Percept) -> Output:
        """Lifetimes, percepts [B, T, ...] -> outputs [B, T, ...], learning: the same numbers as step by step."""

    def renew(self, params: Params, memory: Any, motors: jax.Array) -> Any:
        """The memory with which an episode begins, the first included; motors: f32[A] 1 where an action drives one."""
        return memory


@dataclasses.dataclass(frozen=True)
class Policy(AbstractPolicy):
    """Gaussian policy and value of a lifetime.

    memory: ``fast_weights`` (see `openended.fast_weights`), ``gru``, ``transformer`` (see `openended.attention`), or ``none``.
    A policy without memory sees the observation only: neither its change nor the previous action and reward. ``heads`` of
    width ``head`` are those of fast weights and of the transformer, ``chunk`` is the former's, ``layers`` and ``span`` the
    latter's.
    """

    observation: int
    actions: int
    memory: str = "fast_weights"
    width: int = 64
    heads: int = 4
    head: int = 8
    chunk: int = 8
    layers: int = 1
    span: int = 120

    def __post_init__(self):
        if self.memory not in MEMORIES:
            raise ValueError(f"learner.memory is '{self.memory}'; allowed: {', '.join(MEMORIES)}")
        sized(self, "width", "heads", "head", "chunk", "layers", "span")

    @property
    def inputs(self) -> int:
        """Numbers the body reads."""
        return self.observation if self.memory == "none" else 2 * self.observation + HISTORY * self.actions + 2

    def init(self, key: jax.Array) -> Params:
        """Parameters; the mean starts near zero and the standard deviation at 0.6."""
        keys = jax.random.split(key, 6)
        recalled = {"fast_weights": self.heads * self.head, "none": 0}.get(self.memory, self.width)
        params = {
            "body": dense(keys[0], self.inputs, 2 * self.width, math.sqrt(2.0)),
            "mix": dense(keys[1], self.width + recalled, 2 * self.width, math.sqrt(2.0)),
            "actor": dense(keys[2], self.width, self.actions, 0.01),
            "critic": dense(keys[3], self.width, 1, 1.0),
            "log_std": jnp.full((self.actions,), -0.5, jnp.float32),
        }
        if self.memory == "fast_weights":
            params["write"] = dense(keys[4], self.width, 3 * recalled)
            params["keep"] = dense(keys[5], self.width, 2 * self.heads, 0.1)
        if self.memory == "gru":
            params["write"] = dense(keys[4], self.width, 3 * self.width)
            params["keep"] = dense(keys[5], self.width, 3 * self.width)
        if self.memory == "transformer":
            params["layers"] = attention.init(self._attention, keys[4], self.width)
        return params

    def initial_memory(self, params: Params) -> Any:
        """Memory at birth."""
        if self.memory == "fast_weights":
            return fast_weights.born(self._sizes)
        if self.memory == "transformer":
            return attention.born(self._attention)
        return jnp.zeros(self.width if self.memory == "gru" else 0)

    def step(self, params: Params, memory: Any, percept: Percept) -> tuple[Any, Output]:
        """One percept."""
        hidden = self._body(params, percept)
        if self.memory == "fast_weights":
            memory, recalled = fast_weights.step(self._sizes, params, memory, hidden, percept.live)
        elif self.memory == "gru":
            memory = recalled = _gru_cell(params, memory, hidden, percept.live)
        elif self.memory == "transformer":
            memory, recalled = attention.step(self._attention, params["layers"], memory, hidden, percept.live)
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
        elif self.memory == "transformer":
            recalled = attention.sequence(self._attention, params["layers"], hidden, percepts.live)
        else:
            recalled = jnp.zeros((*hidden.shape[:-1], 0))
        return self._heads(params, hidden, recalled)

    @property
    def _sizes(self) -> fast_weights.Sizes:
        return fast_weights.Sizes(self.heads, self.head, self.chunk)

    @property
    def _attention(self) -> attention.Sizes:
        return attention.Sizes(self.layers, self.heads, self.head, self.span)

    def _gru_sequence(self, params: Params, hidden: jax.Array, live: jax.Array) -> jax.Array:
        def cell(memory: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            memory = _gru_cell(params, memory, *inputs)
            return memory, memory

        return jax.lax.scan(cell, self.initial_memory(params), (hidden, live))[1]

    def _body(self, params: Params, percept: Percept) -> jax.Array:
        parts = [percept.observation]
        if self.memory != "none":
            scalars = jnp.stack([SCALE * percept.reward, percept.first], axis=-1)
            parts += [SCALE * percept.change, percept.action, scalars]
        return gated(params["body"], jnp.concatenate(parts, axis=-1))

    def _heads(self, params: Params, hidden: jax.Array, recalled: jax.Array) -> Output:
        mixed = gated(params["mix"], jnp.concatenate([hidden, recalled], axis=-1))
        mean = affine(params["actor"], mixed)
        log_std = jnp.broadcast_to(jnp.clip(params["log_std"], *LOG_STD), mean.shape)
        return Output(mean, log_std, affine(params["critic"], mixed)[..., 0])


def _gru_cell(params: Params, memory: jax.Array, hidden: jax.Array, live: jax.Array) -> jax.Array:
    """Gated recurrent unit (Cho et al. 2014); where nothing counts it keeps what it has."""
    reset_x, update_x, new_x = jnp.split(affine(params["write"], hidden), 3)
    reset_m, update_m, new_m = jnp.split(affine(params["keep"], memory), 3)
    update = jax.nn.sigmoid(update_x + update_m)
    new = jnp.tanh(new_x + jax.nn.sigmoid(reset_x + reset_m) * new_m)
    return jnp.where(live > 0, update * memory + (1.0 - update) * new, memory)


def remembers(policy: Any, memory: str) -> None:
    """Raises a ValueError when another memory is asked of a policy that has but this one."""
    if policy.memory != memory:
        raise ValueError(f"learner.memory is '{policy.memory}'; allowed: {memory}, for this policy")


def sized(policy: Any, *names: str) -> None:
    """Raises a ValueError naming the first of these sizes that is no whole number of at least 1."""
    for name in names:
        size = getattr(policy, name)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"learner.policy.{name} is {size}; allowed: a whole number of at least 1")


def log_prob(output: Output, action: jax.Array, mask: jax.Array) -> jax.Array:
    """Log density f32[...] of an action under the Gaussian, over the motors that exist."""
    z = (action - output.mean) * jnp.exp(-output.log_std)
    each = -0.5 * jnp.square(z) - output.log_std - 0.5 * math.log(2.0 * math.pi)
    return jnp.sum(each * mask, axis=-1)


def entropy(output: Output, mask: jax.Array) -> jax.Array:
    """Entropy f32[...] of the Gaussian, over the motors that exist."""
    return jnp.sum((output.log_std + 0.5 * math.log(2.0 * math.pi * math.e)) * mask, axis=-1)
