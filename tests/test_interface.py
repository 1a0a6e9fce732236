"""The hidden map between a learner and a body: what its parts do, and what a random projection promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hydra.utils import instantiate

from envs import goals, interface, noise
from envs.base import widest
from envs.interface import MAX_DELAY, PROJECTED, InterfaceBounds
from envs.probe import Probe
from envs.spec import encode
from openended import configuration, rollouts
from openended.networks import Policy

WIDE = InterfaceBounds(permute=True, max_delay=2, max_noise=0.5, sensors=5, actions=4)
FAMILIES = sorted(path.stem for path in (configuration.folder() / "family").glob("*.yaml"))
CHEAP = [name if name == "probe" else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]


@functools.cache
def behind(name):
    """A family of the configuration behind the projection of `interface=projection`."""
    return instantiate(configuration.read([f"family=[{name}]", "interface=projection"]).families[name])


def hidden_map(bounds=PROJECTED, sensors=6, actuators=3, **values):
    specs = bounds.specs(actuators)
    numbers = {spec.name: jnp.float32(values.get(spec.name, spec.low)) for spec in specs}
    return bounds.decode(numbers, sensors, actuators)


def test_without_a_projection_there_is_nothing_of_it():
    bare = hidden_map(InterfaceBounds())
    assert bare.observing is None and bare.acting is None
    assert "projection" not in {spec.name for spec in Probe().specs}
    assert (Probe().perceived, Probe().actions) == (2, 2)


def test_the_configuration_and_the_suite_mean_the_same_projection():
    assert instantiate(configuration.read(["interface=projection"]).interface) == PROJECTED


def test_a_number_decides_the_matrices():
    first, again, other = (hidden_map(projection=number) for number in (7.0, 7.0, 8.0))
    for part in ("observing", "acting"):
        one, same, different = (np.asarray(getattr(x, part)) for x in (first, again, other))
        np.testing.assert_array_equal(one, same)
        assert np.abs(one - different).max() > 0.1
    cell = 1.0 / interface.PROJECTIONS
    made = Probe(bounds=PROJECTED)
    column = [spec.name for spec in made.specs].index("projection")
    units = jnp.full((3, len(made.specs)), 0.5).at[:, column].set(jnp.array([0.1, 0.9, 1.1]) * cell)
    found = jax.vmap(made.decode)(units).interface.acting
    assert bool(jnp.all(found[0] == found[1])) and not bool(jnp.any(found[1] == found[2]))


@pytest.mark.parametrize(("sensors", "actuators"), [(2, 1), (27, 8), (47, 12)])
def test_nothing_is_lost_and_everything_stays_of_order_one(sensors, actuators):
    for number in range(8):
        made = hidden_map(sensors=sensors, actuators=actuators, projection=float(number))
        observing, acting = np.asarray(made.observing), np.asarray(made.acting)
        assert observing.shape == (32, sensors) and acting.shape == (actuators, 8)
        for matrix in (observing, acting):
            np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1.0, atol=1e-5)
            assert np.linalg.matrix_rank(matrix, tol=1e-3) == min(matrix.shape)
        assert np.abs(acting).sum(axis=1).min() >= 1.0, "full command of any one motor is within reach"


def test_actions_are_delayed_mixed_put_in_order_turned_and_scaled():
    values = {"projection": 3.0, "delay": 1.0, "order_0": 0.9, "order_1": 0.1, "order_2": 0.5, "reversed_1": 1.0, "gain_0": 0.5}
    made = hidden_map(WIDE, **values)._replace(gain=jnp.array([0.5, 1.0, 1.3]))
    queue = 0.3 * jnp.arange(MAX_DELAY * 4, dtype=jnp.float32).reshape(MAX_DELAY, 4) - 1.0
    action = jnp.array([1.0, -1.0, 0.2, 0.4])
    control, after = interface.actuate(made, queue, action)
    mixed = np.asarray(made.acting) @ np.asarray(queue[0])
    expected = np.clip(np.array([1.0, -1.0, 1.0]) * np.array([0.5, 1.0, 1.3]) * mixed[[1, 2, 0]], -1.0, 1.0)
    np.testing.assert_allclose(control, expected, rtol=1e-5)
    np.testing.assert_array_equal(after, jnp.stack([action, queue[0]]))


def test_noise_passes_the_matrix():
    made = hidden_map(WIDE, projection=3.0, noise=0.5)
    sensors, keys = jnp.arange(6.0) - 2.0, jax.random.split(jax.random.key(0), 4000)
    look = lambda key: interface.observe(made, sensors, noise.stream(key), jnp.zeros((), jnp.int32))  # noqa: E731
    seen = np.asarray(jax.vmap(look)(keys))
    assert seen.shape == (4000, 5)
    np.testing.assert_allclose(seen.mean(axis=0), np.asarray(made.observing) @ np.asarray(sensors), atol=0.05)
    np.testing.assert_allclose(seen.std(axis=0), 0.5, atol=0.03)


def test_identity_matrices_change_no_number(monkeypatch):
    """What a projection adds is the matrices alone: with identities every number is the same, bit by bit."""
    monkeypatch.setattr(interface, "_mixture", lambda key, outputs, inputs: jnp.eye(outputs, inputs))
    plain, mixed = Probe(), Probe(bounds=InterfaceBounds(sensors=2, actions=2))
    plain, mixed = (family.padded(widest([plain, mixed])) for family in (plain, mixed))
    names = [spec.name for spec in mixed.specs]
    units = np.random.default_rng(0).random(len(names)).astype(np.float32)
    both = [(plain, np.delete(units, names.index("projection"))), (mixed, units)]
    actions, found = jax.random.uniform(jax.random.key(1), (40, 2), minval=-1.0), []
    for family, vector in both:
        model = family.prepare(jnp.asarray(vector))
        state, first = family.reset(model, jax.random.key(2))
        found.append((first, jax.lax.scan(lambda s, a, f=family, m=model: f.step(m, s, a), state, actions)[1]))
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_one_trace_whatever_the_projections():
    made, traces = Probe(bounds=PROJECTED), []

    @jax.jit
    @jax.vmap
    def play(vector, key, actions):
        traces.append(1)
        model = made.prepare(vector)
        state, _ = made.reset(model, key)
        return jax.lax.scan(lambda s, a: made.step(model, s, a), state, actions)[1]

    for seed in range(3):
        keys = jax.random.split(jax.random.key(seed), 3)
        vectors = jax.random.uniform(keys[0], (8, len(made.specs)))
        steps = play(vectors, jax.random.split(keys[1], 8), jax.random.uniform(keys[2], (8, 40, 8), minval=-1.0))
        assert steps.observation.shape == (8, 40, made.layout.observation)
        assert bool(jnp.all(jnp.isfinite(steps.observation))) and float(jnp.std(steps.value)) > 0.05
    assert len(traces) == 1


def test_every_action_counts_behind_a_projection():
    """Also where a motor is absent: its action drives the others."""

    class Lame(Probe):
        def active(self, model):
            return jnp.array([1.0, 0.0])

    for bounds, mask in ((None, [1.0, 0.0, 0.0]), (InterfaceBounds(sensors=2, actions=2), [1.0, 1.0, 0.0])):
        made = Lame(bounds=bounds)
        made = made.padded(made.layout._replace(actions=3))
        model = made.prepare(jnp.full(len(made.specs), 0.5))
        assert made.action_mask(model).tolist() == mask
        state, first = made.reset(model, jax.random.key(0))
        assert first.observation[2:5].tolist() == mask
        before = state.physics.position
        moved = made.step(model, state, jnp.ones(3))[0].physics.position - before - model.system
        assert float(jnp.abs(moved[0])) > 0.01 and abs(float(moved[1])) < 1e-6, "an absent motor moves nothing"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_one_layout(name):
    made = behind(name)
    assert made.layout == (32, 8, goals.WIDTH, 1)
    assert len(made.features) <= goals.WIDTH
    assert [spec.name for spec in made.specs if spec.part == "interface"][-1] == "projection"


@pytest.mark.parametrize("name", ["probe", *(pytest.param(name, marks=pytest.mark.slow) for name in ("navigator", "crawler"))])
def test_a_learner_of_one_width_lives_in_small_and_large_bodies(name):
    made = behind(name)
    policy = Policy(made.layout.observation, made.layout.actions, width=8, heads=1, head=2)
    vectors = jax.random.uniform(jax.random.key(0), (4, len(made.specs)))
    live = jax.jit(rollouts.outcomes(made, policy, 2))
    found = live(policy.init(jax.random.key(1)), vectors, jax.random.split(jax.random.key(2), 4))
    assert found.success.shape == (4, 2) and not bool(jnp.any(found.broken))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (["interface.sensors=-1"], "interface.sensors is -1; allowed: a whole number of at least 0"),
        (["interface.actions=2.5"], "interface.actions is 2.5; allowed: a whole number of at least 0"),
        (["interface.sensors=32"], "interface.sensors is 32 and interface.actions 0; allowed: both 0 for no projection"),
    ],
)
def test_widths_that_are_none_are_refused(override, words):
    with pytest.raises(configuration.ConfigurationError, match=words):
        configuration.build(configuration.read(["experiment=probe", *override]))


def test_a_number_survives_being_written_in_a_suite():
    """Suites keep six decimals; the cell of a projection is wider."""
    made = Probe(bounds=PROJECTED)
    column = [spec.name for spec in made.specs].index("projection")
    for number in (0, 1, 40000, interface.PROJECTIONS - 1):
        vector = np.round(encode(made.specs, {"projection": number}).astype(float), 6).astype(np.float32)
        assert int(np.floor(vector[column] * interface.PROJECTIONS)) == number
