"""Evolution: an evolution strategy of evosax on the weights of the same policy; fitness is the reward of whole lifetimes."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from evosax.core.fitness_shaping import centered_rank_fitness_shaping_fn

from openended import trees
from openended.learners.base import AbstractLearner, Intrinsic, LearnerState, Sample, falling, report, require_positive
from openended.networks import AbstractPolicy
from openended.types import LearnReport, Params, Rollout


class Evolution(AbstractLearner):
    """Every member of the population meets the same tasks with the same noise; the mean of the distribution acts.

    The learning rate falls exponentially, to a tenth over ``decay_updates`` updates. evosax minimises, so a member's fitness is
    its negative mean reward per step. ``algorithm`` is a class of ``evosax.algorithms`` that keeps a mean (Open_ES, SNES, ...).
    """

    def __init__(
        self,
        policy: Callable[..., AbstractPolicy],
        memory: str = "fast_weights",
        algorithm: str = "Open_ES",
        population: int = 32,
        sigma: float = 0.05,
        learning_rate: float = 0.02,
        decay_updates: int = 1000,
        extrinsic_weight: float = 1.0,
    ):
        require_positive(population=population, sigma=sigma, learning_rate=learning_rate, decay_updates=decay_updates)
        algorithms = importlib.import_module("evosax.algorithms")
        if not hasattr(algorithms, algorithm):
            raise ValueError(f"learner.algorithm is '{algorithm}'; allowed: a class of evosax.algorithms, such as Open_ES")
        self.policy = policy(memory=memory)
        self.population = population
        self.extrinsic_weight = extrinsic_weight
        template = jax.eval_shape(self.policy.init, jax.random.key(0))
        self._strategy = getattr(algorithms, algorithm)(
            population_size=population,
            solution=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), template),
            optimizer=optax.adam(falling(learning_rate, learning_rate / 10.0, decay_updates)),
            std_schedule=optax.constant_schedule(sigma),
            fitness_shaping_fn=centered_rank_fitness_shaping_fn,
        )

    def init(self, key: jax.Array, params: Params | None = None) -> LearnerState:
        """The distribution starts at a new-born policy, or at these weights."""
        params_key, state_key = jax.random.split(key)
        params = self.policy.init(params_key) if params is None else params
        state = self._strategy.init(state_key, params, self._strategy.default_params)
        return LearnerState(params, jax.tree.map(trees.strong, state), jnp.zeros((), jnp.int32))

    def update(
        self, state: LearnerState, sample: Sample, tasks, intrinsic: Intrinsic, key: jax.Array
    ) -> tuple[LearnerState, Rollout, LearnReport]:
        """Ask, evaluate every member on ``rows // population`` tasks of each device, tell; the mean then plays all rows."""
        ask_key, sample_key, tell_key = jax.random.split(key, 3)
        settings = self._strategy.default_params
        # Every device must ask for the same population: its own rows differ, its members do not.
        ask_key, tell_key = (jax.random.wrap_key_data(trees.first(jax.random.key_data(k))) for k in (ask_key, tell_key))
        members, strategy = self._strategy.ask(ask_key, state.optimiser, settings)
        few = {name: rows[: self._each(rows.shape[0])] for name, rows in tasks.items()}
        rollouts = jax.vmap(sample, in_axes=(0, None, None))(members, few, sample_key)
        reward = jax.vmap(lambda r: self.reward(r, intrinsic))(rollouts)
        fitness = trees.mean(jnp.mean(reward, axis=(1, 2)))
        strategy, _ = self._strategy.tell(tell_key, members, -fitness, strategy, settings)
        params = self._strategy.get_mean(strategy)
        rollout = sample(params, tasks, sample_key)
        metrics = {"fitness": jnp.mean(fitness), "best_fitness": jnp.max(fitness)}
        after = LearnerState(params, jax.tree.map(trees.strong, strategy), state.updates + 1)
        return after, rollout, report(rollout, metrics)

    def lifetimes(self, rows: int) -> int:
        """Those of all members, and of the mean in every row."""
        return self.population * self._each(rows) + rows

    def _each(self, rows: int) -> int:
        """Tasks that every member meets."""
        return max(1, rows // self.population)
