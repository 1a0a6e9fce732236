"""Routes: which module of the learner plays a task, which one learns in a round, and whose verdicts on the archive still hold.

``route``: the module that the controller picks for a task. ``label``: the one that the controller is told is best for it.
``focus``: the one that learns. With an ordinary learner, which is one module, all of this is nothing: it plays every task, and
every round changes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from openended import trees
from openended.evidence import Retention, Standing
from openended.ledger import Ledger, Place
from openended.repertoire import ACCEPTED, EMPTY, FRONTIER, Repertoire
from openended.statistics import VerdictRule
from openended.types import Outcome

STEADY = 10.0  # how much the label of an accepted task counts for the controller, against one of another task
Rows = dict[str, np.ndarray]  # by family


class Routes(Ledger):
    """The modules of a round."""

    route: Rows  # while learning: of every row of the repertoire, -1 where it is empty
    focus = 0

    @property
    def _several(self) -> bool:
        return self.programs.learner.modules > 1

    @property
    def _first(self) -> bool:
        """Whether no task was known before this round: then all modules are still copies of one."""
        return not any(np.any(book.status != EMPTY) for book in self.old.repertoire.values())

    # The E step.

    def _suit(self, name: str, vector: np.ndarray, rows: np.ndarray, own: Outcome) -> tuple[np.ndarray, np.ndarray]:
        """Labels i64[C] of candidates f32[C, D], and which lifetimes bool[R] broke with either module.

        A second module plays the rows i64[R] of the candidates too; ``own``: what the first one made of them. Each lifetime
        that is solved counts like a factor e of the controller's probability.
        """
        label = np.zeros(len(vector), np.int64)
        if not self._several or self._first:
            return label, own.broken
        new, index = np.unique(rows, return_inverse=True)
        prior = self.programs.learner.likelihoods(self._params(), self.programs.sights(name, vector[new]))
        likely, other = prior.argmax(axis=1), rivals(prior, self.rng)
        out = self.programs.evaluate(name, self._params(), vector[rows], self._fresh(), "screen", route=other[index])
        more = np.bincount(index, out.success[:, -1] * 1.0 - own.success[:, -1], minlength=new.size)
        each = np.arange(new.size)
        label[new] = np.where(more > prior[each, likely] - prior[each, other], other, likely)
        return label, own.broken | out.broken

    def _divide(self, rows: Rows, sights: Rows) -> None:
        """Labels of the first tasks: clusters of what is seen in them, less what their family always shows."""
        from scipy.cluster import vq  # slow to import, and only several modules need it

        modules = self.programs.learner.modules
        centred = np.concatenate([some - some.mean(axis=0) for some in sights.values() if len(some)]).astype(float)
        few = len(centred) <= modules
        label = np.arange(len(centred)) if few else vq.kmeans2(centred, modules, minit="++", seed=self.rng)[1]
        for name, mine in rows.items():
            self._keep(name, self.state.repertoire[name].change(mine, label=label[: mine.size]))
            label = label[mine.size :]

    # The M step.

    def _direct(self) -> None:
        """The controller follows the labels, and a module that is needed comes into focus."""
        if not self._several:
            return
        rows = {name: np.flatnonzero(book.status != EMPTY) for name, book in self.state.repertoire.items()}
        sights = {name: self.programs.sights(name, self.state.repertoire[name].vector[mine]) for name, mine in rows.items()}
        if self._first and any(map(len, rows.values())):
            self._divide(rows, sights)
        self._follow(rows, sights)
        self.focus = self._needed()
        learner = self.programs.learner.focus(self.state.learner, self.focus)
        self.state = self.state._replace(learner=trees.replicate(learner))

    def _follow(self, rows: Rows, sights: Rows) -> None:
        """Steps of the controller, which settle the routes of the round."""
        learner, books = self.programs.learner, self.state.repertoire
        label = np.concatenate([books[name].label[mine] for name, mine in rows.items()])
        status = np.concatenate([books[name].status[mine] for name, mine in rows.items()])
        weight = np.where(status == ACCEPTED, STEADY, 1.0)
        state = learner.assign(self.state.learner, np.concatenate(list(sights.values())), label, weight)
        likely = {name: learner.likelihoods(state.params, seen) for name, seen in sights.items()}
        self.route = {name: np.full(len(book.status), -1) for name, book in books.items()}
        for name, found in likely.items():
            self.route[name][rows[name]] = found.argmax(axis=1)
        self.state = self.state._replace(learner=state)
        self.journal.metrics |= entropies(np.concatenate(list(likely.values())))

    def _needed(self) -> int:
        """A module for the focus: any that plays tasks of the frontier or forgotten ones, all alike; else each in turn.

        Alike, and not by the number of tasks: a module that plays much would learn often, and most would be tested again.
        """
        wanted = []
        for name, book in self.state.repertoire.items():
            open_ = (book.status == FRONTIER) | ((book.status == ACCEPTED) & book.forgotten)
            wanted.append(self.route[name][open_])
        modules = np.unique(np.concatenate(wanted))
        return int(self.rng.choice(modules)) if modules.size else (self.number - 1) % self.programs.learner.modules

    def _in_focus(self, name: str, place: np.ndarray) -> np.ndarray:
        """Which of these rows of the repertoire are played by what learns: all that the round's learning says something of."""
        return self.route[name][place] == self.focus if self._several else np.ones(place.shape, bool)

    def _within(self, name: str) -> Repertoire:
        """The tasks that the module in focus plays; where there is none all, for the update needs some of every family."""
        book = self.state.repertoire[name]
        if not self._several or not np.any(self.route[name] == self.focus):
            return book
        return book.change(np.flatnonzero(self.route[name] != self.focus), status=EMPTY)

    # Tests.

    def _routes(self, places: Sequence[Place]) -> np.ndarray:
        """The modules i64[N] that play these tasks now."""
        found = np.zeros(len(places), np.int64)
        for name, (mine, rows) in self._parted(places).items():
            found[mine] = self.programs.routes(name, self._params(), self.state.repertoire[name].vector[rows])
        return found

    def _standing(self, places: Sequence[Place], route: np.ndarray) -> Standing | None:
        """Verdicts on what plays these tasks now, bit for bit. None of an ordinary learner, which has changed."""
        if not self._several:
            return None
        books = self.state.repertoire
        sealed, lost = (np.array([getattr(books[n], of)[row] for n, row in places]) for of in ("seal", "forgotten"))

        def standing(rule: VerdictRule) -> np.ndarray:
            return np.where(sealed == self._seals(route, rule), np.where(lost, -1, 1), 0)

        return standing

    def _vouch(self, places: Sequence[Place], route: np.ndarray, result: Retention) -> None:
        """Verdicts are sealed, and the module that is found to solve a task, its route, is its label."""
        if not self._several:
            return
        tested = [places[i] for i in result.tested]
        route, kept = route[result.tested], np.isin(result.tested, result.kept)
        seal = self._seals(route, result.rule)
        for name, (mine, rows) in self._parted(tested).items():
            book, good = self.state.repertoire[name].change(rows, seal=seal[mine]), kept[mine]
            self._keep(name, book.change(rows[good], label=route[mine][good]))

    def _seals(self, route: np.ndarray, rule: VerdictRule) -> np.ndarray:
        """Numbers i64[N], each of the weights of one of these modules i64[N] and the rule of a verdict on it."""
        params, found = jax.tree.map(np.asarray, self._params()), np.zeros(len(route), np.int64)
        for module in np.unique(route):
            found[route == module] = digest(self.programs.learner.acting(params, module), rule)
        return found

    def _relabel(self) -> None:
        """After a roll-back the labels are what plays: to follow the old ones would be the same move again."""
        if not self._several:
            return
        for name, book in self.state.repertoire.items():
            rows = np.flatnonzero((book.status != EMPTY) & (book.status != ACCEPTED))
            label = self.programs.routes(name, self._params(), book.vector[rows])
            accepted, old = book.rows(ACCEPTED), self.old.repertoire[name]
            book = book.change(rows, label=label)
            self._keep(name, book.change(accepted, label=old.label[accepted], seal=old.seal[accepted]))

    def _parted(self, places: Sequence[Place]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By family: which of the places are its own, and their rows of its repertoire."""
        found = {}
        for name in self.families:
            mine = np.array([i for i, (other, _) in enumerate(places) if other == name], np.int64)
            if mine.size:
                found[name] = mine, np.array([places[i][1] for i in mine])
        return found


def digest(tree: Any, rule: VerdictRule) -> int:
    """63 bits of all numbers in a tree of arrays and a rule, never 0."""
    found = hashlib.blake2b(digest_size=8)
    for leaf in (*jax.tree.leaves(tree), *rule):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return int.from_bytes(found.digest(), "little") >> 1 | 1


def rivals(likelihoods: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For log p(m) f[N, M] another module i64[N] than the likeliest, drawn from p."""
    p = np.exp(likelihoods) + 1e-6
    p[np.arange(len(p)), p.argmax(axis=1)] = 0.0
    return (p.cumsum(axis=1) > rng.uniform(size=(len(p), 1)) * p.sum(axis=1, keepdims=True)).argmax(axis=1)


def entropies(likelihoods: np.ndarray) -> dict[str, float]:
    """For log p(m) f[N, M] of N tasks, in bits: of a task's choice, on average, and of the average choice.

    A pool that has collapsed has 0 of the second; one whose tasks each have their module has little of the first.
    """
    if not len(likelihoods):
        return {}
    p = np.exp(likelihoods)

    def bits(p: np.ndarray) -> np.ndarray:
        return -np.sum(p * np.log2(np.maximum(p, 1e-12)), axis=-1)

    return {"selection_entropy": float(bits(p).mean()), "batch_entropy": float(bits(p.mean(axis=0)))}
