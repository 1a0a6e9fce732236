"""What a run's archive and the task space hold, in words or as JSON: check, list and show tasks; the families' numbers."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import numpy as np
from omegaconf import DictConfig

from envs.base import AbstractFamily
from envs.spec import sentence, table
from openended.archive import Archive, EvaluationRow, ParentRow, TaskDetail
from openended.exporting import emit, stored_family
from openended.locate import UsageError, find_run, find_task, listed
from openended.taskfile import parameters
from openended.wording import conditions

_BRIEF = ("id", "family", "status", "kind", "round", "learner_version", "cost_bits", "description")


def check(options: argparse.Namespace) -> int:
    """`openended archive check RUN`: exit 1 when anything is wrong."""
    with Archive(find_run(options.run, options.root) / "archive.db", readonly=True) as archive:
        problems = archive.check()
    emit({"ok": not problems, "problems": problems}, options.json, problems or ["ok"])
    return 1 if problems else 0


def tasks(options: argparse.Namespace) -> int:
    """`openended archive list RUN`."""
    with Archive(find_run(options.run, options.root) / "archive.db", readonly=True) as archive:
        found = archive.tasks(options.status, options.family, options.kind, options.limit)
        forgotten = set(archive.forgotten())
    rows = [{name: getattr(task, name) for name in _BRIEF} | {"forgotten": task.id in forgotten} for task in found]
    width = max((len(row["id"]) for row in rows), default=0)
    text = [f"{row['id']:<{width}}  {_state(row):<11}  round {row['round']:<4}  {row['description']}" for row in rows]
    emit(rows, options.json, text or ["No task fits."])
    return 0


def show(options: argparse.Namespace) -> int:
    """`openended archive show RUN TASK`."""
    folder = find_run(options.run, options.root)
    with Archive(folder / "archive.db", readonly=True) as archive:
        detail = archive.task(find_task(archive, options.task).id)
        origins = {edge.parent: archive.task(edge.parent).task for edge in detail.parents}
        forgotten = detail.task.id in archive.forgotten()
    family = stored_family(folder, detail.task.family)
    numbers = parameters(family, detail.task.vector)
    before = {id: parameters(family, origin.vector) for id, origin in origins.items() if origin.family == family.name}
    facts = {
        **{name: getattr(detail.task, name) for name in _BRIEF},
        "forgotten": forgotten,
        "goal": detail.task.goal,
        "parameters": numbers,
        "vector": detail.task.vector,
        "has_witness": detail.task.witness is not None,
        "parents": [asdict(edge) | {"changes": _changes(edge, before, numbers)} for edge in detail.parents],
        "children": [edge.child for edge in detail.children],
        "events": [asdict(event) for event in detail.events],
        "evaluations": [asdict(row) for row in detail.evaluations],
    }
    emit(facts, options.json, _page(facts, detail))
    return 0


def family(options: argparse.Namespace) -> int:
    """`openended family [NAME [key=value ...] [--sample N]]`."""
    from openended import configuration

    names = sorted(path.stem for path in (configuration.folder() / "family").glob("*.yaml"))
    if options.name is None:
        if options.sample:
            raise UsageError("--sample needs the name of a family")
        emit(names, options.json, names)
        return 0
    if options.name not in names:
        raise configuration.ConfigurationError(f"family is '{options.name}'; allowed: {', '.join(names)}")
    config = configuration.read([f"family=[{options.name}]", *options.overrides])
    made = configuration.instantiate(config.families[options.name])
    if options.sample:
        return _sample(options, made, config)
    rows: list[dict[str, Any]] = table(made.specs)
    text = [f"{r['name']:<22} {r['part']:<10} {r['low']:>8.4g} {r['high']:>8.4g} {r['unit']:<14} {r['meaning']}" for r in rows]
    emit(rows, options.json, text)
    return 0


def _sample(options: argparse.Namespace, made: AbstractFamily, config: DictConfig) -> int:
    from openended import configuration, sampling
    from openended.traces import traces_of

    search = configuration.instantiate(config.search)
    vectors = sampling.draw(options.draw, made.specs, options.sample, np.random.default_rng(options.seed))
    found = sampling.sample(made, search, vectors, options.seed, traces_of(config))
    facts = sampling.report(made, search, options.draw, options.seed, found)
    emit(facts, options.json, sampling.lines(facts))
    return 0


def goal_in_words(goal: dict[str, Any]) -> str:
    """A goal with its units; see `recording.goal`."""
    seen = "the learner sees the error" if goal["visible"] else "to be found from reward alone"
    each = " each" if goal.get("combination") == "then" else ""
    return f"{conditions(goal)}, held for {goal['hold_s']:.2f} s{each}, before {goal['limit_s']:.2f} s; {seen}"


def _state(row: dict[str, Any]) -> str:
    return "forgotten" if row["forgotten"] else row["status"]


def _page(facts: dict[str, Any], detail: TaskDetail) -> list[str]:
    origin = "from its parent" if facts["parents"] else "to describe it"
    bits = "" if facts["cost_bits"] is None else f", {facts['cost_bits']:.1f} bits {origin}"
    against = "" if facts["learner_version"] is None else f", when the learner was version {facts['learner_version']}"
    lines = [
        f"{facts['id']}  {facts['status']} {facts['kind']}{', forgotten' if facts['forgotten'] else ''}",
        sentence(facts["description"]),
        f"Goal: {goal_in_words(facts['goal'])}.",
        f"Proposed in round {facts['round']}{against}{bits}.",
        "",
        *_numbers(facts["parameters"]),
        "",
        *_lineage(facts),
        "Events:",
        *(f"  round {event.round:<4} {event.kind:<11} {event.reason}" for event in detail.events),
        "Evaluations (successes in the last episode, 95 % interval of its probability):",
        *(_evaluation(row) for row in detail.evaluations),
    ]
    return lines


def _numbers(numbers: dict[str, dict[str, Any]]) -> list[str]:
    rows = [("parameter", "part", "value", "unit", "allowed", "meaning")]
    for name, n in numbers.items():
        rows.append((name, n["part"], f"{n['value']:.4g}", n["unit"], f"{n['low']:.4g} to {n['high']:.4g}", n["meaning"]))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    right = 2  # the column of values
    return [
        "  ".join(cell.rjust(w) if i == right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=False)))
        + f"  {row[5]}"
        for row in rows
    ]


def _lineage(facts: dict[str, Any]) -> list[str]:
    lines = ["Parents:"] if facts["parents"] else ["Parents: none; it was drawn at random."]
    for edge in facts["parents"]:
        lines.append(f"  {edge['parent']} by {edge['operator']}: {_words(edge['changes']) or 'no number changed'}")
    children = facts["children"]
    return [*lines, f"Children: {len(children)}{f' ({listed(children)})' if children else ''}."]


def _words(changes: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{name} {c['from']:.3g} to {c['to']:.3g} {c['unit']}".rstrip() for name, c in changes.items())


def _changes(edge: ParentRow, before: dict[str, dict], numbers: dict[str, dict]) -> dict[str, dict[str, Any]]:
    """What the edge's delta changed, in units; empty for a parent of another family."""
    origin = before.get(edge.parent, {})
    known = [name for name in edge.delta if name in numbers and name in origin]
    pairs = {name: (origin[name]["value"], numbers[name]["value"]) for name in known}
    return {name: {"from": a, "to": b, "unit": numbers[name]["unit"]} for name, (a, b) in pairs.items() if a != b}


def _evaluation(row: EvaluationRow) -> str:
    share = f"{row.k / row.n:.2f}" if row.n else "-"
    return f"  learner {row.learner_version:<4} {row.purpose:<9} {row.k} of {row.n}: {share} [{row.lower:.2f}, {row.upper:.2f}]"
