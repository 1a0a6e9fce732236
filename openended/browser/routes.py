"""The addresses: pages, data, replays."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from openended.archive_reading import ArchiveError
from openended.browser import films as making
from openended.browser import pages as told
from openended.browser.desk import SHELVES, Desk, to_bytes
from openended.browser.frames import encode
from openended.browser.queries import Wanted
from openended.browser.runs import Missing, Run
from openended.browser.studio import Studio
from openended.metrics import plain

Name = Annotated[str, Path(max_length=200)]
Text = Annotated[str, Query(max_length=200)]
Shelf = Literal["index", "gallery", "lineage", "memory", "map"]
Sort = Literal["round", "difficulty", "progress", "cost", "success", "family"]
TableName = Literal["tasks", "events", "evaluations", "parentage", "metrics"]
Seed = Annotated[int, Path(ge=0, le=2**31 - 1)]


class Asked(BaseModel):
    """What the gallery is asked for; ``low`` and ``high`` bound ``parameter`` in its own unit."""

    family: str = Field("", max_length=100)
    status: str = Field("", max_length=100)
    kind: str = Field("", max_length=100)
    reason: str = Field("", max_length=200)
    search: str = Field("", max_length=200)
    parameter: str = Field("", max_length=100)
    low: float | None = Field(None, allow_inf_nan=False)
    high: float | None = Field(None, allow_inf_nan=False)
    sort: Sort = "round"
    ascending: bool = False
    page: int = Field(1, ge=1, le=1_000_000)
    size: int = Field(60, ge=1, le=200)

    def narrowed(self, studio: Studio) -> Wanted:
        """The query, in unit numbers."""
        number: tuple[int | None, float, float] = (None, 0.0, 1.0)
        if self.family and self.parameter:
            number = studio.unit_range(self.family, self.parameter, self.low, self.high)
        words = (self.family, self.status, self.kind, self.reason, self.search)
        return Wanted(*words, *number, self.sort, self.ascending, self.page, self.size)


def pages(desk: Desk) -> APIRouter:
    """HTML."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    def top() -> Response:
        names = desk.runs.names()
        return RedirectResponse(f"/runs/{quote(names[0])}/index.html" if desk.runs.only and names else "/index.html", 303)

    @router.get("/index.html")
    def index() -> Response:
        return desk.page("runs", 0)

    @router.get("/compare.html")
    def compare() -> Response:
        return desk.page("compare", 0)

    @router.get("/runs/{run}/", include_in_schema=False)
    def folder(run: Name) -> Response:
        return RedirectResponse(f"/runs/{quote(desk.runs.find(run).name)}/index.html", 303)

    @router.get("/runs/{run}/{shelf}.html")
    def shelf(run: Name, shelf: Shelf) -> Response:
        found = desk.runs.find(run)
        if desk.eager:
            desk.studio(found).warm()
        return desk.page(shelf, 2, found.name, title=SHELVES[shelf])

    @router.get("/runs/{run}/task/{id}.html")
    def task(run: Name, id: Name) -> Response:
        found = desk.runs.find(run)
        _known(found, id)
        return desk.page("task", 3, found.name, title=id, task=id)

    return router


def data(desk: Desk) -> APIRouter:
    """JSON and CSV behind the pages."""
    router = APIRouter()

    @router.get("/data/runs.json")
    def runs() -> Response:
        found = [told.card(desk.runs.find(name)) for name in desk.runs.names()]
        return Response(to_bytes(found), media_type="application/json", headers={"cache-control": "no-cache"})

    @router.get("/runs/{run}/data/health.json")
    async def health(run: Name) -> Response:  # asked for every 2 s by every page: a few small files, no thread
        found = desk.runs.find(run).health()
        return Response(to_bytes(plain(found)), media_type="application/json", headers={"cache-control": "no-store"})

    @router.get("/runs/{run}/data/config.json")
    def config(run: Name) -> Response:
        return Response(to_bytes(desk.runs.find(run).config()), media_type="application/json")

    @router.get("/runs/{run}/data/overview.json")
    def overview(request: Request, run: Name) -> Response:
        found = desk.runs.find(run)
        return desk.data(request, found, "overview", lambda archive: told.overview(found, archive))

    @router.get("/runs/{run}/data/heldout.json")
    def heldout(request: Request, run: Name) -> Response:
        found = desk.runs.find(run)
        lifetimes = desk.studio(found).lifetimes()  # loads the task space: the archive is not kept waiting for that
        return desk.data(request, found, "heldout", lambda archive: told.heldout(archive, lifetimes))

    @router.get("/runs/{run}/data/lineage.json")
    def lineage(request: Request, run: Name) -> Response:
        return desk.data(request, desk.runs.find(run), "lineage", told.forest)

    @router.get("/runs/{run}/data/difficulty.json")
    def difficulty(request: Request, run: Name) -> Response:
        found = desk.runs.find(run)
        studio = desk.studio(found)
        studio.measure()
        note = studio.measured()
        return desk.data(request, found, f"difficulty {note}", lambda archive: told.difficulties(archive, note))

    @router.get("/runs/{run}/data/memory.json")
    def memory(request: Request, run: Name) -> Response:
        return desk.data(request, desk.runs.find(run), "memory", told.memory)

    @router.get("/runs/{run}/data/facets.json")
    def facets(request: Request, run: Name) -> Response:
        return desk.data(request, desk.runs.find(run), "facets", lambda archive: archive.facets())

    return router


