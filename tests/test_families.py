"""The contract that every family keeps. A new family joins by its line in FAMILIES."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import drawing
from envs.base import Layout, widest
from envs.cartpole import Cartpole
from envs.crawler import Crawler
from envs.juggler import Juggler
from envs.navigator import Navigator
from envs.probe import Probe
from envs.pusher import Pusher
from envs.reacher import LINKS, Reacher
from envs.spec import encode
from envs.swimmer import Swimmer
from envs.walker import Walker

# One with physics is enough while working: each takes a quarter of a minute to compile.
REST = (Reacher, Juggler, Swimmer, Cartpole, Pusher, Walker, Crawler)
OPTIONS = {
    "reacher-5-spatial": functools.partial(Reacher, most_links=5, spatial=True),
    "navigator-gates": functools.partial(Navigator, gates=True),
}
SLOW = (
    *(pytest.param(cls, marks=pytest.mark.slow) for cls in REST),
    *(pytest.param(made, marks=pytest.mark.slow, id=name) for name, made in OPTIONS.items()),
)
FAMILIES = (Probe, Navigator, *SLOW)
traces: dict[str, int] = {}


@functools.cache
def family(cls):
    return cls()


@functools.cache
def film(cls):
    """(vectors [B, D], keys [B], actions [B, T, A]) -> (timesteps, shapes) [B, T]; one compiled program per family."""
    made = family(cls)

    def one(vector, key, actions):
        traces[made.name] = traces.get(made.name, 0) + 1
        model = made.prepare(vector)
        state, _ = made.reset(model, key)

        def step(state, action):
            state, timestep = made.step(model, state, action)
            return state, (timestep, made.shapes(model, state.physics))

        return jax.lax.scan(step, state, actions)[1]

    return jax.jit(jax.vmap(one))


def play(cls):
    """The same without the shapes."""
    return lambda *inputs: film(cls)(*inputs)[0]


def batch(cls, rows=8, seed=0):
    made = family(cls)
    keys = jax.random.split(jax.random.key(seed), 3)
    vectors = jax.random.uniform(keys[0], (rows, len(made.specs)))
    actions = jax.random.uniform(keys[1], (rows, made.episode_steps, made.actuators), minval=-1.0, maxval=1.0)
    return vectors, jax.random.split(keys[2], rows), actions


@pytest.mark.parametrize("cls", FAMILIES)
def test_shapes_and_finite_numbers(cls):
    steps = play(cls)(*batch(cls))
    assert steps.observation.shape == (8, family(cls).episode_steps, family(cls).layout.observation)
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in (steps.observation, steps.reward, steps.value))
    assert not bool(jnp.any(steps.broken))
    assert float(jnp.std(steps.value)) > 0.05, "nothing moves"


@pytest.mark.parametrize("cls", FAMILIES)
def test_what_is_drawn(cls):
    """Every kind of shape with as many rows for every task, finite and of this world; something of it moves."""
    made = family(cls)
    assert made.view in ("top", "side", "3d")

    found = film(cls)(*batch(cls))[1]
    assert {kind: shape.shape[-1] for kind, shape in found.items()} == drawing.WIDTHS
    assert all(bool(jnp.all(jnp.isfinite(shape))) for shape in found.values())
    assert all(set(rows) <= set(range(found[kind].shape[2])) for kind, rows in made.object_rows.items())
    body = jnp.concatenate([jnp.where(shape[..., -1:] > 0, shape, 0.0).reshape(-1) for shape in found.values()])
    assert float(jnp.max(jnp.abs(body))) < 20.0, "what is absent has no size, what is present is near"
    assert any(shape.size and float(jnp.max(jnp.ptp(shape, axis=1))) > 0.01 for shape in found.values()), "nothing moves"


@pytest.mark.parametrize("cls", [Probe, pytest.param(Navigator, marks=pytest.mark.slow), *SLOW[: len(REST)]])
def test_padding_changes_nothing_but_the_widths(cls):
    """A wider layout adds zeros to what is observed and ignores actions that drive nothing."""
    made = family(cls)
    wide = made.padded(Layout(made.sensors + 3, made.actuators + 2, len(made.features) + 1))
    assert widest([made, wide]) == wide.layout and made.layout != wide.layout
    (vectors, keys, _), action = batch(cls, rows=1), jnp.full(made.actuators + 2, 0.5)
    own, padded = (
        f.step(f.prepare(vectors[0]), f.reset(f.prepare(vectors[0]), keys[0])[0], a)[1]
        for f, a in ((made, action[: made.actuators]), (wide, action))
    )
    sensors = made.sensors
    np.testing.assert_array_equal(padded.observation[:sensors], own.observation[:sensors])
    assert not bool(jnp.any(padded.observation[sensors : sensors + 3]))
    assert padded.observation.shape == (wide.layout.observation,) and float(padded.reward) == float(own.reward)


@pytest.mark.parametrize("cls", FAMILIES)
def test_one_trace_whatever_the_tasks(cls):
    play(cls)(*batch(cls))
    before = traces[family(cls).name]
    for seed in range(1, 4):
        play(cls)(*batch(cls, seed=seed))
    assert traces[family(cls).name] == before


@pytest.mark.parametrize("cls", FAMILIES)
def test_rows_are_independent(cls):
    """Row 3 is the same whatever its neighbours are, even when a neighbour's task is not a number."""
    vectors, keys, actions = batch(cls)
    alone = play(cls)(vectors, keys, actions)
    poisoned = play(cls)(vectors.at[0].set(jnp.nan), keys, actions.at[1].set(1.0))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[3], b[3]), alone, poisoned)
    assert bool(poisoned.broken[0, -1])
    assert bool(jnp.all(poisoned.observation[0] == 0.0)) and bool(jnp.all(poisoned.reward[0] == 0.0))


