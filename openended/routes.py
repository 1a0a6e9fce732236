"""Which tasks use which module of the learner, in a round: what learns, what is learned from, and what has to be tested again.

With an ordinary learner, which is one module, all of this is nothing: every task uses it, and every update changes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.cluster import vq

from openended import trees
from openended.ledger import Ledger, Place
from openended.objectives.base import Known
from openended.repertoire import EMPTY, FRONTIER, Repertoire


class Routes(Ledger):
    """The modules of a round."""

    used: dict[str, np.ndarray]  # by every row of the repertoire, -1 where it is empty
    module = 0  # that learns

    @property
    def _several(self) -> bool:
        return self.programs.learner.modules > 1

    def _suit(self, name: str, place: np.ndarray, known: Known) -> None:
        """Note which module suits each new task, in these rows of the repertoire: its own, or another if that is likelier.

        Each lifetime that is solved counts like a factor e of the controller's probability.
        """
        if not self._several:
            return
        book, new = self.state.repertoire[name], np.flatnonzero(place >= 0)
        vectors, each = book.vector[place[new]], np.arange(new.size)
        prior = self.programs.learner.likelihoods(self._params(), self.programs.sights(name, vectors))
        own, other, rows = prior.argmax(axis=1), rivals(prior, self.rng), np.repeat(each, known.lifetimes[new])
        out = self.programs.play(name, self._params(), vectors[rows], other[rows], self._fresh(), "screen")
        more = np.bincount(rows, out.success[:, -1], minlength=new.size) - known.successes[new]
        best = np.where(more > prior[each, own] - prior[each, other], other, own)
        self._keep(name, book.change(place[new], module=best))

    def _direct(self) -> None:
        """The controller learns which module is best for which task; then one that is used in the frontier learns."""
        if not self._several:
            return
        learner, books = self.programs.learner, self.state.repertoire
        rows = {name: np.flatnonzero(book.status != EMPTY) for name, book in books.items()}
        seen = {name: self.programs.sights(name, books[name].vector[rows[name]]) for name in books}
        if self.number == 1:
            self._divide(rows, list(seen.values()))
        best = np.concatenate([self.state.repertoire[name].module[rows[name]] for name in books])
        state = learner.assign(self.state.learner, np.concatenate(list(seen.values())), best)
        likelihoods = {name: learner.likelihoods(state.params, sights) for name, sights in seen.items()}
        self.used = {name: np.full(len(book.status), -1) for name, book in books.items()}
        for name, found in likelihoods.items():
            self.used[name][rows[name]] = found.argmax(axis=1)
        used = [self.used[name][book.rows(FRONTIER)] for name, book in books.items()]
        wanted = np.unique(np.concatenate(used))
        self.module = int(self.rng.choice(wanted)) if wanted.size else (self.number - 1) % learner.modules
        self.state = self.state._replace(learner=trees.replicate(learner.focus(state, self.module)))
        self.journal.metrics |= entropies(np.concatenate(list(likelihoods.values())))

    def _divide(self, rows: dict[str, np.ndarray], sights: list[np.ndarray]) -> None:
        """The first tasks by clusters of what is seen in them, less what their family always shows."""
        modules = self.programs.learner.modules
        centred = np.concatenate([some - some.mean(axis=0) for some in sights if len(some)]).astype(float)
        few = len(centred) <= modules
        best = np.arange(len(centred)) if few else vq.kmeans2(centred, modules, minit="++", seed=self.rng)[1]
        for name, mine in rows.items():
            self._keep(name, self.state.repertoire[name].change(mine, module=best[: mine.size]))
            best = best[mine.size :]

    def _within(self, name: str) -> Repertoire:
        """The tasks of a family that the module in focus is used in; all, where there is none."""
        book = self.state.repertoire[name]
        if not self._several or not np.any(self.used[name] == self.module):
            return book
        return book.change(np.flatnonzero(self.used[name] != self.module), status=EMPTY)

    def _changed(self, places: Sequence[Place]) -> np.ndarray:
        """Which tasks bool[N] are played otherwise than before the round: their module has learned, or it is another one."""
        if not self._several:
            return np.ones(len(places), bool)
        changed = np.zeros(len(places), bool)
        for name in self.families:
            mine = np.array([i for i, (other, _) in enumerate(places) if other == name], np.int64)
            if not mine.size:
                continue
            vectors = self.state.repertoire[name].vector[[places[i][1] for i in mine]]
            before, now = (self.programs.modules(name, params, vectors) for params in (self.old.learner.params, self._params()))
            changed[mine] = (now == self.module) | (now != before)
        return changed

    def _settle(self, name: str, row: int) -> None:
        """An accepted task is to keep the module that it was accepted with."""
        if self._several:
            self._keep(name, self.state.repertoire[name].change(row, module=self.used[name][row]))


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
