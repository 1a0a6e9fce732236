"""Seconds until success: this project's learner beside brax's own PPO, on the same task of an arm, one after the other.

    python benchmarks/learning_against_brax_ppo.py [--seconds 600] [--level 0.7] [--seed 0] [--out FILE]

The task: the family `reacher` with two links, the rest of body and world in the middle of the box, straight motors, 2 s, the
largest tolerance and a visible place for its tip, drawn anew for every episode (PPO: at every reset; ours: for every lifetime
of one episode). Both see the same observations and rewards, learn until they reach ``--level`` or for so many seconds, and are
evaluated in the same way: success of the stochastic policy in 1024 episodes, outside of the clock. Compilation is told apart.

PPO has the hyperparameters of brax's own training notebook for its reacher, but for episodes of 40 steps instead of 1000 and
stretches of 10 instead of 50, which learns from as few episodes sooner. brax 0.14.2 asks for a function that JAX removed in
0.10, `jax.device_put_replicated`; it is given back here.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.base import AbstractFamily
from envs.physics import quiet
from envs.spec import encode
from openended import bench, configuration, rollouts, trees
from openended.programs import Programs

with quiet():
    from brax.training.agents.ppo import networks as ppo_networks
    from brax.training.agents.ppo import train as ppo

    from envs.adapters import TaskEnv, _as_state

OVERRIDES = ("family=[reacher]", "interface=identity", "space.hidden_goals=false", "loop.episodes=1")
CHOSEN = {"links": 2, "feature": 0, "tolerance": 2.0, "hold": 0.1, "limit": 2.0}  # the rest is in the middle
PASS = 8  # updates between two looks at the clock
TESTS = 1024
NOTEBOOK = {
    "episode_length": 40,
    "reward_scaling": 5.0,
    "normalize_observations": True,
    "unroll_length": 10,
    "num_minibatches": 32,
    "num_updates_per_batch": 8,
    "discounting": 0.95,
    "learning_rate": 3e-4,
    "entropy_cost": 1e-3,
    "num_envs": 2048,
    "batch_size": 256,
}


def draw(family: AbstractFamily, key: jax.Array) -> jax.Array:
    """Vector f32[D] of the task with a random place for the tip; traceable."""
    names = [spec.name for spec in family.specs]
    place = jnp.array([names.index("target_a"), names.index("target_b")])
    return jnp.asarray(encode(family.specs, CHOSEN)).at[place].set(jax.random.uniform(key, (2,)))


class AnyPlace(TaskEnv):
    """The same as a brax environment: a reset draws the place; the task travels in the state."""

    def __init__(self, family: AbstractFamily):
        super().__init__(family, np.full(len(family.specs), 0.5))

    def reset(self, rng: jax.Array) -> Any:
        """Another place, and an episode there."""
        rng = rng if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(rng)
        draw_key, reset_key = jax.random.split(rng)
        model = self.family.prepare(draw(self.family, draw_key))
        return _as_state(*self.family.reset(model, reset_key), info={"model": model})

    def step(self, state: Any, action: jax.Array) -> Any:
        """One control step."""
        return _as_state(*self.family.step(state.info["model"], state.pipeline_state, action), info=state.info)


def theirs(family: AbstractFamily, level: float, seconds: float, seed: int) -> dict[str, Any]:
    """brax's PPO, evaluated after every epoch of its training."""
    env, clock = AnyPlace(family), Clock(level, seconds)
    test = None

    def look(steps: int, make_policy: Callable, params: Any) -> None:
        nonlocal test
        if test is None:
            test = jax.jit(lambda params, key: _success_of_ppo(env, make_policy(params), key))
        clock.look(steps, lambda: float(test(params, jax.random.key(1))))

    epochs, epoch = 10_000, NOTEBOOK["batch_size"] * NOTEBOOK["num_minibatches"] * NOTEBOOK["unroll_length"]
    if not hasattr(jax, "device_put_replicated"):
        jax.device_put_replicated = lambda tree, devices: jax.tree.map(
            lambda leaf: jax.device_put(jnp.stack([leaf] * len(devices))), tree
        )
    with contextlib.suppress(StopIteration):
        ppo.train(
            env,
            num_timesteps=epochs * epoch,
            num_evals=epochs,
            policy_params_fn=look,
            run_evals=False,
            seed=seed,
            max_devices_per_host=1,
            network_factory=ppo_networks.make_ppo_networks,
            **NOTEBOOK,
        )
    return clock.report()


