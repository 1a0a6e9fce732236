"""Which candidates are tasks at all: a goal that was reached and held (the witness), and neither no-op nor chance solves it.

``ground`` takes proposed vectors, searches each for an action sequence that holds the goal's feature still near the proposed
target (an evosax strategy over action knots), moves the target to where it was held, and checks that the physics stays within
its gate and that doing nothing or acting at random does not solve it. The same code serves every arm of an ablation. All
episodes run through one ``player``, ``population`` of them for each candidate at a time: the physics is compiled once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import SNES

from envs import goals
from envs.base import AbstractFamily, Model

BROKEN = 1e3  # cost of a sequence that breaks the physics
KNOTS = 8  # action knots of a search sequence, linearly interpolated
VERDICTS = ("valid", "broken physics", "no-op solves it", "random actions solve it", "no witness")


class Grounding(NamedTuple):
    """One row per candidate."""

    vector: jax.Array  # f32[N, D] with the target where the witness held it
    verdict: jax.Array  # i32[N] index into VERDICTS
    actions: jax.Array  # f32[N, T, actions] the witness, in policy coordinates
    key: jax.Array  # [N] the reset and noise key the witness belongs to
    difficulty: jax.Array  # f32[N] bits, goals.difficulty


class Episodes(NamedTuple):
    """What a player tells of its episodes."""

    value: jax.Array  # f32[N, T, P, 2] the goal's features
    success: jax.Array  # bool[N]
    broken: jax.Array  # bool[N]


class Found(NamedTuple):
    """The steadiest sequence so far, of each candidate."""

    cost: jax.Array  # f32[N]
    actions: jax.Array  # f32[N, T, actions]
    center: jax.Array  # f32[N, P, 2] where the goal's features were held


@dataclasses.dataclass(frozen=True)
class Search:
    """Effort of the search for witnesses and of the check against chance, which plays ``population - 2`` random episodes."""

    population: int = 8
    generations: int = 4
    random_allowed: int = 1

    def __post_init__(self):
        if self.population < 4:
            raise ValueError(f"search.population is {self.population}; allowed: at least 4")
        if self.generations < 1:
            raise ValueError(f"search.generations is {self.generations}; allowed: at least 1")

    def steps(self, family: AbstractFamily) -> int:
        """Control steps spent on one candidate: search, witness check, no-op, random play."""
        return self.population * (self.generations + 1) * family.episode_steps


def play(family: AbstractFamily, model: Model, key: jax.Array, actions: jax.Array):
    """TimeSteps [T] of one episode under an action sequence f32[T, actions or more]."""
    state, _ = family.reset(model, key)
    return jax.lax.scan(lambda s, a: family.step(model, s, a), state, actions)[1]


def play_at_random(family: AbstractFamily, model: Model, key: jax.Array, most: jax.Array | float = 1.0):
    """TimeSteps [T] of one episode under actions drawn uniformly from [-most, most]."""
    reset_key, action_key = jax.random.split(key)
    return play(family, model, reset_key, most * _chance(action_key, (family.episode_steps, family.actions)))


def _chance(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform actions in [-1, 1]. In a row, for the same numbers: XLA needs ten times as long to compile a table of them."""
    return jax.random.uniform(key, (math.prod(shape),), minval=-1.0, maxval=1.0).reshape(shape)


def player(family: AbstractFamily) -> Callable[..., Episodes]:
    """``(vectors f32[N, D], keys [N], actions f32[N, T, actions]) -> Episodes``, to be compiled by the caller."""

    def one(vector, key, actions):
        return told(play(family, family.prepare(vector), key, actions))

    return jax.vmap(one)


def told(steps: Any) -> Episodes:
    """What a player tells of the TimeSteps [T] of an episode."""
    return Episodes(steps.value, steps.success[-1], steps.broken[-1])


def solves(family: AbstractFamily, vector: jax.Array, key: jax.Array, actions: jax.Array) -> jax.Array:
    """Whether the witness solves the task from its own key."""
    return play(family, family.prepare(vector), key, actions).success[-1]


def call(function: Callable, static: tuple, *arguments: Any) -> Any:
    """A part of `ground`: function(*static, *arguments)."""
    return function(*static, *arguments)


