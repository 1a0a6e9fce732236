"""The PowerPlay loop: one round of propose, screen, learn, verify, accept or roll back. The only place where stages meet."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from envs import interface, validity
from envs.base import AbstractFamily
from openended import ahead, tasks, trees
from openended import repertoire as rep
from openended.acceptance import AbstractAcceptance
from openended.budget import UNLIMITED, Budget
from openended.generators.base import AbstractGenerator, Proposal
from openended.journal import Journal
from openended.learners.base import AbstractLearner, LearnerState
from openended.ledger import Candidates, LoopState, Settings, kin, mixture, solved_of
from openended.objectives.base import AbstractObjective, Known
from openended.programs import PURPOSES, Programs
from openended.repertoire import ACCEPTED, EMPTY, FRONTIER, SEEN
from openended.trials import Trials
from openended.types import Params

PRIOR = 2.0  # lifetimes that a task's earlier estimate of success counts for against those of this round


class Loop:
    """Concrete parts, given once; every method takes the state and returns it."""

    def __init__(
        self,
        families: dict[str, AbstractFamily],
        learner: AbstractLearner,
        generator: AbstractGenerator,
        objective: AbstractObjective,
        acceptance: AbstractAcceptance,
        settings: Settings,
        search: validity.Search,
        seed: int,
    ):
        self.families, self.learner, self.generator = families, learner, generator
        self.objective, self.acceptance, self.settings, self.seed = objective, acceptance, settings, seed
        self.programs = Programs(families, learner, objective, search, settings.episodes, settings.block)

    def among(self, families: dict[str, AbstractFamily]) -> Loop:
        """The same parts among other families of the same layout."""
        parts = (self.learner, self.generator, self.objective, self.acceptance, self.settings)
        return Loop(families, *parts, self.programs.search, self.seed)

    def init(self, params: Params | None = None) -> LoopState:
        """State before the first round; params: what the learner begins as, if it is not to be new-born."""
        learner, model = jax.jit(self._newborn, compiler_options={"xla_backend_optimization_level": 0})(params)
        return LoopState(
            round=np.zeros((), np.int64),
            version=np.zeros((), np.int64),
            learner=trees.replicate(learner),
            model=trees.replicate(model),
            ranker=self.objective.init_ranker(),
            generator={n: self.generator.init(f.specs, self.settings.candidates, self.seed) for n, f in self.families.items()},
            acceptance=self.acceptance.init(),
            repertoire={n: rep.empty(self.settings.capacity, len(f.specs)) for n, f in self.families.items()},
            steps={purpose: np.zeros((), np.int64) for purpose in PURPOSES},
        )

    def _newborn(self, params: Params | None = None) -> tuple[LearnerState, Any]:
        """The learner, and the model of the objective, before the first round."""
        (first, second), policy = jax.random.split(jax.random.key(self.seed)), self.learner.policy
        return self.learner.init(first, params), self.objective.init_model(second, policy.observation, policy.actions)

    def compile(self, store: ahead.Store | None = None) -> None:
        """Begin to compile the programs of a round, from a store's traces where it has them; a second call does nothing."""
        sizes = self.settings
        self.programs.compile(jax.eval_shape(self._newborn), sizes.candidates, sizes.updates, sizes.rows, store)

    def pass_steps(self) -> int:
        """Environment steps of one pass of learning."""
        return self.programs.pass_steps(self.settings.updates, self.settings.rows)

    def least(self, state: LoopState) -> float:
        """Steps that another round takes with a single pass: all but learning as in the rounds so far, on average.

        0 before the first round, which is made for any budget: nothing is known of it.
        """
        rounds, besides = int(state.round), state.total - int(state.steps["learn"])
        return self.pass_steps() + besides / rounds if rounds else 0.0

    def ended(self, state: LoopState, budget: Budget) -> bool:
        """Whether no other round begins."""
        return budget.ended(int(state.round), state.total, self.least(state))

    def round(self, state: LoopState, stage=lambda name: None, budget: Budget = UNLIMITED) -> tuple[LoopState, Journal]:
        """One round. ``stage`` is told the name of each stage as it begins; the last of the budget has one more."""
        work = Round(self, state, budget)
        for name in ("propose", "enter", "learn", "verify", "finish"):
            stage(name)
            getattr(work, name)()
        if self.ended(work.state, budget):
            stage("audit")
            work.close()
        return work.state, work.journal


