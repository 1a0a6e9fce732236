"""Traces on disk, named by all that they are made of, so that a later start need not trace: see `openended.ahead`.

The name says what tracing would: the source of both packages, the configuration, the shapes of the arguments, the libraries,
the processor and the devices. A file that cannot be read is as good as none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import jax
from jax import export
from omegaconf import DictConfig, OmegaConf

from openended.ahead import Trace
from openended.metrics import to_json
from openended.runfolder import environment

UNTRACED = ("run", "heldout")  # parts of a configuration that no program depends on


class Traces:
    """The traces of one configuration in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, made_of: str):
        self.folder, self.made_of = folder, made_of

    def load(self, name: Any, arguments: tuple) -> Trace | None:
        """What was saved for arguments of these shapes; None when there is nothing that can be read."""
        if self.folder is not None:
            with contextlib.suppress(Exception):  # a damaged file may raise anything
                exported, result = pickle.loads(self._path(name, arguments).read_bytes())
                return Trace(export.deserialize(bytearray(exported)), result)
        return None

    def save(self, name: Any, arguments: tuple, trace: Trace) -> None:
        """Keep a trace; one that cannot be kept is left out."""
        if self.folder is None:
            return
        path = self._path(name, arguments)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # several runs may start at once
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(pickle.dumps((bytes(trace.exported.serialize()), trace.result)))
            temporary.replace(path)

    def _path(self, name: Any, arguments: tuple) -> Path:
        assert self.folder is not None
        shapes = jax.tree.map(lambda leaf: f"{leaf.dtype}{leaf.shape}", arguments)
        parts = (self.made_of, str(name), str(shapes), self._surroundings)
        return self.folder / hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @functools.cached_property
    def _surroundings(self) -> str:
        """What is the same for all programs of a process; found once, since it looks through the installed packages."""
        return to_json(environment()) + _sources()


def traces_of(config: DictConfig) -> Traces:
    """The traces of a configuration, beside XLA's cache."""
    place: str | None = jax.config.values["jax_compilation_cache_dir"]
    whole: Any = OmegaConf.to_container(config, resolve=True)
    parts = {key: part for key, part in whole.items() if key not in UNTRACED}
    return Traces(Path(place) / "traces" if place else None, to_json(parts))


def _sources() -> str:
    """Digest of every module of both packages."""
    import envs
    import openended

    digest = hashlib.sha256()
    for package in (envs, openended):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
