"""Thumbnails: a task's body at its start, obstacles and target, as a small SVG drawn from the family's own shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from envs import drawing

SIZE = (240, 180)  # px, the picture's proportions
MARGIN = 0.10
BODY, OBJECT, OBSTACLE, TARGET, GROUND = ("#3d8fd1", "#6bb7ea"), "#cc79a7", "#98a2ad", "#e4703a", "#98a2ad"

Shapes = Mapping[str, Sequence[Sequence[float]]]


def thumbnail(view: str, goal: Mapping[str, Any], along: str, fixed: Shapes, body: Shapes, objects: Mapping[str, Any]) -> str:
    """SVG text. ``fixed`` are obstacles, ``body`` the rest, ``objects`` its rows that are no part of the body."""
    back, front = drawing.marks(fixed, view), drawing.marks(body, view)
    aim = drawing.target(goal, along, view)
    left, top, width, height = _frame([*back, *front], aim)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.4g} {top:.4g} {width:.4g} {height:.4g}">']
    if view != "top":
        parts.append(f'<path d="M{left:.4g} 0h{width:.4g}" stroke="{GROUND}" stroke-width="{width / 240:.3g}" fill="none"/>')
    if aim is not None:
        parts.append(_target(*aim, width / 120))
    parts += [_shape(mark, OBSTACLE) for mark in back]
    for mark in front:
        moved = mark.row in objects.get(mark.kind, ())
        parts.append(_shape(mark, OBJECT if moved else BODY[mark.row % 2]))
    return "".join([*parts, "</svg>"])


def _frame(marks: list[drawing.Mark], aim: tuple[np.ndarray, np.ndarray] | None) -> tuple[float, float, float, float]:
    """Left, top, width, height of the picture (y downwards), of the proportions of SIZE."""
    low, high = drawing.extent(marks) if marks else (-np.ones(2), np.ones(2))
    if aim is not None:
        near = np.abs(aim[0]) < drawing.FAR / 2
        low = np.minimum(low, np.where(near, aim[0], np.inf).min(axis=0))
        high = np.maximum(high, np.where(near, aim[0], -np.inf).max(axis=0))
    middle, size = (low + high) / 2, (high - low) * (1 + 2 * MARGIN)
    scale = max(size[0] / SIZE[0], size[1] / SIZE[1], 1e-3)
    width, height = SIZE[0] * scale, SIZE[1] * scale
    return float(middle[0] - width / 2), float(-middle[1] - height / 2), width, height


def _target(outline: np.ndarray, middle: np.ndarray, line: float) -> str:
    style = f'fill="{TARGET}" fill-opacity=".22" stroke="{TARGET}" stroke-width="{line:.3g}" stroke-dasharray="{3 * line:.3g}"'
    if len(middle) == 1:
        return f'<path d="{_path(outline)}" {style}/>'
    dashes = f'fill="none" stroke="{TARGET}" stroke-width="{line:.3g}" stroke-dasharray="{3 * line:.3g}"'
    return f'<path d="{_path(outline)}" fill="{TARGET}" fill-opacity=".22"/><path d="{_path(middle)}" {dashes}/>'


def _shape(mark: drawing.Mark, color: str) -> str:
    (x, y), radius = mark.points[0], mark.radius
    if mark.kind == "spheres":
        return f'<circle cx="{x:.4g}" cy="{-y:.4g}" r="{radius:.4g}" fill="{color}"/>'
    if mark.kind == "capsules":
        path = "M" + "L".join(f"{x:.4g} {-y:.4g}" for x, y in mark.points)
        return f'<path d="{path}" stroke="{color}" stroke-width="{2 * radius:.4g}" stroke-linecap="round" fill="none"/>'
    return f'<path d="{_path(mark.points)}" fill="{color}"/>'


def _path(points: np.ndarray) -> str:
    return "M" + "L".join(f"{x:.4g} {-y:.4g}" for x, y in points) + "Z"
