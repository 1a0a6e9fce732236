"""Seconds by stage."""

from openended import stopwatch
from openended.stopwatch import Stopwatch


def test_a_stage_lasts_until_the_next_and_reading_starts_anew(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: now[0])
    watch = Stopwatch()
    for stage, lasts in (("learn", 3.0), ("verify", 2.0), ("learn", 4.0)):
        watch.stage(stage)
        now[0] += lasts
    assert watch.read() == {"learn": 7.0, "verify": 2.0}
    now[0] += 1.5
    assert watch.read() == {"learn": 1.5}  # the stage that runs goes on
