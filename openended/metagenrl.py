"""A policy without memory that trains itself between the episodes of a lifetime, by an objective that was learned.

The objective L is an LSTM that runs backwards over the episode that was just played. It hears reward, time, the values now and
next, how the reward surprised them, and for every motor j the pair of the action that was taken and that of today's policy:

    z_tj = tanh(pair(a_tj, mu_j(s_t), (a_tj - mu_j(s_t)) / sigma))
    u_t = LSTM(u_{t+1}; r_t, t, V_t, V_{t+1}, r_t + gamma V_{t+1} - V_t, mean_j z_tj)
    L(phi) = mean_t <out(u_t), mean_j z_tj>          phi <- phi - step clip(grad_phi L(phi))

It never hears what the sensors say, and means over motors make it blind to their number and order: it fits any body. The
weights phi that a lifetime begins with, and those of the objective, are learned by PPO over whole lifetimes, through the steps
of phi (second-order gradients): what the objective is for is how well the *later* episodes go.

Source: Kirsch, van Steenkiste and Schmidhuber 2020 (MetaGenRL, arXiv 1910.04098), whose objective trains agents for many
episodes and is judged by their critics after one step; see `benchmarks/neural_objective.py`. Here a lifetime has few episodes,
so that what it begins with is learned, too, as in MAML (Finn et al. 2017, arXiv 1703.03400), and its end is the judge. What
REINFORCE is made of, advantage times change of action, is one product away: that of ``out(u)`` and z.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from openended.maps import affine, dense, gated, lstm
from openended.networks import LOG_STD, SCALE, AbstractPolicy, remembers, sized
from openended.types import Output, Params, Percept

DISCOUNT = 0.95  # of the surprise


class Segment(NamedTuple):
    """What an objective hears of a piece of an episode."""

    action: jax.Array  # f32[S, A] that was taken
    reward: jax.Array  # f32[S]
    time: jax.Array  # f32[S] share of the longest episode
    values: jax.Array  # f32[S + 1] of that reward
    live: jax.Array  # f32[S] 1 up to the time limit


class Page(NamedTuple):
    """What was perceived in an episode of S steps."""

    observation: jax.Array  # f32[S, W]
    action: jax.Array  # f32[S, A] of the step before
    reward: jax.Array  # f32[S] of the step before
    live: jax.Array  # f32[S] 0 where nothing was perceived yet


class Trace(NamedTuple):
    """A lifetime's memory: its weights, the present episode, and how many of its steps are over."""

    policy: Params
    page: Page
    at: jax.Array  # i32[]


def objective_init(key: jax.Array, hidden: int, pair: int, scale: float = 1.0) -> Params:
    """An objective: widths of the LSTM and of what it hears of a motor; scale of L at first."""
    keys = jax.random.split(key, 4)
    return {
        "pair": [dense(keys[0], 3, pair, math.sqrt(2.0)), dense(keys[1], pair, pair)],
        "gates": dense(keys[2], 5 + pair + hidden, 4 * hidden),
        "out": dense(keys[3], hidden, pair, scale),
    }


