"""Train one task of a run, or of a task file, with stable-baselines3's PPO.

    pip install -e ".[stable-baselines3]"
    openended task demo TASK --as json --out task.json
    python docs/examples/stable_baselines3_ppo.py task.json --steps 200000

The task is played by many rows of one compiled program. PPO remembers nothing between episodes: choose a task whose goal is
visible.
"""

import argparse

import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from envs.gymnasium_env import TaskVectorEnv
from openended.taskfile import read_task


class Rows(VecEnv):
    """A gymnasium vector environment with same-step resets as the vector environment of stable-baselines3."""

    def __init__(self, env: TaskVectorEnv):
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self):
        """First observations f32[N, O]."""
        return self.env.reset(seed=next((seed for seed in self._seeds if seed is not None), None))[0]

    def step_async(self, actions):
        """Keep the actions f32[N, A] for `step_wait`."""
        self.actions = actions

    def step_wait(self):
        """One control step; rows that end are reset at once, their last observation stands in their info."""
        observation, reward, terminated, truncated, info = self.env.step(self.actions)
        done = terminated | truncated
        infos = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(done):
            infos[row] = {
                "terminal_observation": info["final_obs"][row],
                "TimeLimit.truncated": bool(truncated[row]),
                "is_success": bool(info["final_info"]["success"][row]),
            }
        return observation, reward, done, infos

    def close(self):
        """Release the environment."""
        self.env.close()

    def get_attr(self, attr_name, indices=None):
        """The attribute of the whole environment, once for each row."""
        return [getattr(self.env, attr_name)] * len(self._get_indices(indices))

    def set_attr(self, attr_name, value, indices=None):
        """Rows share one program: nothing can be set in one alone."""
        raise NotImplementedError("rows have no attributes of their own")

    def env_method(self, method_name, *args, indices=None, **kwargs):
        """Rows share one program: nothing can be called on one alone."""
        raise NotImplementedError("rows have no methods of their own")

    def env_is_wrapped(self, wrapper_class, indices=None):
        """No row is wrapped."""
        return [False] * len(self._get_indices(indices))


def solved(model, env, episodes):
    """Share of ``episodes`` that the deterministic policy solves."""
    observation, verdicts = env.reset(), []
    while len(verdicts) < episodes:
        observation, _, done, infos = env.step(model.predict(observation, deterministic=True)[0])
        verdicts += [infos[row]["is_success"] for row in np.flatnonzero(done)]
    return float(np.mean(verdicts))


def main():
    """Train, and say what share of episodes is solved before and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", help="a file that `openended task ... --as json` wrote")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    family, task = read_task(options.task)
    tasks = np.tile(task.vector, (options.rows, 1))
    env = VecMonitor(Rows(TaskVectorEnv(family, tasks, AutoresetMode.SAME_STEP)), info_keywords=("is_success",))
    model = PPO(
        "MlpPolicy", env, n_steps=64, batch_size=512, n_epochs=5, gamma=0.97, seed=options.seed, device="cpu", verbose=0
    )
    print(f"{task.id}: {task.description}")
    print(f"solved before training: {solved(model, env, 256):.2f}", flush=True)
    model.learn(options.steps)
    print(f"solved after {options.steps} steps: {solved(model, env, 256):.2f}")


if __name__ == "__main__":
    main()
