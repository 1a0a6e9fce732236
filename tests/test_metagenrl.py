"""A policy that trains itself between episodes: acting equals learning, and the objective hears no sensors and no order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openended.metagenrl import Segment, SelfTaughtPolicy, objective, objective_init
from openended.networks import HISTORY
from openended.types import Percept

B, K, S, W, A = 2, 3, 4, 4, 3
T = K * S
POLICY = SelfTaughtPolicy(W, A, width=8, hidden=8, pair=6, episode_steps=S)


@functools.cache
def params():
    made = jax.jit(POLICY.init)(jax.random.key(0))
    made["policy"]["actor"]["w"] = 100.0 * made["policy"]["actor"]["w"]  # it starts near zero on purpose
    made["objective"]["out"]["w"] = 10.0 * made["objective"]["out"]["w"]
    return made


@functools.cache
def percepts():
    """Random lifetimes; the second episode ends before its time."""
    keys = jax.random.split(jax.random.key(1), 4)
    seen, change = (jax.random.normal(key, (B, T, W)) for key in keys[:2])
    action, reward = jax.random.normal(keys[2], (B, T, HISTORY * A)), jax.random.normal(keys[3], (B, T))
    first = jnp.zeros((B, T)).at[:, ::S].set(1.0)
    live = jnp.ones((B, T)).at[:, 2 * S - 2 : 2 * S].set(0.0)
    return Percept(seen, change, action, reward, first, live, jnp.ones((B, 1, W)), jnp.ones((B, 1, A)))


@jax.jit
def _outputs(made, seen):
    return POLICY.sequence(made, seen)


@jax.jit
@jax.grad
def _slope(made, seen):
    out = POLICY.sequence(made, seen)
    return jnp.sum(jnp.square(out.mean) + out.log_std) + jnp.sum(out.value)


def outputs(seen):
    return _outputs(params(), seen)


def slope(seen):
    """Gradient of something that all outputs enter."""
    return _slope(params(), seen)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def changed(a, b):
    """The largest change of the mean, by episode f32[K]."""
    return np.abs(np.asarray(a.mean - b.mean)).reshape(B, K, S, A).max(axis=(0, 2, 3))


def test_step_by_step_equals_sequence():
    seen, made = percepts(), params()
    alone = seen._replace(sensed=None, motors=None)

    def episode(memory, percepts):
        return jax.lax.scan(lambda *x: POLICY.step(made, *x), POLICY.renew(made, memory, jnp.ones(A)), percepts)

    def life(percepts):
        parts = jax.tree.map(lambda x: x.reshape(K, S, *x.shape[1:]), percepts)
        found = jax.lax.scan(episode, POLICY.initial_memory(made), parts)[1]
        return jax.tree.map(lambda x: x.reshape(T, *x.shape[2:]), found)

    jax.tree.map(close, outputs(seen), jax.jit(jax.vmap(life))(alone))


def test_every_parameter_gets_a_gradient():
    for path, leaf in jax.tree_util.tree_leaves_with_path(slope(percepts())):
        assert np.all(np.isfinite(leaf)) and float(jnp.max(jnp.abs(leaf))) > 1e-7, jax.tree_util.keystr(path)


def test_an_episode_changes_only_those_after_it():
    seen = percepts()
    for k in range(K):
        reward = seen.reward.at[:, k * S + 1].add(1.0)
        assert np.array_equal(changed(outputs(seen), outputs(seen._replace(reward=reward))) > 1e-6, np.arange(K) > k)


def test_what_comes_after_the_time_limit_teaches_nothing():
    seen, late = percepts(), slice(2 * S - 2, 2 * S)
    other = seen._replace(reward=seen.reward.at[:, late].add(1.0), action=seen.action.at[:, late].add(1.0))
    assert changed(outputs(seen), outputs(other)).max() == 0.0


def test_gradients_of_lifetimes_that_were_over_at_once_are_numbers():
    seen = percepts()._replace(live=jnp.zeros((B, T)))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope(seen)))


def test_a_step_goes_down_the_objective_and_is_no_longer_than_it_may_be():
    made, seen = params(), jax.tree.map(lambda x: x[0], percepts())
    memory = POLICY.renew(made, POLICY.initial_memory(made), jnp.ones(A))
    jax.tree.map(np.testing.assert_array_equal, memory.policy, made["policy"])  # nothing was played yet
    for t in range(S):
        memory, _ = POLICY.step(made, memory, jax.tree.map(lambda x, t=t: x[t], seen._replace(sensed=None, motors=None)))
    after = POLICY.renew(made, memory, jnp.ones(A))
    moved = jax.tree.map(lambda a, b: a - b, after.policy, made["policy"])
    length = np.sqrt(sum(float(jnp.sum(jnp.square(leaf))) for leaf in jax.tree.leaves(moved)))
    assert 1e-3 < length <= POLICY.step_size + 1e-5
    assert int(after.at) == 0 and not np.any(after.page.live)


def segment(motors):
    keys = jax.random.split(jax.random.key(2), 5)
    action, mean = (jax.random.normal(key, (S, A)) for key in keys[:2])
    told = jax.random.normal(keys[2], (S,)), jnp.arange(S) / S, jax.random.normal(keys[3], (S + 1,)), jnp.ones(S)
    return Segment(action[:, motors], *told), mean[:, motors]


def test_the_objective_does_not_mind_the_order_and_the_number_of_motors():
    alpha = objective_init(jax.random.key(0), 8, 6)
    one, mean = segment(np.arange(2))
    value = objective(alpha, one, jnp.ones(2), mean, jnp.ones(2))
    other, swapped = segment(np.array([1, 0]))
    close(value, objective(alpha, other, jnp.ones(2), swapped, jnp.ones(2)))
    wide, padded = segment(np.array([0, 1, 2]))
    close(value, objective(alpha, wide, jnp.array([1.0, 1.0, 0.0]), padded, jnp.ones(3)))
    assert abs(value - objective(alpha, wide, jnp.ones(3), padded, jnp.ones(3))) > 1e-4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory": "gru"}, "learner.memory is 'gru'; allowed: metagenrl"),
        ({"pair": 0}, "learner.policy.pair is 0; allowed: a whole"),
        ({"step_size": 0.0}, "learner.policy.step_size is 0.0; allowed: above 0"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        SelfTaughtPolicy(W, A, **changes)


def test_episodes_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"learner\.policy\.episode_steps is 7; allowed: a divisor of the 12 steps"):
        SelfTaughtPolicy(W, A, episode_steps=7).sequence(None, percepts())
