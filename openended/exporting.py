"""What leaves a run: one task as a portable file, a MuJoCo model or a brax script, and the whole archive as JSON or CSV.

    {"format": "openended-task", "version": 1, "id", "description", "family", "class", "options", "interface", "vector",
     "goal", "control_dt", "parameters": {NAME: {part, value, unit, low, high, meaning}}}

``family`` and ``vector`` are the task; ``class``, ``options`` and ``interface`` say how its family was made, which decides
what the vector means; the rest is for people, and `load_task` refuses a file in which it contradicts the vector.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from envs import spec
from envs.base import AbstractFamily
from openended import recording
from openended.archive import Archive, TaskRow
from openended.locate import CommandError, find_run, find_task, stored_config
from openended.metrics import to_json

FORMAT, VERSION = "openended-task", 1
_COLUMNS = ("id", "family", "status", "kind", "round", "learner_version", "cost_bits", "description")
_GOAL_COLUMNS = ("feature", "unit", "target_a", "target_b", "tolerance", "hold_s", "limit_s", "visible", "combination")
_SECOND_COLUMNS = ("feature", "unit", "target_a", "target_b", "tolerance")  # named with _2
_SCRIPT = '''"""A task of openended as a brax environment: {id}

{description}.

Needs the package `envs` of openended.
"""

import json

import jax

from envs.adapters import as_brax
from envs.interface import InterfaceBounds
from {module} import {name}

TASK = json.loads(
    r"""
{task}
"""
)
FAMILY = {name}(bounds=InterfaceBounds(**TASK["interface"]), **TASK["options"])
ENV = as_brax(FAMILY, TASK["vector"])  # a brax.envs.Env

if __name__ == "__main__":
    key = jax.random.PRNGKey(0)
    state, step, total = jax.jit(ENV.reset)(key), jax.jit(ENV.step), 0.0
    while not state.done:
        key, action_key = jax.random.split(key)
        state = step(state, jax.random.uniform(action_key, (ENV.action_size,), minval=-1.0, maxval=1.0))
        total += float(state.reward)
    print(f"random actions: reward {{total:.2f}}, solved: {{bool(state.metrics['success'])}}")
'''


class TaskFile(NamedTuple):
    """A task that was read from a file."""

    id: str
    family: str
    vector: np.ndarray  # f32[D]
    description: str


def run(options: argparse.Namespace) -> int:
    """`openended task RUN TASK --as json|mjcf|brax`."""
    folder = find_run(options.run, options.root)
    with Archive(folder / "archive.db", readonly=True) as archive:
        task = find_task(archive, options.task)
    family = stored_family(folder, task.family)
    if options.form == "mjcf":
        write(_mjcf(family, task), options.out)
        return 0
    document = task_document(family, task.vector, task.id, _options(folder, task.family))
    write(_script(family, document) if options.form == "brax" else json.dumps(document, indent=1), options.out)
    return 0


def export_archive(options: argparse.Namespace) -> int:
    """`openended archive export RUN --format json|csv`."""
    with Archive(find_run(options.run, options.root) / "archive.db", readonly=True) as archive:
        write(to_json(archive.export()) if options.format == "json" else tasks_csv(archive.tasks()), options.out)
    return 0


def stored_family(folder: Path, name: str) -> AbstractFamily:
    """The family of that name as the run in ``folder`` made it; `CommandError` when this version cannot."""
    config = stored_config(folder)
    if name not in config.families:
        raise CommandError(f"The run '{folder.name}' has no family '{name}'; it has {', '.join(config.families)}.")
    try:
        return instantiate(config.families[name])
    except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
        why = " ".join(str(error.__cause__ or error).split())
        raise CommandError(f"The family '{name}' of the run '{folder.name}' does not fit this version: {why}.") from error


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
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"'{path}' cannot be read as JSON: {getattr(error, 'strerror', None) or error}.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CommandError(f"'{path}' is no task file: its 'format' must be '{FORMAT}'.")
    if document.get("version") != VERSION:
        raise CommandError(f"'{path}' has version {document.get('version')}; allowed: {VERSION}.")
    name = document.get("family")
    if not isinstance(name, str) or name not in families:
        raise CommandError(f"'{path}': family is '{name}'; allowed: {', '.join(families)}.")
    try:
        vector = spec.validate(families[name].specs, document.get("vector"))
        _agree(document.get("parameters", {}), parameters(families[name], vector))
    except ValueError as error:
        raise CommandError(f"'{path}': {error}.") from error
    return TaskFile(str(document.get("id", "")), name, vector, recording.describe(families[name], vector))


def tasks_csv(tasks: list[TaskRow]) -> str:
    """One row per task: its columns, its goal in units, and its vector as a JSON list."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*_COLUMNS, *_GOAL_COLUMNS, *(f"{name}_2" for name in _SECOND_COLUMNS), "vector"])
    for task in tasks:
        first, second = _flat(task.goal), _flat(task.goal.get("second", {}))
        cells = [getattr(task, name) for name in _COLUMNS]
        cells += [first.get(name) for name in _GOAL_COLUMNS] + [second.get(name) for name in _SECOND_COLUMNS]
        short = [f"{cell:.8g}" if isinstance(cell, float) else cell for cell in cells]
        table.writerow([*short, json.dumps(list(task.vector))])
    return text.getvalue()


def _flat(condition: Mapping[str, Any]) -> dict[str, Any]:
    """A condition with its target as two numbers, None for what it lacks."""
    target = [*condition.get("target", []), None, None]
    return {**condition, "target_a": target[0], "target_b": target[1]}


def emit(value: Any, as_json: bool, lines: list[str], out: str | None = None) -> None:
    """One JSON value (null for NaN), or lines for people."""
    write(to_json(value) if as_json else "\n".join(lines), out)


def write(text: str, out: str | Path | None) -> None:
    """Text with one newline at its end, to a file or to standard output; `CommandError` when the file cannot be written."""
    text = text.rstrip("\n") + "\n"
    if out is None:
        print(text, end="")
        return
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"'{out}' cannot be written: {error.strerror or error}.") from error


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


def _options(folder: Path, name: str) -> dict[str, Any]:
    config: Any = OmegaConf.to_container(stored_config(folder).families[name], resolve=True)
    return {key: value for key, value in config.items() if key not in ("_target_", "bounds")}


def _mjcf(family: AbstractFamily, task: TaskRow) -> str:
    from envs.adapters import mjcf

    try:
        return mjcf(family, np.asarray(task.vector, np.float32), f"{task.id}: {task.description}")
    except ValueError as error:
        raise CommandError(f"{error}.") from error


def _script(family: AbstractFamily, document: dict[str, Any]) -> str:
    short = {key: value for key, value in document.items() if key not in ("parameters", "goal")}
    return _SCRIPT.format(
        id=document["id"],
        description=document["description"],
        module=type(family).__module__,
        name=type(family).__qualname__,
        task="{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in short.items()) + "\n}",
    )
