"""State, journal and seeds of a running round, and the few things that every stage does with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from openended import tasks
from openended.evidence import AcceptanceState
from openended.generators.base import Proposal
from openended.journal import Journal, NewTask, solved_in
from openended.learners.base import LearnerState
from openended.objectives.base import AbstractObjective, Known
from openended.programs import Programs
from openended.repertoire import ACCEPTED, EMPTY, FRONTIER, SEEN, Repertoire
from openended.types import Appraisal


class Settings(NamedTuple):
    """Sizes of a round; see configs/config.yaml."""

    episodes: int
    candidates: int  # per family
    screen_lifetimes: int  # per valid candidate
    entries: int  # candidates per family whose entry is tested
    trials: int  # frontier tasks per family whose acceptance is tested
    updates: int  # of one pass: what the compiled program runs at once
    passes: int  # of learning per round; the first round, which knows few tasks, makes one
    rows: int  # lifetimes per family and update
    block: int  # rows of an evaluation program
    capacity: int  # tasks per family that the loop can know
    stay: int  # rounds a task may stay in the frontier
    pool: int  # valid tasks per family that are learned from without being in the frontier, those worth most to the objective
    frontier: int  # most tasks per family in the frontier; the least solved leave
    frontier_share: float  # of the lifetimes learned from, at most
    replay_share: float  # of accepted tasks, at most; the rest is the pool
    most_lifetimes: int  # of a round for a frontier or accepted task: few tasks are learned by heart
    gate_lifetimes: int  # lifetimes of learning before acceptance is tried
    gate: float  # success while learning from which acceptance is tried


class LoopState(NamedTuple):
    """Everything that changes, at the end of a round; what a checkpoint holds."""

    round: np.ndarray  # i64[] rounds done
    version: np.ndarray  # i64[] how often what acts was replaced, by its predecessor too: no number is given twice
    learner: LearnerState
    model: Any  # the objective's device state
    ranker: np.ndarray
    generator: dict[str, Any]
    acceptance: AcceptanceState
    repertoire: dict[str, Repertoire]
    steps: dict[str, np.ndarray]  # i64[] by purpose

    @property
    def total(self) -> int:
        """Environment steps so far, of all purposes together."""
        return sum(int(count) for count in self.steps.values())


Place = tuple[str, int]  # a task: its family's name and its row of the repertoire


class Candidates(NamedTuple):
    """One family's candidates of this round; ``open`` are the rows that are valid and that the old learner fails."""

    proposal: Proposal
    grounding: Any  # validity.Grounding of numpy arrays
    valid: np.ndarray  # bool[C]
    known: Known  # for every candidate; zeros where it is not valid
    place: np.ndarray  # i64[C] row of the repertoire, -1 where it is not valid or found no place
    open: np.ndarray  # i64[M] best first


