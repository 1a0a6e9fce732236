"""Which run and which task a user means: a run by name or folder, a task by its id or the beginning of one."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from openended.archive_reading import ArchiveError, Reading
from openended.archive_rows import TaskRow
from openended.runfolder import RunFolderError, read_config

SHOWN = 5  # names listed in a refusal


class CommandError(Exception):
    """A command cannot be done; the message is one sentence for the user."""


class UsageError(CommandError):
    """A command was called with arguments that do not fit together or do not fit the run."""


def find_run(name: str, root: str | Path = "runs") -> Path:
    """The folder of a run, given its folder or its name under ``root``; `RunFolderError` when there is none."""
    for path in (Path(name), Path(root) / name):
        if (path / "config.yaml").is_file():
            return path
    known = sorted(path.parent.name for path in Path(root).glob("*/config.yaml"))
    there = f"; runs there: {listed(known)}" if known else ""
    raise RunFolderError(f"There is no run '{name}': give a run's name in '{root}' or its folder{there}.")


def find_task(archive: Reading, name: str) -> TaskRow:
    """The task whose id is ``name``, or the only one whose id begins with it; `ArchiveError` otherwise."""
    found = archive.ids(name)
    if name in found:
        found = [name]
    if not found:
        raise ArchiveError(f"There is no task '{name}' in '{archive.path}'; `openended archive list` shows their ids.")
    if len(found) > 1:
        raise ArchiveError(f"'{name}' is the beginning of {len(found)} task ids: {listed(found)}; give more of it.")
    return archive.task(found[0]).task


def stored_config(folder: Path) -> DictConfig:
    """The configuration stored in a run's folder."""
    return OmegaConf.create(read_config(folder))


def listed(names: list[str]) -> str:
    """The first names in words."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
