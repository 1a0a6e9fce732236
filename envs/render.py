"""Pictures of a replay: a contact sheet of its first and last episode, and an animation of all of them.

A replay is plain data, as `openended replay --json` prints it: ``goal`` (feature, unit, target, tolerance, see
`place`), ``description``, ``learner`` and ``episodes``, each with ``episode success solved_at_s reward`` and ``frames`` of
``t`` [s], ``segments`` [x0, y0, x1, y1, radius], ``discs`` [x, y, radius] and ``value``. Colours are those of Okabe and Ito.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.spec import sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BODY, LIMBS, TARGET, INSIDE, OBSTACLE = "#0072B2", ("#0072B2", "#56B4E9"), "#D55E00", "#009E73", "#9A9A9A"
COLUMNS = 8
MARGIN = 0.06  # of the larger side, around everything that is drawn
PAUSE = 12  # frames for which an animation shows the end of an episode
_LENGTHS = ("m", "units")

Replay = Mapping[str, Any]


def place(feature: str, unit: str, size: int) -> str:
    """Where a target can be drawn: ``point``, ``x`` or ``y`` (a line across the picture), or '' when it is no place.

    A convention of the families' feature names: two lengths are a place in the picture, and one length is along the axis that
    the last part of the name says (``x``, ``tip_y``, ``height``).
    """
    last = feature.rpartition("_")[2]
    if unit not in _LENGTHS:
        return ""
    return "point" if size == 2 else {"x": "x", "y": "y", "z": "y", "height": "y"}.get(last, "")


def contact_sheet(replay: Replay) -> Figure:
    """The first and the last episode of a replay, eight moments each, up to the solution or the time limit."""
    from matplotlib.figure import Figure

    quiet_fonts()
    episodes = replay["episodes"]
    shown = episodes if len(episodes) == 1 else [episodes[0], episodes[-1]]
    box = bounds(replay)
    aspect = (box[3] - box[1]) / (box[2] - box[0])
    title = textwrap.wrap(sentence(replay["description"]), 165)
    heights = 0.24 * len(title) + 0.2, len(shown) * (1.6 * aspect + 0.5)
    figure = Figure(figsize=(1.6 * COLUMNS + 0.4, sum(heights)), dpi=110, facecolor="white")
    figure.suptitle("\n".join(title), fontsize=10, x=0.012, y=1 - 0.1 / sum(heights), ha="left", va="top")
    top = 1 - heights[0] / sum(heights)
    parts: Any = figure.subfigures(len(shown) + 1, 1, height_ratios=[1 - top, *[top / len(shown)] * len(shown)])
    for part, episode in zip(parts[1:], shown, strict=True):
        part.text(0.012, 0.97, headline(replay, episode), fontsize=10, weight="bold", va="top", color=_verdict(episode))
        axes = part.subplots(1, COLUMNS)
        part.subplots_adjust(left=0.01, right=0.99, bottom=0.1, top=0.86, wspace=0.06)
        for axis, moment in zip(axes, _moments(episode), strict=True):
            draw(axis, replay, episode, moment, box)
            axis.set_xlabel(f"{episode['frames'][moment]['t']:.2f} s", fontsize=8, labelpad=2)
    return figure


def save_contact_sheet(replay: Replay, path: str | Path) -> None:
    """Write the contact sheet as PNG, whatever the name of the file."""
    contact_sheet(replay).savefig(path, format="png", metadata={"Software": None})


def save_animation(replay: Replay, path: str | Path) -> None:
    """Write every frame of every episode as an animated GIF in real time, with a rest after each episode."""
    from PIL import Image

    images = [Image.fromarray(picture).quantize(64) for picture in _pictures(replay)]
    milliseconds = max(20, round(1000 * replay["dt"]))
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)


def _pictures(replay: Replay) -> Iterator[np.ndarray]:
    """RGB images u8[H, W, 3] of the animation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    quiet_fonts()
    box = bounds(replay)
    figure = Figure(figsize=(4.0, 4.0 * (box[3] - box[1]) / (box[2] - box[0]) + 0.3), dpi=90, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    for episode in replay["episodes"]:
        for moment, frame in enumerate(episode["frames"]):
            figure.clear()
            axis = figure.add_axes((0.01, 0.01, 0.98, 0.9))
            draw(axis, replay, episode, moment, box)
            figure.text(
                0.02, 0.93, f"episode {episode['episode']}   {frame['t']:.2f} s", fontsize=9, color=_now(episode, frame)
            )
            canvas.draw()
            image = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
            yield from [image] * (PAUSE if moment + 1 == len(episode["frames"]) else 1)


def headline(replay: Replay, episode: Mapping[str, Any]) -> str:
    """What became of an episode."""
    solved = f"solved at {episode['solved_at_s']:.2f} s" if episode["success"] else "not solved"
    return f"Episode {episode['episode']}, {replay['learner']}: {solved}, reward {episode['reward']:.2f}"


def draw(axis: Axes, replay: Replay, episode: Mapping[str, Any], moment: int, box: tuple[float, ...]) -> None:
    """One frame: target, obstacles, the way so far, the body."""
    from matplotlib.patches import Circle, Polygon

    frames = episode["frames"]
    frame = frames[moment]
    where = _place_of(replay)
    _target(axis, replay, where, box)
    for disc in frame["discs"]:
        still = _still(episode, disc)
        style: dict[str, Any] = {"color": OBSTACLE, "zorder": 2} if still else {"color": BODY, "zorder": 4}
        axis.add_patch(Circle(disc[:2], disc[2], linewidth=0, **style))
    if where == "point":
        way = np.array([f["value"] for f in frames[: moment + 1]])
        axis.plot(way[:, 0], way[:, 1], color=TARGET, linewidth=1.0, alpha=0.7, zorder=5)
        axis.plot(*way[-1], ".", color="black", markersize=3, zorder=6)
    for number, segment in enumerate(frame["segments"]):
        outline = capsule(segment)
        axis.add_patch(Polygon(outline, facecolor=LIMBS[number % 2], edgecolor="white", linewidth=0.5, zorder=4))
    axis.set_xlim(box[0], box[2])
    axis.set_ylim(box[1], box[3])
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(_now(episode, frame) if episode["success"] else "#CCCCCC")


def capsule(segment: Sequence[float], corners: int = 12) -> np.ndarray:
    """Outline f64[2 corners, 2] of a segment [x0, y0, x1, y1, radius] with round ends."""
    x0, y0, x1, y1, radius = segment
    angle = np.arctan2(y1 - y0, x1 - x0) + np.linspace(-np.pi / 2, np.pi / 2, corners)
    cap = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([cap + np.array([x1, y1]), np.array([x0, y0]) - cap])


def bounds(replay: Replay) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) around everything that a replay draws, with a margin; never thinner than half its longer side."""
    low, high = [], []
    for frame in (frame for episode in replay["episodes"] for frame in episode["frames"]):
        for x0, y0, x1, y1, radius in frame["segments"]:
            low.append((min(x0, x1) - radius, min(y0, y1) - radius))
            high.append((max(x0, x1) + radius, max(y0, y1) + radius))
        low += [(x - r, y - r) for x, y, r in frame["discs"]]
        high += [(x + r, y + r) for x, y, r in frame["discs"]]
    goal, where = replay["goal"], _place_of(replay)
    axes = {"point": (0, 1), "x": (0,), "y": (1,)}.get(where, ())
    start, end = np.min(low, axis=0), np.max(high, axis=0)
    for axis, target in zip(axes, goal["target"], strict=False):
        start[axis] = min(start[axis], target - goal["tolerance"])
        end[axis] = max(end[axis], target + goal["tolerance"])
    middle, side = (start + end) / 2, end - start
    side = np.maximum(side, 0.5 * max(side)) + 2 * MARGIN * max(side)
    return (*(middle - side / 2), *(middle + side / 2))  # type: ignore[return-value]


def _target(axis: Axes, replay: Replay, where: str, box: tuple[float, ...]) -> None:
    from matplotlib.patches import Circle

    goal = replay["goal"]
    target, tolerance = goal["target"], goal["tolerance"]
    style: dict[str, Any] = {"facecolor": TARGET, "alpha": 0.18, "zorder": 1}
    if where == "point":
        axis.add_patch(Circle(target, tolerance, linewidth=0, **style))
        axis.add_patch(Circle(target, tolerance, fill=False, edgecolor=TARGET, linewidth=0.9, linestyle="--", zorder=3))
        axis.plot(*target, "+", color=TARGET, markersize=6, zorder=3)
    elif where:
        span, line = (axis.axvspan, axis.axvline) if where == "x" else (axis.axhspan, axis.axhline)
        span(target[0] - tolerance, target[0] + tolerance, linewidth=0, **style)
        line(target[0], color=TARGET, linewidth=0.9, linestyle="--", zorder=3)
    else:
        text = f"{goal['feature']} to {', '.join(f'{x:.2f}' for x in target)} {goal['unit']}"
        axis.text(box[0], box[3], f" {text}", fontsize=6, color=TARGET, va="top", zorder=7)


def _place_of(replay: Replay) -> str:
    goal = replay["goal"]
    return place(goal["feature"], goal["unit"], len(goal["target"]))


def _still(episode: Mapping[str, Any], disc: Sequence[float]) -> bool:
    """Whether a disc is in every frame of the episode at the same place: an obstacle."""
    return all(any(np.allclose(disc, other, atol=1e-4) for other in f["discs"]) for f in episode["frames"][::8])


def _moments(episode: Mapping[str, Any]) -> list[int]:
    """Indices of eight frames, evenly from the start to the solution or the end."""
    frames = episode["frames"]
    end = len(frames) - 1
    if episode["success"]:
        end = next(i for i, frame in enumerate(frames) if frame["solved"])
    return [round(i) for i in np.linspace(0, end, COLUMNS)]


def _verdict(episode: Mapping[str, Any]) -> str:
    return INSIDE if episode["success"] else TARGET


def _now(episode: Mapping[str, Any], frame: Mapping[str, Any]) -> str:
    return INSIDE if frame["solved"] else "black"


def quiet_fonts() -> None:
    """No word about matplotlib's font cache."""
    # A fresh machine would otherwise be told on the terminal that a font cache is being built.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
