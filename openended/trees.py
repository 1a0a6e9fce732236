"""Pytree helpers and the device mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

AXIS = "device"
ROWS = PartitionSpec(AXIS)  # first axis split over the devices
SAME = PartitionSpec()  # replicated


def mesh() -> Mesh:
    """All local devices in a line."""
    return Mesh(np.array(jax.devices()), (AXIS,))


class Placed:
    """A function and where its arguments belong: a sharding for each of them, for trees of them or for all."""

    def __init__(self, mapped: Callable, places: Any):
        self.mapped, self.places = mapped, places

    def placed(self, *arguments: Any) -> tuple:
        """The arguments where they are needed, wherever they are."""
        return jax.device_put(arguments, self.places)


def on_first(function: Callable) -> Placed:
    """A function for the first device alone."""
    return Placed(function, SingleDeviceSharding(jax.devices()[0]))


class OverDevices(Placed):
    """jit of a function that runs once per device on its share of the rows; use :func:`mean` inside to agree.

    ``options``: of XLA, for one that is compiled ahead.
    """

    def __init__(self, function: Callable, in_specs: Any, out_specs: Any, options: dict[str, Any] | None = None):
        mapped = jax.shard_map(function, mesh=mesh(), in_specs=in_specs, out_specs=out_specs, check_vma=False)
        super().__init__(mapped, jax.tree.map(lambda spec: NamedSharding(mesh(), spec), in_specs))
        self._jitted, self.options = jax.jit(mapped), options or {}

    def __call__(self, *arguments: Any) -> Any:
        return self._jitted(*self.placed(*arguments))


def mean(tree: Any) -> Any:
    """Mean over the devices, inside :class:`OverDevices`."""
    return jax.lax.pmean(tree, AXIS)


def device_key(key: jax.Array) -> jax.Array:
    """A key of its own for each device, inside :class:`OverDevices`."""
    return jax.random.fold_in(key, jax.lax.axis_index(AXIS))


def replicate(tree: Any) -> Any:
    """Strongly typed leaves placed on every device: the fixed point of the compiled programs, so none compiles twice."""
    place = NamedSharding(mesh(), SAME)

    def placed(leaf: Any) -> jax.Array:  # numpy knows no weak types, and by way of one device its arrays would be compiled for
        return jax.device_put(leaf if isinstance(leaf, np.ndarray) else strong(leaf), place)

    return jax.tree.map(placed, tree)


def halfway(a: Any, b: Any) -> Any:
    """The mean of two trees of numbers, on every device; made on the host, where nothing has to be compiled for it."""
    return replicate(jax.tree.map(lambda x, y: (np.asarray(x) + np.asarray(y)) / 2, a, b))


def strong(leaf: Any) -> jax.Array:
    """The leaf as an array without weak type (a weakly typed first state means a second compilation)."""
    array = jnp.asarray(leaf)
    if not array.weak_type:
        return array
    return jax.lax.convert_element_type(array, array.dtype)


def first(tree: Any) -> Any:
    """The first device's copy on every device, inside :class:`OverDevices`."""
    return jax.tree.map(lambda leaf: leaf[0], gathered(tree))


def gathered(tree: Any) -> Any:
    """The copies of all devices with a first axis [devices], the same on every device, inside :class:`OverDevices`."""
    return jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, AXIS), tree)