class Ledger:
    """What the stages of one round share. ``state`` is replaced, never changed in place."""

    def __init__(self, programs: Programs, state: LoopState, seed: int):
        self.programs, self.families = programs, programs.families
        self.state, self.old = state, state
        self.number = int(state.round) + 1
        self.journal = Journal(self.number)
        self.key = jax.random.fold_in(jax.random.key(seed), self.number)
        self.rng = np.random.default_rng([seed, self.number])
        self.calls = 0
        self.candidates: dict[str, Candidates] = {}
        self.broken: set[Place] = set()  # tasks whose physics left its bounds and that are not yet quarantined
        programs.steps = {purpose: int(value) for purpose, value in state.steps.items()}

    def _record(self, name: str, row: int, proposal: Proposal, found: Any) -> str:
        """The journal's row of a candidate; its id."""
        book, vector, parent = self.state.repertoire[name], found.vector[row], int(proposal.parent[row])
        task = self._id(name, vector)
        kind = "speedup" if proposal.operator[row] == "speedup" else "skill"
        witness = {"key": found.key[row].tolist(), "actions": found.actions[row].tolist()}
        specs = self.families[name].specs
        known = parent >= 0 and book.status[parent] != SEEN  # the archive has no row of a task that only the pool knows
        origin = book.vector[parent] if known else None
        delta = {} if origin is None else {s.name: float(d) for s, d in zip(specs, vector - origin, strict=True) if d != 0}
        self.journal.tasks.append(
            NewTask(
                task,
                name,
                vector,
                kind,
                int(self.old.version),
                tasks.cost_bits(vector, origin),
                witness,
                None if origin is None else self._id(name, origin),
                proposal.operator[row],
                delta,
            )
        )
        return task

    def _quarantine(self, where: str) -> None:
        """Tasks whose physics broke leave the repertoire for good; where: when it was noticed, in words."""
        for name, row in sorted(self.broken):
            book = self.state.repertoire[name]
            vector, task = book.vector[row], self._id(name, book.vector[row])
            if book.status[row] == EMPTY:  # what is learned from while no task is known
                continue
            if book.status[row] == SEEN:  # the archive may not know it yet; a row that it has is not written again
                bits, kind = tasks.cost_bits(vector, None), "speedup" if book.speedup[row] else "skill"
                self.journal.tasks.append(NewTask(task, name, vector, kind, int(self.old.version), bits, None, None, "", {}))
            self.journal.status(task, "quarantined", f"physics left its bounds {where}")
            self._keep(name, book.change(row, status=EMPTY))
        self.broken.clear()

    def _evaluated(self, task: str, purpose: str, lifetimes: Any, successes: Any) -> None:
        version = self.old.version if purpose == "old" else self.state.version
        self.journal.evaluations.append((task, int(version), purpose, int(lifetimes), int(successes)))

    def _id(self, name: str, vector: np.ndarray) -> str:
        return tasks.task_id(name, vector)

    def _keep(self, name: str, book: Repertoire) -> None:
        self.state = self.state._replace(repertoire=self.state.repertoire | {name: book})

    def _into_pool(
        self, name: str, rows: np.ndarray, proposal: Proposal, grounding: Any, known: Known, label: np.ndarray
    ) -> np.ndarray:
        """Valid candidates become known: the place i64[C] of every one in the repertoire, -1 where it has none."""
        success = (known.successes[rows] + 0.5) / (known.lifetimes[rows] + 1.0)
        book, places = self.state.repertoire[name].insert(
            vector=grounding.vector[rows],
            entered=np.full(rows.size, self.number, np.int32),
            success=success.astype(np.float32),
            difficulty=grounding.difficulty[rows],
            speedup=np.array(proposal.operator)[rows] == "speedup",
            label=label[rows],
        )
        self._keep(name, book)
        place = np.full(len(grounding.vector), -1, np.int64)
        place[rows[: places.size]] = places
        return place

    def _appraise(self, name: str, place: np.ndarray, seen: Appraisal | None, objective: AbstractObjective) -> None:
        """What lifetimes in the rows ``place`` i64[R] tell of their regret, if the objective asks."""
        if seen is None:
            return
        book = self.state.repertoire[name]
        rows, index, lifetimes = np.unique(place, return_inverse=True, return_counts=True)
        gain, value = (np.bincount(index, x) / lifetimes for x in (seen.gain, seen.value))
        best = book.returns[rows]
        np.maximum.at(best, index, seen.returns)
        regret = objective.regret(gain, value, best).astype(np.float32)
        self._keep(name, book.change(rows, regret=regret, returns=best, visited=np.int32(self.number)))

    def _params(self) -> Any:
        return self.state.learner.params

    def _fresh(self) -> jax.Array:
        """A key that was never used before: screening, training and verification never share seeds."""
        self.calls += 1
        return jax.random.fold_in(self.key, self.calls)

    def _cost(self, name: str, proposal: Proposal) -> np.ndarray:
        """Relative cost: description bits over a parentless task's bits, plus one for the steps that all tasks share."""
        vectors = self.state.repertoire[name].vector
        bits = [
            tasks.cost_bits(child, vectors[parent] if parent >= 0 else None)
            for child, parent in zip(proposal.vector, proposal.parent, strict=True)
        ]
        return 1.0 + np.array(bits) / tasks.cost_bits(proposal.vector[0], None)

    def _count(self, steps: dict[str, np.ndarray]) -> None:
        books = self.state.repertoire
        skills = sum(book.skills().size for book in books.values())
        lost = sum(int(book.forgotten[book.skills()].sum()) for book in books.values())
        hard = np.concatenate([book.difficulty[book.skills()] for book in books.values()])
        self.journal.metrics |= {
            "steps_total": float(sum(steps.values())),
            **{f"steps_{purpose}": float(value) for purpose, value in steps.items()},
            "accepted": float(skills),
            "retained": float(skills - lost),
            "speedups": float(sum(book.rows(ACCEPTED).size for book in books.values()) - skills),
            "frontier": float(sum(book.rows(FRONTIER).size for book in books.values())),
            "candidates": float(sum(len(c.valid) for c in self.candidates.values())),
            "valid": float(sum(c.valid.sum() for c in self.candidates.values())),
            "difficulty": float(np.median(hard)) if hard.size else float("nan"),
        }


def mixture(
    book: Repertoire, frontier: float, replay: float, urgency: Callable[[Repertoire], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows i64[N] to learn from and their probabilities: these shares of frontier and accepted tasks, the rest of the pool.

    In the pool the objective decides, in the frontier all are alike. Accepted tasks are replayed the more the less they were
    solved of late: 0.05 + failure rate, in proportion, where one that was forgotten in its last test counts as failed.
    """
    known, accepted, pool = (book.rows(status) for status in (FRONTIER, ACCEPTED, SEEN))
    failure = np.where(book.forgotten[accepted], 1.0, 1.0 - book.success[accepted])
    needs = np.ones(known.size), 0.05 + failure, urgency(book.at(pool))
    shares = frontier, replay, max(0.0, 1.0 - frontier - replay)  # rounding may leave less than nothing
    weight = np.concatenate([share * need / max(need.sum(), 1e-9) for share, need in zip(shares, needs, strict=True)])
    if not weight.sum() > 0:  # nothing valid is known yet: an empty row is the middle of the box
        return np.zeros(1, np.int64), np.ones(1)
    return np.concatenate([known, accepted, pool]), weight / weight.sum()


def kin(book: Repertoire, proposal: Proposal) -> np.ndarray:
    """Latest progress of each candidate's parent, 0 without a parent."""
    return np.where(proposal.parent >= 0, book.progress[np.maximum(proposal.parent, 0)], 0.0)


def solved_of(evidence: Any, i: int) -> str:
    """What test i of some showed, in words."""
    return solved_in(evidence.successes[i], evidence.lifetimes[i])
