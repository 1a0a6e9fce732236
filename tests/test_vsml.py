"""The shared LSTM: blind to the order and the number of sensors and motors, the same when acting and when learning."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openended import configuration, rollouts
from openended.networks import HISTORY
from openended.types import Percept
from openended.vsml import SharedPolicy

B, T, W, A = 3, 12, 6, 3
POLICY = SharedPolicy(W, A, units=8, width=8)


@functools.cache
def params():
    made = jax.jit(POLICY.init)(jax.random.key(0))
    made["actor"]["w"] = 100.0 * made["actor"]["w"]  # it starts near zero on purpose
    return made


def percepts(sensors=W, motors=A, wide=W, many=A):
    """Random lifetimes of bodies with so many sensors and motors, in a layout of ``wide`` and ``many``."""
    keys = jax.random.split(jax.random.key(1), 4)
    seen, change = (jax.random.normal(key, (B, T, W))[..., :sensors] for key in keys[:2])
    action = jax.random.normal(keys[2], (B, T, HISTORY, A))[..., :motors]
    reward = jax.random.normal(keys[3], (B, T))
    seen, change = (jnp.pad(x, ((0, 0), (0, 0), (0, wide - sensors))) for x in (seen, change))
    action = jnp.pad(action, ((0, 0), (0, 0), (0, 0), (0, many - motors))).reshape(B, T, -1)
    bodies = [jnp.broadcast_to(jnp.arange(x) < n, (B, 1, x)).astype(jnp.float32) for x, n in ((wide, sensors), (many, motors))]
    live = jnp.ones((B, T)).at[:, 4:7].set(0.0)
    return Percept(seen, change, action, reward, jnp.zeros((B, T)).at[:, 0].set(1.0), live, *bodies)


def outputs(seen, policy=POLICY):
    return jax.jit(policy.sequence)(params(), seen)


def close(a, b, **changes):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, **changes)


def test_step_by_step_equals_sequence():
    seen = percepts()
    body, made = (seen.sensed[0, 0], seen.motors[0, 0]), params()
    step = lambda memory, percept: POLICY.step(made, memory, percept._replace(sensed=body[0], motors=body[1]))  # noqa: E731
    alone = seen._replace(sensed=None, motors=None)
    stepwise = jax.jit(jax.vmap(lambda one: jax.lax.scan(step, POLICY.initial_memory(made), one)[1]))(alone)
    jax.tree.map(close, outputs(seen), stepwise)


def test_every_parameter_gets_a_gradient():
    seen = percepts()

    def objective(params):
        out = POLICY.sequence(params, seen)
        return jnp.sum(jnp.square(out.mean) + out.log_std) + jnp.sum(out.value)

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(objective))(params())):
        assert float(jnp.max(jnp.abs(leaf))) > 1e-7, jax.tree_util.keystr(path)


def test_the_order_of_sensors_does_not_matter():
    seen, order = percepts(), np.random.default_rng(0).permutation(W)
    other = seen._replace(observation=seen.observation[..., order], change=seen.change[..., order])
    jax.tree.map(close, outputs(seen), outputs(other))


def test_motors_that_change_places_take_their_actions_along():
    seen, order = percepts(), np.array([2, 0, 1])
    action = seen.action.reshape(B, T, HISTORY, A)[..., order].reshape(B, T, -1)
    out, other = outputs(seen), outputs(seen._replace(action=action))
    close(out.mean[..., order], other.mean)
    close(out.value, other.value)
    assert np.abs(out.mean - other.mean).max() > 1e-3


def test_a_body_is_the_same_in_any_layout():
    """The same weights at the native numbers of sensors and motors, and padded to another body's."""
    native = outputs(percepts(4, 2, 4, 2), SharedPolicy(4, 2, units=8, width=8))
    padded = outputs(percepts(4, 2))
    close(native.mean, padded.mean[..., :2])
    close(native.value, padded.value)


def test_what_does_not_count_is_not_remembered():
    seen = percepts()
    for steps, known in ((slice(4, 7), False), (slice(2, 4), True)):
        other = seen._replace(observation=seen.observation.at[:, steps].add(1.0))
        change = np.abs(np.asarray(outputs(seen).value - outputs(other).value)).max(axis=0)
        assert np.all((change[7:] > 0.0) == known)


def test_rollouts_tell_which_numbers_are_of_the_body():
    loop = configuration.build(configuration.read(["family=[probe,reacher]", "learner=vsml", "space.combined_goals=true"]))
    probe, layout = loop.families["probe"], loop.families["probe"].layout
    own, wide = probe.perceived, layout.sensors
    goal = probe.sensed[wide + layout.actions : -4]
    assert np.array_equal(probe.sensed[:wide], np.arange(wide) < own) and own < wide
    assert not probe.sensed[wide : wide + layout.actions].any() and not probe.sensed[-4:].any()
    assert goal.sum() == 1 + 2 * (2 + len(probe.features)) + 2 and len(goal) > goal.sum()
    tasks = {name: jnp.full((2, len(family.specs)), 0.5) for name, family in loop.families.items()}
    policy = loop.learner.policy
    run = jax.jit(lambda key: rollouts.lifetimes(loop.families, policy, policy.init(key), tasks, key, 1))
    seen = run(jax.random.key(0))
    assert np.array_equal(seen.percept.sensed[:2, 0], np.stack([probe.sensed] * 2))
    assert np.array_equal(seen.percept.motors[:, 0], seen.mask[:, 0])
    at_once = jax.jit(policy.sequence)(policy.init(jax.random.key(0)), seen.percept)
    close(at_once.value, seen.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory": "gru"}, "learner.memory is 'gru'; allowed: vsml"),
        ({"units": 0}, "learner.policy.units is 0; allowed: a whole"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        SharedPolicy(W, A, **changes)
