"""`openended bench --growth`: what a round, an audit and the archive cost with few and with many accepted tasks.

A run of so many accepted tasks takes days, so the tasks are made: uniform tasks entered as accepted, with the rows in the
archive that the loop would have written. The learner is new-born and solves none of them; retention and audit lifetimes are
run in full, but what they tell is that the task was solved, as in a run that remembers. Rounds of the sizes take turns.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from omegaconf import DictConfig

from openended import configuration, recording, tasks
from openended.archive import EvaluationRow, EventRow, RoundRecord, TaskRow
from openended.ledger import LoopState
from openended.loop import Loop
from openended.programs import PURPOSES
from openended.repertoire import ACCEPTED
from openended.summary import WARM_UP
from openended.timed import Rounds, median
from openended.trials import Trials

SIZES = (100, 10_000)
ROUNDS, QUICK_ROUNDS = 6, 2
LOOKS = 50  # at single tasks of the archive


def measure(config: DictConfig, quick: bool, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Costs by number of accepted tasks, and their ratios of the last size to the first."""
    config.loop.capacity = max(config.loop.capacity, 2 * max(sizes))
    loop = configuration.build(config)
    loop.programs.evaluate = remembering(loop.programs.evaluate)  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        runs = {size: stack.enter_context(Rounds(config, loop, _folder(stack))) for size in sizes}
        for size, rounds in runs.items():
            rounds.state, made = filled(loop.init(), loop, size)
            rounds.archive.commit_round(made)
        loop.compile()
        for _ in range(WARM_UP + (QUICK_ROUNDS if quick else ROUNDS)):
            for rounds in runs.values():
                rounds.next()
        found = {str(size): _costs(loop, rounds, size) for size, rounds in runs.items()}
    few, many = found[str(sizes[0])], found[str(sizes[-1])]
    ratios = {name: many[name] / few[name] for name in few if name != "steps_by_purpose"}
    return {f"ratio_{sizes[-1]}_to_{sizes[0]}": ratios["round_s"], "ratios": ratios, "accepted": found}


def lines(found: dict[str, Any]) -> list[str]:
    """The answer as a table: a column for every size and one for the ratio."""
    sizes, width = list(found["accepted"]), 26
    rows = ["accepted tasks".ljust(width) + "".join(f"{size:>14}" for size in [*sizes, "ratio"])]
    for name, ratio in found["ratios"].items():
        rows.append(
            name.ljust(width) + "".join(f"{found['accepted'][size][name]:>14.4g}" for size in sizes) + f"{ratio:>14.2f}"
        )
    return rows


def remembering(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """The same lifetimes, of which those of retention tests and audits are told as solved."""

    def evaluated(name: str, params: Any, vectors: np.ndarray, key: jax.Array, purpose: str, **options: Any) -> Any:
        out = evaluate(name, params, vectors, key, purpose, **options)
        return out._replace(success=np.ones_like(out.success)) if purpose == "retention" else out

    return evaluated


def filled(state: LoopState, loop: Loop, count: int) -> tuple[LoopState, RoundRecord]:
    """State after a round 1 in which ``count`` uniform tasks, over all families alike, were accepted; that round's rows."""
    rng, rows, start = np.random.default_rng(loop.seed), [], 0
    books = dict(state.repertoire)
    for share, (name, family) in zip(_shares(count, len(loop.families)), loop.families.items(), strict=True):
        vectors = tasks.snap(family.specs, rng.random((share, len(family.specs)), np.float32))
        places, order = np.arange(share), np.arange(start, start + share, dtype=np.int32)
        books[name] = books[name].change(
            places, vector=vectors, status=ACCEPTED, entered=1, success=0.9, order=order, difficulty=1.0
        )
        rows += [_row(name, vector) for vector in vectors]
        start += share
    accepted = np.asarray(count, np.int64)
    state = state._replace(
        round=np.ones((), np.int64),
        repertoire=books,
        acceptance=state.acceptance._replace(accepted=accepted, old_tests=accepted, new_tests=accepted),
    )
    evidence = [EvaluationRow(row.id, 0, purpose, 16, k, 0.0, 1.0) for row in rows for purpose, k in (("old", 0), ("new", 16))]
    events = [EventRow(row.id, "accepted", "made for the bench") for row in rows]
    return state, RoundRecord(
        round=1, tasks=rows, statuses={}, parents=[], events=events, evaluations=evidence, metrics={"accepted": float(count)}
    )


def _folder(stack: contextlib.ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openended-growth-")))


def _row(family: str, vector: np.ndarray) -> TaskRow:
    return TaskRow(
        id=tasks.task_id(family, vector),
        family=family,
        vector=vector.tolist(),
        goal={},
        description="made for the bench",
        status="accepted",
        kind="skill",
        round=1,
    )


def _shares(count: int, parts: int) -> list[int]:
    return [count // parts + (i < count % parts) for i in range(parts)]


def _costs(loop: Loop, rounds: Rounds, size: int) -> dict[str, Any]:
    """Medians over the rounds after warm-up; an audit of all, and its rows in the archive; a look at one task there."""
    seen = rounds.seen[WARM_UP:]
    trials = Trials(loop.programs, loop.acceptance, loop.settings, loop.generator.novelty, rounds.state, loop.seed)
    audit_s, _ = _timed(trials.audit)
    record = recording.record(loop.families, trials.journal)
    commit_s, _ = _timed(lambda: rounds.archive.commit_round(record))
    known = [evaluation.task for evaluation in record.evaluations]
    looks = [_timed(functools.partial(rounds.archive.task, known[i % len(known)]))[0] for i in range(LOOKS)]
    return {
        "round_s": median(each.seconds for each in seen),
        "host_s": median(each.host for each in seen),
        "steps": median(sum(each.steps.values()) for each in seen),
        "steps_by_purpose": {purpose: int(median(each.steps[purpose] for each in seen)) for purpose in PURPOSES},
        "device_bytes": sum(array.nbytes for array in jax.live_arrays()),
        "audit_s_per_task": audit_s / size,
        "archive_commit_s_per_row": commit_s / size,
        "archive_look_s": median(looks),
    }


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result
