"""What is worth learning: the world model learns what can be predicted, in every family, and rewards progress only.

Every objective with a reward of its own: fixed shapes, one compilation, the same on all devices, bounded; and what it makes of
the noisy TV of benchmarks/noisy_tv.py.
"""

import functools
import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.sharding import PartitionSpec

from benchmarks import noisy_tv
from openended import cli, trees
from openended.objectives.base import Known
from openended.objectives.compression_progress import PRECISION, Coder, CompressionProgress, code_length
from openended.objectives.disagreement import Disagreement
from openended.objectives.learning_progress import LearningProgress
from openended.objectives.novelty import Novelty
from openended.objectives.prediction_error import PredictionError
from openended.objectives.rnd import RND
from openended.repertoire import empty
from openended.types import Percept, Rollout
from openended.world_model import changes, errors

ROWS, STEPS, WIDTH, ACTIONS = 32, 20, 4, 2
OBJECTIVES = {
    "learning_progress": LearningProgress,
    "compression_progress": CompressionProgress,
    "novelty": Novelty,
    "disagreement": Disagreement,
    "rnd": RND,
    "prediction_error": PredictionError,
}
every_objective = pytest.mark.parametrize("name", list(OBJECTIVES))


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
    before, after = (np.asarray(errors(net, fresh)).reshape(2, -1).mean(axis=1) for net in (born.now, model.now))
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


def test_a_coder_tells_changes_in_bits():
    """Of a model that knows nothing: a Gaussian of variance 1, in bits per number."""
    model = CompressionProgress().init_model(jax.random.key(0), WIDTH, ACTIONS)
    blank = jax.tree.map(jnp.zeros_like, model.now)
    seen = rollout(jax.random.key(1), pushed)
    told = np.asarray(code_length(Coder(blank, None, model.seen), seen))
    z = np.asarray(changes(seen)) / np.sqrt(1.0001)
    wanted = -scipy.stats.norm.logpdf(z, scale=np.sqrt(1 + PRECISION**2)).mean(axis=-1) / np.log(2)
    np.testing.assert_allclose(told, wanted, rtol=1e-5)


def program(objective):
    """(model, rollout) -> (model after training, intrinsic reward before), compiled, over the devices."""
    run = lambda model, seen: (objective.train(model, seen), objective.intrinsic(model, seen))  # noqa: E731
    return trees.OverDevices(run, (trees.SAME, trees.ROWS), (trees.SAME, trees.ROWS))


def three_episodes(key):
    """Lifetimes of three episodes of unequal length; one broke, so that nothing of it counts."""
    seen = rollout(key, pushed)
    later = jax.tree.map(lambda x: jnp.concatenate([x, 2.0 * x, -x], axis=1), seen.percept.observation)
    tripled = jax.tree.map(lambda x: jnp.concatenate([x] * 3, axis=1), seen._replace(broken=jnp.zeros((ROWS, 1), bool)))
    running = jnp.tile(jnp.arange(STEPS) < STEPS - 5, 3)[None] & (jnp.arange(ROWS) != 3)[:, None]
    percept = tripled.percept._replace(observation=later)
    return tripled._replace(percept=percept, running=running, broken=jnp.arange(ROWS) == 3)


def kinds(tree):
    return [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(tree)]


@every_objective
def test_a_model_is_a_fixed_point_and_the_same_everywhere(name):
    objective = OBJECTIVES[name]()
    model, step = trees.replicate(objective.init_model(jax.random.key(0), WIDTH, ACTIONS)), program(objective)
    born = kinds(model)
    for update in range(5):
        model, reward = step(model, three_episodes(jax.random.key(update)))
        reward = np.asarray(reward)
        assert reward.shape == (ROWS, 3 * STEPS) and reward.dtype == np.float32
        assert np.all(np.isfinite(reward)) and np.abs(reward).max() <= objective.intrinsic_weight * (1 + 1e-6)
        assert not reward[3].any() and not reward[:, STEPS - 5 : STEPS].any(), "what does not run is not rewarded"
    assert kinds(model) == born and step._jitted._cache_size() == 1
    for leaf in jax.tree.leaves(model):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert all(np.all(np.isfinite(copy)) and np.array_equal(copy, copies[0]) for copy in copies)


@every_objective
def test_nothing_that_ran_teaches_nothing(name):
    """A rollout without a running step: no reward, and the model stays finite."""
    objective = OBJECTIVES[name]()
    still = three_episodes(jax.random.key(0))
    still = still._replace(running=jnp.zeros_like(still.running))
    model, reward = program(objective)(trees.replicate(objective.init_model(jax.random.key(0), WIDTH, ACTIONS)), still)
    assert not np.asarray(reward).any()
    assert all(np.all(np.isfinite(np.asarray(leaf))) for leaf in jax.tree.leaves(model))


@every_objective
def test_without_weight_there_is_no_reward(name):
    objective = OBJECTIVES[name](intrinsic_weight=0)
    model = trees.replicate(objective.init_model(jax.random.key(0), WIDTH, ACTIONS))
    assert not np.asarray(program(objective)(model, rollout(jax.random.key(0), pushed))[1]).any()


@every_objective
def test_all_rank_alike(name):
    """They differ in the reward alone."""
    objective, default = OBJECTIVES[name](), LearningProgress()
    rng = np.random.default_rng(0)
    known = Known(rng.integers(0, 5, 9), np.full(9, 4), rng.uniform(0, 1, 9), rng.uniform(0.5, 2, 9))
    ranks = [each.predict(each.init_ranker(), known, np.random.default_rng(1)) for each in (objective, default)]
    assert np.array_equal(*ranks)
    urgency = objective.urgency(empty(3, 1)._replace(success=np.array([0.0, 0.5, 1.0], np.float32)))
    assert urgency[1] > urgency[0] > 0 and urgency[1] > urgency[2] > 0


