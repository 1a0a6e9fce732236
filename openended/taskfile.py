"""A task as one portable JSON file, and back.

    {"format": "openended-task", "version": 1, "id", "description", "family", "class", "options", "interface", "vector",
     "goal", "control_dt", "parameters": {NAME: {part, value, unit, low, high, meaning}}}

``family`` and ``vector`` are the task; ``class``, ``options`` and ``interface`` say how its family was made, which decides
what the vector means; the rest is for people, and `load_task` refuses a file in which it contradicts the vector.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException

from envs import spec
from envs.base import AbstractFamily
from openended import recording
from openended.locate import CommandError

FORMAT, VERSION = "openended-task", 1


class TaskFile(NamedTuple):
    """A task that was read from a file."""

    id: str
    family: str
    vector: np.ndarray  # f32[D]
    description: str


def task_document(family: AbstractFamily, vector: Any, id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The portable form of a task; ``vector``: D unit numbers; ``options``: what the family was made with, but for bounds."""
    unit = np.asarray(vector, np.float32)
    return {
        "format": FORMAT,
        "version": VERSION,
        "id": id,
        "description": recording.describe(family, unit),
        "family": family.name,
        "class": f"{type(family).__module__}.{type(family).__qualname__}",
        "options": dict(options),
        "interface": dataclasses.asdict(family.bounds),
        "vector": unit.tolist(),
        "goal": recording.goal(family, unit),
        "control_dt": family.control_dt,
        "parameters": parameters(family, unit),
    }


def parameters(family: AbstractFamily, vector: Any) -> dict[str, dict[str, Any]]:
    """Every number of a task: {name: {part, value, unit, low, high, meaning}}, values in the parameter's own unit."""
    values = spec.decode(family.specs, np.asarray(vector, np.float32))
    return {
        s.name: {
            "part": s.part,
            "value": float(f"{float(values[s.name]):.7g}"),  # 7 digits are all that a float32 has
            "unit": s.unit,
            "low": float(s.low),
            "high": float(s.high),
            "meaning": s.meaning,
        }
        for s in family.specs
    }


def load_task(path: str | Path, families: Mapping[str, AbstractFamily]) -> TaskFile:
    """Read a task file for one of ``families``.

    Raises:
        CommandError: it is no task file, of another version or an unknown family, its vector has the wrong size or a number
            that is not finite or out of bounds, or its vector contradicts what the file says a parameter is.
    """
    return _task(path, _document(path), families)


def read_task(path: str | Path) -> tuple[AbstractFamily, TaskFile]:
    """The task of a file and the family that it was made for; no run is needed.

    Raises:
        CommandError: as `load_task`; or the file names no family of the package ``envs``, or options that it does not take.
    """
    document = _document(path)
    name, bounds = document.get("class"), {"_target_": "envs.interface.InterfaceBounds", **document.get("interface", {})}
    try:
        if not str(name).startswith("envs."):
            raise ValueError(f"class is '{name}'; allowed: a family of the package envs")
        family = instantiate({"_target_": name, "bounds": bounds, **document.get("options", {})})
        if not isinstance(family, AbstractFamily):
            raise ValueError(f"class is '{name}', which is no family")
    except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
        raise CommandError(f"'{path}': {' '.join(str(error.__cause__ or error).split())}.") from error
    return family, _task(path, document, {family.name: family})


def _document(path: str | Path) -> dict[str, Any]:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"'{path}' cannot be read as JSON: {getattr(error, 'strerror', None) or error}.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CommandError(f"'{path}' is no task file: its 'format' must be '{FORMAT}'.")
    if document.get("version") != VERSION:
        raise CommandError(f"'{path}' has version {document.get('version')}; allowed: {VERSION}.")
    return document


def _task(path: str | Path, document: dict[str, Any], families: Mapping[str, AbstractFamily]) -> TaskFile:
    name = document.get("family")
    if not isinstance(name, str) or name not in families:
        raise CommandError(f"'{path}': family is '{name}'; allowed: {', '.join(families)}.")
    try:
        vector = spec.validate(families[name].specs, document.get("vector"))
        _agree(document.get("parameters", {}), parameters(families[name], vector))
    except ValueError as error:
        raise CommandError(f"'{path}': {error}.") from error
    return TaskFile(str(document.get("id", "")), name, vector, recording.describe(families[name], vector))


def _agree(said: Any, meant: dict[str, dict[str, Any]]) -> None:
    """`ValueError` unless the parameters that a file states are those of its vector."""
    if not isinstance(said, dict):
        raise ValueError("'parameters' must be an object of {name: {value, ...}}")
    for name, entry in said.items():
        value = entry.get("value") if isinstance(entry, dict) else None
        if name not in meant or not isinstance(value, int | float):
            raise ValueError(f"'parameters' has no such number as '{name}'; allowed: {', '.join(meant)}, each with a 'value'")
        true = meant[name]
        slack = 1e-5 * max(abs(true["low"]), abs(true["high"]), 1e-6)
        if not math.isclose(value, true["value"], rel_tol=1e-5, abs_tol=slack):
            raise ValueError(
                f"parameter {name} is {value:g} in 'parameters' but {true['value']:g} by the vector with this run's bounds "
                f"({true['low']:g} to {true['high']:g} {true['unit']}".rstrip()
                + ")"
            )
