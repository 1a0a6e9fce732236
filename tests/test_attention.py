"""The transformer's memory: what it reads, what it forgets, and that acting and learning agree beyond its span."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openended import attention
from openended.attention import Sizes
from openended.networks import Policy

B, T, WIDTH = 3, 12, 16


def made(sizes, seed=0):
    """Parameters, hidden f32[B, T, WIDTH], and live f32[B, T] with percepts that do not count."""
    keys = jax.random.split(jax.random.key(seed), 3)
    live = (jax.random.uniform(keys[2], (B, T)) < 0.7).astype(jnp.float32).at[0, :2].set(0.0)
    return attention.init(sizes, keys[0], WIDTH), jax.random.normal(keys[1], (B, T, WIDTH)), live


def stepwise(sizes, params, hidden, live):
    step = lambda memory, now: attention.step(sizes, params, memory, *now)  # noqa: E731
    return jax.vmap(lambda *one: jax.lax.scan(step, attention.born(sizes), one)[1])(hidden, live)


@pytest.mark.parametrize("span", [1, 4, 12, 40])
@pytest.mark.parametrize("layers", [1, 2])
def test_acting_and_learning_agree_whatever_the_span(layers, span):
    sizes = Sizes(layers, heads=2, head=4, span=span)
    params, hidden, live = made(sizes)
    at_once = jax.jit(lambda *a: attention.sequence(sizes, *a))(params, hidden, live)
    one_by_one = jax.jit(lambda *a: stepwise(sizes, *a))(params, hidden, live)
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-4, atol=1e-5)


def test_it_is_the_written_equation():
    """One layer in plain loops, from the docstring: cosines times a gain, less for what is older, softmax with a one."""
    sizes = Sizes(1, heads=2, head=4, span=3)
    params, hidden, live = made(sizes)
    layer, x, counts = jax.tree.map(np.asarray, (params[0], hidden[1], live[1]))

    def normed(v):
        return v / np.sqrt(np.mean(v**2) + 1e-6)

    expected, remembered = [], []
    for t in range(T):
        query, key, value = (normed(x[t]) @ layer["ask"]["w"] + layer["ask"]["b"]).reshape(3, 2, 4)
        if counts[t]:
            remembered = [(key, value), *remembered][: sizes.span]
        read = np.zeros((2, 4))
        for h, slope in enumerate((2.0**-4, 2.0**-8)):
            cosines = [query[h] @ k[h] / np.linalg.norm(query[h]) / np.linalg.norm(k[h]) for k, _ in remembered]
            weights = [np.exp(layer["gain"][h] * cosine - slope * back) for back, cosine in enumerate(cosines)]
            read[h] = sum(w * v[h] for w, (_, v) in zip(weights, remembered, strict=True)) / (1.0 + sum(weights))
        a, b = np.split(np.concatenate([read.reshape(-1), normed(x[t])]) @ layer["use"]["w"] + layer["use"]["b"], 2)
        expected.append(x[t] + np.tanh(a) / (1.0 + np.exp(attention.SHUT - b)))
    np.testing.assert_allclose(attention.sequence(sizes, params, hidden, live)[1], expected, rtol=1e-3, atol=1e-4)


def test_what_is_older_than_the_span_is_forgotten():
    """The percept at 1 is seen from 1 to 4 of those that count, and from nowhere else; with two layers from twice as far."""
    live = jnp.ones((B, T)).at[:, 3].set(0.0)
    for layers, last in ((1, 5), (2, 8)):
        sizes = Sizes(layers, heads=2, head=4, span=4)
        params, hidden, _ = made(sizes)
        own, other = (attention.sequence(sizes, params, x, live) for x in (hidden, hidden.at[:, 1].add(1.0)))
        assert np.flatnonzero(np.any(np.asarray(own != other), axis=(0, 2))).tolist() == list(range(1, last + 1))


def test_what_does_not_count_leaves_the_memory_as_it_was():
    sizes = Sizes(2, heads=2, head=4, span=4)
    params, hidden, _ = made(sizes)
    memory = attention.born(sizes)
    for t in range(6):
        memory, _ = attention.step(sizes, params, memory, hidden[0, t], jnp.float32(1.0))
    after, _ = attention.step(sizes, params, memory, hidden[0, 6], jnp.float32(0.0))
    jax.tree.map(np.testing.assert_array_equal, after, memory)


def test_an_empty_memory_reads_as_nothing():
    sizes = Sizes(1, heads=2, head=4, span=4)
    params, hidden, live = made(sizes)
    expected = attention._used(params[0], hidden, jnp.zeros((B, T, 8)))
    np.testing.assert_allclose(attention.sequence(sizes, params, hidden, 0.0 * live), expected, rtol=1e-5, atol=1e-6)


def test_the_order_of_what_is_remembered_matters():
    sizes = Sizes(1, heads=2, head=4, span=T)
    params, hidden, _ = made(sizes)
    swapped = hidden.at[:, jnp.array([2, 7])].set(hidden[:, jnp.array([7, 2])])
    own, other = (attention.sequence(sizes, params, x, jnp.ones((B, T))) for x in (hidden, swapped))
    assert float(jnp.max(jnp.abs(own - other)[:, -1])) > 1e-3


@pytest.mark.parametrize("layers", [1, 2])
def test_a_new_born_hardly_looks_at_its_memory(layers):
    """What other percepts change of a layer's output is a small part of what the present one makes of it."""
    sizes = Sizes(layers, heads=4, head=8, span=120)
    params = attention.init(sizes, jax.random.key(0), 64)
    hidden = jax.random.normal(jax.random.key(1), (8, 120, 64))
    alone = attention.sequence(sizes, params, hidden, jnp.zeros((8, 120)))
    together = attention.sequence(sizes, params, hidden, jnp.ones((8, 120)))
    assert float(jnp.std(together - alone) / jnp.std(alone)) < 0.1


def test_no_weight_makes_it_overflow():
    sizes = Sizes(1, heads=2, head=4, span=T)
    params, hidden, live = made(sizes)
    params[0]["gain"] = jnp.array([1e6, -1e6])
    value, gradient = jax.value_and_grad(lambda p: jnp.sum(attention.sequence(sizes, p, 1e3 * hidden, live)))(params)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((value, gradient)))


def test_a_step_keeps_the_form_of_the_memory():
    """Structure, shapes and types are a fixed point, and one program takes every percept."""
    sizes = Sizes(2, heads=2, head=4, span=3)
    params, hidden, live = made(sizes)
    step, memory = jax.jit(lambda *a: attention.step(sizes, params, *a)), attention.born(sizes)
    form = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), memory)
    for t in range(T):
        memory, _ = step(memory, hidden[0, t], live[0, t])
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), memory) == form
    assert step._cache_size() == 1


@pytest.mark.parametrize("size", ["width", "heads", "head", "chunk", "layers", "span"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_impossible_sizes_are_refused_by_name(size, value):
    with pytest.raises(ValueError, match=rf"learner.policy.{size} is {value}; allowed: a whole number of at least 1"):
        Policy(5, 3, memory="transformer", **{size: value})
