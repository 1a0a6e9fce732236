"""Numbers of a run as they come: one JSON line per round, and a mirror for TensorBoard that can never stop training.

`metrics.jsonl` and the archive are the truth. The mirror writes from a daemon thread fed by a bounded queue: a full or
hanging disk makes it drop numbers and say so in `problem`, nothing else. (tensorboardX's own `SummaryWriter` blocks for
ever in `add_scalar` once the disk is full, and again at exit, so only its record format is used here.)
"""

from __future__ import annotations

import json
import math
import os
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_NAME = "metrics.jsonl"
QUEUE_SIZE = 256
_STOP = None


def plain(value: Any) -> Any:
    """`value` as JSON can carry it: numpy numbers become Python's, tuples lists, and NaN and infinities None.

    Raises `TypeError` for anything that is not a number, text, boolean, None, mapping, list or tuple.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def to_json(value: Any) -> str:
    """One line of JSON text, null for NaN."""
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False)


class MetricsWriter:
    """Appends to `folder/metrics.jsonl`, and mirrors into `folder/tensorboard` unless `tensorboard` is false.

    `resume_from_round` removes lines of later rounds, and lines that a killed process left unfinished; None keeps all.
    Raises `OSError` when the line cannot be written: a run that cannot record must stop.
    """

    def __init__(self, folder: str | Path, resume_from_round: int | None = None, tensorboard: bool = True) -> None:
        self.path = Path(folder) / FILE_NAME
        if resume_from_round is not None and self.path.exists():
            _keep_until(self.path, resume_from_round)
        self._file = self.path.open("a", encoding="utf-8")
        self._mirror = TensorBoardMirror(Path(folder) / "tensorboard", resume_from_round) if tensorboard else None

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, round: int, values: Mapping[str, Any]) -> None:
        """Append one line `{"round": round, ...values}` and hand it to the operating system at once."""
        self._file.write(to_json({"round": round, **values}) + "\n")
        self._file.flush()
        if self._mirror is not None:
            self._mirror.add(round, values)

    @property
    def problem(self) -> str:
        """One sentence when the TensorBoard mirror is incomplete; empty otherwise."""
        return self._mirror.problem if self._mirror is not None else ""

    def close(self) -> None:
        """Close the file; waits at most two seconds for the mirror."""
        self._file.close()
        if self._mirror is not None:
            self._mirror.close()


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of `folder/metrics.jsonl` that can be read, oldest first; empty when there is no such file."""
    path = Path(folder) / FILE_NAME
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [entry for entry in map(_parse, lines) if entry is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("round"), int) else None


def _keep_until(path: Path, last: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    # A line without its newline is one that a killed process did not finish, even if it happens to parse.
    kept = [line for line in lines if line.endswith(b"\n") and (entry := _parse(line)) and entry["round"] <= last]
    if kept == lines:
        return
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class TensorBoardMirror:
    """Scalars for TensorBoard, best effort: `add` never blocks or raises; what does not fit is dropped and counted."""

    def __init__(self, folder: Path, resume_from_round: int | None = None) -> None:
        self.dropped = 0
        self._error = ""
        self._queue: queue.Queue[tuple[int, float, dict[str, float]] | None] = queue.Queue(QUEUE_SIZE)
        arguments = (folder, resume_from_round)
        self._thread = threading.Thread(target=self._run, args=arguments, name="tensorboard", daemon=True)
        self._thread.start()

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Queue the finite numbers of `values` at `step`."""
        numbers = {key: float(x) for key, x in values.items() if _is_number(x) and math.isfinite(x)}
        if self._error:
            self.dropped += 1
            return
        try:
            self._queue.put_nowait((step, time.time(), numbers))
        except queue.Full:
            self.dropped += 1

    @property
    def problem(self) -> str:
        """What went wrong, in one sentence; empty when every number was written or still can be."""
        if not self._error and not self.dropped:
            return ""
        why = self._error or "the disk is too slow"
        return f"TensorBoard misses {self.dropped} rounds ({why}); {FILE_NAME} and archive.db are complete."

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, waiting at most about `timeout` seconds; a stuck thread dies with the process."""
        if not self._thread.is_alive():
            return
        try:
            self._queue.put(_STOP, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _run(self, folder: Path, resume_from_round: int | None) -> None:
        try:
            self._write_all(folder, resume_from_round)
        except Exception as error:  # whatever breaks here must not reach the training loop
            self._error = f"{type(error).__name__}: {error}"
            self.dropped += 1 + self._queue.qsize()

    def _write_all(self, folder: Path, resume_from_round: int | None) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar

        folder.mkdir(parents=True, exist_ok=True)
        # tensorboardX would put the host's name into the file name; a run folder may be published.
        stem, number = f"events.out.tfevents.{int(time.time())}", 0
        while (path := folder / f"{stem}.openended.{number}").exists():
            number += 1
        file = RecordWriter(str(path))
        file.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        if resume_from_round is not None:
            start = SessionLog(status=SessionLog.START)  # hides what an abandoned future wrote for the rounds to come
            file.write(Event(wall_time=time.time(), step=resume_from_round + 1, session_log=start).SerializeToString())
        try:
            while (item := self._queue.get()) is not _STOP:
                step, now, numbers = item
                for key, value in numbers.items():
                    event = Event(wall_time=now, step=step, summary=scalar(key, value))
                    file.write(event.SerializeToString())
                file.flush()
        finally:
            file.close()


def _is_number(value: Any) -> bool:
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    return isinstance(value, int | float) and not isinstance(value, bool)
