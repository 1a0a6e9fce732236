"""Replays as binary frames: a header as JSON, then 32-bit floats, episode after episode, so that playing can begin early.

    b"OER1" | u32 length of the header | header, UTF-8, padded with spaces to a multiple of 4 | f32 frames

All little-endian. The header is the replay of `openended replay --json` with ``frames`` (how many) instead of every episode's
frames, and ``columns``: ``capsules``, ``spheres`` and ``boxes`` (how many move), ``value`` (components), ``second`` (1 for a
goal of two conditions). A frame is 7 floats per capsule, 4 per sphere, 10 per box, the value, the distance to the target, the
reward, 1 once solved, and for two conditions the distance to the second target.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from envs.drawing import KINDS, WIDTHS
from openended.metrics import plain

MAGIC = b"OER1"


def encode(replay: Mapping[str, Any]) -> Iterator[bytes]:
    """The header, then the frames of each episode."""
    first = replay["episodes"][0]["frames"][0]
    columns = {kind: len(first[kind]) for kind in KINDS} | {"value": len(first["value"]), "second": int("second" in first)}
    episodes = [episode | {"frames": len(episode["frames"])} for episode in replay["episodes"]]
    text = json.dumps(plain({**replay, "columns": columns, "episodes": episodes})).encode()
    text += b" " * (-len(text) % 4)
    yield MAGIC + struct.pack("<I", len(text)) + text
    for episode in replay["episodes"]:
        yield np.nan_to_num(np.array([_row(frame) for frame in episode["frames"]], "<f4")).tobytes()


def decode(data: bytes) -> dict[str, Any]:
    """The replay of its bytes, without targets in the frames; for tests and scripts. `ValueError` when it is none."""
    if data[:4] != MAGIC:
        raise ValueError("this is no replay: it does not begin with OER1")
    (length,) = struct.unpack("<I", data[4:8])
    replay: dict[str, Any] = json.loads(data[8 : 8 + length])
    columns = replay.pop("columns")
    widths = [columns[kind] * WIDTHS[kind] for kind in KINDS] + [columns["value"], 1, 1, 1, columns["second"]]
    rows = np.frombuffer(data, "<f4", offset=8 + length).reshape(-1, sum(widths))
    for episode in replay["episodes"]:
        mine, rows = rows[: episode["frames"]], rows[episode["frames"] :]
        episode["frames"] = [_frame(row, widths, i * replay["dt"]) for i, row in enumerate(mine)]
    return replay


def _row(frame: Mapping[str, Any]) -> list[float]:
    shapes = [x for kind in KINDS for shape in frame[kind] for x in shape]
    second = [frame["second"]["distance"]] if "second" in frame else []
    return [*shapes, *frame["value"], frame["distance"], frame["reward"], float(frame["solved"]), *second]


def _frame(row: np.ndarray, widths: list[int], t: float) -> dict[str, Any]:
    parts = np.split(row, np.cumsum(widths)[:-1])
    shapes = {kind: part.reshape(-1, WIDTHS[kind]).tolist() for kind, part in zip(KINDS, parts, strict=False)}
    distance, reward, solved = (float(part[0]) for part in parts[4:7])
    second = {"second": {"distance": float(parts[7][0])}} if parts[7].size else {}
    value = parts[3].tolist()
    return {
        "t": round(t, 6),
        **shapes,
        "value": value,
        "distance": distance,
        **second,
        "reward": reward,
        "solved": bool(solved),
    }
