"""What a run says when it stops, as lines of text, and how its numbers are written on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

WARM_UP = 2  # rounds of a process in which it may compile: one of a single pass, then one that meets whatever else there is


def warm(compiled: Iterable[tuple[float, float]], resumed: Iterable[int]) -> list[float]:
    """Programs that each round after the warming up of a process compiled.

    compiled: rounds and their programs; resumed: the rounds after which another process went on.
    """
    begun = [0, *resumed]
    return [many for round, many in compiled if not any(0 < round - start <= WARM_UP for start in begun)]


def summary_lines(facts: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """The summary as (is a heading, line). All keys are optional:

    `run rounds steps_total seconds` · `accepted retained speedups forgotten` (counts) · `difficulty` (first, last) ·
    `compiled` (programs made after the first rounds of each of `starts` processes) ·
    `audit` {`round tasks solved`}, the last verdict on every accepted task ·
    `heldout` {group: {learner: success or {mean, low, high}}}, success in the last episode, and `heldout_round` in which it
    was measured · `reasons` {why a task was not accepted: how many} · `interrupted` (signal's name) · `task` (an id to
    replay) · `plots` (paths) · `notes`.
    """
    run = str(facts.get("run", "RUN"))
    size = [f"{facts['rounds']} rounds"] if "rounds" in facts else []
    size += [f"{count(facts['steps_total'])} environment steps"] if "steps_total" in facts else []
    size += [clock(facts["seconds"])] if "seconds" in facts else []
    begun = "Interrupted and saved" if facts.get("interrupted") else "Done"
    lines = [(False, ""), (True, f"{begun}: {run}" + (f" ({', '.join(size)})" if size else ""))]
    lines += [(False, text) for text in _learned(facts)]
    measured = facts.get("heldout_round", facts.get("rounds"))
    when = "" if measured == facts.get("rounds") else f" after round {measured}"
    lines += _heldout_table(facts.get("heldout", {}), when)
    if reasons := facts.get("reasons", {}):
        lines += [(False, ""), (True, "Tasks that were not accepted")]
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        lines += [(False, f"  {number:6d}  {reason}") for reason, number in ordered[:6]]
        if len(ordered) > 6:
            lines.append((False, f"  {sum(number for _, number in ordered[6:]):6d}  for other reasons"))
    lines += [(False, str(note)) for note in facts.get("notes", ())]
    lines += [(False, f"Plot: {path}") for path in facts.get("plots", ())]
    again = [(f"openended train run.name={run}", "go on where it stopped")] if facts.get("interrupted") else []
    commands = [
        *again,
        (f"openended eval {run}", "held-out tasks, next to untrained, random and memory-wiped learners"),
        (f"openended archive list {run} --status accepted", "every task that was learned"),
        *([(f"openended replay {run} {facts['task']}", "watch the newest one")] if "task" in facts else []),
    ]
    width = max(len(command) for command, _ in commands)
    lines += [(False, ""), (True, "What to type next")]
    return lines + [(False, f"  {command:{width}}  {why}") for command, why in commands]


def count(number: float) -> str:
    """1234567 as 1.23M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size * 0.9995:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _learned(facts: Mapping[str, Any]) -> Iterator[str]:
    if "accepted" in facts:
        kept = f"; the final learner still solves {facts['retained']}{share(facts)}" if "retained" in facts else ""
        yield f"It learned {facts['accepted']} new tasks that an earlier learner failed{kept}."
    if (audit := facts.get("audit")) and audit["tasks"]:
        when = "Audit" if audit["round"] == facts.get("rounds") else f"Audit after round {audit['round']}"
        yield f"{when}: {audit['solved']} of {audit['tasks']} accepted tasks are still solved, speed-ups included."
    others = [f"{facts[key]} {hyphened(key)}" for key in ("speedups", "forgotten") if facts.get(key)]
    if others:
        yield f"Besides: {', '.join(others)}."
    if "difficulty" in facts:
        first, last = facts["difficulty"]
        yield f"Difficulty of accepted tasks: {first:.2f} at first, {last:.2f} in the end."
    if "compiled" in facts:
        when = f"round {WARM_UP}" + (" of each start" if facts.get("starts", 1) > 1 else "")
        yield f"Compilations after {when}: {facts['compiled']}."


def _heldout_table(heldout: Mapping[str, Mapping[str, Any]], when: str) -> list[tuple[bool, str]]:
    if not heldout:
        return []
    learners = list(dict.fromkeys(name for group in heldout.values() for name in group))
    names = max(map(len, heldout))
    cells = {(g, n): _cell(group.get(n)) for g, group in heldout.items() for n in learners}
    widths = {n: max(len(n), *(len(cells[g, n]) for g in heldout)) for n in learners}
    head = "  ".join(f"{n:>{widths[n]}}" for n in learners)
    rows = [f"  {g:{names}}  " + "  ".join(f"{cells[g, n]:>{widths[n]}}" for n in learners) for g in heldout]
    title = (True, f"Held-out tasks{when}: success in the last episode of a lifetime")
    return [(False, ""), title, (False, f"  {'':{names}}  {head}"), *((False, row) for row in rows)]


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
    return f"{value:.2f}" if finite(value) else "-"


def hyphened(key: str) -> str:
    """A metric's name as people write it."""
    return key.replace("speedups", "speed-ups")


def share(values: Mapping[str, Any]) -> str:
    """How much of what was accepted is retained, in brackets; empty where nothing was."""
    return f" ({100 * values['retained'] / values['accepted']:.0f} %)" if values.get("accepted") else ""


def finite(value: Any) -> bool:
    """Whether it is a number at all."""
    try:
        return math.isfinite(value)
    except TypeError:
        return False
