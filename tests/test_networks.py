"""Acting and learning see the same policy; every parameter gets a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openended import fast_weights
from openended.networks import HISTORY, MEMORIES, Policy
from openended.types import Percept

B, T, W, A = 3, 12, 5, 3


def percepts(key, leading=(B, T)):
    keys = jax.random.split(key, 5)
    shapes = [(*leading, W), (*leading, W), (*leading, HISTORY * A), leading, leading]
    numbers = (jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True))
    return Percept(*numbers, live=jnp.ones(leading).at[..., 4:7].set(0.0))


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("chunk", [4, 5])  # 5 does not divide T: one chunk
def test_step_by_step_equals_sequence(memory, chunk):
    policy = Policy(W, A, memory=memory, width=16, chunk=chunk)
    params = policy.init(jax.random.key(0))
    seen = percepts(jax.random.key(1))
    at_once = jax.jit(policy.sequence)(params, seen)
    step = lambda memory, percept: policy.step(params, memory, percept)  # noqa: E731
    stepwise = jax.jit(jax.vmap(lambda one: jax.lax.scan(step, policy.initial_memory(params), one)[1]))(seen)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), at_once, stepwise)


@pytest.mark.parametrize("memory", MEMORIES)
def test_every_parameter_gets_a_gradient(memory):
    policy = Policy(W, A, memory=memory, width=16)
    params = policy.init(jax.random.key(0))
    # The actor starts near zero on purpose; a larger one lets the test see through it.
    params["actor"]["w"] = 100.0 * params["actor"]["w"]

    def objective(params):
        out = policy.sequence(params, percepts(jax.random.key(1)))
        return jnp.sum(jnp.square(out.mean) + out.log_std) + jnp.sum(out.value)

    gradient = jax.jit(jax.grad(objective))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert float(jnp.max(jnp.abs(leaf))) > 1e-7, jax.tree_util.keystr(path)


def test_only_a_memory_remembers():
    """The last output depends on the first percept with a memory, and does not without."""
    seen = percepts(jax.random.key(1))
    other = jax.tree.map(lambda x: x.at[:, 0].add(1.0), seen)
    for memory in MEMORIES:
        policy = Policy(W, A, memory=memory, width=16)
        params = policy.init(jax.random.key(0))
        change = (policy.sequence(params, seen).value - policy.sequence(params, other).value)[0, -1]
        assert (abs(float(change)) > 1e-6) == (memory != "none"), memory


@pytest.mark.parametrize("memory", ["fast_weights", "gru", "transformer"])
def test_what_happens_after_the_limit_is_not_remembered(memory):
    """Percepts 4 to 6 of 12 count for nothing: whatever they are, nothing later changes; what precedes them stays known."""
    policy = Policy(W, A, memory=memory, width=16)
    params, seen = policy.init(jax.random.key(0)), percepts(jax.random.key(1), (1, T))
    value = jax.jit(lambda s: policy.sequence(params, s).value)

    def changed(steps):
        other = seen._replace(observation=seen.observation.at[:, steps].add(1.0), reward=seen.reward.at[:, steps].add(1.0))
        return np.abs(np.asarray(value(other) - value(seen)))[0]

    assert np.all(changed(slice(4, 7))[7:] == 0.0) and np.all(changed(slice(4, 7))[4:7] > 0.0)
    assert changed(slice(2, 4))[7] > 1e-6


def test_unknown_memory_is_refused_by_name():
    with pytest.raises(ValueError, match=r"learner.memory is 'lstm'; allowed: fast_weights"):
        Policy(W, A, memory="lstm")


@pytest.mark.parametrize(("memory", "part"), [("fast_weights", "write"), ("transformer", "layers")])
def test_the_gradient_is_that_of_the_step_by_step_form(memory, part):
    """Of fast weights products, their gradients and the parts that are kept apart are written by hand for speed."""
    policy = Policy(W, A, memory=memory, width=16, chunk=4, span=5)
    params, seen = policy.init(jax.random.key(0)), percepts(jax.random.key(1))
    params["actor"]["w"] = 100.0 * params["actor"]["w"]
    target = jax.random.normal(jax.random.key(2), (B, T, A))

    def error(output):
        return jnp.sum(jnp.square(output.mean - target)) + jnp.sum(jnp.square(output.value))

    def stepwise(params):
        step = lambda memory, percept: policy.step(params, memory, percept)  # noqa: E731
        return error(jax.vmap(lambda one: jax.lax.scan(step, policy.initial_memory(params), one)[1])(seen))

    own, expected = jax.jit(jax.grad(lambda p: error(policy.sequence(p, seen))))(params), jax.jit(jax.grad(stepwise))(params)
    assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(expected[part])) > 1e-2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), own, expected)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_products_of_small_matrices(backend, monkeypatch):
    """The same on every kind of device, with their gradients."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    a, b, c = (jax.random.normal(jax.random.key(i), (2, 3, 4, 6)) for i in range(3))
    for own, equation, x, y in (
        (fast_weights._inner, "hikn,hjkn->hijn", a, b),
        (fast_weights._outer, "hijn,hjkn->hikn", a, b.swapaxes(1, 2)),
        (fast_weights._outer_t, "hijn,hikn->hjkn", a, c),
    ):
        plain = lambda x, y, equation=equation: jnp.einsum(equation, x, y)  # noqa: E731
        np.testing.assert_allclose(own(x, y), plain(x, y), rtol=1e-5, atol=1e-5)
        got, wanted = (jax.grad(lambda x, y, f=f: jnp.sum(jnp.sin(f(x, y))), (0, 1))(x, y) for f in (own, plain))
        jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5), got, wanted)
