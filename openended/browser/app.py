"""The web application: pages (HTML shells that small scripts fill) and the data behind them. GET only; it only reads.

Addresses end like files and every link is relative, so that `export` can write the same addresses as a static site.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from openended.browser import routes
from openended.browser.desk import HERE, IMPORTS_HASH, Desk
from openended.browser.guard import LOOPBACK, Guard
from openended.browser.runs import Missing, Runs


def create(
    runs: Runs, hosts: tuple[str, ...] = LOOPBACK, token: str = "", static: bool = False, stills: Path | None = None
) -> Any:
    """The application over these runs; hosts: names by which it may be called; token: needed unless ''; stills: see `Desk`."""
    app = FastAPI(title="openended browser", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    desk = Desk(runs, static, stills)
    app.state.desk = desk
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.include_router(routes.pages(desk))
    app.include_router(routes.data(desk))
    app.include_router(routes.tasks(desk))
    app.include_router(routes.films(desk))

    @app.exception_handler(Missing)
    def missing(request: Request, error: Missing) -> Response:
        return _sorry(desk, request, 404, str(error))

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        words = "There is no such page." if error.status_code == 404 else str(error.detail)
        return _sorry(desk, request, error.status_code, words)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _sorry(desk, request, 422, f"{first['loc'][-1]}: {first['msg']}.")

    return Guard(app, hosts, token, [IMPORTS_HASH])


def _sorry(desk: Desk, request: Request, code: int, sentence: str) -> Response:
    """A refusal in one sentence, as a page or as JSON."""
    path = request.url.path
    if path.endswith((".html", "/")):
        return desk.page("sorry", max(0, path.count("/") - 1), code=code, sentence=sentence)
    return JSONResponse({"error": sentence}, status_code=code)
