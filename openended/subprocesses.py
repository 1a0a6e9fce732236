"""Commands of `openended` in processes of their own, for a sweep; and one sweep at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from openended.runfolder import RunFolderError

# Where Linux offers it, a child whose parent was killed saves and stops; elsewhere it goes on and holds the sweep's lock.
_START = """
import os, signal, sys
cores = sys.argv.pop(1)
if cores:
    os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
from openended import cli
sys.exit(cli.main(sys.argv[1:]))
"""


class Child:
    """A command in a process of this interpreter; what it prints is appended to ``log``, standard output only if not kept.

    ``lock``: a descriptor that the child holds for as long as it lives. ``cores``: those that it may use, all if none are
    given. It has a process group of its own, so that Ctrl-C on the terminal reaches it once, from here.
    """

    def __init__(self, words: list[str], log: Path, lock: int | None, keep: bool = False, cores: Sequence[int] = ()):
        self.log, self._told = log, False
        self._kept = log.with_suffix(".out") if keep else None
        with contextlib.ExitStack() as files:
            errors = files.enter_context(log.open("ab"))
            out = files.enter_context(self._kept.open("wb")) if self._kept else errors
            command = [sys.executable, "-c", _START, ",".join(map(str, cores)), *words]
            held = [] if lock is None else [lock]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, pass_fds=held, process_group=0
            )

    def wait(self, stop: Callable[[], bool]) -> int:
        """The exit code; ``stop`` is asked over and over, and once it says so the child is told to save and stop."""
        while True:
            try:
                return self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                if stop() and not self._told:
                    self._told = True
                    self._process.send_signal(signal.SIGTERM)

    def last_line(self) -> str:
        """The end of the log, for a sentence about what went wrong."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"

    def output(self) -> str:
        """What was kept, which is then thrown away; '' if nothing was."""
        if self._kept is None:
            return ""
        text = self._kept.read_text(encoding="utf-8")
        self._kept.unlink()
        return text


@contextlib.contextmanager
def only_one(folder: Path, say: Callable[[str], None], name: str = ".lock") -> Iterator[int]:
    """Hold the lock of a folder, which is made; waits while a live process has it. Yields its descriptor.

    name: of the file; a run's own `.lock` is for the process that trains.

    Raises:
        RunFolderError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("a+")
    except OSError as error:
        raise RunFolderError(f"The folder '{folder}' cannot be used: {error.strerror or error}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting: another live process works in {folder}.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