def ground(
    family: AbstractFamily,
    search: Search,
    run: Callable[..., Episodes],
    vectors: jax.Array,
    keys: jax.Array,
    call: Callable = call,
) -> Grounding:
    """Search, move the target, judge. vectors: f32[N, D]; keys: [N]; run: the compiled player of ``N * population`` rows.

    Only the episodes are spread over the devices; what surrounds them stays where the keys are and is compiled for one, by
    ``call``, which is given a function, what it is compiled for, and its arguments.
    """
    here, shape = next(iter(keys.devices())), (family.episode_steps, family.actions, family.parts)
    vectors, keys = jax.device_put((vectors, keys), here)
    goal = call(_goals, (family,), vectors)
    (reset, searching, chance), state, found = call(_start, (search, shape), keys)
    many, many_keys = call(_many, (search,), vectors, reset)
    for generation in range(search.generations):
        members, actions, state = call(_ask, (search, shape), state, searching, np.int32(generation))
        episodes = jax.device_put(run(many, many_keys, actions.reshape(-1, *actions.shape[2:])), here)
        state, found = call(_tell, (search,), goal, (state, found), (members, actions, episodes))
    vectors, goal = call(_aim, (family,), vectors, found.center)
    many, _ = call(_many, (search,), vectors, reset)
    episodes = jax.device_put(run(many, *call(_trials, (search,), reset, chance, found.actions)), here)
    verdict, difficulty = call(_judge, (search,), goal, found, episodes)
    return Grounding(vectors, verdict, found.actions, reset, difficulty)


# Only the two that decode and aim know the family: the others are compiled once for all with as many steps and actions, all in
# half the time, since a little slower code does not matter here.
OPTIONS = {"xla_backend_optimization_level": 1}
_jit = functools.partial(jax.jit, compiler_options=OPTIONS)


@functools.partial(_jit, static_argnums=0)
def _goals(family: AbstractFamily, vectors: jax.Array) -> goals.Goal:
    """The goals [N] of vectors f32[N, D]."""
    return _decoded(family, vectors)