def _success_of_ppo(env: AnyPlace, policy: Callable, key: jax.Array) -> jax.Array:
    def episode(key: jax.Array) -> jax.Array:
        reset_key, key = jax.random.split(key)

        def step(carry: Any, key: jax.Array) -> Any:
            state, won = carry
            action, _ = policy(state.obs, key)
            state = env.step(state, action)
            return (state, won | (state.metrics["success"] > 0)), None

        start = env.reset(reset_key), jnp.zeros((), bool)
        return jax.lax.scan(step, start, jax.random.split(key, env.family.episode_steps))[0][1]

    return jnp.mean(jax.vmap(episode)(jax.random.split(key, TESTS)))


def ours(loop: Any, family: AbstractFamily, level: float, seconds: float, seed: int) -> dict[str, Any]:
    """The default learner on lifetimes of one episode, evaluated after every pass."""
    programs: Programs = loop.programs
    state = trees.replicate(loop.learner.init(jax.random.key(seed)))
    model, rows, clock = loop.init().model, 2 * loop.settings.rows, Clock(level, seconds)
    places = jax.jit(lambda key: jax.vmap(functools.partial(draw, family))(jax.random.split(key, PASS * rows)))
    play = jax.jit(rollouts.outcomes(family, loop.learner.policy, 1))
    tests = jax.vmap(functools.partial(draw, family))(jax.random.split(jax.random.key(1), TESTS))
    test = lambda: float(play(state.params, tests, jax.random.split(jax.random.key(2), TESTS)).success.mean())  # noqa: E731
    key, steps = jax.random.key(seed), 0
    clock.look(0, test)
    with contextlib.suppress(StopIteration):
        for number in range(10**9):
            fresh = jax.random.fold_in(key, number)
            tasks = {family.name: np.asarray(places(fresh)).reshape(1, PASS, rows, -1)}
            state, model, _ = programs.learn(state, model, tasks, jax.random.fold_in(fresh, 1))
            jax.block_until_ready(state.params)
            steps += PASS * rows * family.episode_steps
            clock.look(steps, test)
    return clock.report()


class Clock:
    """Time of training, without evaluations. Some of the first stretches also compile: all count as long as the shortest."""

    def __init__(self, level: float, seconds: float):
        self.level, self.seconds = level, seconds
        self.stretches: list[float] = []
        self.seen: list[tuple[int, float]] = []  # steps and success after each stretch, the first one before any
        self.since = time.perf_counter()

    def look(self, steps: int, success: Callable[[], float]) -> None:
        """Evaluate; raises StopIteration at the level, not before the second stretch, or at the end of the time."""
        self.stretches += [time.perf_counter() - self.since] if steps else []
        self.seen.append((steps, success()))
        print(f"  {sum(self.stretches):7.1f} s  {steps:>10,} steps  success {self.seen[-1][1]:.3f}", flush=True)
        reached = len(self.stretches) > 1 and self.seen[-1][1] >= self.level
        if reached or sum(self.stretches) >= self.seconds:
            raise StopIteration
        self.since = time.perf_counter()

    def report(self) -> dict[str, Any]:
        """Seconds to the level (null where it was not reached), with and without compiling; steps/s; the curve."""
        each = min(self.stretches)
        steps, successes = zip(*self.seen, strict=True)
        found = next((i for i, success in enumerate(successes) if i and success >= self.level), None)
        return {
            "seconds_to_level": None if found is None else found * each,
            "seconds_to_level_with_compiling": None if found is None else sum(self.stretches[:found]),
            "steps_to_level": None if found is None else steps[found],
            "steps_per_s": steps[1] / each,
            "curve": {"seconds": [i * each for i in range(len(steps))], "steps": steps, "success": successes},
        }


def main() -> None:
    """Print the comparison as JSON, and store it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--level", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    loop = configuration.build(configuration.read([*OVERRIDES, f"run.seed={options.seed}"]))
    family = loop.families["reacher"]
    found = {
        "command": f"python benchmarks/learning_against_brax_ppo.py --seconds {options.seconds:g} --level {options.level:g}"
    }
    for name, learn in {"openended": functools.partial(ours, loop), "brax_ppo": theirs}.items():
        print(name)
        found[name] = learn(family, options.level, options.seconds, options.seed)
    found["device"] = bench.device()
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
