"""Whole distributions of scores instead of one average: performance profiles, optimality gap, the worst tasks.

numpy only, float64, nothing of the project but `statistics`. Definitions of profile and gap: Agarwal et al., "Deep RL at the
edge of the statistical precipice" (2021); tests/rliable.json holds what their own program answers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openended.statistics import Floats


class Profile(NamedTuple):
    """Share of scores above each tau [N], and the ends of its pointwise interval."""

    share: Floats
    low: Floats
    high: Floats


def profile(
    scores: npt.ArrayLike, taus: npt.ArrayLike, rng: np.random.Generator, resamples: int = 2000, confidence: float = 0.95
) -> Profile:
    """Run-score distribution: the share of scores [runs, tasks] that are > tau, runs resampled within every task on its own.

    Of a task, k of n runs are above tau; resampled, they are Binomial(n, k/n), and those of m tasks with the same k are
    Binomial(n m, k/n) together: the stratified bootstrap without its drawing. Bands are for each tau by itself.
    """
    x = np.asarray(scores, np.float64)
    above = (x[:, :, None] > np.asarray(taus, np.float64)).sum(axis=0)  # [tasks, taus]
    n, size = len(x), x.size
    alike = np.stack([(above == k).sum(axis=0) for k in range(n + 1)])  # [n + 1, taus]
    draws = sum(rng.binomial(n * alike[k], k / n, (resamples, above.shape[1])) for k in range(n + 1)) / size
    side = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, [side, 1.0 - side], axis=0)
    return Profile(above.sum(axis=0) / size, low, high)


def optimality_gap(scores: npt.ArrayLike, axis: int | None = None) -> Floats:
    """1 - mean of min(score, 1): how far scores fall short of full success."""
    return np.asarray(1.0 - np.mean(np.minimum(np.asarray(scores, np.float64), 1.0), axis=axis), np.float64)


def tail(ranking: npt.ArrayLike, scores: npt.ArrayLike, share: float) -> float:
    """Conditional value at risk: mean score of the worst `share` of tasks, which are the worst by `ranking`.

    ranking, scores: [tasks], of two independent evaluations: the worst of noisy scores are worse than the tasks they belong to.
    The task at the edge counts in part; with fewer than one task in the share it is the worst alone. Tasks that rank alike
    share what falls to them. Rockafellar and Uryasev, "Conditional value-at-risk for general loss distributions" (2002).
    """
    rank, x = np.asarray(ranking, np.float64), np.asarray(scores, np.float64)
    weight = np.zeros(x.size)
    weight[np.argsort(rank, kind="stable")] = np.clip(share * x.size - np.arange(x.size), 0.0, 1.0)
    _, alike = np.unique(rank, return_inverse=True)
    each = (np.bincount(alike, weight) / np.bincount(alike))[alike]
    return float(each @ x / each.sum())
