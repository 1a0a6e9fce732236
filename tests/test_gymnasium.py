"""A task as gymnasium environments gives the loop's own episodes, passes gymnasium's checker, and resets as each mode says."""

import functools
import json
import runpy
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils import seeding
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from hydra.utils import instantiate

from envs.gymnasium_env import TaskEnv, TaskVectorEnv, episode_keys
from envs.probe import Probe
from envs.spec import encode
from openended import configuration
from openended.compilations import Compilations
from openended.taskfile import task_document

NAMES = sorted(path.stem for path in (configuration.folder() / "family").glob("*.yaml"))
FAST = ("probe", "cartpole")
EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "stable_baselines3_ppo.py"
ROWS, STEPS = 5, 70


@functools.cache
def family(name):
    return instantiate(configuration.read([f"family=[{name}]"]).families[name])


def vectors(made, rows=ROWS):
    """Random tasks, one a row."""
    return np.random.default_rng(3).random((rows, len(made.specs))).astype(np.float32)


def actions(env, steps=STEPS):
    shape = (steps, *env.action_space.shape)
    return np.random.default_rng(5).uniform(-1.0, 1.0, shape).astype(np.float32)


def by_hand(made, task, key, played):
    """First observation, timesteps and the last step of an episode as the family itself gives them."""
    model = made.prepare(jnp.asarray(task))
    state, first = made.reset(model, key)
    _, steps = jax.lax.scan(lambda s, a: made.step(model, s, a), state, jnp.asarray(played))
    steps = jax.tree.map(np.asarray, steps)
    return np.asarray(first.observation), steps, int(np.flatnonzero(steps.terminated | steps.truncated | steps.broken)[0])


def drawn(seed):
    """What a reset with this seed draws first."""
    return int(seeding.np_random(seed)[0].integers(2**31))


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_gymnasiums_checker_passes_and_an_episode_is_the_loops(name):
    made = family(name)
    task = vectors(made)[0]
    env = TaskEnv(made, task)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message=".*Not able to test alternative render modes")
        check_env(env)
    seen, results = [env.reset(seed=11)[0]], []
    played = actions(env, made.episode_steps)
    first, steps, end = by_hand(made, task, episode_keys(drawn(drawn(11)), np.zeros(1, np.int32))[0], played)
    for action in played[: end + 1]:
        observation, *result = env.step(action)
        seen.append(observation)
        results.append(result)
    np.testing.assert_allclose(seen[0], first, atol=1e-5)
    for step in range(min(end + 1, 15)):  # later, the rounding of another program may have grown
        np.testing.assert_allclose(seen[step + 1], steps.observation[step], atol=2e-3)
        assert results[step][0] == pytest.approx(float(steps.reward[step]), abs=2e-3)
    assert [terminated or truncated for _, terminated, truncated, _ in results] == [False] * end + [True]
    assert results[end][1] == bool(steps.terminated[end])
    assert results[end][3] == {"success": bool(steps.success[end]), "broken": bool(steps.broken[end])}


def test_each_row_plays_its_own_task():
    made, tasks = Probe(), vectors(Probe())
    env = TaskVectorEnv(made, tasks)
    played = actions(env, made.episode_steps)
    seen = [env.reset(seed=11)[0]]
    seen += [env.step(action)[0] for action in played]
    keys = episode_keys(drawn(11), np.zeros(ROWS, np.int32))
    for row in range(ROWS):
        first, steps, end = by_hand(made, tasks[row], keys[row], played[:, row])
        np.testing.assert_allclose(seen[0][row], first, atol=1e-5)
        for step in range(end + 1):
            np.testing.assert_allclose(seen[step + 1][row], steps.observation[step], atol=1e-4)


def solvable():
    """Probe tasks that full force to the right solves, some sooner than others."""
    made = Probe()
    easy = {
        "feature": 1,
        "target_b": 0.5,
        "drift_x": 0.0,
        "reversed_0": 0,
        "delay": 0,
        "tolerance": 1.0,
        "hold": 0.1,
        "limit": 1.5,
    }
    return made, np.stack([encode(made.specs, easy | {"target_a": target}) for target in np.linspace(0.6, 0.9, ROWS)])


def test_next_step_resets_a_step_later():
    made, tasks = solvable()
    env = TaskVectorEnv(made, tasks)
    env.reset(seed=0)
    right = np.zeros(env.action_space.shape, np.float32)
    right[:, 0] = 1.0
    ended = np.zeros(ROWS, bool)
    solved = 0
    for _ in range(STEPS):
        observation, reward, terminated, truncated, info = env.step(right)
        assert env.observation_space.contains(observation) and reward.dtype == np.float32
        assert not np.any((terminated | truncated) & ended), "the step after an end starts an episode"
        assert np.all(reward[ended] == 0.0) and not np.any(info["success"][ended])
        np.testing.assert_array_equal(terminated, terminated & info["success"])
        ended = terminated | truncated
        solved += terminated.sum()
    assert solved >= ROWS


