"""What the terminal shows: a first line at once, each stage once, numbers that are there, a summary that says what next."""

import io
import math
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest

from openended import plots, terminal
from openended.plots import plot_run
from openended.summary import clock, count, summary_lines
from openended.terminal import Progress

ROUND = {
    "candidates": 64,
    "frontier": 23,
    "accepted": 50,
    "retained": 49,
    "steps_total": 3_000_000,
    "steps_per_s_learn": 112_345.0,
    "steps_per_s": 85_000,
    "heldout_first_reacher": 0.2,
    "heldout_last_reacher": 0.55,
    "heldout_last_navigator": math.nan,
}


@pytest.fixture
def now(monkeypatch):
    """A clock that the test sets."""
    seconds = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: seconds[0])
    return seconds


def plain(**more) -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    return Progress(stream=stream, **more), stream


def test_formats():
    assert [count(x) for x in (0, 999, 999.9, 12_345, 999_900, 3e6, 2.5e9)] == [
        "0", "999", "1k", "12.3k", "1M", "3M", "2.5G",
    ]  # fmt: skip
    assert [clock(x) for x in (0, 59.7, 61, 3661)] == ["0:00", "1:00", "1:01", "1:01:01"]


def test_plain_lines(now):
    progress, stream = plain(total_rounds=10, total_steps=6_000_000)
    assert progress.plain
    progress.stage("compiling", "reacher")
    assert stream.getvalue() == "[0:00] compiling reacher\n"
    progress.stage("learn")
    progress.stage("learn")
    now[0] = 70.0
    progress.round({"round": 1, **ROUND})
    progress.stage("learn")
    progress.stage("never before seen")
    progress.note("something to know")
    assert stream.getvalue().splitlines()[1:] == [
        "[0:00] learn",
        "round 1/10  candidates 64  frontier 23  accepted 50  retained 49  reacher 0.20->0.55  steps 3M/6M"
        "  112k/s learning  85k/s in all  1:10",
        "something to know",
    ]


def test_speed_ups_are_shown_apart(now):
    progress, stream = plain()
    progress.round({**ROUND, "speedups": 3})
    assert "accepted 50  retained 49  speed-ups 3  reacher" in stream.getvalue()
    assert ("archive", "accepted 50, retained 49 (98 %), speed-ups 3") in progress.state()[1]
    assert (False, "Besides: 3 speed-ups.") in summary_lines({"accepted": 50, "speedups": 3})
    assert not any("Besides" in line for _, line in summary_lines({"accepted": 50, "speedups": 0}))


def test_unknown_numbers_are_left_out_and_old_ones_stay(now):
    """But for held-out success, which a line has where it was measured: of other rounds it would look like no progress."""
    progress, stream = plain()
    progress.round({"accepted": 3})
    progress.round({"heldout_last": 0.25, "accepted": None, "seconds": math.inf})
    progress.round({"odd": "text"})
    lines = ["round 1  accepted 3  0:00", "round 2  accepted 3  held out 0.25  0:00", "round 3  accepted 3  0:00"]
    assert stream.getvalue().splitlines() == lines
    assert ("held out", "held out 0.25") in progress.state()[1]


def test_remaining_time_follows_the_budget_that_ends_first(now):
    progress, _ = plain(total_rounds=100, total_steps=1000)
    now[0] = 60.0  # compiling, which must not count
    progress.round({"round": 1, "steps_total": 100})
    assert progress.remaining is None
    now[0] = 70.0
    progress.round({"round": 2, "steps_total": 200})
    assert progress.fraction == 0.2 and progress.remaining == pytest.approx(80.0)
    now[0] = 75.0
    assert progress.remaining == pytest.approx(75.0)


def test_a_closed_stream_stops_nothing():
    progress, stream = plain()
    stream.close()
    progress.stage("learn")
    progress.round(ROUND)
    progress.summary({})


