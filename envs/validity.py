"""Which candidates are tasks at all: a goal that was reached and held (the witness), and neither no-op nor chance solves it.

``ground`` takes proposed vectors, searches each for an action sequence that holds the goal's feature still near the proposed
target (an evosax strategy over action knots), moves the target to where it was held, and checks that the physics stays within
its gate and that doing nothing or acting at random does not solve it. The same code serves every arm of an ablation.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from evosax.algorithms import SNES

from envs import goals
from envs.base import ACTIONS, AbstractFamily, Model

BROKEN = 1e3  # cost of a sequence that breaks the physics
KNOTS = 8  # action knots of a search sequence, linearly interpolated
VERDICTS = ("valid", "broken physics", "no-op solves it", "random actions solve it", "no witness")


class Grounding(NamedTuple):
    """One row per candidate."""

    vector: jax.Array  # f32[D] with the target where the witness held it
    verdict: jax.Array  # i32[] index into VERDICTS
    actions: jax.Array  # f32[T, ACTIONS] the witness, in policy coordinates
    key: jax.Array  # the reset and noise key the witness belongs to
    difficulty: jax.Array  # f32[] bits, goals.difficulty


@dataclasses.dataclass(frozen=True)
class Search:
    """Effort of the search for witnesses and of the check against chance."""

    population: int = 8
    generations: int = 4
    random_episodes: int = 6
    random_allowed: int = 1

    def steps(self, family: AbstractFamily) -> int:
        """Control steps spent on one candidate: search, witness check, no-op, random play."""
        return (self.population * self.generations + 2 + self.random_episodes) * family.episode_steps


def play(family: AbstractFamily, model: Model, key: jax.Array, actions: jax.Array):
    """TimeSteps [T] of one episode under an action sequence f32[T, ACTIONS]."""
    state, _ = family.reset(model, key)
    return jax.lax.scan(lambda s, a: family.step(model, s, a), state, actions)[1]


def solves(family: AbstractFamily, vector: jax.Array, key: jax.Array, actions: jax.Array) -> jax.Array:
    """Whether the witness solves the task from its own key."""
    return play(family, family.prepare(vector), key, actions).success[-1]


def ground(family: AbstractFamily, search: Search, vector: jax.Array, key: jax.Array) -> Grounding:
    """Search, move the target, judge; one candidate. vector: f32[D]."""
    reset_key, search_key, random_key = jax.random.split(key, 3)
    model = family.prepare(vector)
    actions, held_at, held, broken = _search(family, search, model, reset_key, search_key)
    vector = _with_target(family, model, vector, held_at)
    model = family.prepare(vector)
    keys, trials = _trials(search, reset_key, random_key, actions)
    # One vmapped call: the physics is compiled once for the witness, for doing nothing and for chance together.
    success, value = jax.vmap(lambda k, a: _last(play(family, model, k, a)))(keys, trials)
    start = jnp.linalg.norm(value[1] - model.task.goal.target)
    verdict = jnp.select(
        [broken, ~(held & success[0]), success[1], jnp.sum(success[2:]) > search.random_allowed],
        [jnp.int32(1), jnp.int32(4), jnp.int32(2), jnp.int32(3)],
        jnp.int32(0),
    )
    return Grounding(vector, verdict, actions, reset_key, goals.difficulty(model.task.goal, start))


def _trials(search: Search, reset_key: jax.Array, random_key: jax.Array, witness: jax.Array):
    """Keys [2 + R] and action sequences f32[2 + R, T, A]: the witness and no-op on its key, then R random ones."""
    reset_keys, action_keys = jax.random.split(random_key, (2, search.random_episodes))
    chance = jax.vmap(lambda k: jax.random.uniform(k, witness.shape, minval=-1.0, maxval=1.0))(action_keys)
    keys = jnp.concatenate([reset_key[None], reset_key[None], reset_keys])
    return keys, jnp.concatenate([witness[None], jnp.zeros_like(witness)[None], chance])


def _last(steps) -> tuple[jax.Array, jax.Array]:
    """Whether an episode was solved, and the goal's feature after its first step."""
    return steps.success[-1], steps.value[0]


