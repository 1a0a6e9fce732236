"""Running mean and variance: exact while few updates were seen, over all devices, of what counts alone."""

import jax.numpy as jnp
import numpy as np
import pytest

from openended import moments, trees

program = trees.OverDevices(moments.seen, (trees.SAME, trees.ROWS, trees.ROWS), trees.SAME)


def batches(count):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(count, 8, 5, 3)) * [1.0, 4.0, 0.0] + [0.0, 7.0, 2.0]).astype(np.float32)
    live = np.ones((count, 8, 5), np.float32)
    live[:, 2:4] = 0.0
    values[:, 2:4] = np.nan  # what does not count may be anything
    return values, live


def test_mean_and_variance_are_those_of_all_that_was_seen():
    values, live = batches(10)
    found = trees.replicate(moments.unknown(3))
    for value, alive in zip(values, live, strict=True):
        found = program(found, value, alive)
    counted = values[live > 0]
    np.testing.assert_allclose(found.mean, counted.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.variance, counted.var(axis=0), rtol=1e-3, atol=1e-5)
    away = np.asarray(moments.standard(found, jnp.asarray(counted)))
    assert away[:, :2].std(axis=0) == pytest.approx(1.0, abs=0.05) and np.abs(away[:, 2]).max() < 0.01
    assert np.abs(moments.standard(found, jnp.full((1, 3), 1e6))).max() == 5.0
    assert list(moments.varied(found)) == [1.0, 1.0, 0.0]


def test_nothing_that_counts_changes_nothing():
    values, live = batches(2)
    once = program(trees.replicate(moments.unknown(3)), values[0], live[0])
    again = program(once, values[1], np.zeros_like(live[1]))
    assert all(np.array_equal(*pair) for pair in zip(once, again, strict=True))
