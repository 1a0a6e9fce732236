"""Pictures of a replay: a contact sheet of its first and last episode, and an animation of all of them.

A replay is plain data, as `openended replay --json` prints it (`openended/replay.py` has the format): shapes in three
dimensions, drawn from the side that ``view`` names (`envs.drawing`). Colours are those of Okabe and Ito.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs import drawing
from envs.spec import sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIMBS, OBJECT, OBSTACLE = ("#0072B2", "#56B4E9"), "#CC79A7", "#9A9A9A"
TARGET, INSIDE = "#D55E00", "#009E73"
COLUMNS = 8
MARGIN = 0.06  # of the larger side, around everything that is drawn
PAUSE = 12  # frames for which an animation shows the end of an episode

Replay = Mapping[str, Any]


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
    frames, view, along = episode["frames"], replay["view"], replay["target_axes"]
    if view != "top":
        axis.axhline(0.0, color="#BBBBBB", linewidth=0.6, zorder=0)
    _target(axis, replay, box)
    scene(axis, drawing.marks(replay["fixed"], view), drawing.marks(frames[moment], view), replay["objects"])
    if len(along) == 2:
        way = drawing.project(drawing.world([f["value"] for f in frames[: moment + 1]], along), view)
        axis.plot(way[:, 0], way[:, 1], color=TARGET, linewidth=1.0, alpha=0.7, zorder=5)
        axis.plot(*way[-1], ".", color="black", markersize=3, zorder=6)
    axis.set_xlim(box[0], box[2])
    axis.set_ylim(box[1], box[3])
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(_now(episode, frames[moment]) if episode["success"] else "#CCCCCC")


def scene(
    axis: Axes, fixed: Iterable[drawing.Mark], body: Iterable[drawing.Mark], objects: Mapping[str, Sequence[int]]
) -> None:
    """Draw what never moves, and over it the body and the things that it moves: these rows by kind."""
    for mark in fixed:
        _shape(axis, mark, OBSTACLE, 2)
    for mark in body:
        moved = mark.row in objects.get(mark.kind, ())
        _shape(axis, mark, OBJECT if moved else LIMBS[mark.row % 2], 4)


def _shape(axis: Axes, mark: drawing.Mark, color: str, order: int) -> None:
    from matplotlib.patches import Circle, Polygon

    if mark.kind == "spheres":
        axis.add_patch(Circle(tuple(mark.points[0]), mark.radius, facecolor=color, linewidth=0, zorder=order))
        return
    outline = drawing.capsule(mark.points, mark.radius) if mark.kind == "capsules" else mark.points
    axis.add_patch(Polygon(outline, facecolor=color, edgecolor="white", linewidth=0.5, zorder=order))


def bounds(replay: Replay) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) around all that a replay draws, with a margin; never thinner than half its longer side."""
    view = replay["view"]
    frames = [frame for episode in replay["episodes"] for frame in episode["frames"]]
    start, end = drawing.extent(mark for frame in (replay["fixed"], *frames) for mark in drawing.marks(frame, view))
    for aim in (drawing.target(condition, along, view) for condition, along in _targets(replay)):
        if aim is None:
            continue
        near = np.abs(aim[0]) < drawing.FAR / 2  # the ends of a band are no part of the picture
        start = np.minimum(start, np.where(near, aim[0], np.inf).min(axis=0))
        end = np.maximum(end, np.where(near, aim[0], -np.inf).max(axis=0))
    middle, side = (start + end) / 2, end - start
    side = np.maximum(side, 0.5 * max(side)) + 2 * MARGIN * max(side)
    return (*(middle - side / 2), *(middle + side / 2))  # type: ignore[return-value]


def _targets(replay: Replay) -> list[tuple[Mapping[str, Any], str]]:
    """The conditions of the goal, each with the axes along which its target lies."""
    goal = replay["goal"]
    second = [(goal["second"], replay["second_axes"])] if "second" in goal else []
    return [(goal, replay["target_axes"]), *second]


def _target(axis: Axes, replay: Replay, box: tuple[float, ...]) -> None:
    unseen = []
    for number, (condition, along) in enumerate(_targets(replay)):
        aim = drawing.target(condition, along, replay["view"])
        if aim is None:
            unseen.append(f"{condition['feature']} to {', '.join(f'{x:.2f}' for x in condition['target'])} {condition['unit']}")
        else:
            _aim(axis, *aim, strong=1.0 - 0.4 * number)
    if unseen:
        axis.text(box[0], box[3], f" {'; '.join(unseen)}", fontsize=6, color=TARGET, va="top", zorder=7)


def _aim(axis: Axes, outline: np.ndarray, middle: np.ndarray, strong: float) -> None:
    """One target; the second of a goal is fainter."""
    from matplotlib.patches import Polygon

    axis.add_patch(Polygon(outline, facecolor=TARGET, alpha=0.18 * strong, linewidth=0, zorder=1))
    look: dict[str, Any] = {"linewidth": 0.9, "linestyle": "--", "alpha": strong, "zorder": 3}
    if len(middle) == 1:
        axis.add_patch(Polygon(outline, fill=False, edgecolor=TARGET, **look))
        axis.plot(*middle[0], "+", color=TARGET, markersize=6, alpha=strong, zorder=3)
    else:
        axis.plot(middle[:, 0], middle[:, 1], color=TARGET, **look)


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