@functools.partial(_jit, static_argnums=0)
def _many(search: Search, vectors: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Vectors and keys ``population`` times each."""
    return jnp.repeat(vectors, search.population, axis=0), jnp.repeat(keys, search.population, axis=0)


def _strategy(population: int, width: int) -> tuple[SNES, Any]:
    strategy = SNES(population_size=population, solution=jnp.zeros((KNOTS, width)))
    return strategy, strategy.default_params.replace(std_init=0.8)


@functools.partial(_jit, static_argnums=(0, 1))
def _start(search: Search, shape: tuple[int, int, int], keys: jax.Array) -> tuple[jax.Array, Any, Found]:
    """Keys [3, N] for reset, search and chance; the strategy of each candidate; and nothing found."""
    strategy, settings = _strategy(search.population, shape[1])
    count = keys.shape[0]
    parts = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)
    state = strategy.init(jax.random.key(0), jnp.zeros((KNOTS, shape[1])), settings)
    state = jax.tree.map(lambda x: jnp.broadcast_to(jax.lax.convert_element_type(x, x.dtype), (count, *x.shape)), state)
    steps, width, conditions = shape
    actions, center = jnp.zeros((count, steps, width)), jnp.zeros((count, conditions, 2))
    return parts, state, Found(jnp.full(count, jnp.float32(jnp.inf)), actions, center)


@functools.partial(_jit, static_argnums=(0, 1))
def _ask(search: Search, shape: tuple[int, int, int], state: Any, keys: jax.Array, generation: int):
    """Members f32[N, P, KNOTS, A], their actions f32[N, P, T, A], and the state."""
    strategy, settings = _strategy(search.population, shape[1])
    keys = jax.vmap(lambda key: jax.random.fold_in(key, generation))(keys)
    members, state = jax.vmap(lambda k, s: strategy.ask(k, s, settings))(keys, state)
    spread = functools.partial(_interpolate, steps=shape[0])
    return members, jax.vmap(jax.vmap(spread))(jnp.clip(members, -1.0, 1.0)), state


@functools.partial(_jit, static_argnums=0)
def _tell(search: Search, goal: goals.Goal, before: tuple, generation: tuple) -> tuple[Any, Found]:
    """The strategies and the best sequences after a generation (members, actions, episodes)."""
    strategy, settings = _strategy(search.population, generation[0].shape[-1])
    (state, found), (members, actions, episodes) = before, generation
    value, broken = (x.reshape(-1, search.population, *x.shape[1:]) for x in (episodes.value, episodes.broken))
    cost, center = jax.vmap(jax.vmap(_unsteadiness, (None, 0)))(goal, value)
    cost = jnp.where(broken, BROKEN, cost)
    state, _ = jax.vmap(lambda m, c, s: strategy.tell(jax.random.key(0), m, c, s, settings))(members, cost, state)
    pick = jnp.argmin(cost, axis=1)
    best = Found(*(jax.vmap(lambda x, i: x[i])(x, pick) for x in (cost, actions, center)))
    better = best.cost < found.cost
    return state, jax.tree.map(lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), best, found)


@functools.partial(_jit, static_argnums=0)
def _trials(search: Search, reset: jax.Array, chance: jax.Array, witness: jax.Array):
    """Keys [N * P] and actions f32[N * P, T, A]: the witness and no-op on its key, then random ones on fresh keys."""

    def one(reset_key, chance_key, actions):
        reset_keys, action_keys = jax.random.split(chance_key, (2, search.population - 2))
        random = jax.vmap(lambda k: _chance(k, actions.shape))(action_keys)
        keys = jnp.concatenate([reset_key[None], reset_key[None], reset_keys])
        return keys, jnp.concatenate([actions[None], jnp.zeros_like(actions)[None], random])

    keys, actions = jax.vmap(one)(reset, chance, witness)
    return keys.reshape(-1), actions.reshape(-1, *witness.shape[1:])


@functools.partial(_jit, static_argnums=0)
def _judge(search: Search, goal: goals.Goal, found: Found, episodes: Episodes):
    """Verdict i32[N] and difficulty f32[N] from the trials of each candidate."""
    success = episodes.success.reshape(-1, search.population)
    still = episodes.value.reshape(-1, search.population, *episodes.value.shape[1:])[:, 1, 0]  # no-op, after one step
    start = jnp.linalg.norm(still - goal.target, axis=-1)
    held = (found.cost < 1e2) & success[:, 0]
    conditions = [found.cost >= BROKEN, ~held, success[:, 1], jnp.sum(success[:, 2:], axis=1) > search.random_allowed]
    verdict = jnp.select(conditions, [jnp.int32(1), jnp.int32(4), jnp.int32(2), jnp.int32(3)], jnp.int32(0))
    return verdict, jax.vmap(goals.difficulty)(goal, start)


def _unsteadiness(goal: goals.Goal, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cost f32[] and centres f32[P, 2] of the best window of ``hold`` steps before the limit; value: f32[T, P, 2].

    cost = distance of the centre from the proposed target + 100 [the window leaves 0.9 tolerances of its centre], m or rad.
    Of two conditions it is the sum, over one window for both or over two of which the second begins after the first.
    """
    windows = functools.partial(_windows, goal)
    cost, center = jax.vmap(windows, in_axes=(0, 0, 1))(goal.target, goal.tolerance, value)
    if len(cost) == 1:
        pick = jnp.argmin(cost[0])
        return cost[0, pick], center[:, pick]
    second = jnp.where(goal.used > 1, cost[1], 0.0)
    pairs = jnp.where(_together(goal, len(value)), cost[0][:, None] + second[None, :], 0.5 * BROKEN)
    picks = jnp.stack(jnp.unravel_index(jnp.argmin(pairs), pairs.shape))
    return jnp.min(pairs), center[jnp.arange(2), picks]


def _windows(goal: goals.Goal, target: jax.Array, tolerance: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cost f32[T] and centre f32[T, 2] of the windows that end at each step, for one condition; value: f32[T, 2]."""
    time = jnp.arange(value.shape[0])
    inside = (time[None, :] <= time[:, None]) & (time[None, :] > time[:, None] - goal.hold)  # window that ends at t
    center = (inside.astype(jnp.float32) @ value) / goal.hold
    spread = jnp.linalg.norm(value[None, :, :] - center[:, None, :], axis=-1)
    widest = jnp.max(jnp.where(inside, spread, 0.0), axis=1)
    whole = (time + 1 >= goal.hold) & (time + 1 <= goal.limit)
    miss = jnp.linalg.norm(center - target, axis=-1)
    cost = jnp.where(whole, miss, 50.0) + 100.0 * ((widest > 0.9 * tolerance) | ~whole)
    # A small slope towards steadiness guides the search while nothing is held.
    return cost + 0.1 * jnp.minimum(widest / tolerance, 10.0), center


def _together(goal: goals.Goal, steps: int) -> jax.Array:
    """bool[T, T]: whether windows that end at these steps, of the first and second condition, belong together."""
    first, second = jnp.arange(steps)[:, None], jnp.arange(steps)[None, :]
    return jnp.where(goal.ordered, first + goal.hold <= second, first == second)


def _interpolate(knots: jax.Array, steps: int) -> jax.Array:
    """f32[KNOTS, A] -> f32[steps, A], linear."""
    at = jnp.linspace(0.0, KNOTS - 1.0, steps)
    return jax.vmap(lambda column: jnp.interp(at, jnp.arange(KNOTS), column), in_axes=1, out_axes=1)(knots)


@functools.partial(_jit, static_argnums=0)
def _aim(family: AbstractFamily, vectors: jax.Array, target: jax.Array) -> tuple[jax.Array, goals.Goal]:
    """The vectors with their goals moved to ``target`` f32[N, P, 2], clipped to the features' bounds; and these goals."""
    goal, names = _decoded(family, vectors), [spec.name for spec in family.specs]
    units = jax.vmap(lambda index, aim: goals.target_units(family.features, index, aim))(goal.feature, target)
    aimed = vectors
    for part, columns in enumerate(goals.TARGETS[: family.parts]):
        place = jnp.array([names.index(name) for name in columns])
        counts = (part < goal.used)[:, None]
        aimed = aimed.at[:, place].set(jnp.where(counts, units[:, part], vectors[:, place]))
    return aimed, _decoded(family, aimed)


def _decoded(family: AbstractFamily, vectors: jax.Array) -> goals.Goal:
    return jax.vmap(lambda vector: family.decode(vector).goal)(vectors)
