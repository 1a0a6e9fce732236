"""What is worth learning: the world model learns what can be predicted, in every family, and rewards progress only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from openended import trees
from openended.objectives.base import Known
from openended.objectives.learning_progress import LearningProgress, _errors
from openended.types import Percept, Rollout

ROWS, STEPS, WIDTH, ACTIONS = 32, 20, 4, 2


@pytest.fixture(scope="module")
def objective():
    return LearningProgress()


def rollout(key, change):
    """Walks f32[ROWS, STEPS, WIDTH] whose changes are ``change(row, action, noise)``; the first half is one family."""
    first, second = jax.random.split(key)
    action = jax.random.uniform(first, (ROWS, STEPS, ACTIONS), minval=-1.0, maxval=1.0)
    noise = jax.random.normal(second, (ROWS, STEPS, WIDTH))
    later = (jnp.arange(ROWS) >= ROWS // 2)[:, None, None]
    seen = jnp.cumsum(jnp.pad(0.1 * change(later, action, noise), ((0, 0), (1, 0), (0, 0)))[:, :-1], axis=1)
    zeros, ones = jnp.zeros((ROWS, STEPS)), jnp.ones((ROWS, STEPS))
    percept = Percept(seen, seen, action, zeros, zeros.at[:, 0].set(1.0), ones)
    masks = jnp.ones((ROWS, STEPS, ACTIONS))
    live = jnp.ones((ROWS, STEPS), bool)
    return Rollout(percept, action, zeros, zeros, zeros, live, masks, jnp.ones((ROWS, 1), bool), jnp.zeros(ROWS, bool))


def pushed(later, action, noise):
    """The first family moves along its first numbers, the second along the others."""
    both = jnp.concatenate([action, jnp.zeros_like(action)], axis=-1)
    return jnp.where(later, both[..., ::-1], both)


def trained(objective, change, updates):
    """Models after so many updates, intrinsic rewards of all of them f32[updates, ROWS, STEPS]."""
    keys = jax.random.split(jax.random.key(1), updates)

    def one(model, seen):
        return objective.train(model, seen), objective.intrinsic(model, seen)

    def run(model, seen):
        return jax.lax.scan(one, model, seen)

    rows = PartitionSpec(None, trees.AXIS)
    program = trees.OverDevices(run, (trees.SAME, rows), (trees.SAME, rows))
    lifetimes = jax.jit(jax.vmap(lambda key: rollout(key, change)))(keys)
    # Every device gets rows of both families, as in the loop.
    order = jnp.arange(ROWS).reshape(2, -1, ROWS // 2 // len(jax.devices())).swapaxes(0, 1).reshape(-1)
    dealt = jax.tree.map(lambda leaf: leaf[:, order], lifetimes)
    model, reward = program(trees.replicate(objective.init_model(jax.random.key(0), WIDTH, ACTIONS)), dealt)
    return model, np.asarray(reward)[:, np.argsort(order)]


def test_the_world_model_learns_every_family(objective):
    model, _ = trained(objective, pushed, 300)
    fresh = rollout(jax.random.key(2), pushed)
    born = objective.init_model(jax.random.key(0), WIDTH, ACTIONS)
    before, after = (np.asarray(_errors(net, fresh)).reshape(2, -1).mean(axis=1) for net in (born.now, model.now))
    assert np.all(after < 0.6 * before), (before, after)


def test_only_progress_is_rewarded(objective):
    """What can be learned pays while it is learned; noise that nobody can predict pays nothing, early or late."""
    _, learned = trained(objective, pushed, 300)
    _, noisy = trained(objective, lambda later, action, noise: noise, 300)
    early, late = learned[5:50].mean(), learned[-50:].mean()
    assert early > 10 * abs(noisy[5:50].mean()) and early > 4 * abs(late)
    assert abs(noisy[-50:].mean()) < 0.02 * objective.intrinsic_weight
    assert np.abs(learned).max() <= objective.intrinsic_weight + 1e-9


def test_the_ranker_finds_what_progress_depends_on(objective):
    """Of candidates whose progress follows their kin, those with progressing kin come first."""
    rng, ranker = np.random.default_rng(0), objective.init_ranker()
    for _ in range(30):
        known = Known(rng.integers(0, 5, 64), np.full(64, 4), rng.uniform(0, 1, 64), np.ones(64))
        ranker = objective.learn(ranker, known, 0.8 * known.kin)
    good, bad = (Known(np.full(1, 2), np.full(1, 4), np.full(1, kin), np.ones(1)) for kin in (0.9, 0.1))
    assert objective.predict(ranker, good, rng) > objective.predict(ranker, bad, rng) + 0.3
    dear = good._replace(cost=np.full(1, 4.0))
    assert objective.predict(ranker, dear, rng) < 0.5 * objective.predict(ranker, good, rng)