@functools.cache
def at_the_tv(name):
    """Shares of the weight {time: (structure, TV)}."""
    found = noisy_tv.watched(OBJECTIVES[name](), 1000)[0]
    return {"early": found[noisy_tv.EARLY].mean(axis=0), "late": found[noisy_tv.LATE].mean(axis=0)}


@pytest.mark.parametrize("name", ["learning_progress", "compression_progress"])
def test_progress_leaves_the_noise(name):
    """Structure pays while it is learned, noise never: its reward is about nothing from the start."""
    shares = at_the_tv(name)
    assert shares["early"][0] > 0.1 and shares["early"][1] < 0.03, shares
    assert abs(shares["late"][1]) < 0.02 and abs(shares["late"][0]) < 0.3 * shares["early"][0], shares


@pytest.mark.parametrize(("name", "least"), [("prediction_error", 0.7), ("novelty", 0.4)])
def test_errors_and_novelty_stay_with_the_noise(name, least):
    """The noise pays more than structure, early and late, and hardly less than in the beginning."""
    shares = at_the_tv(name)
    assert shares["late"][1] > least and shares["late"][1] > 0.8 * shares["early"][1], shares
    assert all(tv > 2 * structure for structure, tv in shares.values()), shares


@pytest.mark.parametrize("name", ["rnd", "disagreement"])
def test_what_depends_on_the_data_leaves_the_noise_late(name):
    """The noise pays more than structure as long as anything pays, and less and less."""
    shares = at_the_tv(name)
    assert all(tv > 1.5 * structure for structure, tv in shares.values()), shares
    assert shares["late"][1] < 0.4 * shares["early"][1], shares


def test_the_target_of_rnd_stays():
    objective = RND()
    born = trees.replicate(objective.init_model(jax.random.key(0), WIDTH, ACTIONS))
    model, _ = program(objective)(born, rollout(jax.random.key(0), pushed))
    assert all(np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (born.target, model.target)), strict=True))
    assert not np.array_equal(born.now["out"], model.now["out"])


def test_an_ensemble_of_equals_does_not_disagree():
    objective = Disagreement()
    model = objective.init_model(jax.random.key(0), WIDTH, ACTIONS)
    equal = model._replace(now=jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), model.now))
    step, seen = program(objective), rollout(jax.random.key(0), pushed)
    apart, alike = (np.asarray(step(trees.replicate(each), seen)[1]) for each in (model, equal))
    assert apart.mean() > 0.1 * objective.intrinsic_weight and alike.max() < 1e-6 * objective.intrinsic_weight


def test_what_is_archived_is_not_novel_until_it_leaves_the_ring():
    """The same lifetimes again pay ever less; after as many others as the ring holds they are novel again."""
    objective = Novelty(capacity=64, added=32, nearest=1)
    step = program(objective)
    one, other = (rollout(jax.random.key(seed), pushed) for seed in (0, 1))
    model, rewards = trees.replicate(objective.init_model(jax.random.key(0), WIDTH, ACTIONS)), []
    for seen in (one, one, other, other, one):
        model, reward = step(model, seen)
        rewards.append(np.asarray(reward).mean() / objective.intrinsic_weight)
    assert rewards[0] == pytest.approx(1.0) and rewards[1] < 0.01 and rewards[3] < 0.01
    assert rewards[2] > 0.1 and rewards[4] > 0.1


BAD = {
    "intrinsic_weight": ((-0.1, float("nan"), float("inf"), "much"), "0 or more"),
    "forgetting": ((0, 1.5, None), "above 0 and at most 1"),
    "hidden": ((0, 2.5, True, "many"), "a whole number of at least 1"),
    "features": ((0, 2.5), "a whole number of at least 1"),
    "members": ((1, 2.5), "a whole number of at least 2"),
    "added": ((0, 1.5), "a whole number of at least 1"),
    "nearest": ((0, 1.5), "a whole number of at least 1"),
    "capacity": ((15, 100.5), "a whole number of at least 16"),
    "rate": ((0, -1, float("nan")), "above 0"),
    "unit": ((0, float("inf")), "above 0"),
    "lag": ((-0.1, 1.1), "0 to 1"),
}
SETTINGS = [(name, key) for name, made in OBJECTIVES.items() for key in inspect.signature(made).parameters]


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_a_bad_setting_is_refused_by_name(name, key):
    values, allowed = BAD[key]
    for value in values:
        with pytest.raises(ValueError) as error:
            OBJECTIVES[name](**{key: value})
        assert str(error.value) == f"objective.{key} is {value}; allowed: {allowed}"


@pytest.mark.slow
@every_objective
def test_a_run_works_with_it(name, tmp_path):
    small = ["loop.candidates=16", "loop.entries=8", "loop.updates=2", "loop.rows=16", "heldout.every=0"]
    named = [f"run.root={tmp_path}", "run.name=run", f"objective={name}"]
    for rounds in (1, 2):  # the second resumes
        assert cli.main(["train", "experiment=probe", *named, *small, f"run.rounds={rounds}"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2] and lines[1]["steps_learn"] > 0
    assert cli.main(["archive", "check", "run", "--root", str(tmp_path)]) == 0
