"""The hidden map between a policy and a body: motor order, sign and gain, motor delay, sensor noise.

A learner never observes these numbers. It has to find them from what its actions do, which is what makes a memory useful.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.spec import ParamSpec

BOTH_HIDDEN = 0.25  # share of the tasks with a hidden goal whose motors may run backwards as well
MAX_DELAY = 2  # control steps; fixes the length of the action queue


class Interface(NamedTuple):
    """One task's hidden map. Shapes for A actuators."""

    order: jax.Array  # i32[A] policy action that drives motor i
    sign: jax.Array  # f32[A] +1 or -1
    gain: jax.Array  # f32[A]
    delay: jax.Array  # i32[] control steps
    noise: jax.Array  # f32[] standard deviation, in the sensor's own O(1) units


@dataclasses.dataclass(frozen=True)
class InterfaceBounds:
    """Which hidden maps a run may meet (config group ``interface``). Switched-off parts are pinned to the identity."""

    signs: bool = True
    gain_low: float = 0.6
    gain_high: float = 1.4
    permute: bool = False
    max_delay: int = 0
    max_noise: float = 0.02

    def __post_init__(self):
        if not 0.0 < self.gain_low <= self.gain_high:
            raise ValueError(f"interface.gain_low is {self.gain_low}; allowed: above 0 and at most gain_high")
        if not 0 <= self.max_delay <= MAX_DELAY:
            raise ValueError(f"interface.max_delay is {self.max_delay}; allowed: 0 to {MAX_DELAY} control steps")
        if not 0.0 <= self.max_noise <= 0.5:
            raise ValueError(f"interface.max_noise is {self.max_noise}; allowed: 0 to 0.5")

    def specs(self, actuators: int) -> tuple[ParamSpec, ...]:
        """The interface's numbers for a body with that many actuators."""
        rows = []
        for i in range(actuators):
            flip = 1.0 if self.signs else 0.0
            rows += [
                ParamSpec(f"reversed_{i}", "interface", 0.0, flip, "", f"motor {i} runs backwards", "flag"),
                ParamSpec(f"gain_{i}", "interface", self.gain_low, self.gain_high, "x", f"strength of motor {i}", "log"),
                ParamSpec(f"order_{i}", "interface", 0.0, float(self.permute), "", f"sort key of motor {i}"),
            ]
        rows += [
            ParamSpec("delay", "interface", 0.0, self.max_delay, "control steps", "motor delay", "integer"),
            ParamSpec("noise", "interface", 0.0, self.max_noise, "sensor units", "standard deviation of sensor noise"),
        ]
        return tuple(rows)


def from_values(values: dict, actuators: int) -> Interface:
    """Interface of decoded values; equal sort keys keep the motors in order."""
    keys = jnp.stack([values[f"order_{i}"] for i in range(actuators)])
    return Interface(
        order=jnp.argsort(keys, stable=True),
        sign=1.0 - 2.0 * jnp.stack([values[f"reversed_{i}"] for i in range(actuators)]),
        gain=jnp.stack([values[f"gain_{i}"] for i in range(actuators)]),
        delay=values["delay"].astype(jnp.int32),
        noise=values["noise"],
    )


def actuate(interface: Interface, queue: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Motor command f32[A] in [-1, 1] and the new queue f32[MAX_DELAY, A] (newest first)."""
    history = jnp.concatenate([action[None], queue])
    delayed = history[interface.delay]
    control = interface.sign * interface.gain * delayed[interface.order]
    return jnp.clip(control, -1.0, 1.0), history[:MAX_DELAY]


def redirect(specs: Sequence[ParamSpec], vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Task vectors f32[..., D] in the unit box with the direction of every motor drawn anew: the same world, body and goal.

    Where the goal is hidden no motor runs backwards, but in a share ``BOTH_HIDDEN`` of the tasks: an unseen goal then tells
    that the motors are most likely straight, and can be looked for from the first step. A witness with the same motors
    reversed solves such a task, so what was valid stays valid without another search.
    """
    switches = [i for i, spec in enumerate(specs) if spec.name.startswith("reversed_") and not spec.pinned]
    unseen = next(spec.on(vectors[..., i]) for i, spec in enumerate(specs) if spec.name == "hidden")
    straight = unseen & (rng.uniform(size=unseen.shape) >= BOTH_HIDDEN)
    drawn = rng.choice(np.array([0.25, 0.75], np.float32), (*unseen.shape, len(switches)))
    out = vectors.copy()
    out[..., switches] = np.where(straight[..., None], np.float32(0.25), drawn)
    return out


def blur(interface: Interface, sensors: jax.Array, key: jax.Array) -> jax.Array:
    """Sensors with additive Gaussian noise."""
    return sensors + interface.noise * jax.random.normal(key, sensors.shape)
