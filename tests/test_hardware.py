"""Arithmetic is counted as by hand, loops and all; the ceilings are numbers of a machine."""

import jax
import jax.numpy as jnp

from openended import hardware


def test_operations_by_hand():
    x, y = jnp.ones((3, 4)), jnp.ones((4, 5))
    assert hardware.operations(lambda a, b: a @ b, x, y) == 2 * 3 * 4 * 5
    assert hardware.operations(lambda a: jnp.sum(a * a + 1.0), x) == 12 + 12 + 12
    assert hardware.operations(lambda a: a.reshape(-1)[:5].T, x) == 0
    assert hardware.operations(jax.vmap(lambda a: a * 2.0), x) == 12


def test_a_loop_counts_every_time_and_a_choice_its_longest_way():
    x = jnp.ones(6)
    assert hardware.operations(lambda a: jax.lax.fori_loop(0, 7, lambda _, b: b * 2.0, a), x) in (7 * 6, 7 * 7)  # and a counter
    assert hardware.operations(lambda a: jax.lax.scan(lambda c, _: (c + a, None), a, None, length=10)[0], x) == 60
    both = lambda a: jax.lax.cond(a[0] > 0.0, lambda b: b * 2.0 + 1.0, lambda b: b, a)  # noqa: E731
    assert hardware.operations(both, x) in (12 + 1, 12 + 2)  # and the question
    assert hardware.operations(jax.jit(lambda a: a + 1.0), x) == 6


def test_ceilings(monkeypatch):
    monkeypatch.setattr(hardware, "SIDE", 256)
    monkeypatch.setattr(hardware, "COPIED", 2**20)
    found = hardware.ceilings()
    assert 1e8 < found["flops_per_s"] < 1e15 and 1e7 < found["bytes_per_s"] < 1e14
