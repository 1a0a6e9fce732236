"""Programs compiled ahead of their first call, two at a time, from traces that may have been kept.

A trace is what Python makes of a function for arguments of given shapes: `jax.export`'s StableHLO. Tracing Brax takes longer
than reading what XLA's own cache has compiled of it, and that cache is found by the trace alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

import jax
import jax.numpy as jnp
from jax import export

from openended.trees import OverDevices, Placed, on_first

# Compiles in five sixths of the time and runs as fast; later versions refuse a program that asks for it.
_QUICK: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {}
_QUEUED: WeakSet[Future] = WeakSet()  # what this process is asked to compile and has not compiled


class Trace(NamedTuple):
    """A program of the leaves of its arguments."""

    exported: export.Exported
    result: Any  # the tree of its results


class Store(Protocol):
    """Where traces are kept between processes."""

    def load(self, name: Any, arguments: tuple) -> Trace | None:
        """What was kept for arguments of these shapes, if anything."""

    def save(self, name: Any, arguments: tuple, trace: Trace) -> None:
        """Keep a trace."""


def compile_aside(jobs: Mapping[Any, tuple[OverDevices, tuple]], store: Store | None = None) -> dict[Any, Future]:
    """Begin to compile programs for arguments of these shapes, two at a time in their order: what to call, once it is there.

    They are traced one after the other, since only one thread runs Python at a time and the later find what the earlier traced.
    """
    pool, tracing = ThreadPoolExecutor(2), Lock()

    def compiled(name: Any, program: OverDevices, arguments: tuple) -> Callable:
        found = _traced(name, program, arguments, store, tracing)
        return compile(program, arguments, found, _QUICK | program.options)

    begun = {name: pool.submit(compiled, name, *job) for name, job in jobs.items()}
    _QUEUED.update(begun.values())
    pool.shutdown(wait=False)
    return begun


class Kept:
    """Functions on the first device, each compiled at its first call, for arguments of these shapes, from a kept trace.

    Small programs: compiled at once, but traced each time that a process starts if their traces are not kept.
    """

    def __init__(self, name: str, store: Store, options: dict[str, Any]):
        self.name, self.store, self.options = name, store, options
        self._programs: dict[Callable, Callable] = {}

    def __call__(self, function: Callable, static: tuple, *arguments: Any) -> Any:
        """function(*static, *arguments), of one that `jax.jit` made, for the same ``static`` every time."""
        if function not in self._programs:
            self._programs[function] = self._compiled(function, static, arguments)
        return self._programs[function](*arguments)

    def _compiled(self, function: Callable, static: tuple, arguments: tuple) -> Callable:
        program = on_first(functools.partial(function.__wrapped__, *static))  # type: ignore[attr-defined]
        arguments = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
        found = _traced((self.name, function.__name__), program, arguments, self.store, nullcontext())
        return compile(program, arguments, found, self.options)


def cancel() -> None:
    """Nothing more of what this process was asked to compile is begun; what is under way comes to its end."""
    for future in tuple(_QUEUED):
        future.cancel()


def floats(*shape: int) -> jax.ShapeDtypeStruct:
    """The shape of numbers."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def keys(*shape: int) -> jax.ShapeDtypeStruct:
    """The shape of random keys."""
    return jax.ShapeDtypeStruct(shape, jax.random.key(0).dtype)


def _traced(name: Any, program: Placed, arguments: tuple, store: Store | None, turn: AbstractContextManager) -> Trace:
    """The store's trace, or a new one, made in its turn, which the store then has."""
    found = store.load(name, arguments) if store else None
    if found is None:
        with turn:
            found = trace(program, arguments)
        if store:
            store.save(name, arguments, found)
    return found


def trace(program: Placed, arguments: tuple) -> Trace:
    """What the program is for arguments of these shapes."""
    leaves, tree = jax.tree.flatten(arguments)
    results = []

    def flat(*leaves: jax.Array) -> list[jax.Array]:
        found, result = jax.tree.flatten(program.mapped(*jax.tree.unflatten(tree, leaves)))
        results.append(result)
        return found

    return Trace(export.export(jax.jit(flat, in_shardings=_places(program, arguments)))(*leaves), results[0])


def compile(program: Placed, arguments: tuple, found: Trace, options: dict[str, Any]) -> Callable:
    """The program for arguments of these shapes; it takes no others. options: of XLA."""
    places = _places(program, arguments)
    run = jax.jit(found.exported.call, in_shardings=places).lower(*jax.tree.leaves(arguments)).compile(options or None)

    def call(*arguments: Any) -> Any:
        return jax.tree.unflatten(found.result, run(*jax.tree.leaves(program.placed(*arguments))))

    return call


def _places(program: Placed, arguments: tuple) -> tuple:
    """Where each leaf of the arguments goes."""
    places = jax.tree.map(lambda place, part: jax.tree.map(lambda _: place, part), program.places, arguments)
    return tuple(jax.tree.leaves(places))
