"""The contract of an objective: rank candidates before learning, score them after, reward what teaches. No labels."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from openended.types import Rollout


class Known(NamedTuple):
    """What is known of candidates before anything is learned, one row each."""

    successes: np.ndarray  # i64[N] screening lifetimes solved in the last episode
    lifetimes: np.ndarray  # i64[N]
    kin: np.ndarray  # f[N] latest realised progress of the parent, 0 without
    cost: np.ndarray  # f[N] description bits plus training and verification steps, relative to their mean


class AbstractObjective(abc.ABC):
    """State is a pair: ``model`` lives on the device (intrinsic reward), ``ranker`` on the host."""

    intrinsic_weight: float

    @abc.abstractmethod
    def init_ranker(self) -> np.ndarray:
        """f64[...] of fixed shape."""

    @abc.abstractmethod
    def predict(self, ranker: np.ndarray, known: Known, rng: np.random.Generator) -> np.ndarray:
        """Rank value f[N], higher is learned first."""

    def urgency(self, success: np.ndarray) -> np.ndarray:
        """How often a known task is learned from, f[N] in proportion, by its success probability. Here: all alike."""
        return np.ones(success.shape)

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


def learnability(known: Known) -> np.ndarray:
    """p (1 - p) with p = (k + 1) / (n + 2): zero information at both ends is not assumed from few lifetimes.

    Source: Rutherford et al. 2024 (SFL, arXiv 2408.15099), equation 2, with Laplace's rule.
    """
    p = (known.successes + 1.0) / (known.lifetimes + 2.0)
    return p * (1.0 - p)


def halfway_first(success: np.ndarray) -> np.ndarray:
    """p (1 - p) + 0.05: tasks between solved and hopeless the most, none never."""
    return success * (1.0 - success) + 0.05
