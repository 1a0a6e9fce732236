"""Goals of one condition, of two at once, and of two in order: what counts as solved, what is paid, what is seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import goals, validity
from envs.base import widest
from envs.goals import Goal
from envs.probe import Probe
from envs.spec import encode
from openended import recording, tasks
from openended.exporting import tasks_csv
from openended.inspection import goal_in_words

STEPS, HOLD, LIMIT = 30, 4, 26
MODES = {"single": (1, False), "and": (2, False), "then": (2, True)}


def make(mode, **changes):
    used, ordered = MODES[mode]
    goal = Goal(
        feature=jnp.array([0, 1]),
        target=jnp.array([[0.5, 0.0], [-0.3, 0.2]]),
        tolerance=jnp.array([0.3, 0.5]),
        scale=jnp.array([0.1, 0.2]),
        used=jnp.array(used),
        ordered=jnp.array(ordered),
        hold=jnp.array(HOLD),
        limit=jnp.array(LIMIT),
        visible=jnp.ones(()),
    )
    return goal._replace(**changes)


@jax.jit
def played(goal, start, values):
    """(progress [T], reward [T]) of features f32[T, P, 2]."""

    def step(progress, at):
        value, time = at
        progress, reward = goals.advance(goal, progress, value, time)
        return progress, (progress, reward)

    times = jnp.arange(1, len(values) + 1)
    return jax.lax.scan(step, goals.begin(goal, start), (values, times))[1]


def wander(seed):
    """Features f[T + 1, 2, 2] of a slow random walk that is often inside."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(scale=0.12, size=(STEPS + 1, 2, 2)), axis=0)
    return (walk + np.asarray(make("and").target)).astype(np.float32)


def solved_by_hand(mode, values):
    """The step at which the goal is solved, or None, by counting."""
    goal, stage, run = make(mode), 0, 0
    for time, value in enumerate(values, start=1):
        inside = np.linalg.norm(value - np.asarray(goal.target), axis=1) <= np.asarray(goal.tolerance)
        fine = {"single": inside[0], "and": inside.all(), "then": inside[stage]}[mode]
        run = run + 1 if fine else 0
        if run >= HOLD and time <= LIMIT:
            if mode == "then" and stage == 0:
                stage, run = 1, 0
            else:
                return time
    return None


@pytest.mark.parametrize("mode", MODES)
def test_solved_says_what_counting_says(mode):
    found, wanted = [], []
    for seed in range(60):
        walk = wander(seed)
        progress, _ = played(make(mode), walk[0], walk[1:])
        solved = np.flatnonzero(np.asarray(progress.solved))
        found.append(solved[0] + 1 if solved.size else None)
        wanted.append(solved_by_hand(mode, walk[1:]))
    assert found == wanted
    assert None in wanted and any(wanted), "every walk, or none, solves"


def test_the_second_counts_only_after_the_first():
    goal, target = make("then"), np.asarray(make("then").target)
    first, second = target + np.array([[0.0], [9.0]], np.float32), target + np.array([[9.0], [0.0]], np.float32)
    right, _ = played(goal, first, np.stack([first] * 5 + [second] * 5))
    wrong, _ = played(goal, first, np.stack([second] * 5 + [first] * 5))
    never, _ = played(goal, first, np.stack([second] * 10))
    assert bool(right.solved[-1]) and not bool(wrong.solved[-1]) and not bool(never.solved[-1])
    assert np.asarray(right.stage).tolist() == [0, 0, 0, *[1] * 7]
    assert int(wrong.stage[-1]) == 1 and not np.asarray(never.stage).any()


@pytest.mark.parametrize("mode", MODES)
def test_the_reward_is_progress_towards_what_is_asked_for(mode):
    """Recomputed by hand; the sum of an `and` is the mean of both."""
    goal, walk = make(mode), wander(3)
    progress, reward = played(goal, walk[0], walk[1:])
    distance = np.linalg.norm(walk - np.asarray(goal.target), axis=2)
    start, stage, run = distance[0].copy(), 0, 0
    for t in range(STEPS):
        parts = {"single": [0], "and": [0, 1], "then": [stage]}[mode]
        inside = all(distance[t + 1, p] <= float(goal.tolerance[p]) for p in parts)
        gain = np.mean([(distance[t, p] - distance[t + 1, p]) / max(start[p], 2 * float(goal.tolerance[p])) for p in parts])
        wanted = np.clip(2.0 * gain + 0.2 * inside, -2.0, 2.0) if t < LIMIT else 0.0
        assert float(reward[t]) == pytest.approx(wanted, abs=1e-5), t
        run = run + 1 if inside else 0
        if mode == "then" and stage == 0 and run >= HOLD and t < LIMIT:
            stage, run, start = 1, 0, distance[t + 1].copy()
    assert int(progress.stage[-1]) == stage


