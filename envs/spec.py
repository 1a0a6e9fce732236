"""What every number of a task vector means: name, bounds, unit, one line of text.

A task vector lives in the unit box ``[0, 1]^D``. A list of :class:`ParamSpec` decodes it into named physical numbers and
encodes them back. The list is the only place that knows bounds, so tables, descriptions, mutation and validation agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np

Part = Literal["world", "body", "interface", "goal"]
Scale = Literal["linear", "log", "integer", "flag", "rare"]


class ParamSpec(NamedTuple):
    """One number of a task vector.

    ``scale``: ``linear`` and ``log`` interpolate between ``low`` and ``high``; ``integer`` splits the unit interval into
    ``high - low + 1`` equal cells; ``flag`` is 1 when the unit number is at least 0.5, ``rare`` when it is at least 0.75.
    ``low == high`` pins the number.
    """

    name: str
    part: Part
    low: float
    high: float
    unit: str
    meaning: str
    scale: Scale = "linear"

    @property
    def structural(self) -> bool:
        """True for genes that switch (flags, counts) instead of sliding."""
        return self.switch or self.scale == "integer"

    @property
    def switch(self) -> bool:
        """True for genes that are 0 or 1: 1 in the last of their cells."""
        return self.scale in ("flag", "rare")

    def on(self, unit):
        """Whether a switch is 1 at these unit numbers. Traceable."""
        return (unit >= 1.0 - 1.0 / self.cells) & (not self.pinned)

    @property
    def cells(self) -> int:
        """Equal cells of the unit interval in which a structural number does not change."""
        return 4 if self.scale == "rare" else int(self.high - self.low) + 1

    @property
    def pinned(self) -> bool:
        """True when the number has only one possible value."""
        return self.low == self.high


def decode(specs: Sequence[ParamSpec], vector) -> dict[str, jax.Array]:
    """Named physical values of a unit vector. vector: f32[D] -> {name: f32[]}. Traceable; of a numpy array, numpy numbers."""
    return {spec.name: _decode_one(spec, vector[i]) for i, spec in enumerate(specs)}


def _decode_one(spec: ParamSpec, unit):
    xp = unit.__array_namespace__()  # eager jax takes milliseconds for a task, and an accelerator far more
    unit = xp.clip(unit, 0.0, 1.0)
    if spec.pinned:
        return xp.full_like(unit, spec.low)
    if spec.scale == "log":
        return xp.exp(math.log(spec.low) + unit * (math.log(spec.high) - math.log(spec.low)))
    if spec.scale == "integer":
        return spec.low + xp.minimum(xp.floor(unit * spec.cells), spec.cells - 1)
    if spec.switch:
        return xp.where(spec.on(unit), 1.0, 0.0).astype(unit.dtype)
    return spec.low + unit * (spec.high - spec.low)


def encode(specs: Sequence[ParamSpec], values: Mapping[str, float]) -> np.ndarray:
    """Unit vector f32[D] of named values; the middle of its bounds for a name that is absent.

    Raises:
        ValueError: a name is unknown or a value lies outside its bounds (what, value, allowed).
    """
    unknown = sorted(set(values) - {spec.name for spec in specs})
    if unknown:
        raise ValueError(f"unknown task parameter '{unknown[0]}'; known: {', '.join(s.name for s in specs)}")
    return np.array([_encode_one(spec, values.get(spec.name)) for spec in specs], np.float32)


def _encode_one(spec: ParamSpec, value: float | None) -> float:
    if spec.pinned or value is None:
        return 0.5
    if not spec.low <= value <= spec.high:
        raise ValueError(f"{spec.name} is {value:g} {spec.unit}; allowed: {spec.low:g} to {spec.high:g}")
    if spec.scale == "log":
        return math.log(value / spec.low) / math.log(spec.high / spec.low)
    if spec.scale == "integer":
        return (value - spec.low + 0.5) / spec.cells
    if spec.switch:
        return (1.0 if value >= 0.5 else 0.5) - 0.5 / spec.cells  # middle of a cell
    return (value - spec.low) / (spec.high - spec.low)


def validate(specs: Sequence[ParamSpec], vector) -> np.ndarray:
    """The vector as f32[D], or a ValueError that names the offending number and what is allowed."""
    try:
        array = np.asarray(vector, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a task vector is a list of {len(specs)} numbers; got {type(vector).__name__}") from error
    if array.shape != (len(specs),):
        raise ValueError(f"a task vector of this family has {len(specs)} numbers; got shape {array.shape}")
    for spec, unit in zip(specs, array.tolist(), strict=True):
        if not math.isfinite(unit):
            raise ValueError(f"task parameter {spec.name} is {unit}; allowed: a finite number from 0 to 1")
        if not 0.0 <= unit <= 1.0:
            raise ValueError(f"task parameter {spec.name} is {unit:g}; allowed: 0 to 1")
    return array


def sentence(description: str) -> str:
    """A description of a task, as families and runs write it, as a whole sentence: capital and full stop."""
    return f"{description[:1].upper()}{description[1:]}."


def table(specs: Sequence[ParamSpec]) -> list[dict[str, object]]:
    """Rows for people and JSON: name, part, low, high, unit, scale, meaning."""
    return [spec._asdict() for spec in specs]
