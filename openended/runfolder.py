"""The folder of a run: who may write to it, with what configuration, on what machine, and whether it is alive.

config.yaml        the whole configuration, written once
environment.json   versions, device and thread counts: what must be equal for a resumed run to be bit-identical
heartbeat.json     stage, round, pid and time, every 2 s from a thread (compiling takes long)
log.txt            one line per thing worth knowing
.lock              held by the one process that trains; it lets go of it however it dies
archive.db metrics.jsonl tensorboard/ checkpoints/ snapshots/ blobs/ plots/     written by other modules
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import IO, Any

import yaml

from openended.metrics import to_json

HEARTBEAT_SECONDS = 2.0
PACKAGES = ("jax", "jaxlib", "numpy", "brax", "mujoco", "mujoco-mjx", "evosax", "optax", "orbax-checkpoint")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")
JAX_SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_threefry_partitionable")


class RunFolderError(Exception):
    """The run folder cannot be used; the message is one sentence for the user."""


class RunFolderInUse(RunFolderError):
    """Another live process trains in this folder."""


class RunFolder:
    """A run folder opened for training: `with RunFolder(path) as folder`. Created when it does not exist.

    Holds the lock and keeps the heartbeat going until closed. `is_new`: no configuration was stored yet. Raises
    `RunFolderInUse` when a live process holds the lock, `RunFolderError` when the folder cannot be created or written.
    Readers (browser, eval) need no RunFolder: they open the files.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        try:
            (self.path / "blobs").mkdir(parents=True, exist_ok=True)
            self._lock = _take_lock(self.path)
        except OSError as error:
            raise RunFolderError(f"The run folder '{self.path}' cannot be used: {error.strerror or error}.") from error
        self._now: dict[str, Any] = {"pid": os.getpid(), "started": time.time(), "stage": "starting", "round": None}
        self._wake = threading.Event()
        self._write_heartbeat()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_new(self) -> bool:
        """Whether this run has no stored configuration yet."""
        return not (self.path / "config.yaml").exists()

    def beat(self, stage: str | None = None, round: int | None = None) -> None:
        """Tell the heartbeat what is going on; costs nothing, the thread writes it within 2 s."""
        told = {"stage": stage, "round": None if round is None else int(round)}
        self._now = self._now | {key: value for key, value in told.items() if value is not None}

    def log(self, text: str) -> None:
        """Append one line with the time to log.txt; a disk that is full does not stop the run here."""
        line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {' '.join(text.split())}\n"
        with contextlib.suppress(OSError), (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(line)

    def store_config(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml, once: `RunFolderError` when the run has one already."""
        if not self.is_new:
            raise RunFolderError(f"The run '{self.path.name}' has a configuration already.")
        write_durably(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def record_environment(self) -> list[str]:
        """Store this environment on the first start; later, one sentence per way in which it differs from the first.

        An empty answer on resume is the condition under which a resumed run is bit-identical to an uninterrupted one.
        """
        path, now = self.path / "environment.json", environment()
        if not path.exists():
            write_durably(path, json.dumps(now, indent=1) + "\n")
            return []
        try:
            first = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ["environment.json cannot be read, so it is not known whether this environment is the first one."]
        return [
            f"{key} was {_shown(was)} when the run began and is {_shown(is_)} now." for key, was, is_ in differences(first, now)
        ]

    def close(self, stage: str = "stopped") -> None:
        """Write a last heartbeat with `stage`, stop the thread and release the lock; may be called twice."""
        if self._lock.closed:
            return
        self.beat(stage)
        self._wake.set()
        self._thread.join()
        self._lock.close()

    def _beat(self) -> None:
        while not self._wake.wait(HEARTBEAT_SECONDS):
            self._write_heartbeat()
        self._write_heartbeat()

    def _write_heartbeat(self) -> None:
        temporary = self.path / "heartbeat.json.tmp"
        with contextlib.suppress(OSError):  # a full disk is for the archive to report
            temporary.write_text(to_json(self._now | {"time": time.time()}) + "\n", encoding="utf-8")
            temporary.replace(self.path / "heartbeat.json")


def read_heartbeat(path: str | Path) -> dict[str, Any] | None:
    """The last heartbeat of a run folder with `age` in seconds added, or None when there is none that can be read."""
    try:
        beat = json.loads((Path(path) / "heartbeat.json").read_text(encoding="utf-8"))
        return {**beat, "age": max(0.0, time.time() - float(beat["time"]))}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_config(path: str | Path) -> dict[str, Any]:
    """The configuration stored in a run folder; `RunFolderError` when it is missing or damaged."""
    place = Path(path) / "config.yaml"
    try:
        config = yaml.safe_load(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"'{path}' is not a run: it has no config.yaml that can be read.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunFolderError(f"'{place}' is damaged: {' '.join(str(error).split())}.") from error
    if not isinstance(config, dict):
        raise RunFolderError(f"'{place}' is damaged: it holds no configuration.")
    return config


def differences(first: Any, second: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted key, first, second) wherever two nested mappings differ; None stands for a key that is missing."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        keys = [*first, *(name for name in second if name not in first)]
        pairs = [(f"{key}.{name}".lstrip("."), first.get(name), second.get(name)) for name in keys]
        return [found for name, a, b in pairs for found in differences(a, b, name)]
    return [] if first == second else [(key, first, second)]


def environment() -> dict[str, Any]:
    """What decides whether numbers come out bit for bit equal. Names no host, no user and no path."""
    import jax

    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "/" not in flag]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "packages": {name: _version(name) for name in PACKAGES},
        "installed": _installed(),
        "devices": {
            "backend": jax.default_backend(),
            "kind": sorted({device.device_kind for device in jax.devices()}),
            "count": jax.device_count(),
        },
        "threads": {
            "cores": os.cpu_count(),
            "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            **{name: os.environ[name] for name in THREADS if name in os.environ},
        },
        "settings": {"xla_flags": sorted(flags), **{name: getattr(jax.config, name) for name in JAX_SETTINGS}},
    }


def write_durably(path: Path, text: str) -> None:
    """Replace a file by `text`: whoever looks, and whenever the power fails, sees all of the old or all of the new."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Interrupts:
    """SIGINT and SIGTERM, for the main thread: `with Interrupts(note) as stop`, then look at `stop.requested`.

    The first signal sets `requested` (the signal's name) and calls `note` with one sentence; the second calls `restore`
    (of the terminal) and ends the process with status 128 + its number, safe at any moment: what is half written does
    not count. Python runs its handlers only between bytecodes, so a long compilation would hold them up; the
    interpreter's C handler writes every signal into a pipe at once, and a thread reads from there.
    """

    def __init__(self, note: Callable[[str], None] = print, restore: Callable[[], None] = lambda: None) -> None:
        self.requested: str | None = None
        self._note, self._restore = note, restore

    def __enter__(self) -> Interrupts:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._old_descriptor = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_descriptor)
        os.close(self._writing)
        self._thread.join()
        os.close(self._reading)

    def _watch(self) -> None:
        while received := os.read(self._reading, 1):
            number = received[0]
            if number not in self._old:
                continue
            if self.requested is not None:
                threading.Timer(1.0, os._exit, [128 + number]).start()  # in case the terminal hangs
                with contextlib.suppress(Exception):
                    self._restore()
                os._exit(128 + number)
            self.requested = signal.Signals(number).name
            with contextlib.suppress(Exception):
                self._note("Stopping: the run is saved first and can be resumed. Once more to abort at once.")


def _ignore(number: int, frame: FrameType | None) -> None:
    """A handler of our own, so that the signal neither kills nor raises; `Interrupts` acts on it."""


def _take_lock(path: Path) -> IO[str]:
    file = (path / ".lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        pid, beat = file.read().strip(), read_heartbeat(path)
        file.close()
        about = "no heartbeat yet"
        if beat is not None and str(beat.get("pid")) == pid:
            about = f"last heartbeat {beat['age']:.0f} s ago, stage {beat.get('stage')}, round {beat.get('round')}"
        what = f"The run '{path.name}' is in use by the live process {pid or '?'} ({about})"
        raise RunFolderInUse(f"{what}: wait for it, stop it, or choose another run.name.") from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _installed() -> str:
    """A fingerprint of every installed package: equal for installations from the same lock."""
    found = {f"{package.name}=={package.version}".lower() for package in importlib.metadata.distributions()}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value)