@pytest.mark.parametrize("cls", FAMILIES)
def test_goal_is_held_before_the_limit(cls):
    """Success says exactly: in a row within the tolerance for the hold time, before the limit (recomputed here in numpy)."""
    vectors, keys, actions = batch(cls)
    steps = play(cls)(vectors, keys, actions)
    goal = jax.vmap(lambda v: family(cls).decode(v).goal)(vectors)
    for row in range(8):
        distance = np.linalg.norm(np.asarray(steps.value[row, :, 0]) - np.asarray(goal.target[row, 0]), axis=1)
        run, solved = 0, False
        for time, inside in enumerate(distance <= float(goal.tolerance[row, 0]), start=1):
            run = run + 1 if inside else 0
            solved |= run >= int(goal.hold[row]) and time <= int(goal.limit[row])
        assert solved == bool(steps.success[row, -1])


def test_probe_known_answer():
    """With known signs a straight command solves: x = 0.15 * 6 - the start."""
    made = family(Probe)
    vector = encode(made.specs, {"target_a": 0.95, "target_b": 0.5, "gain_0": 1.0, "delay": 0, "noise": 0.0, "hidden": 0})
    vector = vector.copy()
    vector[[s.name for s in made.specs].index("reversed_0")] = 0.25
    actions = jnp.zeros((1, made.episode_steps, made.actuators)).at[0, :6, 0].set(1.0)
    solved = play(Probe)(jnp.asarray(vector)[None], jax.random.split(jax.random.key(0), 1), actions)
    assert bool(solved.success[0, -1])
    still = play(Probe)(jnp.asarray(vector)[None], jax.random.split(jax.random.key(0), 1), jnp.zeros_like(actions))
    assert not bool(still.success[0, -1])


@pytest.mark.slow
def test_an_absent_link_takes_no_part():
    """A two-link arm moves the same whatever the numbers of the third link."""
    made = family(Reacher)
    vectors, keys, actions = batch(Reacher, rows=2)
    names = [spec.name for spec in made.specs]
    vectors = vectors.at[:, names.index("links")].set(0.25)
    long = vectors.at[:, names.index(f"length_{LINKS - 1}")].set(0.99)
    short = vectors.at[:, names.index(f"length_{LINKS - 1}")].set(0.01)
    a, b = (play(Reacher)(v, keys, actions) for v in (long, short))
    np.testing.assert_allclose(a.value, b.value, atol=1e-5)


def test_obstacles_keep_the_puck_out():
    """A puck driven at an obstacle never enters it; without the obstacle it passes the same place."""
    made = family(Navigator)
    base = {"wind_x": 0.0, "wind_y": 0.0, "obstacle_1": 0, "obstacle_2": 0, "delay": 0, "noise": 0.0, "reversed_0": 0}
    base |= {"obstacle_0_angle": 0.0, "obstacle_0_distance": 0.6, "obstacle_0_radius": 0.2, "feature": 0}
    actions = jnp.zeros((8, made.episode_steps, made.actuators)).at[:, :, 0].set(1.0)
    vectors = jnp.stack([jnp.asarray(encode(made.specs, base | {"obstacle_0": row % 2})) for row in range(8)])
    value = play(Navigator)(vectors, jax.random.split(jax.random.key(0), 8), actions).value[:, :, 0]
    gap = jnp.min(jnp.linalg.norm(value - jnp.array([0.6, 0.0]), axis=-1), axis=1)
    assert gap[0] < 0.15 and gap[1] > 0.28 - 0.1  # one control step at full speed moves the puck by 0.1 m