def test_summary_says_what_was_learned_and_what_next():
    facts = {
        "run": "demo",
        "rounds": 12,
        "steps_total": 6_000_000,
        "seconds": 500,
        "accepted": 200,
        "retained": 196,
        "difficulty": (0.2, 0.4),
        "heldout": {"navigator": {"trained": {"mean": 0.9, "low": 0.88, "high": 0.92}, "random": 0.03}, "x": {}},
        "reasons": {"trivial": 30, "no witness": 40} | {f"rare {i}": 1 for i in range(6)},
        "task": "n-1",
    }
    text = "\n".join(line for _, line in summary_lines(facts))
    assert "Done: demo (12 rounds, 6M environment steps, 8:20)" in text
    assert "learned 200 new tasks" in text and "still solves 196 (98 %)" in text
    assert "Difficulty of accepted tasks: 0.20 at first, 0.40 in the end." in text
    assert re.search(r"navigator +0\.90 \[0\.88, 0\.92\] +0\.03\n", text) and re.search(r"  x +- +-\n", text)
    assert text.index("no witness") < text.index("trivial") and re.search(r" 2  for other reasons", text)
    for command in ("openended archive list demo", "openended eval demo"):
        assert command in text
    assert "openended train" not in text
    assert "\nHeld-out tasks: success" in text
    older = summary_lines({**facts, "heldout_round": 10})
    assert (True, "Held-out tasks after round 10: success in the last episode of a lifetime") in older


def test_the_summary_counts_compilations():
    assert (False, "Compilations after round 2: 0.") in summary_lines({"compiled": 0, "starts": 1})
    assert (False, "Compilations after round 2 of each start: 3.") in summary_lines({"compiled": 3, "starts": 2})


def test_summary_of_an_interrupted_run_says_how_to_go_on():
    lines = [line for _, line in summary_lines({"interrupted": "SIGTERM"})]
    assert lines[1] == "Interrupted and saved: RUN"
    assert any(line.startswith("  openended train run.name=RUN") for line in lines)


LIVE = """
from openended.terminal import Progress
with Progress(total_rounds=4) as progress:
    assert not progress.plain
    progress.stage("compiling", "[bold]reacher")
    progress.round({"accepted": 7, "heldout_first_reacher": 0.25, "heldout_last_reacher": 0.5})
    progress.note("note [1] to keep")
    print("a stray line")
    progress.summary({"run": "demo"})
"""


def test_live_display_on_a_terminal():
    leader, follower = pty.openpty()
    root = os.path.dirname(os.path.dirname(__file__))
    environment = os.environ | {"PYTHONPATH": root, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen([sys.executable, "-c", LIVE], stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 4096):
                shown += part
        except OSError:  # Linux answers so when the other side is closed
            pass
    os.close(leader)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert process.returncode == 0, text
    for part in ("compiling [bold]reacher", "1/4", "accepted 7", "reacher 0.25 → 0.50", "note [1] to keep", "a stray line"):
        assert part in text
    assert "openended eval demo" in text and "[dim]" not in text
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is visible again


def test_plots_are_written_for_what_was_measured(tmp_path):
    steps = [1e5, 2e5, 3e5]
    series = {
        "steps_total": steps,
        "accepted": [1, None, 3],
        "heldout_1_hidden": [0.1, math.nan, 0.2],
        "heldout_last_reacher": [None, None, None],
        "steps_learn": steps,
        "accepted_difficulty": [0.1, 0.2, math.nan, 0.4],
        "accepted_family": ["a", "b", "a", "a"],
    }
    names = [path.name for path in plot_run(tmp_path / "plots", series)]
    assert names == ["accepted.png", "heldout.png", "difficulty.png", "steps.png"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(names)
    for path in (tmp_path / "plots").iterdir():
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size < 80_000
    assert [path.name for path in plot_run(tmp_path, {"accepted": [1, 2], "steps_total": []})] == ["accepted.png"]
    assert plot_run(tmp_path / "empty", {"heldout_last": [None]}) == []


def test_what_the_plots_show():
    series = {"steps_total": [1e6, 2e6, 3e6], "heldout_last": [0.5, None, 0.7], "heldout_2_hidden": [0.1] * 3, "x": [1]}
    assert [curve[:2] for curve in plots._curves(series)] == [("", math.inf), ("hidden", 2.0)]
    x, y = plots._pair(series, "heldout_last")
    assert list(x) == [1.0, 3.0] and list(y) == [0.5, 0.7]
    assert list(plots._rolling_median(np.array([1.0, 9.0, 2.0, 3.0, 4.0]), 3)) == [5.0, 2.0, 3.0, 3.0, 3.5]
