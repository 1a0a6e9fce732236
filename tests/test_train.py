"""The real command: a run that is killed at random moments and resumed ends like one that was never stopped."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

ROUNDS = 5
COMMAND = [sys.executable, "-m", "openended.cli", "train", "experiment=probe", "loop.passes=1", f"run.rounds={ROUNDS}"]
TIMED = ("seconds", "steps_per_s", "compiled")  # begin keys that tell of a process, not of the run


def start(folder, name, *more):
    return subprocess.Popen(
        [*COMMAND, f"run.root={folder}", f"run.name={name}", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


def rows(folder, name):
    """Everything the archive holds, but for what tells of the process: times and compilations."""
    with sqlite3.connect(folder / name / "archive.db") as connection:
        found = {}
        for table in ("task", "parentage", "event", "evaluation", "metric"):
            found[table] = sorted(map(repr, connection.execute(f"select * from {table}")))
        found["metric"] = [row for row in found["metric"] if not any(f"'{key}" in row for key in TIMED)]
        found["event"] = [row for row in found["event"] if "'resumed'" not in row]
        return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder, "run")
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    return folder, text


@pytest.mark.slow
def test_a_run_tells_what_it_does(whole):
    folder, text = whole
    assert text.splitlines()[0].endswith("starting") and f"round {ROUNDS}/{ROUNDS}" in text
    assert "Traceback" not in text and "Warning" not in text
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == list(range(1, ROUNDS + 1))
    stages = [{key: value for key, value in line.items() if key.startswith("seconds_")} for line in lines]
    assert all({"seconds_propose", "seconds_learn", "seconds_verify"} <= set(each) for each in stages)
    assert all(sum(each.values()) == pytest.approx(line["seconds"]) for each, line in zip(stages, lines, strict=True))


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_run(whole, tmp_path):
    moments, kills = random.Random(0), 0
    for attempt in range(12):
        process = start(tmp_path, "run")
        beats = tmp_path / "run" / "metrics.jsonl"
        before = beats.stat().st_size if beats.exists() else 0
        while process.poll() is None and (not beats.exists() or beats.stat().st_size <= before):
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.6))
        if process.poll() is None and attempt < 8:  # on a slow machine the last round would be killed for ever
            process.send_signal(signal.SIGKILL)
            kills += 1
        text, _ = process.communicate(timeout=600)
        if process.returncode == 0:
            break
    assert process.returncode == 0 and kills >= 2, text
    assert rows(tmp_path, "run") == rows(whole[0], "run")


@pytest.mark.slow
def test_sigterm_saves_and_exits_75(tmp_path):
    process = start(tmp_path, "run", "run.rounds=1000")
    while not (tmp_path / "run" / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 75, text
    assert "Interrupted and saved: run" in text and "openended train run.name=run" in text


@pytest.mark.slow
def test_another_configuration_is_refused(whole):
    process = start(whole[0], "run", "acceptance.alpha=0.2")
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "acceptance.alpha is 0.2; the run 'run' has acceptance.alpha=0.05" in text
