"""What leaves a run: one task as a file, a MuJoCo model or a script of an environment; the whole archive as JSON or CSV."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from envs.base import AbstractFamily
from openended.archive import Archive, TaskRow
from openended.locate import CommandError, find_run, find_task, stored_config
from openended.metrics import to_json
from openended.taskfile import task_document

_COLUMNS = ("id", "family", "status", "kind", "round", "learner_version", "cost_bits", "description")
_GOAL_COLUMNS = ("feature", "unit", "target_a", "target_b", "tolerance", "hold_s", "limit_s", "visible", "combination")
_SECOND_COLUMNS = ("feature", "unit", "target_a", "target_b", "tolerance")  # named with _2
_SCRIPT = '''"""A task of openended as a {form} environment: {id}

{description}.

Needs the package `envs` of openended.
"""

import json

{imports}
from envs.interface import InterfaceBounds
from {module} import {name}

TASK = json.loads(
    r"""
{task}
"""
)
FAMILY = {name}(bounds=InterfaceBounds(**TASK["interface"]), **TASK["options"])
{use}'''
_BRAX = """
ENV = as_brax(FAMILY, TASK["vector"])  # a brax.envs.Env

if __name__ == "__main__":
    key = jax.random.PRNGKey(0)
    state, step, total = jax.jit(ENV.reset)(key), jax.jit(ENV.step), 0.0
    while not state.done:
        key, action_key = jax.random.split(key)
        state = step(state, jax.random.uniform(action_key, (ENV.action_size,), minval=-1.0, maxval=1.0))
        total += float(state.reward)
    print(f"random actions: reward {total:.2f}, solved: {bool(state.metrics['success'])}")
"""
_GYMNASIUM = """
ROWS = 16
ENV = TaskVectorEnv(FAMILY, [TASK["vector"]] * ROWS)  # a gymnasium.vector.VectorEnv; for a gymnasium.Env: TaskEnv

if __name__ == "__main__":
    ENV.reset(seed=0)
    ENV.action_space.seed(0)
    rewards, solved, ended = np.zeros(ROWS), np.zeros(ROWS, bool), np.zeros(ROWS, bool)
    while not ended.all():
        _, reward, terminated, truncated, info = ENV.step(ENV.action_space.sample())
        rewards += np.where(ended, 0.0, reward)
        solved |= ~ended & info["success"]
        ended |= terminated | truncated
    print(f"random actions: reward {rewards.mean():.2f}, solved: {solved.mean():.2f} of {ROWS} episodes")
"""
_FORMS = {
    "brax": {"imports": "import jax\n\nfrom envs.adapters import as_brax", "use": _BRAX},
    "gymnasium": {"imports": "import numpy as np\n\nfrom envs.gymnasium_env import TaskVectorEnv", "use": _GYMNASIUM},
}


def run(options: argparse.Namespace) -> int:
    """`openended task RUN TASK --as json|mjcf|brax|gymnasium`."""
    folder = find_run(options.run, options.root)
    with Archive(folder / "archive.db", readonly=True) as archive:
        task = find_task(archive, options.task)
    family = stored_family(folder, task.family)
    if options.form == "mjcf":
        write(_mjcf(family, task), options.out)
        return 0
    document = task_document(family, task.vector, task.id, _options(folder, task.family))
    write(_script(family, document, options.form) if options.form in _FORMS else json.dumps(document, indent=1), options.out)
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


def _options(folder: Path, name: str) -> dict[str, Any]:
    config: Any = OmegaConf.to_container(stored_config(folder).families[name], resolve=True)
    return {key: value for key, value in config.items() if key not in ("_target_", "bounds")}


def _mjcf(family: AbstractFamily, task: TaskRow) -> str:
    from envs.adapters import mjcf

    try:
        return mjcf(family, np.asarray(task.vector, np.float32), f"{task.id}: {task.description}")
    except ValueError as error:
        raise CommandError(f"{error}.") from error


def _script(family: AbstractFamily, document: dict[str, Any], form: str) -> str:
    short = {key: value for key, value in document.items() if key not in ("parameters", "goal")}
    return _SCRIPT.format(
        form=form,
        id=document["id"],
        description=document["description"],
        module=type(family).__module__,
        name=type(family).__qualname__,
        task="{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in short.items()) + "\n}",
        **_FORMS[form],
    )
