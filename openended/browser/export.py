"""The same pages as a static site: every address is asked of the application itself and written as a file."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openended.browser.app import create
from openended.browser.desk import HERE, SHELVES
from openended.browser.queries import Wanted
from openended.browser.runs import Missing, Run, Runs
from openended.locate import CommandError

STATIC_HOST = "localhost"
PLAIN = ("health", "config", "overview", "heldout", "lineage", "difficulty", "memory", "facets", "everything")


def export(runs: Runs, folder: Path, replays: int) -> str:
    """Write the site into ``folder``; replays: of how many accepted tasks, the newest first. A sentence on what was written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"'{folder}' exists and is not an empty folder; nothing was written.")
    if not runs.names():
        raise CommandError(f"There is no run in '{runs.root}' to export.")
    app = create(runs, (STATIC_HOST,), static=True)
    for name in runs.names():
        run = runs.find(name)
        app.app.state.desk.studio(run).measure(wait=True)
    try:
        shutil.copytree(HERE / "static", folder / "static")
        written, missing = asyncio.run(_write(app, runs, folder, replays))
    except OSError as error:
        raise CommandError(f"'{folder}' cannot be written: {error.strerror or error}.") from error
    lacks = f" {missing} addresses had nothing to show." if missing else ""
    return f"{written} files in '{folder}'.{lacks} Serve it with any web server: python -m http.server -d '{folder}'"


async def _write(app: Any, runs: Runs, folder: Path, replays: int) -> tuple[int, int]:
    written = missing = 0
    for address in _addresses(runs, replays):
        code, body = await ask(app, address)
        if code != 200:
            missing += 1
            continue
        path = folder / address.lstrip("/")
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(path.write_bytes, body)
        written += 1
    return written, missing


def _addresses(runs: Runs, replays: int) -> Iterator[str]:
    yield from ("/index.html", "/compare.html", "/data/runs.json")
    for name in runs.names():
        run, base = runs.find(name), f"/runs/{name}"
        yield from (f"{base}/{shelf}.html" for shelf in SHELVES)
        yield from (f"{base}/data/{part}.json" for part in PLAIN)
        yield from (f"{base}/table/{table}.{form}" for table in ("tasks", "events", "evaluations", "parentage", "metrics")
                    for form in ("csv", "json"))  # fmt: skip
        yield from _of_tasks(run, base, replays)


def _of_tasks(run: Run, base: str, replays: int) -> Iterator[str]:
    try:
        archive = run.archive()
    except Missing:
        return
    for family in archive.facets()["family"]:
        yield from (f"{base}/data/specs-{family}.json", f"{base}/data/map-{family}.json")
    for id in archive.forest().id:
        yield from (f"{base}/task/{id}.html", f"{base}/data/task/{id}.json", f"{base}/thumb/{id}.svg")
    _, newest = archive.gallery(Wanted(status="accepted", size=max(replays, 1)))
    for task in newest[:replays]:
        yield from (f"{base}/replay/{task['id']}/{who}-0.bin" for who in ("final", "untrained", "witness"))


async def ask(app: Any, address: str, query: bytes = b"") -> tuple[int, bytes]:
    """(status, body) of a GET, straight from the application."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": address, "raw_path": quote(address).encode(), "query_string": query, "root_path": "",
        "headers": [(b"host", STATIC_HOST.encode())], "client": ("127.0.0.1", 0), "server": (STATIC_HOST, 80),
    }  # fmt: skip
    found: dict[str, Any] = {"status": 500, "body": []}
    done = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            found["status"] = message["status"]
        else:
            found["body"].append(message.get("body", b""))
            if not message.get("more_body"):
                done.set()

    await app(scope, receive, send)
    return found["status"], b"".join(found["body"])
