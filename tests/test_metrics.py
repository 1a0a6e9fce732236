"""metrics.jsonl keeps whole lines of rounds that count; the TensorBoard mirror can neither block nor break a run."""

import json
import math
import struct
import threading
import time

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter

from openended.metrics import QUEUE_SIZE, MetricsWriter, plain, read_metrics, to_json


def events(folder) -> list[Event]:
    """All records of all event files, oldest file first."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("Q", data[at : at + 8])
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 16 + length
    return found


def test_plain_values():
    value = {"a": np.float32(0.5), "b": (np.int64(2), np.array([1.0, np.inf])), 3: True, "c": math.nan, "d": None}
    assert plain(value) == {"a": 0.5, "b": [2, [1.0, None]], "3": True, "c": None, "d": None}
    assert to_json({"x": math.nan, "ö": "ü"}) == '{"x": null, "ö": "ü"}'
    with pytest.raises(TypeError, match="set cannot"):
        plain({1})


def test_lines_are_there_at_once_with_null_for_nan(tmp_path):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write(1, {"seconds": np.float32(1.5), "heldout_last": math.nan})
        assert (tmp_path / "metrics.jsonl").read_text() == '{"round": 1, "seconds": 1.5, "heldout_last": null}\n'
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize(("resume", "kept"), [(None, [0, 1, 2, 3]), (1, [0, 1]), (9, [0, 1, 2, 3]), (-1, [])])
def test_resume_cuts_later_rounds_and_unfinished_lines(tmp_path, resume, kept):
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        for round in range(4):
            writer.write(round, {"x": round})
    if resume is not None:
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"round": 1, "x')
    with MetricsWriter(tmp_path, resume, tensorboard=False) as writer:
        assert [entry["round"] for entry in read_metrics(tmp_path)] == kept
        writer.write(10, {})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [*kept, 10]


def test_the_mirror_has_the_finite_numbers_and_no_host_name(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"a": np.float32(0.25), "b": math.nan, "c": "text", "d": np.array([1, 2])})
        writer.write(2, {"a": 1})
    assert writer.problem == ""
    with MetricsWriter(tmp_path, resume_from_round=1) as writer:
        writer.write(2, {"a": 3})
    values = [(event.step, value.tag, value.simple_value) for event in events(tmp_path) for value in event.summary.value]
    assert values == [(1, "a", 0.25), (2, "a", 1.0), (2, "a", 3.0)]
    assert [event.step for event in events(tmp_path) if event.HasField("session_log")] == [2]
    assert all(path.name.rsplit(".", 2)[1] == "openended" for path in (tmp_path / "tensorboard").iterdir())


def test_a_hanging_disk_blocks_nothing(tmp_path, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(RecordWriter, "flush", lambda self: released.wait(30))
    writer, began = MetricsWriter(tmp_path), time.monotonic()
    for round in range(QUEUE_SIZE + 50):
        writer.write(round, {"x": 1})
    assert time.monotonic() - began < 2 and len(read_metrics(tmp_path)) == QUEUE_SIZE + 50
    assert "TensorBoard misses" in writer.problem and "archive.db are complete" in writer.problem
    writer.close()
    assert time.monotonic() - began < 5
    released.set()


def test_a_full_disk_under_the_mirror_is_one_sentence(tmp_path, monkeypatch):
    def full(self) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "flush", full)
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"x": 1})
        writer._mirror._thread.join(5)
        writer.write(2, {"x": 1})
        assert writer.problem.startswith("TensorBoard misses 2 rounds (OSError: [Errno 28] No space left on device)")
    assert [entry["round"] for entry in read_metrics(tmp_path)] == [1, 2]
