"""Tests of today's learner within a round: entry, retention, acceptance and audit, on tasks of the repertoire."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from openended import tasks, trees
from openended.acceptance import AbstractAcceptance
from openended.evidence import Draw, Evidence, Retention
from openended.journal import solved_in
from openended.ledger import LoopState, Place, Settings
from openended.programs import Programs
from openended.repertoire import ACCEPTED, FRONTIER, SEEN
from openended.routes import Routes

MOST_AT_RISK = 32  # forgotten tasks tested in a round besides the sample: what comes back is seen, at a bounded cost


class Trials(Routes):
    """What the stages of a round ask of the learner by test, and what is written down about it."""

    def __init__(
        self,
        programs: Programs,
        acceptance: AbstractAcceptance,
        settings: Settings,
        novelty: float,
        state: LoopState,
        seed: int,
    ):
        super().__init__(programs, state, seed)
        self.acceptance, self.settings, self.novelty = acceptance, settings, novelty
        self.estimate: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # successes and lifetimes while learning, by row

    def audit(self) -> Retention:
        """A verdict for every accepted task."""
        population = self._accepted()
        route = self._routes(population)
        result = self.acceptance.audit(self._drawer(population, route, "retention"), len(population))
        self._note_retention(population, route, result, "audit")
        solved = [i for i in result.kept if population[i] not in self.broken]
        self.journal.metrics |= {"audit_tasks": float(len(population)), "audit_solved": float(len(solved))}
        self.journal.events.append((None, "audited", result.reason))
        self._quarantine("in an audit")
        return result

    def _entry(self, places: Sequence[Place]) -> Evidence:
        """Evidence that the learner, which is still the old one, fails these candidates."""
        draw = self._drawer(places, self._routes(places), "verify")
        acceptance, evidence = self.acceptance.entry(self.state.acceptance, draw, len(places))
        self.state = self.state._replace(acceptance=acceptance)
        return evidence

    def _retain(self, attempt: int) -> Retention:
        """Whether the candidate learner forgot: a fresh sample of the accepted tasks, and those known to be at risk."""
        population = self._accepted()
        risk = np.array([i for i, (n, r) in enumerate(population) if self.state.repertoire[n].forgotten[r]], np.int64)
        risk = self.rng.permutation(risk)[:MOST_AT_RISK] if risk.size > MOST_AT_RISK else risk
        route = self._routes(population)
        draw, standing = self._drawer(population, route, "retention"), self._standing(population, route)
        acceptance, result = self.acceptance.retain(
            self.state.acceptance, draw, len(population), risk, attempt, self.rng, standing
        )
        self.state = self.state._replace(acceptance=acceptance)
        if standing and population:
            told, given = self.journal.metrics, result.kept.size + result.forgotten.size
            told["retested"] = told.get("retested", 0.0) + result.tested.size / len(population)
            told["reused"] = told.get("reused", 0.0) + given - result.tested.size
        self._note_retention(population, route, result, "retention")
        self._quarantine("in a retention test")
        return result

    def _turn_back(self) -> None:
        """What acts is halfway back to the learner before the round, where less is forgotten; what learns goes on."""
        halfway = trees.halfway(self.old.learner.params, self._params())
        learner = self.state.learner._replace(params=halfway)
        self.state = self.state._replace(learner=learner, version=self.state.version + 1)

    def _return(self) -> None:
        """What acted before the round acts again, and what its successor forgot was not forgotten; what learns goes on.

        Learning from the same weights again, at the same rate, would forget as much again: a run would stand still.
        """
        learner = self.state.learner._replace(params=self.old.learner.params)
        self.state = self.state._replace(learner=learner, version=self.state.version + 1)
        self.journal.events[:] = [event for event in self.journal.events if event[1] not in ("forgotten", "restored")]
        for name, book in self.state.repertoire.items():
            rows = book.rows(ACCEPTED)
            self._keep(name, book.change(rows, forgotten=self.old.repertoire[name].forgotten[rows]))
        self._relabel()

    def _ready(self) -> list[Place]:
        """Frontier tasks that go well while learning, the best of every family."""
        ready: list[Place] = []
        for name, (wins, tries) in self.estimate.items():
            rows = self.state.repertoire[name].rows(FRONTIER)
            rate = wins[rows] / np.maximum(tries[rows], 1)
            well = (tries[rows] >= self.settings.gate_lifetimes) & (rate >= self.settings.gate)
            well |= not self.acceptance.gated
            best = self._novel(name, rows[well][np.argsort(-rate[well], kind="stable")])[: self.settings.trials]
            ready += [(name, int(row)) for row in best]
        return ready

    def _decide(self) -> int:
        """Trials of the frontier tasks that are ready; how many were accepted."""
        trials = self._ready()
        route = self._routes(trials)
        draw = self._drawer(trials, route, "verify")
        acceptance, decision = self.acceptance.decide(self.state.acceptance, draw, len(trials))
        order, rerouted = int(self.state.acceptance.accepted), 0
        self.state = self.state._replace(acceptance=acceptance)
        for i, (name, row) in enumerate(trials):
            book = self.state.repertoire[name]
            task = self._id(name, book.vector[row])
            self._evaluated(task, "new", decision.evidence.lifetimes[i], decision.evidence.successes[i])
            if decision.accept[i]:
                moved = bool(book.failed[row] != route[i])
                rerouted += moved
                self._keep(name, book.change(row, status=ACCEPTED, order=order, label=route[i]))
                self.journal.status(task, "accepted", decision.reason[i] + ", by another module than failed it" * moved)
                order += 1
        if self._several:
            self.journal.metrics["rerouted"] = float(rerouted)
        self._quarantine("in an acceptance test")
        return sum(self.state.repertoire[name].status[row] == ACCEPTED for name, row in trials)

    def _novel(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Of these frontier rows, best first, those that would count as novel: far enough from accepted tasks and each other.

        What is too near an accepted task is refused for good, what is too near a better one may be tried in another round.
        """
        book = self.state.repertoire[name]
        known = book.vector[book.rows(ACCEPTED)]
        near = tasks.nearest(book.vector[rows], known) < self.novelty
        for row in rows[near]:
            reason = f"not novel: nearer than generator.novelty={self.novelty:g} to an accepted task"
            self.journal.status(self._id(name, book.vector[row]), "rejected", reason)
        self._keep(name, book.change(rows[near], status=SEEN))
        rows = rows[~near]
        return rows[tasks.novel(book.vector[rows], known, self.novelty)]

    def _accepted(self) -> list[Place]:
        return [(name, int(row)) for name, book in self.state.repertoire.items() for row in book.rows(ACCEPTED)]

    def _note_retention(self, population: Sequence[Place], route: np.ndarray, result: Retention, purpose: str) -> None:
        lost = set(result.forgotten.tolist())
        for i, n, k in zip(result.tested.tolist(), result.lifetimes, result.successes, strict=True):
            name, row = population[i]
            book = self.state.repertoire[name]
            task = self._id(name, book.vector[row])
            self._evaluated(task, purpose, n, k)
            if bool(book.forgotten[row]) != (i in lost):
                kind = "forgotten" if i in lost else "restored"
                self.journal.events.append((task, kind, solved_in(k, n)))
                self._keep(name, book.change(row, forgotten=i in lost))
        self._vouch(population, route, result)

    def _drawer(self, items: Sequence[Place], route: np.ndarray, purpose: str) -> Draw:
        """The acceptance test's view of today's learner in these tasks, by their routes; fresh seeds at every call."""
        vectors = [self.state.repertoire[name].vector[row] for name, row in items]

        def draw(index: np.ndarray, count: np.ndarray) -> np.ndarray:
            wins = np.zeros(len(index), np.int64)
            for name in self.families:
                mine = np.array([j for j, i in enumerate(index) if items[i][0] == name], np.int64)
                if mine.size == 0:
                    continue
                rows = np.repeat(mine, count[mine])
                played = np.stack([vectors[index[j]] for j in rows])
                out = self.programs.evaluate(name, self._params(), played, self._fresh(), purpose, route=route[index[rows]])
                wins += np.bincount(rows, out.success[:, -1], minlength=len(index)).astype(np.int64)
                self.broken |= {items[index[j]] for j in rows[out.broken]}
            broken = np.array([items[i] in self.broken for i in index], bool)
            return np.where(broken, 0, wins)  # a task whose physics left its bounds is solved no more

        return draw
