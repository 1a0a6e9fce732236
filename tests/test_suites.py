"""The suites over all families: what they cover, that they are frozen, and that their tasks can be solved but not by chance.

`handmade-v1` has tests of its own, test_holdout.py.
"""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from envs import holdout, sampled, validity
from envs.interface import InterfaceBounds
from envs.probe import Probe
from envs.spec import validate

MADE = tuple(cls for cls in holdout.FAMILIES["handmade-v2"] if cls not in holdout.FAMILIES["handmade-v1"])
STARTS = 4  # of the search for a witness
SEARCH = validity.Search(population=12, generations=12)
CHANCE = 0.15  # share of random episodes that may solve a task


@functools.cache
def tasks(suite, cls):
    return holdout.rows(suite, cls())


@pytest.mark.parametrize("suite", holdout.HASHES)
def test_every_suite_is_the_frozen_one(suite):
    holdout.verify(suite)


def test_sizes_of_the_suites():
    numbers = {
        suite: sum(len(tasks(suite, cls)) for cls in holdout.FAMILIES[suite] if cls is not Probe) for suite in holdout.HASHES
    }
    assert numbers == {"handmade-v1": 80, "handmade-v2": 188, "sampled": 1000, "stock": 96}


def test_a_suite_continues_an_older_one():
    for cls in holdout.FAMILIES["handmade-v1"]:
        new, old = (np.stack([task.vector for task in tasks(suite, cls)]) for suite in ("handmade-v2", "handmade-v1"))
        assert np.array_equal(new, old)


@pytest.mark.parametrize("cls", MADE)
def test_what_the_hand_made_tasks_cover(cls):
    """Sizes and groups; every feature with a visible goal; every number of world and body low and high somewhere."""
    made, mine = cls(), tasks("handmade-v2", cls)
    assert Counter(task.group for task in mine) == {"visible": 12, "hidden_goal": 4, "both_hidden": 2}
    assert min(Counter(task.size for task in mine if task.group == "visible").values()) == 4
    features = {int(made.decode(task.vector).goal.feature[0]) for task in mine if task.group == "visible"}
    assert features == set(range(len(made.features)))
    units = np.stack([task.vector for task in mine])
    for i, spec in enumerate(made.specs):
        if spec.part in ("world", "body") and not spec.pinned:
            low, high = (0.3, 0.7) if not spec.structural else (1.0 - 1.0 / spec.cells, 1.0 / spec.cells)
            assert units[:, i].min() <= low and units[:, i].max() >= high, spec.name
    spread = [float(np.mean([np.abs(t.vector - 0.5).mean() for t in mine if t.size == size])) for size in holdout.SIZES]
    assert spread[0] < spread[1] < spread[2]


@pytest.mark.parametrize("cls", holdout.FAMILIES["sampled"])
def test_what_the_sampled_tasks_are(cls):
    """Valid vectors, none twice, a quarter of the goals hidden, as candidates are drawn; the sizes are thirds."""
    made, mine = cls(), tasks("sampled", cls)
    assert len(mine) == sampled.count(made) == len({task.vector.tobytes() for task in mine})
    assert all(validate(made.specs, task.vector).size == len(made.specs) for task in mine)
    assert max(Counter(task.size for task in mine).values()) <= len(mine) // 3 + 1
    hidden = sum(task.group != "visible" for task in mine)
    assert 0.01 < binom.cdf(hidden, len(mine), 0.25) < 0.99
    stored = np.load(sampled.FOLDER / "sampled" / f"{made.name}.npy", allow_pickle=False)
    assert stored.dtype == np.float32
    np.testing.assert_allclose(np.stack([task.vector for task in mine]), _canonical(made, stored), atol=2e-6)


def _canonical(made, units):
    """Vectors with their switches and pinned numbers as the suite writes them."""
    out = units.copy()
    for i, spec in enumerate(made.specs):
        if spec.pinned:
            out[:, i] = 0.5
        elif spec.switch:
            out[:, i] = np.where(spec.on(units[:, i]), 1.0, 0.5) - 0.5 / spec.cells
        elif spec.structural:
            out[:, i] = (np.minimum(np.floor(out[:, i] * spec.cells), spec.cells - 1) + 0.5) / spec.cells
    return out


