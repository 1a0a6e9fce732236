"""`openended browse [RUN]`: serve the browser on loopback, or write it as a static site."""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from openended.browser.app import create
from openended.browser.guard import LOOPBACK
from openended.browser.runs import Runs
from openended.locate import CommandError, find_run

NICE = 5  # training beside goes first


def run(options: argparse.Namespace) -> int:
    """The command; exit 1 when a folder is no run, the port is taken or the site cannot be written."""
    runs = _runs(options)
    if options.export:
        from openended.browser.export import export

        print(export(runs, Path(options.export), options.replays))
        return 0
    return serve(runs, options.host, options.port, options.token)


def serve(runs: Runs, host: str, port: int, token: str | None) -> int:
    """Serve until Ctrl-C. Off loopback a token is needed: the given one, or one that is made and printed."""
    import uvicorn

    near = is_loopback(host)
    token = (token or "") if near else token or secrets.token_urlsafe(16)
    listener = _listen(host, port)
    shown, port = f"[{host}]" if ":" in host else host, listener.getsockname()[1]
    names = LOOPBACK if near else (*LOOPBACK, host, socket.gethostname().lower(), *_addresses(host))
    app = create(runs, names, token, stills=_stills())
    count = len(runs.names())
    what = f"{count} run{'' if count == 1 else 's'} of '{runs.root}'" if count else f"no run in '{runs.root}' yet"
    print(f"Archive browser, {what}: http://{shown}:{port}/{f'?token={token}' if token else ''}   (Ctrl-C ends it)", flush=True)
    os.nice(NICE)
    _warm(app)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
    config.timeout_keep_alive = 30  # pages ask every 2 s, hidden ones every 10 s
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def is_loopback(host: str) -> bool:
    """Whether an address is only reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _runs(options: argparse.Namespace) -> Runs:
    if options.run is not None:
        folder = find_run(options.run, options.root).resolve()
        return Runs(folder.parent, folder.name)
    if not Path(options.root).is_dir():
        raise CommandError(f"There is no folder '{options.root}': train a run first, or give --root DIR.")
    return Runs(Path(options.root))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)  # who comes before the server is ready waits instead of being refused
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise CommandError(f"'{host}' port {port} cannot be used: {why}; --port 0 takes a free one.") from error
    return listener


def _addresses(host: str) -> list[str]:
    """For an address that means all of this machine's: those by which others may call it."""
    if host not in ("0.0.0.0", "::"):
        return []
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return []
    return sorted({str(entry[4][0]) for entry in found})


def _stills() -> Path | None:
    """Where thumbnails are kept: beside XLA's cache, None without one."""
    import jax

    place: str | None = jax.config.values["jax_compilation_cache_dir"]
    return Path(place) / "stills.db" if place else None


def _warm(app: Any) -> None:
    """Open the newest run and draw its gallery while the reader looks at the first page; of other runs, when looked at."""
    desk = app.app.state.desk
    desk.eager = True
    found = [desk.runs.find(name) for name in desk.runs.names()]
    if found:
        desk.studio(max(found, key=lambda run: run.folder.stat().st_mtime)).warm()
