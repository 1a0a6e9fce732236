"""Bodies of the families as they begin, side by side: one picture that shows what a task may be about.

``python -m envs.portraits FILE`` draws docs/pictures/families.png. Vectors are uniform over the unit box, seed 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from envs import drawing, physics, render
from envs.base import AbstractFamily
from envs.cartpole import Cartpole
from envs.crawler import Crawler
from envs.juggler import Juggler
from envs.navigator import Navigator
from envs.pusher import Pusher
from envs.reacher import Reacher
from envs.swimmer import Swimmer
from envs.walker import Walker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAMILIES: tuple[type[AbstractFamily], ...] = (Navigator, Pusher, Reacher, Swimmer, Cartpole, Juggler, Walker, Crawler)
COLUMNS = 8
TRIES = 4  # candidates for each body shown: those that begin inside an obstacle are left out
STILL = 1e-5  # m: what moves less in the first control step is drawn as fixed


def portraits(families: Sequence[AbstractFamily], seed: int = 0) -> Figure:
    """A row of `COLUMNS` bodies for every family."""
    from matplotlib.figure import Figure

    render.quiet_fonts()
    figure = Figure(figsize=(1.25 * COLUMNS + 1.0, 1.25 * len(families)), dpi=100, facecolor="white")
    axes = figure.subplots(len(families), COLUMNS, squeeze=False)
    figure.subplots_adjust(left=0.09, right=0.995, bottom=0.01, top=0.99, wspace=0.05, hspace=0.05)
    for family, row in zip(families, axes, strict=True):
        row[0].set_ylabel(family.name, fontsize=10)
        for axis, (fixed, body) in zip(row, bodies(family, COLUMNS, seed), strict=True):
            _draw(axis, family, fixed, body)
    return figure


def bodies(family: AbstractFamily, count: int, seed: int) -> list[tuple[dict, dict]]:
    """For so many tasks: shapes f32[N, ..] by kind of what stands still and of what moves, absent ones with size 0 in both."""
    keys = jax.random.split(jax.random.key(seed), 3)
    vectors = jax.random.uniform(keys[0], (TRIES * count, len(family.specs)))
    actions = jax.random.uniform(keys[1], (TRIES * count, family.actuators), minval=-1.0, maxval=1.0)
    before, after, wrong = jax.jit(jax.vmap(lambda *task: _first_step(family, *task)))(
        vectors, jax.random.split(keys[2], TRIES * count), actions
    )
    found = []
    for row in np.flatnonzero(~np.asarray(wrong))[:count]:
        shapes = {kind: np.stack([before[kind][row], after[kind][row]]) for kind in drawing.KINDS}
        moves = {kind: drawing.moves(frames, STILL) for kind, frames in shapes.items()}
        for kind, things in family.object_rows.items():
            moves[kind][list(things)] = True
        fixed, body = ({kind: _only(shapes[kind][0], moves[kind] == is_body) for kind in shapes} for is_body in (False, True))
        found.append((fixed, body))
    return found


def _first_step(family: AbstractFamily, vector: jax.Array, key: jax.Array, action: jax.Array) -> tuple[dict, dict, jax.Array]:
    model = family.prepare(vector)
    start = family.begin(model, key)
    moved = family.move(model, start, action * family.active(model))
    return family.shapes(model, start), family.shapes(model, moved), family.fault(model, start)


def _only(shapes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The same list, so that rows keep their numbers, in which the others have no size."""
    hidden = shapes.copy()
    hidden[~rows, -1] = 0.0
    return hidden


def _draw(axis: Axes, family: AbstractFamily, fixed: dict, body: dict) -> None:
    def marks(shapes: dict) -> list[drawing.Mark]:
        return [mark for mark in drawing.marks(shapes, family.view) if shapes[mark.kind][mark.row, -1] > 0.0]

    still, moving = marks(fixed), marks(body)
    render.scene(axis, still, moving, family.object_rows)
    start, end = drawing.extent([*moving, *(mark for mark in still if mark.kind == "spheres")])
    middle, side = (start + end) / 2.0, 0.65 * max(0.9, *(end - start))
    axis.set_xlim(middle[0] - side, middle[0] + side)
    axis.set_ylim(middle[1] - side, middle[1] + side)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])


def main(arguments: Sequence[str]) -> int:
    """Draw the picture into the file that is named."""
    if len(arguments) != 1:
        print("usage: python -m envs.portraits FILE", file=sys.stderr)
        return 2
    with physics.quiet():
        made = [cls() for cls in FAMILIES]
    portraits(made).savefig(arguments[0], format="png", metadata={"Software": None})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
