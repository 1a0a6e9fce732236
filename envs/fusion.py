"""Parts of a program whose results are stored before anything reads them.

XLA's compiler for CPUs merges elementwise operations into loops, and computes a sum or a product again for every use of it:
in a chain of products of small matrices each number would be made hundreds of times. A call that may not be inlined ends a
loop. Compilers for accelerators weigh what they repeat, and are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a part of its own. It has no gradient of its own: see `stage`."""
    jitted = jax.jit(function)

    def call(*arguments: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*arguments)
        with set_xla_metadata(inlineable="false"):
            return jitted(*arguments)

    return call


def stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """A differentiable function of arrays as a part of its own, and its gradient, from the arguments alone, as another."""
    forward = apart(function)
    backward = apart(lambda arguments, gradient: jax.vjp(function, *arguments)[1](gradient))
    whole = jax.custom_vjp(forward)
    whole.defvjp(lambda *arguments: (forward(*arguments), arguments), backward)
    return whole