def test_the_published_seeds_draw_the_sampled_tasks():
    """All numbers but the targets, which a search has moved, exactly; no two chunks and no two families alike."""
    made = Probe()
    stored = np.load(sampled.FOLDER / "sampled" / "probe.npy", allow_pickle=False)
    free = [i for i, spec in enumerate(made.specs) if not spec.name.startswith("target")]
    first, second = (sampled.candidates(made, chunk)[0] for chunk in (0, 1))
    drawn = {row.tobytes() for row in first[:, free]}
    assert all(row.tobytes() in drawn for row in stored[:, free])
    assert not drawn & {row.tobytes() for row in second[:, free]}
    again = sampled.draw(made, len(stored))
    assert np.mean(np.all(np.abs(again - stored) < 1e-3, axis=1)) > 0.8


def test_a_pinned_number_keeps_the_pinned_value_in_a_sampled_task():
    plain = Probe(bounds=InterfaceBounds(signs=False, gain_low=1.0, gain_high=1.0, max_noise=0.0), hidden_goals=False)
    assert {task.group for task in holdout.rows("sampled", plain)} == {"visible"}


@pytest.mark.slow
@pytest.mark.parametrize("cls", MADE)
def test_hand_made_tasks_have_witnesses_and_are_not_trivial(cls):
    """Action sequences that solve exactly the task are found; doing nothing never solves it, and chance seldom does."""
    made = cls()
    vectors = np.stack([task.vector for task in tasks("handmade-v2", cls)])
    found, nothing, chance = trials(made, vectors)
    assert found.any(axis=1).all(), f"rows without a witness: {np.flatnonzero(~found.any(axis=1)).tolist()}"
    assert not nothing.any(), f"solved by no-op: {np.flatnonzero(nothing.any(axis=1)).tolist()}"
    # Contacts amplify rounding, so another processor draws other episodes: fail on evidence, not on a lucky draw.
    above = binom.sf(chance.sum(axis=1) - 1, chance.shape[1], CHANCE) < 1e-3
    assert not above.any(), f"solved by chance: { {int(i): float(chance[i].mean()) for i in np.flatnonzero(above)} }"


def trials(made, vectors):
    """bool [tasks, STARTS] by the best sequence found, and by nothing; bool [tasks, STARTS * population] by chance.

    One program plays all: the search of `validity.ground`, without moving the target to what was reached.
    """
    run = jax.jit(validity.player(made))
    rows = jnp.asarray(np.repeat(vectors, STARTS, axis=0))
    goal, shape = validity._goals(made, rows), (made.episode_steps, made.actions, made.parts)
    (reset, searching, chance), state, best = validity._start(SEARCH, shape, jax.random.split(jax.random.key(0), len(rows)))
    many, keys = validity._many(SEARCH, rows, reset)
    for generation in range(SEARCH.generations):
        members, actions, state = validity._ask(SEARCH, shape, state, searching, generation)
        episodes = run(many, keys, actions.reshape(-1, *actions.shape[2:]))
        state, best = validity._tell(SEARCH, goal, (state, best), (members, actions, episodes))
    by_search = run(many, keys, jnp.repeat(best.actions, SEARCH.population, axis=0)).success
    by_nothing = run(many, keys, jnp.zeros((len(many), *shape[:2]))).success
    random = jax.random.uniform(jax.random.key(1), (len(many), *shape[:2]), minval=-1.0, maxval=1.0)
    by_chance = run(many, jax.random.split(chance[0], len(many)), random).success
    found, nothing, lucky = (np.asarray(x).reshape(len(vectors), STARTS, -1) for x in (by_search, by_nothing, by_chance))
    return found[:, :, 0], nothing[:, :, 0], lucky.reshape(len(vectors), -1)