def tasks(desk: Desk) -> APIRouter:
    """JSON and CSV about tasks."""
    router = APIRouter()

    @router.get("/runs/{run}/data/map-{family}.json")
    def points(request: Request, run: Name, family: Name) -> Response:
        return desk.data(request, desk.runs.find(run), f"map {family}", lambda archive: told.points(archive, family))

    @router.get("/runs/{run}/data/specs-{family}.json")
    def specs(run: Name, family: Name) -> Response:
        return Response(to_bytes(plain(desk.studio(desk.runs.find(run)).specs(family))), media_type="application/json")

    @router.get("/runs/{run}/data/task/{id}.json")
    def task(request: Request, run: Name, id: Name) -> Response:
        found = desk.runs.find(run)
        _known(found, id)
        studio = desk.studio(found)
        return desk.data(request, found, f"task {id}", lambda archive: told.task(archive, studio, id))

    @router.get("/runs/{run}/data/tasks.json")
    def gallery(request: Request, run: Name, wanted: Annotated[Asked, Query()]) -> Response:
        found = desk.runs.find(run)
        studio = desk.studio(found)
        if wanted.sort == "difficulty":
            studio.measure()
        narrowed = wanted.narrowed(studio)
        known = "" if wanted.sort != "difficulty" else studio.measured()
        return desk.data(request, found, f"tasks {narrowed} {known}", lambda archive: told.gallery(archive, narrowed, known))

    @router.get("/runs/{run}/data/everything.json")
    def everything(request: Request, run: Name) -> Response:
        return desk.data(request, desk.runs.find(run), "everything", told.everything)

    @router.get("/runs/{run}/table/{name}.{form}")
    def table(run: Name, name: TableName, form: Literal["csv", "json"]) -> Response:
        columns, rows = desk.runs.find(run).archive().table(name)
        pieces = _csv(columns, rows) if form == "csv" else _json(columns, rows)
        kind = "text/csv; charset=utf-8" if form == "csv" else "application/json"
        return StreamingResponse(pieces, media_type=kind, headers={"content-disposition": f"inline; filename={name}.{form}"})

    return router


def films(desk: Desk) -> APIRouter:
    """Thumbnails and replays."""
    router = APIRouter()

    @router.get("/runs/{run}/thumb/{id}.svg")
    def thumb(run: Name, id: Name) -> Response:
        picture = desk.studio(desk.runs.find(run)).still(id)
        return Response(picture, media_type="image/svg+xml", headers={"cache-control": "max-age=600"})

    @router.get("/runs/{run}/replay/{id}/{learner}-{seed}.{form}")
    def replay(run: Name, id: Name, learner: Name, seed: Seed, form: Literal["bin", "json", "gif", "html"]) -> Response:
        found = desk.runs.find(run)
        film = desk.studio(found).film(id, learner, seed)
        if form == "bin":
            return StreamingResponse(encode(film), media_type="application/octet-stream")
        kinds = {"json": "application/json", "gif": "image/gif", "html": "text/html; charset=utf-8"}
        body = {"json": lambda: to_bytes(plain(film)), "gif": lambda: making.gif(film), "html": lambda: making.page(film)}[
            form
        ]()
        attach = {"content-disposition": f"attachment; filename={found.name}-{learner}.{form}"} if form == "html" else {}
        return Response(body, media_type=kinds[form], headers=attach)

    return router


def _known(run: Run, id: str) -> None:
    try:
        there = id in run.archive().ids(id)
    except ArchiveError as error:
        raise Missing(str(error)) from error
    if not there:
        raise Missing(f"There is no task '{id[:80]}' in the run '{run.name}'.")


def _csv(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> Iterator[str]:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for i, row in enumerate(rows):
        table.writerow(row)
        if i % 500 == 499:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _json(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> Iterator[str]:
    yield "["
    for i, row in enumerate(rows):
        yield (",\n" if i else "\n") + json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
    yield "\n]\n"
