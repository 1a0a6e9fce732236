"""From three dimensions to a picture: projections, outlines, targets, what hides what; and pictures of every view."""

import numpy as np
import pytest

from envs import drawing, render

STILL = {"capsules": [], "spheres": [], "boxes": []}


def replay(view, along, frames, **changes):
    goal = {"feature": "f", "unit": "m", "target": [2.0, 1.0][: len(along) or 1], "tolerance": 0.1}
    frames = [{"t": 0.05 * i, "value": goal["target"], "solved": False, **STILL, **frame} for i, frame in enumerate(frames)]
    episode = {"episode": 1, "success": False, "solved_at_s": None, "reward": 0.0, "frames": frames}
    return {
        "view": view, "target_axes": along, "goal": goal, "fixed": STILL, "objects": {}, "description": "a thing",
        "learner": "nobody", "dt": 0.05, "episodes": [episode], **changes,
    }  # fmt: skip


def test_along_which_axes_a_target_lies():
    assert drawing.axes("tip", "m", 2, "top") == "xy" and drawing.axes("tip", "m", 2, "side") == "xz"
    assert drawing.axes("position", "m", 2, "3d") == "xy" and drawing.axes("tip_x", "m", 1, "top") == "x"
    assert drawing.axes("tip_xz", "m", 2, "3d") == "xz" and drawing.axes("nose_y", "m", 2, "top") == "xy"
    assert drawing.axes("height", "m", 1, "side") == "z" and drawing.axes("y", "units", 1, "top") == "y"
    assert drawing.axes("velocity", "m/s", 2, "top") == "" and drawing.axes("shoulder", "rad", 1, "side") == ""


def test_projections_keep_what_they_show():
    point = [1.0, 2.0, 3.0]
    np.testing.assert_allclose(drawing.project(point, "top"), [1, 2])
    np.testing.assert_allclose(drawing.project(point, "side"), [1, 3])
    np.testing.assert_allclose(drawing.project(point, "3d"), [1 + 2 * drawing.SLANT[0], 3 + 2 * drawing.SLANT[1]])
    np.testing.assert_allclose(drawing.world([[5.0, 7.0]], "xz"), [[5, 0, 7]])


def test_the_nearer_hides_the_farther():
    high_and_near, low_and_far = [0, -1, 2, 0.1], [0, 1, 0, 0.1]
    for view in ("top", "side", "3d"):
        order = [mark.row for mark in drawing.marks({"spheres": [high_and_near, low_and_far]}, view)]
        assert order == [1, 0]


def test_outline_of_a_limb_keeps_its_radius():
    outline = drawing.capsule(np.array([[0.0, 0.0], [1.0, 1.0]]), 0.25)
    along = np.clip(outline @ [0.5, 0.5], 0.0, 1.0)[:, None] * [1.0, 1.0]
    np.testing.assert_allclose(np.linalg.norm(outline - along, axis=1), 0.25, atol=1e-9)


def test_a_turned_box():
    """A box turned by 90 degrees about x shows its height along y from above, and its outline is a rectangle."""
    half = np.sqrt(0.5)
    box = [1.0, 0.0, 0.0, half, half, 0.0, 0.0, 0.1, 0.2, 0.3]
    (mark,) = drawing.marks({"boxes": [box]}, "top")
    assert len(mark.points) == 4
    np.testing.assert_allclose(mark.points.min(axis=0), [0.9, -0.3], atol=1e-9)
    np.testing.assert_allclose(mark.points.max(axis=0), [1.1, 0.3], atol=1e-9)
    (seen,) = drawing.marks({"boxes": [box]}, "3d")
    assert len(seen.points) == 6


@pytest.mark.parametrize(
    ("view", "along", "width"), [("top", "x", 0.2), ("side", "x", 0.2), ("3d", "x", 0.2), ("side", "z", 60), ("top", "y", 60)]
)
def test_a_coordinate_is_a_band(view, along, width):
    outline, middle = drawing.target({"target": [2.0], "tolerance": 0.1}, along, view)
    assert len(outline) == 4 and len(middle) == 2
    assert outline[1, 0] - outline[0, 0] == pytest.approx(width if width < 1 else 0.0, abs=1e-9)
    assert np.abs(outline[:, 1 if width < 1 else 0]).max() > 10


def test_a_place_is_a_disc_and_what_a_view_hides_is_nothing():
    outline, middle = drawing.target({"target": [1.0, 2.0], "tolerance": 0.5}, "xz", "side")
    np.testing.assert_allclose(np.linalg.norm(outline - middle, axis=1), 0.5)
    np.testing.assert_allclose(middle, [[1.0, 2.0]])
    for along, view in (("z", "top"), ("y", "side"), ("", "top")):
        assert drawing.target({"target": [1.0], "tolerance": 0.1}, along, view) is None


def test_the_picture_holds_body_and_target():
    frame = {"capsules": [[0, 0, 0, 1, 0, 0, 0.1]], "spheres": [[0.0, -3.0, 0.0, 0.5]]}
    left, bottom, right, top = render.bounds(replay("top", "x", [frame]))
    assert left < -0.5 and 2.1 < right < 5 and bottom < -3.5 and 0.1 < top < 5


@pytest.mark.parametrize(("view", "along"), [("top", "xy"), ("side", "xz"), ("side", "z"), ("3d", "xy"), ("3d", "")])
def test_every_view_can_be_drawn(view, along, tmp_path):
    """The body moves and is seen to move, in every view; the target is drawn, or told in words."""
    frames = [
        {
            "capsules": [[i, i, 1, i, i + 1, 2, 0.1]],
            "spheres": [[i, 0, i, 0.2]],
            "boxes": [[i, i, 1, 1, 0, 0, 0, 0.3, 0.2, 0.1]],
        }
        for i in range(3)
    ]
    shown = replay(
        view, along, frames, objects={"spheres": [0]}, fixed={**STILL, "boxes": [[0, 0, -0.1, 1, 0, 0, 0, 3, 3, 0.1]]}
    )
    pictures = list(render._pictures(shown))
    assert len(pictures) == 3 - 1 + render.PAUSE and np.abs(pictures[0].astype(int) - pictures[2]).mean() > 1
    render.save_contact_sheet(shown, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_what_moves():
    first = np.zeros((4, 3))
    last = first + np.array([[0.0], [2e-5], [0.2], [np.nan]])
    assert drawing.moves([first, last]).tolist() == [False, False, True, True]
    assert drawing.moves([first, last], 1e-5).tolist() == [False, True, True, True]
    assert drawing.moves(np.zeros((5, 0, 7))).tolist() == []
