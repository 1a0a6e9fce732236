"""The noise of sensors is normal, and independent across numbers, times and streams."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from envs import noise

STREAMS, TIMES, COUNT = 400, 40, 12


@jax.jit
def drawn(key):
    """f32[STREAMS, TIMES, COUNT] of the streams of as many keys split from one, as episodes have them."""
    streams = jax.vmap(noise.stream)(jax.random.split(key, STREAMS))
    over_time = jax.vmap(lambda stream, time: noise.gaussian(stream, time, COUNT), (None, 0))
    return jax.vmap(over_time, (0, None))(streams, jnp.arange(TIMES))


def test_it_is_normal():
    numbers = np.asarray(drawn(jax.random.key(0))).astype(np.float64)
    assert stats.kstest(numbers.reshape(-1), "norm").pvalue > 1e-3
    for axis in (0, 1, 2):  # every time, every stream, every number by itself
        each = np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1)
        assert np.abs(each.mean(axis=1)).max() < 5.0 / np.sqrt(each.shape[1])
        assert np.abs(each.var(axis=1) - 1.0).max() < 5.0 * np.sqrt(2.0 / each.shape[1])


def test_no_number_tells_another():
    """Correlations of neighbours in number, time and stream, and of their squares, are those of chance."""
    numbers = np.asarray(drawn(jax.random.key(1))).astype(np.float64)
    for axis in (0, 1, 2):
        for lag in (1, 2, 7):
            one = np.take(numbers, range(numbers.shape[axis] - lag), axis).reshape(-1)
            other = np.take(numbers, range(lag, numbers.shape[axis]), axis).reshape(-1)
            for a, b in ((one, other), (one**2, other**2), (one, other**2)):
                assert abs(np.corrcoef(a, b)[0, 1]) < 5.0 / np.sqrt(one.size), (axis, lag)
    assert len(np.unique(numbers)) > 0.98 * numbers.size  # 24 bits each


def test_other_keys_and_the_same():
    first, again, other = (np.asarray(drawn(jax.random.key(seed))) for seed in (0, 0, 5))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.reshape(-1), other.reshape(-1))[0, 1]) < 5.0 / np.sqrt(first.size)
    assert np.all(np.isfinite(noise.gaussian(jnp.zeros(2, jnp.uint32), jnp.zeros((), jnp.int32), 100_000)))
