"""Evaluations as lines of text: tables with intervals, and how to read them; the conditions of a goal in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openended.locate import listed

_PAIRS = {"last_minus_first": "last - first", "last_minus_wiped": "last - wiped"}
_HOW_TO_READ = (
    "A family's row has its visible goals. [low, high]: 95 % interval over lifetimes, for this run and these tasks;",
    "{low, high}: over tasks, for this run and all tasks that these are a sample of. Other seeds may differ by more.",
    "last - first: learning within the lifetime; last - wiped: memory's part.",
    "Where such a difference is below 0, memory did harm.",
)


def conditions(goal: Mapping[str, Any], form: str = ".3g") -> str:
    """What must be reached (`recording.goal`): "tip to (0.4, 0.1) m within 0.14", a second one after "and" or ", then"."""
    words = _condition(goal, form)
    if "second" in goal:
        words += (" and " if goal["combination"] == "and" else ", then ") + _condition(goal["second"], form)
    return words


def _condition(goal: Mapping[str, Any], form: str) -> str:
    target = ", ".join(f"{x:{form}}" for x in goal["target"])
    return f"{goal['feature']} to ({target}) {goal['unit']} within {goal['tolerance']:{form}}"


def suite_lines(found: dict[str, Any], about: str) -> list[str]:
    """What ``eval`` prints of a suite; found: its JSON, about: which run and how many lifetimes."""
    parts = found["groups"].items()
    learners = list(found["groups"]["all"]["learners"])
    levels = {g: [_cell(group["learners"][name]["episode_success"][-1]) for name in learners] for g, group in parts}
    within = {
        g: [f"{x['mean']:.2f}" for x in group["learners"]["trained"]["episode_success"]]
        + [_difference(group["paired"][name]) for name in _PAIRS]
        for g, group in parts
    }
    numbers = [f"episode {i + 1}" for i in range(len(within["all"]) - len(_PAIRS))]
    return [
        f"Held-out suite {found['suite']}: {found['tasks']} tasks, {about}",
        *["", "Success in the last episode of a lifetime", *table(learners, levels)],
        *["", "The trained learner within a lifetime", *table([*numbers, *_PAIRS.values()], within)],
        *["", *_HOW_TO_READ],
    ]


def _difference(value: Mapping[str, float | None]) -> str:
    over = "" if value["tasks_low"] is None else f" {{{value['tasks_low']:+.2f}, {value['tasks_high']:+.2f}}}"
    return _cell(value, "+.2f") + over


def _cell(value: Mapping[str, float | None], form: str = ".2f") -> str:
    return f"{value['mean']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"


def table(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """Aligned lines: names on the left, cells on the right."""
    lines = [("", *head), *((name, *cells) for name, cells in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  " + "  ".join([f"{name:{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(cells, widths[1:], strict=True))])
        for name, *cells in lines
    ]


def archive_lines(kept: dict[str, Any], about: str) -> list[str]:
    """What ``eval --suite archive`` prints."""
    if not kept["tasks"]:
        return [f"Archive: no accepted skill, {about}."]
    share = f"{kept['still_solved']} of {kept['tasks']} accepted skills ({100 * kept['share']:.1f} %)"
    lines = [
        f"Archive: {share} are still solved, {about}.",
        f"Solved: success in the last episode in at least {kept['threshold']:.3f} of the lifetimes.",
    ]
    return lines + ([f"Forgotten: {listed(kept['forgotten'])} (--json lists all)."] if kept["forgotten"] else [])
