"""Pytree helpers and the device mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "device"
ROWS = PartitionSpec(AXIS)  # first axis split over the devices
SAME = PartitionSpec()  # replicated
# Compiles in five sixths of the time and runs as fast; later versions refuse a program that asks for it.
_QUICK = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else None


def mesh() -> Mesh:
    """All local devices in a line."""
    return Mesh(np.array(jax.devices()), (AXIS,))


def over_devices(function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """jit of ``function`` run once per device on its share of the rows; use :func:`mean` inside to agree."""
    mapped = jax.shard_map(function, mesh=mesh(), in_specs=in_specs, out_specs=out_specs, check_vma=False)
    return jax.jit(mapped)


class Store(Protocol):
    """Where compiled programs are kept between processes."""

    def load(self, name: Any, arguments: tuple) -> Any | None: ...
    def save(self, name: Any, arguments: tuple, compiled: Any) -> None: ...


def compile_aside(jobs: Mapping[Any, tuple[Any, tuple]], store: Store | None = None) -> dict[Any, Future]:
    """Begin to compile jitted functions for these arguments, two at a time in their order; what is compiled, once it is.

    They are traced one after the other, since only one thread runs Python at a time and the later find what the earlier traced.
    What the store has is neither traced nor compiled.
    """
    pool, tracing = ThreadPoolExecutor(2), Lock()

    def compiled(name: Any, function: Any, arguments: tuple) -> Any:
        found = store.load(name, arguments) if store else None
        if found is None:
            with tracing:
                lowered = function.lower(*arguments)
            found = lowered.compile(_QUICK)
            if store:
                store.save(name, arguments, found)
        return found

    begun = {name: pool.submit(compiled, name, *job) for name, job in jobs.items()}
    pool.shutdown(wait=False)
    return begun


def mean(tree: Any) -> Any:
    """Mean over the devices, inside :func:`over_devices`."""
    return jax.lax.pmean(tree, AXIS)


def device_key(key: jax.Array) -> jax.Array:
    """A key of its own for each device, inside :func:`over_devices`."""
    return jax.random.fold_in(key, jax.lax.axis_index(AXIS))


def replicate(tree: Any) -> Any:
    """Strongly typed leaves placed on every device: the fixed point of the compiled programs, so none compiles twice."""
    place = NamedSharding(mesh(), SAME)
    return jax.tree.map(lambda leaf: jax.device_put(strong(leaf), place), tree)


def strong(leaf: Any) -> jax.Array:
    """The leaf as an array without weak type (a weakly typed first state means a second compilation)."""
    array = jnp.asarray(leaf)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return array
    return jax.lax.convert_element_type(array, array.dtype)


def first(tree: Any) -> Any:
    """The first device's copy on every device, inside :func:`over_devices`."""
    return jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, AXIS)[0], tree)
