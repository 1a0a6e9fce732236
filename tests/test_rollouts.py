"""A lifetime: what the policy sees of the step before, of other episodes, and of what counts."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.probe import Probe
from envs.spec import encode
from openended import rollouts
from openended.networks import Policy


def lived(wipe=False):
    family = Probe()
    policy = Policy(family.layout.observation, family.layout.actions, width=16)
    params = policy.init(jax.random.key(0))
    vector = jnp.asarray(encode(family.specs, {"limit": 0.7 * family.episode_steps * family.control_dt, "hidden": 1}))
    run = jax.jit(lambda key: rollouts.lifetime(family, policy, params, vector, key, 3, wipe))
    return family, jax.tree.map(np.asarray, run(jax.random.key(1)))


def test_a_percept_counts_until_the_limit_has_passed():
    """One more percept than steps that count: what the last of them did is still seen."""
    family, rollout = lived()
    steps = family.episode_steps
    live, running = rollout.percept.live.reshape(3, steps), rollout.running.reshape(3, steps)
    assert 0 < running[0].sum() < steps - 1
    np.testing.assert_array_equal(live[:, 0], 1.0)
    np.testing.assert_array_equal(live[:, 1:], running[:, :-1])


def test_an_episode_begins_without_actions_and_reward_of_the_last_one():
    family, rollout = lived()
    first = np.flatnonzero(rollout.percept.first)
    assert first.tolist() == [0, family.episode_steps, 2 * family.episode_steps]
    assert not rollout.percept.action[first].any() and not rollout.percept.reward[first].any()
    assert rollout.percept.action[first + 1].any()


def test_a_wiped_lifetime_differs_from_the_second_episode_on():
    family, whole = lived()
    _, wiped = lived(wipe=True)
    steps = family.episode_steps
    # Two programs, which may round differently.
    np.testing.assert_allclose(whole.action[:steps], wiped.action[:steps], rtol=1e-6, atol=1e-6)
    assert np.abs(whole.action[steps:] - wiped.action[steps:]).max() > 1e-5