def _search(family: AbstractFamily, search: Search, model: Model, reset_key: jax.Array, key: jax.Array):
    """The steadiest sequence near the proposed target: (actions [T, A], where it held f32[2], held bool, broken bool)."""
    strategy = SNES(population_size=search.population, solution=jnp.zeros((KNOTS, ACTIONS)))
    settings = strategy.default_params.replace(std_init=0.8)
    init_key, *keys = jax.random.split(key, 1 + search.generations)

    def attempt(knots):
        actions = _interpolate(jnp.clip(knots, -1.0, 1.0), family.episode_steps)
        steps = play(family, model, reset_key, actions)
        cost, center = _unsteadiness(model.task.goal, steps.value)
        return jnp.where(steps.broken[-1], BROKEN, cost), (actions, center, cost, jnp.any(steps.broken))

    def generation(carry, key):
        state, best_cost, best = carry
        ask_key, tell_key = jax.random.split(key)
        members, state = strategy.ask(ask_key, state, settings)
        cost, found = jax.vmap(attempt)(members)
        state, _ = strategy.tell(tell_key, members, cost, state, settings)
        pick = jnp.argmin(cost)
        better = cost[pick] < best_cost
        best = jax.tree.map(lambda new, old: jnp.where(better, new[pick], old), found, best)
        return (state, jnp.minimum(cost[pick], best_cost), best), None

    state = strategy.init(init_key, jnp.zeros((KNOTS, ACTIONS)), settings)
    state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), state)
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(attempt, jnp.zeros((KNOTS, ACTIONS)))[1])
    (_, best_cost, best), _ = jax.lax.scan(generation, (state, jnp.float32(jnp.inf), empty), jnp.stack(keys))
    actions, center, cost, _ = best
    return actions, center, cost < 1e2, best_cost >= BROKEN


def _unsteadiness(goal: goals.Goal, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cost f32[] and centre f32[2] of the best window of ``hold`` steps before the limit; value: f32[T, 2].

    cost = distance of the centre from the proposed target + 100 [the window leaves 0.9 tolerances of its centre], m or rad.
    """
    steps = value.shape[0]
    time = jnp.arange(steps)
    inside = (time[None, :] <= time[:, None]) & (time[None, :] > time[:, None] - goal.hold)  # window that ends at t
    center = (inside.astype(jnp.float32) @ value) / goal.hold
    spread = jnp.linalg.norm(value[None, :, :] - center[:, None, :], axis=-1)
    widest = jnp.max(jnp.where(inside, spread, 0.0), axis=1)
    whole = (time + 1 >= goal.hold) & (time + 1 <= goal.limit)
    miss = jnp.linalg.norm(center - goal.target, axis=-1)
    cost = jnp.where(whole, miss, 50.0) + 100.0 * ((widest > 0.9 * goal.tolerance) | ~whole)
    # A small slope towards steadiness guides the search while nothing is held.
    cost = cost + 0.1 * jnp.minimum(widest / goal.tolerance, 10.0)
    pick = jnp.argmin(cost)
    return cost[pick], center[pick]


def _interpolate(knots: jax.Array, steps: int) -> jax.Array:
    """f32[KNOTS, A] -> f32[steps, A], linear."""
    at = jnp.linspace(0.0, KNOTS - 1.0, steps)
    return jax.vmap(lambda column: jnp.interp(at, jnp.arange(KNOTS), column), in_axes=1, out_axes=1)(knots)


def _with_target(family: AbstractFamily, model: Model, vector: jax.Array, target: jax.Array) -> jax.Array:
    """The vector with its goal moved to ``target`` f32[2], clipped to the feature's bounds."""
    units = goals.target_units(family.features, model.task.goal.feature, target)
    names = [spec.name for spec in family.specs]
    return vector.at[jnp.array([names.index("target_a"), names.index("target_b")])].set(units)
