"""What the pages are told, as plain data: from the archive's rows to series, trees, matrices and points."""

from __future__ import annotations

import json
from typing import Any

from openended.archive_rows import TaskDetail
from openended.browser.queries import ALL, Queries, Wanted
from openended.browser.runs import Missing, Run
from openended.browser.studio import Studio
from openended.metrics import plain
from openended.statistics import clopper_pearson
from openended.summary import warm

MAPPED = 20_000  # tasks of a family on its map, the accepted first
SHOWN_EVENTS = 300
SHOWN_CHILDREN = 200


def overview(run: Run, archive: Queries) -> dict[str, Any]:
    """Series of every metric, held-out intervals, events by round, families, learners."""
    series, families = archive.series(), archive.families()
    return {
        "run": run.name,
        "rounds": archive.last_round(),
        "series": series,
        "happenings": archive.happenings(),
        "families": families,
        "quarantined": sum(row["quarantined"] for row in families),
        "recompilations": _recompilations(archive, series),
        "learners": run.learners(),
    }


def _recompilations(archive: Queries, series: dict[str, list[float | None]]) -> float:
    resumed = archive.rows("SELECT round FROM event WHERE seq < 0 AND kind = 'resumed'")  # no other event's number is below 0
    rounds, made = ([x or 0.0 for x in series.get(key, [])] for key in ("round", "compiled"))
    return sum(warm(zip(rounds, made, strict=False), [row[0] for row in resumed]))


def forest(archive: Queries) -> dict[str, list[Any]]:
    """Every task and its first parent, by column; ``parent``: index of the parent's row, -1 without one."""
    return archive.forest().columns()


def difficulties(archive: Queries, note: str) -> dict[str, Any]:
    """Bits by row of `forest`, null where unknown; ``note``: '' once all are known."""
    return {"bits": archive.difficulties(), "note": note}


def memory(archive: Queries) -> dict[str, Any]:
    """Retention matrix. ``cells``: for every task its tests one after another: learner, successes, lifetimes, forgotten."""
    return archive.retention()


def points(archive: Queries, family: str) -> dict[str, Any]:
    """Unit vectors of a family's tasks for its map, with round, status and whether forgotten."""
    rows = archive.vectors(family, MAPPED)
    return {
        "family": family,
        "ids": [row[0] for row in rows],
        "vectors": [[round(x or 0.0, 4) for x in json.loads(row[1])] for row in rows],
        "rounds": [row[2] for row in rows],
        "status": [row[3] for row in rows],
        "forgotten": [row[4] or 0 for row in rows],
    }


def evidence(detail: TaskDetail) -> dict[str, Any]:
    """A task with its lineage, events and evaluations; the first and last verdicts on old and new learner by themselves."""
    task = detail.task
    rows = [
        {
            "learner_version": e.learner_version,
            "purpose": e.purpose,
            "n": e.n,
            "k": e.k,
            "lower": None if e.lower != e.lower else e.lower,
            "upper": None if e.upper != e.upper else e.upper,
        }
        for e in detail.evaluations
    ]
    events = [{"round": e.round, "kind": e.kind, "reason": e.reason} for e in detail.events[-SHOWN_EVENTS:]]
    return {
        "id": task.id,
        "family": task.family,
        "description": task.description,
        "status": task.status,
        "kind": task.kind,
        "round": task.round,
        "learner_version": task.learner_version,
        "cost_bits": task.cost_bits,
        "goal": task.goal,
        "vector": list(task.vector),
        "has_witness": task.witness is not None,
        "parents": [{"id": p.parent, "operator": p.operator, "delta": p.delta} for p in detail.parents],
        "children": [p.child for p in detail.children],
        "events": events,
        "evaluations": rows,
    }


def gallery(archive: Queries, wanted: Wanted, note: str) -> dict[str, Any]:
    """One page of tasks; ``note``: what the reader should know about the order, '' if nothing."""
    total, tasks = archive.gallery(wanted)
    return {"total": total, "page": wanted.page, "size": wanted.size, "tasks": tasks, "note": note}


def everything(archive: Queries) -> dict[str, Any]:
    """All tasks as the gallery shows them, with their unit vectors: for the static site, which filters by itself."""
    _, tasks = archive.gallery(Wanted(ascending=True, size=ALL))
    found = []
    for start in range(0, len(tasks), 500):
        some = tasks[start : start + 500]
        vectors = {row[0]: row[2] for row in archive.pictured([task["id"] for task in some])}
        found += [task | {"vector": vectors[task["id"]], "place": start + i} for i, task in enumerate(some)]
    return {"tasks": found}


def task(archive: Queries, studio: Studio, id: str) -> dict[str, Any]:
    """Everything about a task: `evidence`, its numbers in units beside its parent's, what stands before and after it."""
    detail = archive.task(id)
    found = evidence(detail)
    kin = [edge["id"] for edge in found["parents"]] + found["children"][:SHOWN_CHILDREN]
    found |= {"ancestors": archive.ancestors(id), "kin": archive.briefly([*kin, id]), "learners": studio.run.learners()}
    try:
        numbers = studio.numbers(found["family"], found["vector"])
        parents = [row for row in archive.pictured([edge["id"] for edge in found["parents"]]) if row[1] == found["family"]]
        before = studio.numbers(found["family"], parents[0][2]) if parents else {}
    except Missing as error:
        return found | {"numbers": {}, "note": str(error)}
    for name, number in numbers.items():
        number["parent"] = before[name]["value"] if name in before else None
    return found | {"numbers": numbers, "note": ""}


def card(run: Run) -> dict[str, Any]:
    """A run in a few words: its health, and how far it came."""
    found = run.health() | {"problem": "", "accepted": None, "retained": None, "steps_total": None, "families": []}
    try:
        archive = run.archive()
        latest = archive.rows("SELECT key, value, max(round) FROM metric WHERE value IS NOT NULL GROUP BY key")
        known = {key: value for key, value, _ in latest}
        names = ("accepted", "retained", "steps_total", "heldout_first", "heldout_last", "speedups")
        config = run.config()
        found |= {name: known.get(name) for name in names} | {"rounds": archive.last_round()}
        found["families"] = sorted(config.get("families") or {})
        found["seed"] = (config.get("run") or {}).get("seed")
    except Missing as error:
        found["problem"] = str(error)
    return plain(found)  # type: ignore[no-any-return]


def heldout(archive: Queries, lifetimes: dict[str, int]) -> dict[str, Any]:
    """Held-out success by round with 95 % binomial intervals over the lifetimes behind each number, where these are known."""
    series = archive.series()
    found = {
        key: [[value, *(interval(value, lifetimes.get(key, 0)) or (None, None))] for value in values]
        for key, values in series.items()
        if key.startswith("heldout_")
    }
    return {"steps": series.get("steps_total", []), "lifetimes": lifetimes, "success": found}


def interval(share: float | None, lifetimes: int) -> list[float] | None:
    """95 % Clopper-Pearson interval of a share of so many lifetimes."""
    if share is None or lifetimes < 1:
        return None
    low, high = clopper_pearson(round(share * lifetimes), lifetimes)
    return [float(low), float(high)]