def objective(params: Params, segment: Segment, motors: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """L f32[] of one segment; motors: f32[A] 1 where there is one; mean: actions f32[S, A] of today's policy, through which
    gradients flow, and the standard deviation f32[A] around them."""
    first, second = params["pair"]
    pairs = jnp.stack([segment.action, mean, (segment.action - mean) / std], axis=-1)
    each = jnp.tanh(affine(second, jnp.tanh(affine(first, pairs))))
    heard = jnp.einsum("sap,a->sp", each, motors / jnp.maximum(jnp.sum(motors), 1.0))
    reward, now, later = SCALE * segment.reward, SCALE * segment.values[:-1], SCALE * segment.values[1:]
    surprise = (reward + DISCOUNT * later - now) * segment.live
    # The root of a sum, not a norm, whose gradient is not a number at 0.
    surprise = surprise / jnp.sqrt(jnp.sum(jnp.square(surprise)) / jnp.maximum(jnp.sum(segment.live), 1.0) + 1e-4)
    numbers = jnp.stack([reward, segment.time, now, later, surprise], axis=1)

    def back(carry: Any, inputs: Any) -> Any:
        heard, live = inputs
        shown, held = lstm(affine(params["gates"], jnp.concatenate([heard, carry[0]])), carry[1])
        carry = jax.tree.map(functools.partial(jnp.where, live > 0), (shown, held), carry)
        return carry, carry[0]

    nothing = jnp.zeros(params["out"]["w"].shape[0])
    inputs = jnp.concatenate([numbers, heard], axis=1), segment.live
    hidden = jax.lax.scan(back, (nothing, nothing), inputs, reverse=True)[1]
    return jnp.sum(jnp.sum(affine(params["out"], hidden) * heard, axis=1) * segment.live) / len(segment.live)


@dataclasses.dataclass(frozen=True)
class SelfTaughtPolicy(AbstractPolicy):
    """Gaussian policy and value of a lifetime; as `openended.networks.Policy`.

    width: of the layers of policy and critic. hidden, pair: see `objective_init`. step_size: of a step of the policy's weights
    along the objective's gradient, which is clipped to length 1. episode_steps: of all families. Raises ValueError where a size
    is no whole number of at least 1, step_size is not above 0, or another memory is asked for.
    """

    observation: int
    actions: int
    memory: str = "metagenrl"
    width: int = 32
    hidden: int = 32
    pair: int = 16
    step_size: float = 1.0
    episode_steps: int = 40

    def __post_init__(self) -> None:
        remembers(self, "metagenrl")
        sized(self, "width", "hidden", "pair", "episode_steps")
        if not self.step_size > 0.0:
            raise ValueError(f"learner.policy.step_size is {self.step_size}; allowed: above 0")

    def init(self, key: jax.Array) -> Params:
        """Parameters; the mean starts near zero and the standard deviation at 0.6."""
        keys, wide = jax.random.split(key, 6), 2 * self.width
        return {
            "policy": {
                "body": dense(keys[0], self.observation, wide, math.sqrt(2.0)),
                "mix": dense(keys[1], self.width, wide, math.sqrt(2.0)),
                "actor": dense(keys[2], self.width, self.actions, 0.01),
            },
            "log_std": jnp.full((self.actions,), -0.5, jnp.float32),
            "critic": {"body": dense(keys[3], self.observation, wide, math.sqrt(2.0)), "out": dense(keys[4], self.width, 1)},
            "objective": objective_init(keys[5], self.hidden, self.pair, 0.1),
        }

    def initial_memory(self, params: Params) -> Trace:
        """The weights that all lifetimes begin with, and nothing perceived."""
        steps = self.episode_steps
        page = Page(jnp.zeros((steps, self.observation)), jnp.zeros((steps, self.actions)), jnp.zeros(steps), jnp.zeros(steps))
        return Trace(params["policy"], page, jnp.zeros((), jnp.int32))

    def step(self, params: Params, memory: Trace, percept: Percept) -> tuple[Trace, Output]:
        """One percept, which is written down."""
        new = Page(percept.observation, percept.action[: self.actions], percept.reward, percept.live)
        page = jax.tree.map(lambda part, value: part.at[memory.at].set(value), memory.page, new)
        return Trace(memory.policy, page, memory.at + 1), self._output(params, memory.policy, percept.observation)

    def renew(self, params: Params, memory: Trace, motors: jax.Array) -> Trace:
        """Between two episodes: the weights after a step by the objective, and an empty page."""
        page, spread = memory.page, jnp.exp(self._log_std(params))
        seen, live = page.observation[:-1], page.live[:-1] * page.live[1:]
        time = jnp.arange(len(seen)) / self.episode_steps
        segment = Segment(page.action[1:], page.reward[1:], time, self._value(params, page.observation), live)

        def loss(policy: Params) -> jax.Array:
            return objective(params["objective"], segment, motors, _mean(policy, seen), spread)

        slope = jax.grad(loss)(memory.policy)
        square = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(slope))
        size = self.step_size * jax.lax.rsqrt(jnp.maximum(square, 1.0))
        policy = jax.tree.map(lambda weight, leaf: weight - size * leaf, memory.policy, slope)
        return self.initial_memory(params)._replace(policy=policy)

    def sequence(self, params: Params, percepts: Percept) -> Output:
        """Lifetimes, percepts [B, T, ...] -> outputs [B, T, ...], each from the weights at birth, T whole episodes."""
        rows, steps = percepts.live.shape
        if steps % self.episode_steps:
            allowed = f"a divisor of the {steps} steps of a lifetime, as space.episode_steps"
            raise ValueError(f"learner.policy.episode_steps is {self.episode_steps}; allowed: {allowed}")
        motors = percepts.motors[:, 0]
        split = lambda x: jnp.moveaxis(x.reshape(rows, -1, self.episode_steps, *x.shape[2:]), 1, 0)  # noqa: E731
        pages = Page(percepts.observation, percepts.action[..., : self.actions], percepts.reward, percepts.live)

        def episode(memory: Trace, page: Page) -> tuple[Trace, Output]:
            memory = jax.vmap(self.renew, in_axes=(None, 0, 0))(params, memory, motors)
            output = jax.vmap(self._output, in_axes=(None, 0, 0))(params, memory.policy, page.observation)
            return memory._replace(page=page), output

        outputs = jax.lax.scan(episode, self.births(params, rows), jax.tree.map(split, pages))[1]
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(rows, steps, *x.shape[3:]), outputs)

    def _output(self, params: Params, policy: Params, observation: jax.Array) -> Output:
        mean = _mean(policy, observation)
        return Output(mean, jnp.broadcast_to(self._log_std(params), mean.shape), self._value(params, observation))

    def _log_std(self, params: Params) -> jax.Array:
        return jnp.clip(params["log_std"], *LOG_STD)

    def _value(self, params: Params, observation: jax.Array) -> jax.Array:
        return affine(params["critic"]["out"], gated(params["critic"]["body"], observation))[..., 0]


def _mean(policy: Params, observation: jax.Array) -> jax.Array:
    return affine(policy["actor"], gated(policy["mix"], gated(policy["body"], observation)))
