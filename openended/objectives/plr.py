"""Prioritised level replay: known tasks are learned from by an estimate of regret, new ones as they come.

``P = (1 - s) h(rank)^(1/T) + s staleness``, each normalised: the task with the highest regret has rank 1 and ``h(r) = 1/r``,
staleness counts rounds since the last visit. Tasks that were never learned from share ``1 - replay`` alike. Regret is one of

- ``positive_value_loss``: mean over running steps of the advantage where it is positive, max(A_t, 0), by GAE;
- ``max_monte_carlo``: the highest mean of the discounted return-to-go that a lifetime there ever had, minus the mean value.

Sources: Jiang, Grefenstette, Rocktäschel 2021 (arXiv 2010.03934), equations 3 to 5; Jiang et al. 2021 (arXiv 2110.02439) for
the two estimates. There MaxMC compares the return of the whole episode with the value of every step, for rewards at its end;
with rewards at every step a value is to be compared with what comes after it. New tasks are learned from at their first visit
(plain, not robust, replay). The order is renewed once a round, not after each batch: with the usual temperature of 0.3 a single
task would get 88 % of what is replayed in all of it.

Known failure: tasks that cannot be predicted have positive advantages for ever (``positive_value_loss``), and a single lucky
lifetime keeps a task on top (``max_monte_carlo``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from openended import returns
from openended.objectives.base import AbstractObjective, Known, require, require_positive, require_share
from openended.repertoire import Repertoire, by_rank
from openended.types import Appraisal, Rollout

SCORES = ("positive_value_loss", "max_monte_carlo")


class PLR(AbstractObjective):
    """Candidates enter at random, no intrinsic reward; the pool is drawn from by regret and staleness."""

    intrinsic_weight = 0.0

    def __init__(self, score: str, replay: float, temperature: float, staleness: float, discount: float, decay: float):
        if score not in SCORES:
            raise ValueError(f"objective.score is '{score}'; allowed: {', '.join(SCORES)}")
        require_positive(temperature=temperature)
        require("0 to 1", lambda value: 0 <= value <= 1, replay=replay, staleness=staleness, decay=decay)
        require_share(discount=discount)
        self.kind, self.replay, self.temperature, self.staleness = score, replay, temperature, staleness
        self.discount, self.decay = discount, decay

    def predict(self, ranker: np.ndarray, known: Known, rng: np.random.Generator) -> np.ndarray:
        """Uniform random numbers."""
        return rng.uniform(size=known.successes.size)

    def urgency(self, pool: Repertoire) -> np.ndarray:
        """The replay distribution, and new tasks alike."""
        chance, known = np.zeros(pool.regret.size), np.isfinite(pool.regret)
        chance[~known] = (1.0 - self.replay) / max(1, int(np.sum(~known)))
        if known.any():
            ranked, visited = by_rank(pool.regret[known], self.temperature), pool.visited[known]
            waited = np.asarray(visited.max() - visited, np.float64)
            stale = waited / waited.sum() if waited.any() else ranked
            chance[known] = self.replay * ((1.0 - self.staleness) * ranked + self.staleness * stale)
        return chance

    def worth(self, pool: Repertoire) -> np.ndarray:
        """The regret: a full pool drops the lowest."""
        return pool.regret

    def appraise(self, rollout: Rollout) -> Appraisal:
        """Means over the running steps of each lifetime."""
        reward, value, running = rollout.reward, rollout.value, rollout.running
        estimate = jax.vmap(returns.advantages, in_axes=(0, 0, 0, None, None))
        advantage = estimate(reward, value, running, self.discount, self.decay)
        to_go = estimate(reward, value, running, self.discount, 1.0) + value
        steps = jnp.maximum(jnp.sum(running, axis=1), 1)
        mean = lambda x: jnp.sum(jnp.where(running, x, 0.0), axis=1) / steps  # noqa: E731
        return Appraisal(mean(jnp.maximum(advantage, 0.0)), mean(value), mean(to_go))

    def regret(self, gain: np.ndarray, value: np.ndarray, best: np.ndarray) -> np.ndarray:
        """By the chosen score."""
        return gain if self.kind == SCORES[0] else best - value
