"""How far a program is from what the machine can do: arithmetic per control step, and two measured ceilings.

Arithmetic is counted in the traced program: one operation for every element that an elementwise primitive gives or a reduction
takes, 2 m n k for a product of matrices, loops by their length. XLA's own analysis counts the body of a loop once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from envs.base import AbstractFamily
from openended.networks import HISTORY, AbstractPolicy
from openended.types import Params, Percept

SIDE = 2048  # of the square matrices whose product is timed
COPIED = 2**26  # numbers that are copied, 256 MB
TRIES = 5
# What moves numbers about or reads them in another way.
# fmt: off
_FREE = {
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "slice", "dynamic_slice",
    "dynamic_update_slice", "concatenate", "pad", "gather", "scatter", "copy", "iota", "convert_element_type",
    "bitcast_convert_type", "device_put", "stop_gradient", "optimization_barrier", "split", "rev", "random_wrap",
    "random_unwrap", "stack", "tile",
}
# fmt: on


def operations(function: Callable[..., Any], *arguments: Any) -> int:
    """Arithmetic operations of a call with arguments like these; nothing is run."""
    return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


def arithmetic(family: AbstractFamily, policy: AbstractPolicy) -> dict[str, float]:
    """Operations per control step: the family's physics and all that surrounds it, a policy that acts, a policy's gradient."""
    model = family.prepare(jnp.full(len(family.specs), 0.5))
    state, _ = family.reset(model, jax.random.key(0))
    params, steps = policy.init(jax.random.key(0)), family.episode_steps
    memory = policy.initial_memory(params)
    actions, none = jnp.zeros(HISTORY * policy.actions), jnp.zeros(())
    seen = jnp.zeros(policy.observation)
    percept = Percept(seen, seen, actions, none, none, none + 1.0, family.sensed, jnp.ones(policy.actions))
    percepts = jax.tree.map(lambda x: jnp.stack([x] * steps)[None], percept)

    def loss(params: Params) -> jax.Array:
        output = policy.sequence(params, percepts)
        return jnp.sum(output.mean) + jnp.sum(output.log_std) + jnp.sum(output.value)

    return {
        "physics": operations(family.step, model, state, jnp.zeros(family.layout.actions)),
        "policy": operations(policy.step, params, memory, percept),
        "gradient": operations(jax.grad(loss), params) / steps,
    }


def ceilings() -> dict[str, float]:
    """Best of a few tries on one device: operations/s of a large f32 matrix product, bytes/s that a copy moves."""
    square, line = jnp.ones((SIDE, SIDE)), jnp.ones(COPIED)
    product, copy = jax.jit(lambda x: x @ x), jax.jit(lambda x: x + 1.0)
    return {"flops_per_s": 2.0 * SIDE**3 / _best(product, square), "bytes_per_s": 8.0 * COPIED / _best(copy, line)}


def _best(call: Callable[[jax.Array], jax.Array], argument: jax.Array) -> float:
    seconds = []
    for _ in range(TRIES + 1):  # the first one compiles
        began = time.perf_counter()
        jax.block_until_ready(call(argument))
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _of(jaxpr: core.Jaxpr) -> int:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation: Any) -> int:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        return 2 * _size(equation.outvars[0]) * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    inside = [_of(part) for part in _parts(parameters)]
    if name == "cond":
        return max(inside)
    if inside:
        return parameters.get("length", 1) * sum(inside)
    if name.startswith(("reduce_", "cum", "arg")):
        return _size(equation.invars[0])
    return 0 if name in _FREE else max(map(_size, equation.outvars), default=0)


def _parts(parameters: dict[str, Any]) -> list[core.Jaxpr]:
    listed = [part for value in parameters.values() for part in (value if isinstance(value, tuple | list) else (value,))]
    closed = [part.jaxpr for part in listed if isinstance(part, core.ClosedJaxpr)]
    return closed + [part for part in listed if isinstance(part, core.Jaxpr)]


def _size(variable: Any) -> int:
    return int(np.prod(variable.aval.shape, dtype=np.int64))
