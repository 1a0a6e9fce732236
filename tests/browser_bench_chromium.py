"""How soon pages are usable in Chromium: ``python -m tests.browser_bench_chromium [TASKS EVENTS]...`` prints one JSON value.

For every size an archive is made and served by ``openended browse``. Milliseconds from the beginning of the navigation until
the page shows what it is for, the median of 3; and frames while the tree is zoomed and panned with the wheel and the mouse.
``cpu_ms``: time of the processor in server and Chromium, per page or frame, which other jobs of the machine change less.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.made_archive import make_run
from tests.test_browser_chromium import CHROMIUM, FLAGS

SIZES = ((10_000, 1_000_000), (100_000, 1_000_000))
REPEATS = 3
RUN = "import sys; from openended.cli import main; sys.exit(main(sys.argv[1:]))"
COUNTED = "/\\d/.test(document.querySelector('#count').textContent)"
PAGES = {  # address below the run -> what says that it is usable
    "index.html": "document.querySelectorAll('canvas').length > 2",
    "gallery.html": "document.querySelectorAll('#tasks li').length === 60",
    "lineage.html": COUNTED,
    "lineage.html?show=all": COUNTED,
    "memory.html": COUNTED,
    "map.html": COUNTED,
    "task/{id}.html?play=0": "document.querySelectorAll('#evidence tr').length > 1",
}
# Four seconds of mouse and wheel, one step a frame; milliseconds between frames.
MOVE = """async () => {
    const node = document.querySelector("#tree"), box = node.getBoundingClientRect();
    const x = box.left + box.width / 2, y = box.top + box.height / 2, frame = () => new Promise(requestAnimationFrame);
    const point = (kind, far) => node.dispatchEvent(
        new PointerEvent(kind, { clientX: x + 4 * far, clientY: y + 6 * far, pointerId: 1, bubbles: true }));
    const wheel = (deltaY) => node.dispatchEvent(new WheelEvent("wheel", { deltaY, clientX: x, clientY: y, cancelable: true }));
    node.setPointerCapture = () => {};
    const times = [];
    let before = await frame();
    for (let i = 0, end = before + 4000; before < end; i++) {
        if (i % 60 === 0) point("pointerdown", 0);
        if (i % 60 < 30) point("pointermove", i % 30); else wheel(i % 120 < 60 ? -40 : 40);
        const now = await frame();
        times.push(now - before);
        before = now;
    }
    return times;
}"""


def measure(tasks: int, events: int) -> dict:
    """Milliseconds until usable by page, and frames of the lineage."""
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder) / "made", tasks, events)
        with served(Path(folder)) as (url, _), sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            id = browser.new_page().request.get(f"{url}/runs/made/data/tasks.json?status=accepted").json()["tasks"][0]["id"]
            usable = {path: _usable(browser, f"{url}/runs/made/{path.format(id=id)}", ready) for path, ready in PAGES.items()}
            frames = {path: _frames(browser, f"{url}/runs/made/{path}") for path in PAGES if path.startswith("lineage")}
            browser.close()
    return {"tasks": tasks, "events": events, "load": round(os.getloadavg()[0], 1), "usable_ms": usable, "frames": frames}


@contextmanager
def served(root: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`openended browse` over this folder, until the block ends: its address and its process."""
    command = [sys.executable, "-c", RUN, "browse", "--root", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()  # type: ignore[union-attr]
            yield next(word for word in line.split() if word.startswith("http")).rstrip("/"), server
        finally:
            server.terminate()


def _usable(browser: Browser, url: str, ready: str) -> dict[str, float]:
    times = []
    for _ in range(REPEATS + 1):
        before = worked()
        page = _opened(browser, url, ready)
        times.append((page.evaluate("performance.now()"), worked() - before))
        page.close()
    wall, cpu = (round(statistics.median(some)) for some in zip(*times[1:], strict=True))
    return {"first_ms": round(times[0][0]), "median_ms": wall, "cpu_ms": cpu}


def _opened(browser: Browser, url: str, ready: str) -> Page:
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.goto(url, wait_until="commit")
    page.wait_for_function(f"() => document.readyState !== 'loading' && {ready}", polling="raf", timeout=120_000)
    return page


def _frames(browser: Browser, url: str) -> dict[str, float]:
    page = _opened(browser, url, COUNTED)
    before = worked()
    times = page.evaluate(MOVE)
    spent = (worked() - before) / len(times)
    page.close()
    return {
        "per_second": round(1000 * len(times) / sum(times), 1),
        "median_ms": round(statistics.median(times), 1),
        "p95_ms": round(statistics.quantiles(times, n=20, method="inclusive")[-1], 1),
        "cpu_ms": round(spent, 1),
    }


def worked() -> float:
    """Milliseconds of the processor that all processes below this one have used: server, Chromium, its drawing in software."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, rest = path.parent.name, path.read_text().rsplit(")", 1)[1].split()
            stats[pid] = (rest[1], int(rest[11]) + int(rest[12]))

    def below(pid: str) -> bool:
        return pid in stats and (stats[pid][0] == str(os.getpid()) or below(stats[pid][0]))

    return 1000 / os.sysconf("SC_CLK_TCK") * sum(ticks for pid, (_, ticks) in stats.items() if below(pid))


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    sizes = list(zip(words[::2], words[1::2], strict=True)) or SIZES
    print(json.dumps([measure(*size) for size in sizes], indent=1))