class Round(Trials):
    """The work of one round: stages in the order of their definition."""

    def __init__(self, loop: Loop, state: LoopState, budget: Budget):
        super().__init__(loop.programs, loop.acceptance, loop.settings, loop.generator.novelty, state, loop.seed)
        self.loop, self.budget = loop, budget

    # Stages.

    def propose(self) -> None:
        """Generator, witness search, screen with the old learner, rank by the objective."""
        loop = self.loop
        for name, family in loop.families.items():
            book = self.state.repertoire[name]
            count = loop.settings.candidates
            proposal, generator = loop.generator.propose(self.state.generator[name], family.specs, book, count, self.rng)
            self.state = self.state._replace(generator=self.state.generator | {name: generator})
            grounding = loop.programs.ground(name, proposal.vector, self._fresh())
            grounding = grounding._replace(vector=tasks.snap(family.specs, grounding.vector))
            self.candidates[name] = self._screen(name, proposal, grounding)

    def enter(self) -> None:
        """Old evidence for the best candidates; those that the old learner fails by test enter the frontier."""
        rows = {name: c.open[: self.loop.settings.entries] for name, c in self.candidates.items()}
        flat = [(name, int(row)) for name in rows for row in rows[name]]
        evidence = self._entry([(name, int(self.candidates[name].place[row])) for name, row in flat])
        enters: dict[str, list[int]] = {name: [] for name in rows}
        for i, (name, row) in enumerate(flat):
            task = self._record(name, row, self.candidates[name].proposal, self.candidates[name].grounding)
            self._evaluated(task, "old", evidence.lifetimes[i], evidence.successes[i])
            if evidence.rejects[i]:
                enters[name].append(row)
            else:
                self.journal.status(task, "rejected", f"the old learner may solve it: {solved_of(evidence, i)}")
        for name, chosen in enters.items():
            self._into_frontier(name, np.array(chosen, np.int64))
        self._quarantine("in the entry test")

    def learn(self) -> None:
        """Updates on frontier, archive and pool; success while learning is the estimate of progress."""
        self._direct()
        passes = self._affordable() if self.number > 1 else 1  # the first round knows few tasks
        batch, source = self._lessons(passes)
        learner, model, told = self.loop.programs.learn(self.state.learner, self.state.model, batch, self._fresh())
        reports, metrics = told
        self.state = self.state._replace(learner=learner, model=model, version=self.state.version + 1)
        self.journal.metrics |= metrics
        late = passes * self.loop.settings.updates // 4  # the first updates say little of the learner that is tested
        for name, report in reports.items():
            told_of = self._in_focus(name, source[name])
            told_of[:late] = False
            place, won = source[name][told_of], report.success[told_of, -1]
            wins, tries = (np.bincount(place, w, minlength=self.loop.settings.capacity) for w in (won, np.ones(place.size)))
            self.estimate[name] = wins, tries
            self.broken |= {(name, int(row)) for row in source[name][report.broken]}
            seen = jax.tree.map(lambda column, told=told_of: column[told], report.appraisal)
            self._appraise(name, place, seen, self.loop.objective)
        self._quarantine("while learning (a task of the pool: with motor directions drawn anew)")

    def verify(self) -> None:
        """Retention first (repair, else roll back), then acceptance with the learner that is kept."""
        loop = self.loop
        retained = False
        for attempt in range(loop.acceptance.repairs + 1):
            result = self._retain(attempt)
            retained = result.passed
            if retained or attempt == loop.acceptance.repairs:
                break
            self.journal.events.append((None, "repaired", f"half of the way back because {result.reason}"))
            self._turn_back()
        accepted = self._decide() if retained else 0
        if not loop.acceptance.keeps_learner(retained, accepted > 0):
            reason = "it forgot accepted tasks" if not retained else "no task was accepted (strict mode)"
            self.journal.events.append((None, "rolled_back", f"the learner of the previous round returns: {reason}"))
            self._return()

    def finish(self) -> None:
        """Objective and generator learn from what became of the candidates; stale frontier tasks leave; counts."""
        for name in self.loop.families:
            self._teach(name)
            self._retire(name)
        if self.number % self.loop.acceptance.audit_every == 0:
            self.audit()
        steps = {purpose: np.asarray(count, np.int64) for purpose, count in self.loop.programs.steps.items()}
        self.state = self.state._replace(round=np.asarray(self.number, np.int64), steps=steps)
        self._count(steps)

    def close(self) -> None:
        """After the last round: every accepted task gets a verdict, unless it has just got one. No part of the budget."""
        if any(kind == "audited" for _, kind, _ in self.journal.events):
            return
        self.audit()
        self._count(self.state.steps)
        self.journal.metrics["steps_audit"] = float(sum(self.programs.steps.values()) - self.state.total)

    # Parts of the stages.

    def _screen(self, name: str, proposal: Proposal, grounding: Any) -> Candidates:
        loop, settings = self.loop, self.loop.settings
        vector = grounding.vector
        book = self.state.repertoire[name]
        taken = book.vector[book.status != EMPTY]
        valid = (grounding.verdict == 0) & tasks.novel(vector, taken, loop.generator.novelty)
        rows = np.repeat(np.flatnonzero(valid), settings.screen_lifetimes)
        out = loop.programs.evaluate(name, self.state.learner.params, vector[rows], self._fresh(), "screen")
        label, broken = self._suit(name, vector, rows, out)
        successes = np.bincount(rows, out.success[:, -1], minlength=len(vector)).astype(np.int64)
        broken = np.bincount(rows, broken, minlength=len(vector)) > 0
        for row in np.flatnonzero(broken & valid):
            task = self._record(name, int(row), proposal, grounding)
            self.journal.status(task, "quarantined", "physics left its bounds at the screen")
        valid = valid & ~broken
        known = Known(successes, np.where(valid, settings.screen_lifetimes, 0), kin(book, proposal), self._cost(name, proposal))
        rank = loop.objective.predict(self.state.ranker, known, self.rng)
        failing = valid & (successes < loop.acceptance.fail * settings.screen_lifetimes)
        order = np.flatnonzero(failing)
        place = self._into_pool(name, np.flatnonzero(valid), proposal, grounding, known, label)
        order = order[place[order] >= 0]
        return Candidates(proposal, grounding, valid, known, place, order[np.argsort(-rank[order], kind="stable")])

    def _into_frontier(self, name: str, rows: np.ndarray) -> None:
        candidate, book = self.candidates[name], self.state.repertoire[name]
        for row in rows:
            self.journal.status(self._id(name, candidate.grounding.vector[row]), "frontier", "the old learner fails it by test")
        failed = self._routes([(name, int(row)) for row in candidate.place[rows]])
        self._keep(name, book.change(candidate.place[rows], status=FRONTIER, failed=failed))

    def _affordable(self) -> int:
        """Passes of learning, when this round's tests take what those of the rounds before it took on average."""
        spent, before = self.programs.steps, self.state.steps
        tests = sum(int(before[purpose]) for purpose in ("verify", "retention")) / (self.number - 1)
        tests = max(0.0, tests - (spent["verify"] - int(before["verify"])))
        least, most = self.loop.least(self.state), self.loop.settings.passes
        return self.budget.passes(sum(spent.values()) + tests, self.loop.pass_steps(), least, most)

    def _lessons(self, passes: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What is learned from: by family task vectors f32[P, U, B, D], and the rows i64[P U, B] that they stand in."""
        settings, batch, source = self.loop.settings, {}, {}
        shape = (passes, settings.updates, settings.rows)
        each = settings.most_lifetimes / np.prod(shape)
        shares = (settings.frontier_share, FRONTIER), (settings.replay_share, ACCEPTED)
        for name in self.loop.families:
            book = self._within(name)
            frontier, replay = (min(share, each * book.rows(status).size) for share, status in shares)
            rows, weight = mixture(book, frontier, replay, self.loop.objective.urgency)
            chosen = self.rng.choice(rows, shape, p=weight)
            source[name] = chosen.reshape(-1, settings.rows)
            batch[name] = book.vector[chosen]
            loose = book.status[chosen] == SEEN  # a small pool would be learned by heart, motor directions and all
            batch[name][loose] = interface.redirect(self.families[name].specs, batch[name][loose], self.rng)
        return batch, source

    def _teach(self, name: str) -> None:
        candidate, (wins, tries) = self.candidates[name], self.estimate[name]
        book = self.state.repertoire[name]
        gone = (candidate.place >= 0) & (book.status[candidate.place] == EMPTY)  # quarantined since
        rows = np.flatnonzero((candidate.place >= 0) & ~gone & (tries[candidate.place] > 0))
        places = candidate.place[rows]
        realised = self.loop.objective.score(book.success[places], wins[places] / tries[places], candidate.known.cost[rows])
        known = Known(*(column[rows] for column in candidate.known))
        fitness = np.where(candidate.valid & ~gone, -1.0, -np.inf)
        fitness[(candidate.place >= 0) & ~gone & ~self._in_focus(name, candidate.place)] = np.nan
        fitness[rows] = realised
        generator = self.loop.generator.update(self.state.generator[name], candidate.proposal, fitness)
        self.state = self.state._replace(
            ranker=self.loop.objective.learn(self.state.ranker, known, realised),
            generator=self.state.generator | {name: generator},
        )
        seen = np.flatnonzero(tries > 0)
        after = ((wins[seen] + PRIOR * book.success[seen]) / (tries[seen] + PRIOR)).astype(np.float32)
        self._keep(name, book.change(seen, success=after, progress=after - book.success[seen]))

    def _retire(self, name: str) -> None:
        """What stayed too long, and the least solved of a full frontier, go to the pool, which drops what is worth least."""
        settings, book = self.loop.settings, self.state.repertoire[name]
        rows = book.rows(FRONTIER)
        stale = book.entered[rows] <= self.number - settings.stay + 1
        young = rows[~stale]
        crowded = young[np.argsort(book.success[young], kind="stable")][: max(0, young.size - settings.frontier)]
        reasons = (f"not solved within {settings.stay} rounds in the frontier", "the least solved of a full frontier")
        for leaving, reason in zip((rows[stale], crowded), reasons, strict=True):
            for row in leaving:
                self.journal.status(self._id(name, book.vector[row]), "rejected", reason)
            book = book.change(leaving, status=SEEN)
        pool = book.rows(SEEN)
        least = np.argsort(self.loop.objective.worth(book.at(pool)), kind="stable")[: max(0, pool.size - settings.pool)]
        self._keep(name, book.change(pool[least], status=EMPTY))
