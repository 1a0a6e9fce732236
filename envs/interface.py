"""The hidden map between a policy and a body: motor order, sign and gain, motor delay, sensor noise, random projections.

A learner never observes these numbers. It has to find them from what its actions do, which is what makes a memory useful.

With a projection every body has the same numbers of sensors and actions: a task's random matrices mix the body's sensors
into N numbers and M actions into the commands of its motors. A learner then fits any family, also one it has never met.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs import noise
from envs.spec import ParamSpec

BOTH_HIDDEN = 0.25  # share of the tasks with a hidden goal whose motors may run backwards as well
MAX_DELAY = 2  # control steps; fixes the length of the action queue
PROJECTIONS = 2**16  # pairs of matrices that tasks may have
_SEED = 20261126  # of all these matrices


class Interface(NamedTuple):
    """One task's hidden map. Shapes for A actuators and S sensors of the body, M actions and N sensors of the learner."""

    order: jax.Array  # i32[A] policy action that drives motor i
    sign: jax.Array  # f32[A] +1 or -1
    gain: jax.Array  # f32[A]
    delay: jax.Array  # i32[] control steps
    noise: jax.Array  # f32[] standard deviation, in the sensor's own O(1) units
    observing: jax.Array | None  # f32[N, S] from the body's sensors to the learner's; None: they are the same
    acting: jax.Array | None  # f32[A, M] from actions to motors; None: one for each


@dataclasses.dataclass(frozen=True)
class InterfaceBounds:
    """Which hidden maps a run may meet (config group ``interface``). Switched-off parts are pinned to the identity."""

    signs: bool = True
    gain_low: float = 0.6
    gain_high: float = 1.4
    permute: bool = False
    max_delay: int = 0
    max_noise: float = 0.02
    sensors: int = 0
    actions: int = 0

    def __post_init__(self):
        if not 0.0 < self.gain_low <= self.gain_high:
            raise ValueError(f"interface.gain_low is {self.gain_low}; allowed: above 0 and at most gain_high")
        if not 0 <= self.max_delay <= MAX_DELAY:
            raise ValueError(f"interface.max_delay is {self.max_delay}; allowed: 0 to {MAX_DELAY} control steps")
        if not 0.0 <= self.max_noise <= 0.5:
            raise ValueError(f"interface.max_noise is {self.max_noise}; allowed: 0 to 0.5")
        for name, width in (("sensors", self.sensors), ("actions", self.actions)):
            if isinstance(width, bool) or not isinstance(width, int) or width < 0:
                raise ValueError(f"interface.{name} is {width}; allowed: a whole number of at least 0")
        if (self.sensors > 0) != (self.actions > 0):
            widths = f"interface.sensors is {self.sensors} and interface.actions {self.actions}"
            raise ValueError(f"{widths}; allowed: both 0 for no projection, or both at least 1")

    @property
    def projects(self) -> bool:
        """Whether tasks have random matrices."""
        return self.sensors > 0

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
        if self.projects:
            which = f"which pair of random matrices is between {self.sensors} sensors, {self.actions} actions and the body"
            rows.append(ParamSpec("projection", "interface", 0, PROJECTIONS - 1, "", which, "integer"))
        return tuple(rows)

    def decode(self, values: dict, sensors: int, actuators: int) -> Interface:
        """Interface of decoded values, for a body of these widths; equal sort keys keep the motors in order."""
        keys = jnp.stack([values[f"order_{i}"] for i in range(actuators)])
        observing, acting = None, None
        if self.projects:
            both = jax.random.split(jax.random.fold_in(jax.random.key(_SEED), values["projection"].astype(jnp.int32)))
            observing, acting = _mixture(both[0], self.sensors, sensors), _mixture(both[1], actuators, self.actions)
        return Interface(
            order=jnp.argsort(keys, stable=True),
            sign=1.0 - 2.0 * jnp.stack([values[f"reversed_{i}"] for i in range(actuators)]),
            gain=jnp.stack([values[f"gain_{i}"] for i in range(actuators)]),
            delay=values["delay"].astype(jnp.int32),
            noise=values["noise"],
            observing=observing,
            acting=acting,
        )


PROJECTED = InterfaceBounds(signs=False, sensors=32, actions=8)  # the option `interface=projection`, and the suite `stock`


def _mixture(key: jax.Array, outputs: int, inputs: int) -> jax.Array:
    """A random matrix f32[outputs, inputs], uniform among the semi-orthogonal ones, its rows scaled to length 1.

    Nothing is lost where there are at least as many outputs as inputs. What goes in of order 1 comes out of order 1; and as
    the sizes of a row's numbers add up to at least 1, actions within [-1, 1] bring any one motor to its full command.
    """
    matrix = jax.random.orthogonal(key, outputs, m=inputs)
    return matrix / jnp.linalg.norm(matrix, axis=1, keepdims=True)


def behind(hidden: Interface, observing: jax.Array, acting: jax.Array) -> Interface:
    """The hidden map with these matrices, f32[N, N] and f32[M, M], between it and the learner."""
    seen = observing if hidden.observing is None else observing @ hidden.observing
    return hidden._replace(observing=seen, acting=acting if hidden.acting is None else hidden.acting @ acting)


def _mixed(matrix: jax.Array | None, numbers: jax.Array) -> jax.Array:
    """The matrix times f32[inputs], in full precision on every device; the numbers themselves without one."""
    return numbers if matrix is None else jnp.sum(matrix * numbers, axis=1)


def actuate(interface: Interface, queue: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Motor command f32[A] in [-1, 1] and the new queue f32[MAX_DELAY, M] of actions f32[M] (newest first)."""
    history = jnp.concatenate([action[None], queue])
    delayed = _mixed(interface.acting, history[interface.delay])
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


def observe(interface: Interface, sensors: jax.Array, stream: jax.Array, time: jax.Array) -> jax.Array:
    """What is observed, f32[N], of the body's sensors f32[S] with additive Gaussian noise; stream, time: see `envs.noise`."""
    return _mixed(interface.observing, sensors + interface.noise * noise.gaussian(stream, time, len(sensors)))
