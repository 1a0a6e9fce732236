"""The contract of an objective: rank candidates before learning, score them after, reward what teaches. No labels."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from openended.repertoire import Repertoire
from openended.types import Appraisal, Rollout

PRIOR = np.array([0.02, 1.0, 0.5])  # weights of constant, learnability and kin before any evidence


class Known(NamedTuple):
    """What is known of candidates before anything is learned, one row each."""

    successes: np.ndarray  # i64[N] screening lifetimes solved in the last episode
    lifetimes: np.ndarray  # i64[N]
    kin: np.ndarray  # f[N] latest realised progress of the parent, 0 without
    cost: np.ndarray  # f[N] 1, for the steps that all tasks share, + description bits over those of a task without a parent


class AbstractObjective(abc.ABC):
    """State is a pair: ``model`` lives on the device (intrinsic reward), ``ranker`` on the host."""

    intrinsic_weight: float

    def init_ranker(self) -> np.ndarray:
        """f64[...] of fixed shape. Here: nothing to keep."""
        return np.zeros(0)

    @abc.abstractmethod
    def predict(self, ranker: np.ndarray, known: Known, rng: np.random.Generator) -> np.ndarray:
        """Rank value f[N], higher is learned first."""

    def urgency(self, pool: Repertoire) -> np.ndarray:
        """How often each of N known tasks is learned from, f[N] in proportion. Here: all alike."""
        return np.ones(pool.success.shape)

    def worth(self, pool: Repertoire) -> np.ndarray:
        """The higher, f[N], the longer a task stays in a full pool. Here: the newest."""
        return pool.entered

    def appraise(self, rollout: Rollout) -> Appraisal | None:
        """What is measured of lifetimes [B, T] that were learned from; here nothing. Runs on the device."""
        return None

    def regret(self, gain: np.ndarray, value: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Estimate f[N] of what better play would add in each task, from means of its latest appraisals and the best."""
        raise NotImplementedError("an objective that appraises says what regret is")

    def score(self, before: np.ndarray, after: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Realised, signed progress per cost f[N]: change of the success probability."""
        return (after - before) / np.maximum(cost, 1e-3)

    def learn(self, ranker: np.ndarray, known: Known, realised: np.ndarray) -> np.ndarray:
        """The ranker after seeing what became of the candidates."""
        return ranker

    def init_model(self, key: jax.Array, observation: int, actions: int) -> Any:
        """Device state of the intrinsic reward."""
        return ()

    def intrinsic(self, model: Any, rollout: Rollout) -> jax.Array:
        """Weighted intrinsic reward f32[B, T]."""
        return jnp.zeros_like(rollout.reward)

    def train(self, model: Any, rollout: Rollout) -> Any:
        """Device state after seeing a rollout; runs once per device and agrees by averaging."""
        return model


class AbstractProgress(AbstractObjective):
    """Ranks by expected progress; what differs is the intrinsic reward, so that an ablation of it changes nothing else.

    ``predict`` is a linear model of realised progress on (1, p(1-p), progress of the parent), fitted by ridge regression with
    exponential forgetting.
    """

    def __init__(self, intrinsic_weight: float, forgetting: float):
        require("0 or more", lambda value: value >= 0, intrinsic_weight=intrinsic_weight)
        require_share(forgetting=forgetting)
        self.intrinsic_weight, self.forgetting = intrinsic_weight, forgetting

    def urgency(self, pool: Repertoire) -> np.ndarray:
        """p (1 - p), with a floor."""
        return halfway_first(pool.success)

    def init_ranker(self) -> np.ndarray:
        """f64[3, 4]: the regression's matrix X'X and vector X'y, starting at the prior's strength."""
        return np.concatenate([np.eye(3), PRIOR[:, None]], axis=1)

    def predict(self, ranker: np.ndarray, known: Known, rng: np.random.Generator) -> np.ndarray:
        """Expected progress per cost."""
        weights = np.linalg.solve(ranker[:, :3], ranker[:, 3])
        return _inputs(known) @ weights / known.cost + 1e-6 * rng.uniform(size=known.successes.size)

    def learn(self, ranker: np.ndarray, known: Known, realised: np.ndarray) -> np.ndarray:
        """Ridge regression towards the prior, old evidence fading."""
        x = _inputs(known)
        prior = self.init_ranker()
        faded = self.forgetting * (ranker - prior)
        return prior + faded + np.concatenate([x.T @ x, (x.T @ realised)[:, None]], axis=1)


def require(allowed: str, fits: Callable[[Any], bool], **settings: Any) -> None:
    """Raises a ValueError naming the first setting of an objective that is no finite number or does not fit."""
    for name, value in settings.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not fits(value):
            raise ValueError(f"objective.{name} is {value}; allowed: {allowed}")


def require_positive(**settings: Any) -> None:
    """All are above 0."""
    require("above 0", lambda value: value > 0, **settings)


def require_share(**settings: Any) -> None:
    """All are above 0 and at most 1."""
    require("above 0 and at most 1", lambda value: 0 < value <= 1, **settings)


def require_count(least: int = 1, **settings: Any) -> None:
    """All are whole numbers of at least so much."""
    require(f"a whole number of at least {least}", lambda value: isinstance(value, int) and value >= least, **settings)


def learnability(known: Known) -> np.ndarray:
    """p (1 - p) with p = (k + 1) / (n + 2): zero information at both ends is not assumed from few lifetimes.

    Source: Rutherford et al. 2024 (SFL, arXiv 2408.15099), equation 2, with Laplace's rule.
    """
    p = (known.successes + 1.0) / (known.lifetimes + 2.0)
    return p * (1.0 - p)


def halfway_first(success: np.ndarray) -> np.ndarray:
    """p (1 - p) + 0.05: tasks between solved and hopeless the most, none never."""
    return success * (1.0 - success) + 0.05


def _inputs(known: Known) -> np.ndarray:
    return np.stack([np.ones(known.successes.size), learnability(known), known.kin], axis=1)
