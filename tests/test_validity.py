"""Grounding: a valid candidate's witness solves it, nothing and chance do not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import validity
from envs.interface import PROJECTED
from envs.navigator import Navigator
from envs.probe import Probe
from openended import ahead
from openended.traces import Traces

SEARCH = validity.Search()
Behind = functools.partial(Probe, bounds=PROJECTED)  # a projection: 8 actions for two motors


@functools.cache
def grounded(cls, rows=64):
    family = cls()
    vectors = jax.random.uniform(jax.random.key(0), (rows, len(family.specs)))
    keys = jax.random.split(jax.random.key(1), rows)
    return family, validity.ground(family, SEARCH, jax.jit(validity.player(family)), vectors, keys)


@pytest.mark.parametrize("cls", [Probe, Behind, pytest.param(Navigator, marks=pytest.mark.slow)])
def test_witness_of_a_valid_task_solves_it(cls):
    family, found = grounded(cls)
    valid = np.flatnonzero(np.asarray(found.verdict) == 0)
    assert found.actions.shape == (64, family.episode_steps, family.actions)
    assert valid.size >= 16, np.bincount(np.asarray(found.verdict), minlength=5)
    replay = jax.jit(jax.vmap(lambda v, k, a: validity.solves(family, v, k, a)))
    assert bool(jnp.all(replay(found.vector, found.key, found.actions)[valid]))
    still = replay(found.vector, found.key, jnp.zeros_like(found.actions))[valid]
    assert not bool(jnp.any(still))


def test_from_kept_traces_the_same_tasks_are_found(tmp_path):
    family, found = grounded(Probe)
    vectors, keys = jax.random.uniform(jax.random.key(0), (64, len(family.specs))), jax.random.split(jax.random.key(1), 64)
    run, store = jax.jit(validity.player(family)), Traces(tmp_path, "this")
    for _ in range(2):  # traced, and from the traces
        again = validity.ground(family, SEARCH, run, vectors, keys, ahead.Kept("probe", store, validity.OPTIONS))
        jax.tree.map(np.testing.assert_array_equal, again._replace(key=0), found._replace(key=0))
    assert len(list(tmp_path.iterdir())) == 8  # every part but the episodes


def test_only_the_target_moves():
    family = Probe()
    vectors = jax.random.uniform(jax.random.key(0), (64, len(family.specs)))
    _, found = grounded(Probe)
    moved = np.flatnonzero(np.any(np.asarray(found.vector != vectors), axis=0))
    assert {family.specs[i].name for i in moved} == {"target_a", "target_b"}


def test_broken_physics_is_a_verdict():
    family = Probe()
    bad = jnp.full((2, len(family.specs)), jnp.nan)
    run = jax.jit(validity.player(family))
    verdict = validity.ground(family, SEARCH, run, bad, jax.random.split(jax.random.key(0), 2)).verdict
    assert validity.VERDICTS[int(verdict[0])] == "broken physics"
