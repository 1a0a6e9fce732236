"""Compiled programs on disk, named by all that they are made of: a later start neither traces nor compiles them.

XLA's own cache spares only the compilation: it is found by the traced program, and tracing Brax takes longer than loading what
was compiled. Here the name says what the trace would: the source of both packages, the configuration, the shapes of the
arguments, the libraries, the processor and the devices. A file that cannot be read or loaded is as good as none.
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
from jax.experimental import serialize_executable
from omegaconf import DictConfig, OmegaConf

from openended.metrics import to_json
from openended.runfolder import environment

NOT_IN_PROGRAMS = ("run", "heldout")  # parts of a configuration that no program depends on


class ProgramsStore:
    """Programs of one configuration in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, made_of: str):
        self.folder, self.made_of = folder, made_of

    def load(self, name: Any, arguments: tuple) -> Any | None:
        """What was saved for these arguments, ready to be called; None when there is nothing that can be used."""
        if self.folder is not None:
            with contextlib.suppress(Exception):  # a damaged file may raise anything
                return serialize_executable.deserialize_and_load(*pickle.loads(self._path(name, arguments).read_bytes()))
        return None

    def save(self, name: Any, arguments: tuple, compiled: Any) -> None:
        """Keep a compiled program; one that cannot be kept is left out."""
        if self.folder is None:
            return
        path = self._path(name, arguments)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # several runs may start at once
        with contextlib.suppress(OSError, ValueError, TypeError, pickle.PicklingError, jax.errors.JaxRuntimeError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(pickle.dumps(serialize_executable.serialize(compiled)))
            temporary.replace(path)

    def _path(self, name: Any, arguments: tuple) -> Path:
        assert self.folder is not None
        shapes = jax.tree.map(lambda leaf: f"{leaf.dtype}{leaf.shape}{leaf.sharding}", arguments)
        parts = (self.made_of, str(name), str(shapes), to_json(environment()), _sources())
        return self.folder / hashlib.sha256("\n".join(parts).encode()).hexdigest()


def store_for(config: DictConfig) -> ProgramsStore:
    """The store of a configuration, beside XLA's cache."""
    place: str | None = jax.config.values["jax_compilation_cache_dir"]
    whole: Any = OmegaConf.to_container(config, resolve=True)
    parts = {key: part for key, part in whole.items() if key not in NOT_IN_PROGRAMS}
    return ProgramsStore(Path(place) / "programs" if place else None, to_json(parts))


@functools.cache
def _sources() -> str:
    """Digest of every module of both packages."""
    import envs
    import openended

    digest = hashlib.sha256()
    for package in (envs, openended):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
