"""What the routes share: the runs, a studio for each, and how pages and answers are made."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader

from openended.browser.runs import Run, Runs
from openended.browser.stills import Stills
from openended.browser.studio import Studio

HERE = Path(__file__).resolve().parent
# OrbitControls imports 'three' by its name; this says where that is. It stands in the task's page, so its hash is allowed.
IMPORTS = json.dumps({"imports": {"three": "../../../static/vendor/three/three.module.js"}})
IMPORTS_HASH = base64.b64encode(hashlib.sha256(IMPORTS.encode()).digest()).decode()
SHELVES = {
    "index": "Overview",
    "gallery": "Gallery",
    "lineage": "Lineage",
    "memory": "Memory",
    "map": "Map",
}
_TEMPLATES = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True)


class Desk:
    """The runs that are shown, and a studio for each; ``static``: the pages are to be files; ``stills``: the file of pictures.

    ``eager``: whoever opens a page of a run gets the pictures of its gallery drawn before they are asked for.
    """

    def __init__(self, runs: Runs, static: bool = False, stills: Path | None = None):
        self.runs, self.static, self.eager = runs, static, False
        self._pictures = Stills(stills)
        self._studios: dict[Path, Studio] = {}
        self._lock = threading.Lock()

    def studio(self, run: Run) -> Studio:
        """The studio of a run."""
        with self._lock:
            return self._studios.setdefault(run.folder, Studio(run, self._pictures))

    def page(self, name: str, depth: int, run: str = "", code: int = 200, **values: Any) -> HTMLResponse:
        """A page; depth: folders between it and the top."""
        base = "../" * depth
        context = {"page": name, "run": run, "base": base, "shelves": SHELVES, "static": self.static, "imports": IMPORTS}
        text = _TEMPLATES.get_template(f"{name}.html").render(context | values)
        return HTMLResponse(text, status_code=code, headers={"cache-control": "no-cache"})

    def data(self, request: Request, run: Run, key: str, make: Callable[[Any], Any]) -> Response:
        """JSON of ``make(archive)``, remembered until the archive changes, with an ETag."""

        def encode(archive: Any) -> tuple[bytes, str]:
            body = to_bytes(make(archive))
            return body, f'"{hashlib.sha256(body).hexdigest()[:24]}"'

        body, tag = run.answer(key, encode)
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)


def to_bytes(value: Any) -> bytes:
    """Compact JSON; a NaN is a mistake of ours and raises."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
