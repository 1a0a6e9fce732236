"""How fast the browser answers: ``python -m tests.browser_bench [TASKS EVENTS]...`` prints one JSON value.

For every size an archive is made, and each address is asked 100 times of the application in this process: the first answer
(what is shown is worked out), the 95th percentile of the others, and the 95th percentile of 10 answers each after a change.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient

from openended.archive import Archive
from openended.browser.app import create
from openended.browser.runs import Runs
from tests.made_archive import make_run

SIZES = ((10_000, 1_000_000), (100_000, 1_000_000))
REQUESTS, CHANGES = 100, 10


def measure(tasks: int, events: int) -> dict:
    """Milliseconds by page."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "runs" / "made", tasks, events)
        client = TestClient(create(Runs(Path(folder) / "runs")), base_url="http://localhost")
        begun = time.perf_counter()
        ids = [task["id"] for task in client.get("/runs/made/data/tasks.json?size=200").json()["tasks"]]
        opening = time.perf_counter() - begun
        client.get(f"/runs/made/data/task/{ids[0]}.json")  # loads the task space
        asked = {
            "gallery": [f"tasks.json?page={1 + i}&sort={('round', 'progress', 'cost')[i % 3]}" for i in range(REQUESTS)],
            "gallery, searched": [f"tasks.json?search=blue+{i}&status=accepted" for i in range(REQUESTS)],
            "task": [f"task/{id}.json" for id in ids[:REQUESTS]],
            "lineage": ["lineage.json"] * REQUESTS,
            "memory": ["memory.json"] * REQUESTS,
            "overview": ["overview.json"] * REQUESTS,
        }
        found = {name: _times(client, paths) for name, paths in asked.items()}
        for name, paths in asked.items():
            found[name]["p95_after_a_change_ms"] = _changing(client, run, paths[:CHANGES])
        return {"tasks": tasks, "events": events, "opening_s": round(opening, 2), "pages": found}


def _times(client: TestClient, paths: list[str]) -> dict[str, float]:
    times = [_time(client, path) for path in paths]
    return {"first_ms": round(times[0], 1), "p95_ms": round(statistics.quantiles(times, n=20)[-1], 1)}


def _changing(client: TestClient, run: Path, paths: list[str]) -> float:
    times = []
    for i, path in enumerate(paths):
        with Archive(run / "archive.db") as archive:
            archive.set_run(touched=f"{path} {i}")
        times.append(_time(client, path))
    return round(statistics.quantiles(times, n=20)[-1], 1)


def _time(client: TestClient, path: str) -> float:
    begun = time.perf_counter()
    answer = client.get(f"/runs/made/data/{path}")
    assert answer.status_code == 200, (path, answer.text[:200])
    return 1000 * (time.perf_counter() - begun)


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    sizes = list(zip(words[::2], words[1::2], strict=True)) or SIZES
    print(json.dumps([measure(*size) for size in sizes], indent=1))
