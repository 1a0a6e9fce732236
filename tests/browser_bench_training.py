"""What a polled browser costs training: ``python -m tests.browser_bench_training [--minutes N] [override]...``

One run trains (``experiment=probe`` unless overrides are given) beside an ``openended browse`` and a process of 20 clients that
do what open pages do: ask for the health every 2 s, and for their page's data when it has changed. Blocks of rounds with and
without them alternate, in pairs of random order; in a block without, both processes are stopped by a signal. Prints one JSON
value: steps/s with them by steps/s without, the median over the pairs and its 95 % interval, and what went wrong anywhere.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from openended import bench, configuration
from openended.archive import Archive
from openended.runfolder import RunFolder
from tests.browser_bench_chromium import served

CLIENTS, PERIOD, WARM_UP, BLOCK = 20, 2.0, 5, 6.0  # BLOCK: least seconds of a block
PAGES = (("overview", "heldout"), ("facets", "tasks"), ("lineage",), ("memory",))


def measure(overrides: list[str], minutes: float) -> dict:
    """Everything that is printed."""
    config = configuration.read([*overrides, "heldout.every=0"])
    loop = configuration.build(config)
    with tempfile.TemporaryDirectory() as root, RunFolder(Path(root) / "beside") as folder:
        folder.store_config(configuration.plain(config))
        folder.beat("learn", 0)
        with bench.Rounds(config, loop, folder.path) as rounds:
            loop.compile()
            rounds.next()
            with (
                served(Path(root)) as (url, server),
                subprocess.Popen(
                    [sys.executable, "-m", "tests.browser_bench_training", "--clients", url], stdout=subprocess.PIPE, text=True
                ) as clients,
            ):
                for _ in range(WARM_UP):
                    rounds.next()
                found = _alternate(rounds, [server.pid, clients.pid], 60 * minutes)
                clients.terminate()
                found["clients"] = json.loads(clients.communicate()[0])
        with Archive(folder.path / "archive.db", readonly=True) as archive:
            return {"overrides": overrides, **found, "wrong_in_the_archive": archive.check()}


def _alternate(rounds: bench.Rounds, pids: list[int], seconds: float) -> dict:
    rng, end, ratios, spent, polled = random.Random(0), time.monotonic() + seconds, [], [0.0, 0.0], 0.0
    while time.monotonic() < end:
        rates = {}
        for beside in rng.sample([True, False], 2):
            for pid in pids:
                os.kill(pid, signal.SIGCONT if beside else signal.SIGSTOP)
            before, first, began = [_cpu(pid) for pid in pids], len(rounds.seen), time.monotonic()
            while time.monotonic() - began < BLOCK:
                rounds.next()
            seen = rounds.seen[first:]
            rates[beside] = sum(sum(round.steps.values()) for round in seen) / sum(round.seconds for round in seen)
            if beside:
                polled += time.monotonic() - began
                spent = [sum(x) for x in zip(spent, (_cpu(p) - b for p, b in zip(pids, before, strict=True)), strict=True)]
        ratios.append(rates[True] / rates[False])
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    low, high = _interval(ratios)
    return {
        "pairs": len(ratios),
        "ratio": round(statistics.median(ratios), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "server_cpu_share": round(spent[0] / polled, 4),  # of one core
        "clients_cpu_share": round(spent[1] / polled, 4),
        "load": round(os.getloadavg()[0], 1),
        "rounds": len(rounds.seen),
    }


def _interval(ratios: list[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(4000))
    return medians[100], medians[-101]


def _cpu(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(rest[11]) + int(rest[12])) / os.sysconf("SC_CLK_TCK")


def poll(url: str) -> None:
    """20 clients until SIGTERM, then one JSON value: how many answers, how slow, and every refusal."""
    times: list[float] = []
    refused: list[str] = []
    for i in range(CLIENTS):
        threading.Thread(target=_client, args=(url, PAGES[i % len(PAGES)], times, refused), daemon=True).start()
    signal.sigwait([signal.SIGTERM])
    p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else None
    print(json.dumps({"answers": len(times), "p95_ms": p95 and round(p95, 1), "refused": refused}))


def _client(url: str, names: tuple[str, ...], times: list[float], refused: list[str]) -> None:
    connection, seen = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120), None

    def get(name: str) -> bytes:
        began = time.monotonic()
        connection.request("GET", f"/runs/beside/data/{name}.json")
        answer = connection.getresponse()
        body = answer.read()
        times.append(1000 * (time.monotonic() - began))
        if answer.status != 200:
            refused.append(f"{answer.status} {name} {body[:200]!r}")
        return body

    due = time.monotonic() + PERIOD * random.random()
    while True:
        time.sleep(max(0.0, due - time.monotonic()))
        late = time.monotonic() - due > PERIOD / 2  # stopped for a while: all clients at once would be no ordinary load
        due = time.monotonic() + PERIOD * (random.random() if late else 1.0)
        if late:
            connection.close()
            continue
        try:
            changed = json.loads(get("health"))["changed"]
            for name in names if changed != seen else ():
                get(name)
            seen = changed
        except (OSError, http.client.HTTPException) as error:
            refused.append(repr(error))
            connection.close()


def main(words: list[str]) -> None:
    """The command."""
    options = argparse.ArgumentParser()
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--clients", metavar="URL", help="be the clients")
    known, overrides = options.parse_known_args(words)
    if known.clients:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        poll(known.clients)
    else:
        print(json.dumps(measure(overrides or ["experiment=probe"], known.minutes), indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
