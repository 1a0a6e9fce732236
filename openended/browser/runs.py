"""The runs that a browser shows: found by listing one folder, never by a path that a request names; what is known of each."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openended import checkpoint
from openended.archive_reading import ArchiveError
from openended.browser.queries import Queries
from openended.metrics import plain
from openended.runfolder import RunFolderError, read_config, read_heartbeat

STALE = 8.0  # s without a heartbeat, which is written every 2 s: with a page that asks every 2 s, seen well within 15 s
KEPT = 64  # answers remembered per run
_FILES = ("config.yaml", "archive.db", "archive.db-wal", "heartbeat.json", "metrics.jsonl", "environment.json")


class Missing(Exception):
    """What was asked for is not there; the message is one sentence for the user."""


class Run:
    """One run folder. Its archive is opened when first asked for, and again when the file was replaced."""

    def __init__(self, folder: Path):
        self.folder, self.name = folder, folder.name
        self._lock = threading.RLock()
        self._archive: Queries | None = None
        self._inode: tuple[Any, ...] | None = None
        self._taken: tuple[Any, ...] | None = None
        self._config: tuple[Any, dict[str, Any]] | None = None
        self._answers: OrderedDict[str, tuple[Any, Any]] = OrderedDict()

    def archive(self) -> Queries:
        """The run's archive, with what was written up to now. `Missing` when there is none, or none that can be read."""
        with self._lock:
            stamp = self.stamp()
            try:
                if self._archive is None or self._inode != stamp[:1]:
                    self._inode, self._taken = stamp[:1], None
                    self._archive = Queries(self.folder / "archive.db")
                if self._taken != stamp:
                    self._archive.refresh()
                    self._taken = stamp
            except ArchiveError as error:
                self._archive = None
                raise Missing(str(error)) from error
            return self._archive

    def stamp(self) -> tuple[Any, ...]:
        """Changes whenever something is written to the archive. `Missing` when there is no archive."""
        try:
            status = (self.folder / "archive.db").stat()
        except OSError as error:
            raise Missing(f"The run '{self.name}' has no archive yet: training writes it when it begins.") from error
        found = [status.st_ino, status.st_mtime_ns, status.st_size]
        with contextlib.suppress(OSError):
            log = (self.folder / "archive.db-wal").stat()
            found += [log.st_mtime_ns, log.st_size] if log.st_size else []  # readers make an empty one
        return tuple(found)

    def answer(self, key: str, make: Callable[[Queries], Any]) -> Any:
        """``make(archive)``, remembered until the archive changes."""
        with self._lock:
            archive, stamp = self.archive(), self._taken
            known = self._answers.get(key)
            if known is None or known[0] != stamp:
                try:
                    known = stamp, make(archive)
                except ArchiveError as error:
                    raise Missing(str(error)) from error
                self._answers[key] = known
            self._answers.move_to_end(key)
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)
            return known[1]

    def config(self) -> dict[str, Any]:
        """The stored configuration, read again when the file has changed; `Missing` when it cannot be read."""
        try:
            status = (self.folder / "config.yaml").stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
            if self._config is None or self._config[0] != stamp:
                self._config = stamp, plain(read_config(self.folder))
            return self._config[1]
        except (RunFolderError, TypeError, OSError) as error:
            raise Missing(str(error)) from error

    def health(self) -> dict[str, Any]:
        """Heartbeat, last good checkpoint, disk; and a number that changes when the archive does."""
        beat = read_heartbeat(self.folder) or {}
        age, stage = beat.get("age"), str(beat.get("stage", ""))
        state = "unknown" if age is None else "ended" if stage == "stopped" else "stale" if age > STALE else "live"
        try:
            stamp = self.stamp()
        except Missing:
            stamp = ()
        return {
            "run": self.name,
            "state": state,
            "stage": stage,
            "round": beat.get("round"),
            "heartbeat_age_s": age,
            **self._checkpoint(),
            "disk_free_bytes": shutil.disk_usage(self.folder).free,
            "changed": format(hash(stamp) & (2**53 - 1), "x"),
        }

    def learners(self) -> list[str]:
        """Which learners can be replayed: final, untrained, and stored versions, the newest first."""
        stored = checkpoint.versions(self.folder / "snapshots")
        return ["final", "untrained", *(str(version) for version in reversed(stored))]

    def _checkpoint(self) -> dict[str, Any]:
        rounds = checkpoint.versions(self.folder / "checkpoints")
        if not rounds:
            return {"checkpoint_round": None, "checkpoint_age_s": None}
        try:
            written = (self.folder / "checkpoints" / str(rounds[-1]) / checkpoint.MANIFEST).stat().st_mtime
        except OSError:
            return {"checkpoint_round": rounds[-1], "checkpoint_age_s": None}
        return {"checkpoint_round": rounds[-1], "checkpoint_age_s": max(0.0, time.time() - written)}


class Runs:
    """The runs under a folder, or a single one of them."""

    def __init__(self, root: Path, only: str | None = None):
        self.root, self.only = root.resolve(), only
        self._lock = threading.Lock()
        self._known: dict[str, Run] = {}

    def names(self) -> list[str]:
        """Names of the folders that hold a run: real folders with a configuration, no links to elsewhere."""
        return [name for name in sorted(self._listed()) if _is_run(self.root / name)]

    def find(self, name: str) -> Run:
        """The run of that name; `Missing` when there is none."""
        if name not in self._listed() or not _is_run(self.root / name):
            raise Missing(f"There is no run '{name[:80]}' here.")
        with self._lock:
            return self._known.setdefault(name, Run(self.root / name))

    def _listed(self) -> set[str]:
        """What is in the folder and may be a run."""
        with contextlib.suppress(OSError):
            return {name for name in os.listdir(self.root) if not name.startswith(".") and self.only in (None, name)}
        return set()


def _is_run(path: Path) -> bool:
    here = not path.is_symlink() and path.is_dir() and (path / "config.yaml").is_file()
    return here and not any((path / name).is_symlink() for name in _FILES)
