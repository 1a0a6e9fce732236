"""PNG plots of a run: what was accepted and kept, what the held-out suite says, how difficulty grew, where steps went.

`plot_run` takes plain lists, so that training, evaluation and the browser can all call it. Colours are those of Okabe and
Ito, which colour-blind readers can tell apart; meaning is never carried by colour alone.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.render import quiet_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = Mapping[str, Sequence[Any]]

BLACK, BLUE, RED, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
PINK, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
PALETTE = (BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK)
PURPOSES = {"learn": BLUE, "verify": GREEN, "retention": ORANGE, "screen": SKY, "witness": PINK}
LINES, MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D", "v")
ROLLING = 31  # accepted tasks in a rolling median
_HELDOUT = re.compile(r"heldout_(first|last|\d+)(?:_(.+))?")


def plot_run(folder: str | Path, series: Series) -> list[Path]:
    """Write the plots for which `series` has numbers into `folder`; returns their paths.

    One entry per round, equally long, None or NaN where nothing was measured: `steps_total`, `accepted retained` (skills),
    `steps_learn steps_verify steps_retention steps_screen steps_witness` (all cumulative), and `heldout_EPISODE` or
    `heldout_EPISODE_GROUP` with EPISODE `first`, `last` or a number from 1, GROUP `visible`, `hidden` or a family. One
    entry per accepted skill, in the order of acceptance: `accepted_difficulty`, and `accepted_family` beside it.
    """
    quiet_fonts()
    parts: dict[str, Callable[[Axes, Series], bool]] = {
        "accepted": _accepted,
        "heldout": _heldout,
        "difficulty": _difficulty,
        "steps": _steps,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, draw in parts.items() if (path := save(folder / f"{name}.png", draw, series))]


def save(path: Path, draw: Callable[[Axes, Any], bool], series: Any, size: tuple[float, float] = (5.6, 3.4)) -> Path | None:
    """Draw one plot of ``size`` inches into a PNG file; None, and no file, when ``draw`` found nothing to draw."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "lines.markersize": 4,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, dpi=120, layout="constrained")
        FigureCanvasAgg(figure)  # no pyplot: it would keep every figure alive and ask for a display
        if not draw(figure.add_subplot(), series):
            return None
        temporary = path.with_name(f".{path.name}")
        figure.savefig(temporary, format="png", metadata={"Software": None})
    os.replace(temporary, path)
    return path


def _accepted(axes: Axes, series: Series) -> bool:
    drawn = False
    for key, colour, line, label, above in (
        ("accepted", BLUE, "-", "accepted", 2),
        ("retained", RED, "--", "still solved by today's learner", -9),
    ):
        x, y = _pair(series, key)
        if len(y):
            axes.plot(x, y, line, color=colour, label=label)
            axes.annotate(f"{y[-1]:.0f}", (x[-1], y[-1]), (4, above), textcoords="offset points", color=colour)
            drawn = True
    axes.set(title="Invented tasks that were learned", ylabel="tasks")
    _finish(axes, series)
    return drawn


def _heldout(axes: Axes, series: Series) -> bool:
    """Colour and marker: the group; from light to dark and thin to thick: from the first to the last episode."""
    order = {"": 0, "visible": 1, "hidden": 2}
    curves = sorted(_curves(series), key=lambda curve: (order.get(curve[0], 3), *curve))
    groups = list(dict.fromkeys(group for group, _, _ in curves))
    for group, episode, key in curves:
        x, y = _pair(series, key)
        place = groups.index(group)
        ranks = [other for name, other, _ in curves if name == group]
        strength = 1.0 if len(ranks) == 1 else ranks.index(episode) / (len(ranks) - 1)
        axes.plot(
            x,
            y,
            LINES[place % len(LINES)],
            marker=MARKERS[place % len(MARKERS)],
            markevery=max(1, len(y) // 15),
            color=PALETTE[place % len(PALETTE)],
            alpha=0.35 + 0.65 * strength,
            linewidth=1.0 + 0.8 * strength,
            label=_label(group, key),
        )
    axes.set(title="Held-out tasks, by episode of the lifetime", ylabel="success", ylim=(-0.02, 1.02))
    _finish(axes, series)
    return bool(curves)


def _difficulty(axes: Axes, series: Series) -> bool:
    values = _numbers(series.get("accepted_difficulty", ()))
    order = np.arange(1, len(values) + 1)
    families = [str(name) for name in series.get("accepted_family", ())]
    if len(families) != len(values):
        families = ["accepted task"] * len(values)
    for place, family in enumerate(sorted(set(families))):
        mine = np.array([name == family for name in families])
        style: dict[str, Any] = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)]}
        axes.scatter(order[mine], values[mine], s=9, alpha=0.45, linewidths=0, label=family, **style)
    known = np.isfinite(values)
    if known.sum() >= 3:
        median = _rolling_median(values[known], ROLLING)
        axes.plot(order[known], median, color=BLACK, label=f"rolling median of {min(ROLLING, int(known.sum()))}")
    axes.set(title="Difficulty of accepted tasks", xlabel="order of acceptance", ylabel="difficulty")
    if known.any():
        axes.legend(loc="best")
    return bool(known.any())


def _steps(axes: Axes, series: Series) -> bool:
    found = {purpose: _numbers(series.get(f"steps_{purpose}", ())) for purpose in PURPOSES}
    total = _numbers(series.get("steps_total", ()))
    found = {purpose: values for purpose, values in found.items() if len(values) == len(total) and np.nansum(values)}
    if not found:
        return False
    stacked = np.nan_to_num(np.stack(list(found.values()))) / 1e6
    colours = [PURPOSES[purpose] for purpose in found]
    share = stacked[:, -1] / max(stacked[:, -1].sum(), 1e-9)
    labels = [f"{purpose} ({100 * part:.0f} %)" for purpose, part in zip(found, share, strict=True)]
    axes.stackplot(total / 1e6, stacked, colors=colours, labels=labels, alpha=0.85, linewidth=0)
    axes.set(title="Environment steps by purpose", ylabel="million steps")
    _finish(axes, series)
    return True


def _finish(axes: Axes, series: Series) -> None:
    by_steps = len(series.get("steps_total", ())) > 0
    axes.set_xlabel("environment steps (millions)" if by_steps else "round")
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 5:  # too many to sit among the curves
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.02), fontsize=7.5)
    elif handles:
        axes.legend(handles, labels, loc="best", fontsize=8)


def _curves(series: Series) -> list[tuple[str, float, str]]:
    """(group, episode, key) of every held-out series with a number; the last episode counts as infinitely late."""
    found = []
    for key in series:
        match = _HELDOUT.fullmatch(key)
        if match and len(_pair(series, key)[1]):
            episode = {"first": 1.0, "last": math.inf}.get(match[1]) or float(match[1])
            found.append((match[2] or "", episode, key))
    return found


def _label(group: str, key: str) -> str:
    match = _HELDOUT.fullmatch(key)
    episode = match[1] if match else key
    name = {"visible": "goal visible", "hidden": "goal hidden"}.get(group, group)
    text = f"episode {episode}" if episode.isdigit() else f"{episode} episode"
    return f"{name}, {text}" if name else text


def _pair(series: Series, key: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """x and y of one series where it has a number: x in million steps, or rounds when steps are not known."""
    y = _numbers(series.get(key, ()))
    steps = _numbers(series.get("steps_total", ()))
    x = steps / 1e6 if len(steps) == len(y) else np.arange(len(y), dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _numbers(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    return np.array([math.nan if value is None else float(value) for value in values], dtype=float)


def _rolling_median(values: np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
    half = width // 2
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])
