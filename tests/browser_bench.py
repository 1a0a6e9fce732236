"""How fast the browser answers: ``python -m tests.browser_bench [TASKS EVENTS]...`` prints one JSON value.

For every size an archive is made, and each address is asked 100 times of the application in this process: the first answer
(what is shown is worked out), the 95th percentile of the others, and of 20 answers each of which follows a new round. Beside
the time on the clock stands that of the processor, which other jobs of the machine change less.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient

from openended.browser.app import create
from openended.browser.runs import Runs
from tests.made_archive import grow, make_run

SIZES = ((10_000, 1_000_000), (100_000, 1_000_000))
REQUESTS, CHANGES, TESTED = 100, 20, 50


def measure(tasks: int, events: int) -> dict:
    """Milliseconds by page."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "runs" / "made", tasks, events)
        client = TestClient(create(Runs(Path(folder) / "runs")), base_url="http://localhost")
        opening = _time(client, "tasks.json?size=200")
        ids = [task["id"] for task in client.get("/runs/made/data/tasks.json?size=200").json()["tasks"]]
        client.get(f"/runs/made/data/task/{ids[0]}.json")  # loads the task space
        asked = {
            "gallery": [f"tasks.json?page={1 + i}&sort={('round', 'progress', 'cost')[i % 3]}" for i in range(REQUESTS)],
            "gallery, searched": [f"tasks.json?search=blue+{i}&status=accepted" for i in range(REQUESTS)],
            "task": [f"task/{id}.json" for id in ids[:REQUESTS]],
            "lineage": ["lineage.json"] * REQUESTS,
            "memory": ["memory.json"] * REQUESTS,
            "overview": ["overview.json"] * REQUESTS,
        }
        pages = {name: _asked(client, paths) for name, paths in asked.items()}
        for name, paths in asked.items():
            pages[name]["after_a_round"] = _p95(_after(client, run, path, ids[:TESTED]) for path in paths[:CHANGES])
        opened = {"opening_s": round(opening[0] / 1000, 2), "opening_cpu_s": round(opening[1] / 1000, 2)}
        return {"tasks": tasks, "events": events, "load": round(os.getloadavg()[0], 1), **opened, "pages": pages}


def _asked(client: TestClient, paths: list[str]) -> dict:
    times = [_time(client, path) for path in paths]
    return {"first": _named(*times[0]), "every": _p95(times)}


def _after(client: TestClient, run: Path, path: str, ids: list[str]) -> tuple[float, float]:
    grow(run, ids)
    return _time(client, path)


def _p95(times) -> dict[str, float]:
    wall, cpu = zip(*times, strict=True)
    return _named(*(statistics.quantiles(some, n=20, method="inclusive")[-1] for some in (wall, cpu)))


def _named(wall: float, cpu: float) -> dict[str, float]:
    return {"ms": round(wall, 1), "cpu_ms": round(cpu, 1)}


def _time(client: TestClient, path: str) -> tuple[float, float]:
    """Milliseconds on the clock and of the processor."""
    begun, worked = time.perf_counter(), time.process_time()
    answer = client.get(f"/runs/made/data/{path}")
    taken = 1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - worked)
    assert answer.status_code == 200, (path, answer.text[:200])
    return taken


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    sizes = list(zip(words[::2], words[1::2], strict=True)) or SIZES
    print(json.dumps([measure(*size) for size in sizes], indent=1))
