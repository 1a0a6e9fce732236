"""`openended doctor`: whether this machine and installation are fit for a run, and what to do where they are not."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from openended.exporting import emit

OK, WARN, FAIL = "ok", "warn", "fail"
GIGABYTE = 1e9
LEAST_FREE, SCARCE = 1.0, 5.0  # GB on the disk of runs/
LARGE_CACHE = 10.0  # GB of compiled programs
OLDEST_SQLITE = (3, 24, 0)  # the archive uses upserts
LOCK_FIXED = (3, 51, 3)  # SQLite's WAL-reset bug is fixed from here on


class Check(NamedTuple):
    """What was looked at, how it stands (ok, warn, fail), and one sentence: what was found and what to do."""

    name: str
    status: str
    message: str


def run(options: argparse.Namespace) -> int:
    """The command; exit 1 when a check fails."""
    checks = [_guarded(name, check) for name, check in CHECKS.items()]
    failed = [check.name for check in checks if check.status == FAIL]
    width = max(len(check.name) for check in checks)
    lines = [f"{check.status:<4}  {check.name:<{width}}  {check.message}" for check in checks]
    lines.append(f"Not fit for a run: {', '.join(failed)}." if failed else "Fit for a run.")
    emit({"ok": not failed, "checks": [check._asdict() for check in checks]}, options.json, lines)
    return 1 if failed else 0


def _guarded(name: str, check: Callable[[], tuple[str, str]]) -> Check:
    try:
        return Check(name, *check())
    except Exception as error:  # a check that cannot be made is what this command is for
        return Check(name, FAIL, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def python() -> tuple[str, str]:
    """The interpreter is one that the locks were made for."""
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return OK, f"Python {found}."
    return FAIL, f"Python {found}: make the environment anew with Python 3.11 or 3.12 (make install PYTHON=python3.12)."


def packages() -> tuple[str, str]:
    """Every package that the project names is installed in the allowed range."""
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in importlib.metadata.requires("openended") or []]
    wrong, count = [], 0
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, allowed {requirement.specifier}")
    if wrong:
        return FAIL, f"{'; '.join(wrong)}: run make install for the locked versions."
    return OK, f"All {count} required packages are within their ranges (jax {importlib.metadata.version('jax')})."


def devices() -> tuple[str, str]:
    """JAX has devices, and the processor is used as two of them."""
    import jax

    found, cores = jax.devices(), os.cpu_count() or 1
    words = (
        f"{len(found)} {jax.default_backend()} device{'s' if len(found) > 1 else ''} ({found[0].device_kind}), {cores} cores"
    )
    if jax.default_backend() == "cpu" and len(found) == 1 and cores > 1:
        return WARN, f"{words}: XLA_FLAGS asks for one host device; unset it, two use both cores."
    return OK, f"{words}."


def cache() -> tuple[str, str]:
    """Compiled programs can be kept between runs."""
    import jax

    place: str | None = jax.config.values["jax_compilation_cache_dir"]
    if not place:
        return WARN, "Compiled programs are not kept between runs: set OPENENDED_CACHE to a folder."
    folder = Path(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = error.strerror or error
        return WARN, f"'{folder}' is not writable ({why}): set OPENENDED_CACHE to another folder, or every start compiles anew."
    size = sum(_size(path) for path in folder.rglob("*")) / GIGABYTE
    if size > LARGE_CACHE:
        return WARN, f"'{folder}' holds {size:.1f} GB of compiled programs: it may be deleted at any time."
    return OK, f"'{folder}' is writable and holds {size:.2f} GB of compiled programs."


def disk() -> tuple[str, str]:
    """There is room for runs."""
    place = Path("runs") if Path("runs").is_dir() else Path()
    free = shutil.disk_usage(place).free / GIGABYTE
    words = f"{free:.1f} GB are free for '{place.resolve()}'"
    if not os.access(place, os.W_OK):
        return FAIL, f"'{place.resolve()}' is not writable: work in another folder or set run.root."
    if free < LEAST_FREE:
        return FAIL, f"{words}: a run needs at least {LEAST_FREE:.0f} GB; free some or set run.root to another disk."
    return (WARN, f"{words}: enough for a short run only.") if free < SCARCE else (OK, f"{words}.")


def sqlite() -> tuple[str, str]:
    """SQLite can hold the archive."""
    found = sqlite3.sqlite_version_info
    words = f"SQLite {sqlite3.sqlite_version}"
    if found < OLDEST_SQLITE:
        return FAIL, f"{words}: the archive needs {'.'.join(map(str, OLDEST_SQLITE))}; use another build of Python."
    if found < LOCK_FIXED:
        return (
            OK,
            f"{words}; its WAL-reset bug needs two writers at once, and a run's lock allows one: open archives read-only.",
        )
    return OK, f"{words}."


def configs() -> tuple[str, str]:
    """The configuration is found and composes."""
    from openended import configuration

    count = len(list(configuration.folder().rglob("*.yaml")))
    configuration.read([])
    return OK, f"{count} files in '{configuration.folder()}'; the default composes."


def physics() -> tuple[str, str]:
    """A body can be compiled, stepped, and stays finite."""
    import jax
    import jax.numpy as jnp

    from openended import configuration

    name = "navigator"
    family = configuration.instantiate(configuration.read([f"family=[{name}]"]).families[name])

    @jax.jit
    def step(vector, key):
        model = family.prepare(vector)
        state, _ = family.reset(model, key)
        return family.step(model, state, jnp.ones(family.actions))[1]

    timestep = step(jnp.full(len(family.specs), 0.4), jax.random.key(0))
    finite = all(bool(jnp.all(jnp.isfinite(x))) for x in (timestep.observation, timestep.reward, timestep.value))
    if not finite or bool(timestep.broken) or not bool(jnp.any(timestep.value != 0.0)):
        return FAIL, f"One compiled step of the {name} gives numbers that are not finite: reinstall with make install."
    return OK, f"One compiled step of the {name} moves it and is finite."


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # another process may delete it
        return 0


CHECKS: dict[str, Callable[[], tuple[str, str]]] = {
    "python": python,
    "packages": packages,
    "devices": devices,
    "compile cache": cache,
    "disk": disk,
    "sqlite": sqlite,
    "configs": configs,
    "physics": physics,
}
