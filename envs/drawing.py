"""How the three-dimensional shapes of a family become a flat picture: projections, outlines, and what hides what.

World coordinates are in metres, z up. A picture is drawn from the side that the family's ``view`` names: ``top`` shows the
x-y plane, ``side`` the x-z plane, ``3d`` an oblique (cabinet) view along y. Nothing here draws; others do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

View = Literal["top", "side", "3d"]
KINDS = ("capsules", "spheres", "boxes")
WIDTHS = {"capsules": 7, "spheres": 4, "boxes": 10}
SLANT = np.array([0.30, 0.38])  # how far one metre along y goes to the right and up in an oblique view
STILL = 1e-4  # m: what moves less is fixed
FAR = 30.0  # m, where the band of a target is cut off: outside every picture
_PLANES = {"top": (0, 1), "side": (0, 2)}
_LENGTHS = ("m", "units")
_CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


class Mark(NamedTuple):
    """One shape in the picture's plane, in metres."""

    kind: str  # one of KINDS
    row: int  # of the frame's list of that kind
    points: np.ndarray  # f64[2, 2] ends of a capsule, f64[1, 2] centre of a sphere, f64[n, 2] outline of a box
    radius: float  # 0 for a box
    depth: float  # the larger, the nearer to whoever looks


def axes(feature: str, unit: str, size: int, view: str) -> str:
    """World axes along which a goal's target lies: ``xy xz x y z``, or '' when it is no place.

    A convention of the families' feature names: two lengths are a place in the plane that the last part of the name says
    (``tip_xz``) or in that of the view (for ``3d``: on the ground), and one length is along the axis that the last part of
    the name says (``x``, ``tip_y``, ``z``, ``height``).
    """
    if unit not in _LENGTHS:
        return ""
    last = feature.rpartition("_")[2]
    if size == 2:
        return last if last in ("xy", "xz", "yz") else "xz" if view == "side" else "xy"
    return {"x": "x", "y": "y", "z": "z", "height": "z"}.get(last, "")


def project(points: Any, view: str) -> np.ndarray:
    """Points f64[..., 3] in the picture's plane, f64[..., 2]."""
    points = np.asarray(points, float)
    if view in _PLANES:
        return points[..., _PLANES[view]]
    return points[..., (0, 2)] + points[..., 1:2] * SLANT


def depth(points: Any, view: str) -> np.ndarray:
    """f64[...], growing towards whoever looks: down from above, along y from the side."""
    points = np.asarray(points, float)
    return points[..., 2] if view == "top" else -points[..., 1] + (0.3 * points[..., 2] if view == "3d" else 0.0)


def marks(frame: Mapping[str, Sequence[Sequence[float]]], view: str) -> list[Mark]:
    """What to draw of a frame (or of what never moves), the farthest first."""
    found = [_mark(kind, row, shape, view) for kind in KINDS for row, shape in enumerate(frame.get(kind, ()))]
    return sorted(found, key=lambda mark: mark.depth)


def moves(frames: Any, still: float = STILL) -> np.ndarray:
    """bool[N]: which shapes of one kind move, or break, in frames f[T, N, numbers]."""
    return ~(np.ptp(frames, axis=0).max(axis=-1, initial=0.0) <= still)


def box_corners(box: Sequence[float]) -> np.ndarray:
    """Corners f64[8, 3] of [centre x y z, quaternion w x y z, half sizes x y z]."""
    center, (w, x, y, z), half = np.asarray(box[:3], float), box[3:7], np.asarray(box[7:], float)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return center + (_CORNERS * half) @ turn.T


def capsule(points: np.ndarray, radius: float, corners: int = 12) -> np.ndarray:
    """Outline f64[2 corners, 2] of a segment f64[2, 2] with round ends."""
    (x0, y0), (x1, y1) = points
    angle = np.arctan2(y1 - y0, x1 - x0) + np.linspace(-np.pi / 2, np.pi / 2, corners)
    cap = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([cap + points[1], points[0] - cap])


def world(values: Any, along: str) -> np.ndarray:
    """Points f64[..., 3] of values f64[..., len(along)] along these axes; 0 along the others."""
    values = np.asarray(values, float)
    points = np.zeros((*values.shape[:-1], 3))
    points[..., ["xyz".index(axis) for axis in along]] = values
    return points


def target(goal: Mapping[str, Any], along: str, view: str) -> tuple[np.ndarray, np.ndarray] | None:
    """(outline f64[n, 2] of where the goal is reached, its middle f64[1 or 2, 2]: a place, or the ends of a line).

    A place is a disc, one coordinate a band that runs through the picture; None for what the view does not show.
    """
    middle, tolerance = np.asarray(goal["target"], float), float(goal["tolerance"])
    if len(along) == 2:
        angle = np.linspace(0.0, 2 * np.pi, 32, endpoint=False)
        ring = middle + tolerance * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return project(world(ring, along), view), project(world(middle[None], along), view)
    across = {"top": "xy", "side": "xz", "3d": "xyx" if along != "z" else "zxz"}[view].replace(along, "", 1)[:1]
    if not along or (view == "top" and along == "z") or (view == "side" and along == "y"):
        return None
    t, low, high = middle[0], middle[0] - tolerance, middle[0] + tolerance
    band = [(low, -FAR), (high, -FAR), (high, FAR), (low, FAR)]
    return project(world(band, along + across), view), project(world([(t, -FAR), (t, FAR)], along + across), view)


def extent(marks_: Iterable[Mark]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest point f64[2] that marks reach; `ValueError` when there is none."""
    corners = [mark.points + side * mark.radius for mark in marks_ for side in (-1, 1)]
    both = np.concatenate(corners) if corners else np.zeros((0, 2))
    return both.min(axis=0), both.max(axis=0)


def _mark(kind: str, row: int, shape: Sequence[float], view: str) -> Mark:
    if kind == "boxes":
        corners = box_corners(shape)
        return Mark(kind, row, _hull(project(corners, view)), 0.0, float(depth(corners, view).mean()))
    points = np.asarray(shape[:-1], float).reshape(-1, 3)
    return Mark(kind, row, project(points, view), float(shape[-1]), float(depth(points, view).mean()))


def _hull(points: np.ndarray) -> np.ndarray:
    """Convex hull, anticlockwise (monotone chain)."""
    ordered = sorted(set(map(tuple, np.round(points, 9).tolist())))

    def chain(some: Iterable[tuple[float, ...]]) -> list[tuple[float, ...]]:
        kept: list[tuple[float, ...]] = []
        for p in some:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], p) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    return np.array(chain(ordered) + chain(reversed(ordered)) if len(ordered) > 2 else ordered)


def _turn(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