def test_same_step_gives_the_final_observation_apart():
    made, tasks = solvable()
    later, at_once = TaskVectorEnv(made, tasks), TaskVectorEnv(made, tasks, AutoresetMode.SAME_STEP)
    later.reset(seed=0)
    at_once.reset(seed=0)
    right = np.zeros(later.action_space.shape, np.float32)
    right[:, 0] = 1.0
    for _ in range(STEPS):
        last = later.step(right)
        now = at_once.step(right)
        ended = now[2] | now[3]
        if ended.any():
            break
        np.testing.assert_array_equal(now[0], last[0])
    np.testing.assert_array_equal(ended, now[4]["_final_obs"])
    np.testing.assert_array_equal(now[4]["final_info"]["success"], last[4]["success"])
    assert not np.any(now[4]["success"][ended])
    first = later.step(right)[0]
    for row in np.flatnonzero(ended):
        np.testing.assert_array_equal(now[4]["final_obs"][row], last[0][row])
        np.testing.assert_array_equal(now[0][row], first[row])


def test_without_autoreset_the_user_resets_by_mask():
    made, tasks = solvable()
    env = TaskVectorEnv(made, tasks, AutoresetMode.DISABLED)
    env.reset(seed=0)
    right = np.zeros(env.action_space.shape, np.float32)
    right[:, 0] = 1.0
    ended = np.zeros(ROWS, bool)
    while not ended.any():
        _, _, terminated, truncated, _ = env.step(right)
        ended = terminated | truncated
    with pytest.raises(ValueError, match="have ended; reset them first"):
        env.step(right)
    env.reset(options={"reset_mask": ended})
    env.step(right)
    with pytest.raises(ValueError, match="reset_mask has the shape"):
        env.reset(options={"reset_mask": np.ones(2, bool)})


def test_seeds_decide_the_starts_and_no_two_episodes_are_alike():
    made, tasks = solvable()
    env, other = TaskVectorEnv(made, tasks), TaskVectorEnv(made, tasks)
    first = env.reset(seed=4)[0]
    np.testing.assert_array_equal(first, other.reset(seed=4)[0])
    assert not np.array_equal(first, env.reset()[0]) and not np.array_equal(first, env.reset(seed=5)[0])
    keys = jax.random.key_data(episode_keys(4, np.zeros(6, np.int32)))
    more = jax.random.key_data(episode_keys(4, np.ones(6, np.int32)))
    assert len(np.unique(np.concatenate([keys, more]), axis=0)) == 12


def test_other_tasks_compile_nothing():
    made = Probe()

    def play(rows):
        env = TaskVectorEnv(made, rows)
        env.reset(seed=0)
        for action in actions(env, made.episode_steps + 1):
            env.step(action)

    play(vectors(made))
    with Compilations() as compiled:
        play(1.0 - vectors(made))
    assert compiled.count == 0


def test_gymnasiums_own_wrappers_accept_it():
    made, tasks = solvable()
    env = RecordEpisodeStatistics(TaskVectorEnv(made, tasks))
    env.reset(seed=0)
    returns = []
    for action in actions(env):
        info = env.step(action)[-1]
        if "episode" in info:
            returns += info["episode"]["l"][info["_episode"]].tolist()
    assert len(returns) >= ROWS and max(returns) <= 30


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda rows: rows[0], r"vectors have the shape"),
        (lambda rows: rows[:, :-1], "numbers; got shape"),
        (lambda rows: rows + 1.0, "allowed: 0 to 1"),
        (lambda rows: rows * np.nan, "allowed: a finite number"),
        (lambda rows: rows[:0], "N at least 1"),
    ],
)
def test_wrong_tasks_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        TaskVectorEnv(Probe(), wrong(vectors(Probe())))


def test_wrong_steps_are_refused():
    env = TaskVectorEnv(Probe(), vectors(Probe()))
    fine = actions(env, 1)[0]
    with pytest.raises(ValueError, match="before reset"):
        env.step(fine)
    env.reset(seed=0)
    for wrong in (fine[:2], fine * np.nan, fine[:, :1]):
        with pytest.raises(ValueError, match="actions have the shape"):
            env.step(wrong)


def test_the_example_with_stable_baselines3_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("stable_baselines3", reason="an extra of its own: pip install -e .[stable-baselines3]")
    made, tasks = solvable()
    file = tmp_path / "task.json"
    file.write_text(json.dumps(task_document(made, tasks[0], "probe-example", {})))
    monkeypatch.setattr("sys.argv", ["example", str(file), "--rows", "8", "--steps", "20000"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    before, after = (float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines()[-2:])
    assert before < 0.5 < after
