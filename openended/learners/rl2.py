"""RL^2 (Duan et al. 2016, arXiv 1611.02779): the policy's memory lives for a lifetime, PPO trains it over whole lifetimes."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from openended import ppo
from openended.learners.base import AbstractLearner, Intrinsic, LearnerState, Sample, falling, report, require_positive
from openended.networks import AbstractPolicy
from openended.types import LearnReport, Params, Rollout

PART, LEAST = 0.2, 10.0  # of all updates so far, and updates, that the average goes back over


class RL2(AbstractLearner):
    """The default learner; with ``memory=none`` it is the memoryless control.

    The learning rate falls exponentially from ``learning_rate`` to ``final_learning_rate`` over ``decay_updates`` updates.
    What acts is a running average of the weights (Polyak and Juditsky 1992), over the last fifth of all updates or so, but
    over 10 at least and ``1 / settings.averaging`` at most: it solves more than the weights of any single update, and forgets
    less from one round to the next.
    """

    def __init__(
        self,
        policy: Callable[..., AbstractPolicy],
        settings: ppo.Settings,
        memory: str = "fast_weights",
        learning_rate: float = 3e-3,
        final_learning_rate: float = 3e-4,
        decay_updates: int = 300,
        max_gradient_norm: float = 0.5,
        extrinsic_weight: float = 1.0,
    ):
        require_positive(
            learning_rate=learning_rate,
            final_learning_rate=final_learning_rate,
            decay_updates=decay_updates,
            max_gradient_norm=max_gradient_norm,
        )
        if not 0.0 < settings.averaging <= 1.0:
            raise ValueError(f"learner.settings.averaging is {settings.averaging}; allowed: above 0 and at most 1")
        self.policy = policy(memory=memory)
        self.settings = settings
        self.extrinsic_weight = extrinsic_weight
        schedule = falling(learning_rate, final_learning_rate, decay_updates * settings.epochs * settings.minibatches)
        self.optimiser = optax.chain(optax.clip_by_global_norm(max_gradient_norm), optax.adam(schedule, eps=1e-5))

    def init(self, key: jax.Array, params: Params | None = None) -> LearnerState:
        """A new-born policy, or these weights."""
        params = self.policy.init(key) if params is None else params
        return LearnerState(params, (params, self.optimiser.init(params)), jnp.zeros((), jnp.int32))

    def update(
        self, state: LearnerState, sample: Sample, tasks, intrinsic: Intrinsic, key: jax.Array
    ) -> tuple[LearnerState, Rollout, LearnReport]:
        """Roll out whole lifetimes with the newest weights, then PPO on them; the average follows."""
        sample_key, order_key = jax.random.split(key)
        newest, _ = state.optimiser
        rollout = sample(newest, tasks, sample_key)
        batch = ppo.prepare(rollout, self.reward(rollout, intrinsic), self.settings)
        after, metrics = ppo.improve(self.policy, self.optimiser, self.settings, state.optimiser, batch, order_key)
        reach = jnp.clip(PART * state.updates, LEAST, 1.0 / self.settings.averaging)
        share = 1.0 / jnp.minimum(state.updates + 1.0, reach)  # the first weights are soon forgotten
        params = optax.incremental_update(after[0], state.params, share)
        return LearnerState(params, after, state.updates + 1), rollout, report(rollout, metrics)
