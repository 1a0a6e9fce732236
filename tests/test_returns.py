"""Advantages against numbers worked out by hand."""

import jax.numpy as jnp
import numpy as np

from openended import returns


def test_advantages_by_hand():
    reward, value = jnp.array([1.0, 0.0, 2.0]), jnp.array([0.5, 1.0, 0.0])
    got = returns.advantages(reward, value, jnp.ones(3, bool), 0.5, 0.5)
    # delta_2 = 2 - 0; delta_1 = 0 + 0 - 1; delta_0 = 1 + 0.5 - 0.5; A_1 = -1 + 0.25 * 2; A_0 = 1 + 0.25 * -0.5
    np.testing.assert_allclose(got, [0.875, -0.5, 2.0], rtol=1e-6)


def test_idle_steps_are_skipped_not_terminal():
    """Inserting an idle step changes nothing for the others: values and credit are carried across it."""
    running = jnp.array([True, False, True, True])
    reward, value = jnp.array([1.0, 9.0, 0.0, 2.0]), jnp.array([0.5, 7.0, 1.0, 0.0])
    got = returns.advantages(reward, value, running, 0.5, 0.5)
    np.testing.assert_allclose(got, [0.875, 0.0, -0.5, 2.0], rtol=1e-6)


def test_normalise_ignores_weightless_steps():
    got = returns.normalise(jnp.array([1.0, 3.0, 100.0]), jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(got, [-1.0, 1.0, 0.0], atol=1e-5)