def test_what_is_observed():
    value = jnp.array([[0.1, 0.0], [-0.1, 0.1]])
    errors = np.asarray((make("and").target - value) / (8.0 * make("and").scale[:, None]))

    def see(goal, stage=0):
        progress = goals.begin(goal, value)._replace(stage=jnp.array(stage))
        return np.asarray(goals.observe(goal, progress, value, 3, 2)).tolist()

    slots = [[*errors[0], 1, 1, 0, 0], [*errors[1], 0, 1, 0]]  # error, visible, one-hot feature; error, one-hot feature
    assert see(make("and")) == pytest.approx([*slots[0], *slots[1], 1, 0])
    assert see(make("then")) == pytest.approx([*slots[0], *slots[1], 0, 1])
    assert see(make("then"), stage=1) == pytest.approx([*errors[1], 1, 0, 1, 0, *[0] * 5, 0, 0])
    assert see(make("single")) == pytest.approx([*slots[0], *[0] * 5, 0, 0])
    assert see(make("and", visible=jnp.zeros(()))) == pytest.approx([0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0])


def test_a_family_of_single_goals_beside_one_of_combined_goals():
    """The same numbers in the wider layout, and the rest of it 0."""
    alone, wide = Probe(), Probe().padded(widest([Probe(), Probe(combined_goals=True)]))
    assert wide.layout.observation == alone.layout.observation + 2 + 2 + 2
    vector, key = jnp.full(len(alone.specs), 0.3), jax.random.key(0)
    a, b = (np.asarray(f.reset(f.prepare(vector), key)[1].observation) for f in (alone, wide))
    code = 4
    assert np.array_equal(a[:-code], b[: a.size - code]) and np.array_equal(a[-code:], b[-code:])
    assert not b[a.size - code : -code].any()


def test_difficulty_counts_what_must_be_reached_and_held():
    start = jnp.array([1.2, 1.5])
    reach, hold, limit = np.log2([1.2 / 0.3 + 1, 1.5 / 0.5 + 1]), np.log2(1.0 + HOLD), np.log2(LIMIT)
    wanted = {"single": reach[0] + hold, "and": reach.sum() + hold, "then": reach.sum() + 2 * hold}
    for mode, bits in wanted.items():
        assert float(goals.difficulty(make(mode), start)) == pytest.approx(bits - limit, abs=1e-5)


def test_twice_the_same_feature_is_in_order():
    made = Probe(combined_goals=True)
    same = {"combined": 1, "in_order": 0, "feature": 1, "feature_2": 1}
    for values, ordered in ((same, True), (same | {"feature_2": 0}, False), (same | {"combined": 0}, False)):
        assert bool(made.decode(jnp.asarray(encode(made.specs, values))).goal.ordered) == ordered


@functools.cache
def grounded(count=96):
    """Candidates of a family, every one combined, after the search for witnesses."""
    made = Probe(combined_goals=True)
    vectors = np.random.default_rng(0).uniform(size=(count, len(made.specs))).astype(np.float32)
    vectors[:, [spec.name for spec in made.specs].index("combined")] = 0.9
    run = jax.jit(validity.player(made))
    keys = jax.random.split(jax.random.key(1), count)
    found = validity.ground(made, validity.Search(), run, jnp.asarray(tasks.snap(made.specs, vectors)), keys)
    return made, vectors, found


def test_witnesses_of_combined_goals():
    """Of at least half of uniform candidates; each solves its task again, and only the targets have moved."""
    made, vectors, found = grounded()
    valid = np.flatnonzero(np.asarray(found.verdict) == 0)
    assert valid.size > 48
    again = jax.jit(jax.vmap(lambda v, k, a: validity.solves(made, v, k, a)))
    assert np.asarray(again(found.vector[valid], found.key[valid], found.actions[valid])).all()
    moved = np.flatnonzero(np.any(np.asarray(found.vector) != tasks.snap(made.specs, vectors), axis=0))
    assert {made.specs[i].name for i in moved} == {name for names in goals.TARGETS for name in names}
    ordered = np.asarray(jax.vmap(lambda v: made.decode(v).goal.ordered)(found.vector[valid]))
    assert 0 < ordered.sum() < valid.size


def test_words_and_columns():
    made, _, found = grounded()
    names = {spec.name: i for i, spec in enumerate(made.specs)}
    vector = np.asarray(found.vector[0]).copy()
    vector[names["feature"]], vector[names["feature_2"]], vector[names["hidden"]] = 0.1, 0.9, 0.1
    for switch, combination, between in ((0.9, "then", ", then "), (0.1, "and", " and ")):
        vector[names["in_order"]] = switch
        goal = recording.goal(made, vector)
        assert goal["combination"] == combination and goal["second"]["feature"] == "x" and len(goal["second"]["target"]) == 1
        assert between + "x to (" in recording.describe(made, vector) and between + "x to (" in goal_in_words(goal)
    task = recording.TaskRow("a", "probe", vector.tolist(), goal, "", "frontier", "skill", 1, 0, 1.0, None)
    head, row = (line.split(",") for line in tasks_csv([task]).splitlines())
    assert row[head.index("combination")] == "and" and row[head.index("feature_2")] == "x"
    assert float(row[head.index("target_a_2")]) == pytest.approx(goal["second"]["target"][0], rel=1e-6)
