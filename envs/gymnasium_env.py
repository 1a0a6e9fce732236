"""Tasks outside this project: as a ``gymnasium`` vector environment, or one at a time as a ``gymnasium.Env``.

The environments call the family's own ``reset`` and ``step``, so that the outcome of an episode is the loop's: row ``i`` starts
its ``e``-th episode after ``reset(seed)`` with `episode_keys`. An episode ends by ``terminated`` when it solves the task and
by ``truncated`` at the time limit or when the physics breaks. ``info``: ``success``, ``broken`` (bool). Nothing is
remembered between episodes; a task that hides its goal or its motors shows them only in what happens.

Pictures: `openended replay`.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs import base, spec
from envs.base import AbstractFamily

_LIMIT = 5.0  # to which a family clips what a learner observes
_SEEDS = 2**31


class TaskVectorEnv(VectorEnv):
    """Episodes of tasks of one family side by side: one compiled program, whatever the tasks are.

    Observations f32[N, layout.observation] in [-5, 5]; actions f32[N, layout.actions] in [-1, 1]: a body with fewer
    motors ignores the rest. Rewards, terminations and truncations are f32, bool and bool[N].
    """

    def __init__(self, family: AbstractFamily, vectors: Any, autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP):
        """``vectors``: f32[N, D], the task of each row, in unit coordinates.

        Raises:
            ValueError: the vectors are not of that shape, or leave [0, 1].
        """
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or not len(vectors):
            raise ValueError(f"vectors have the shape {vectors.shape}; allowed: (N, {len(family.specs)}), N at least 1")
        vectors = np.stack([spec.validate(family.specs, vector) for vector in vectors])
        self.family, self.num_envs = family, len(vectors)
        self.mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.mode, "render_modes": [], "render_fps": round(1.0 / family.control_dt)}
        self.single_observation_space = Box(-_LIMIT, _LIMIT, (family.layout.observation,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (family.layout.actions,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._models = _prepare(family, vectors)
        self._states: base.State | None = None
        self._ended = np.ones(self.num_envs, bool)
        self._episodes = np.zeros(self.num_envs, np.int32)
        self._root = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every row anew; or, with ``options={"reset_mask": bool[N]}``, only those rows, keeping the seed of the others.

        Without a seed the next episodes are drawn from where the last seed left off.
        """
        mask = (options or {}).get("reset_mask")
        super().reset(seed=seed)
        if mask is None:
            self._root = int(self.np_random.integers(_SEEDS))
            self._episodes[:] = 0
            mask = np.ones(self.num_envs, bool)
        elif np.shape(mask) != (self.num_envs,) or self._states is None:
            raise ValueError(f"reset_mask has the shape {np.shape(mask)}; allowed: ({self.num_envs},), after a whole reset")
        first = self._restart(np.asarray(mask, bool))
        return np.asarray(first.observation), _info(first)

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control step of every row.

        Raises:
            ValueError: before the first ``reset``; actions of another shape or not finite; without autoreset, a row is over.
        """
        actions = self._checked(actions)
        over = self._ended.copy()
        self._states, timestep = _advance(self.family, self._models, self._states, actions)
        now = jax.tree.map(np.array, timestep)
        if self.mode == AutoresetMode.NEXT_STEP and over.any():  # their action is ignored
            now = _choose(over, self._restart(over), now)
        self._ended = now.terminated | now.truncated | now.broken
        truncated = self._ended & ~now.terminated
        seen, info = now.observation, _info(now)
        if self.mode == AutoresetMode.SAME_STEP and self._ended.any():
            ended = self._ended.copy()
            first = _choose(ended, self._restart(ended), now)
            final = {"final_obs": _rows(seen, ended), "final_info": info}
            seen, info = first.observation, _info(first) | final | {f"_{name}": ended for name in final}
        return np.asarray(seen), now.reward, now.terminated, truncated, info

    def _restart(self, mask: np.ndarray) -> base.TimeStep:
        """First timestep of a new episode in these rows; the others keep their state, and their numbers here mean nothing."""
        keys = episode_keys(self._root, self._episodes)
        self._states, first = _begin(self.family, self._models, self._states, keys, mask)
        self._episodes[mask] += 1
        self._ended &= ~mask
        return jax.tree.map(np.array, first)

    def _checked(self, actions: Any) -> np.ndarray:
        if self._states is None:
            raise ValueError("step was called before reset")
        if self.mode == AutoresetMode.DISABLED and self._ended.any():
            rows = np.flatnonzero(self._ended)[:5].tolist()
            raise ValueError(f"rows {rows} have ended; reset them first: reset(options={{'reset_mask': ...}})")
        actions = np.asarray(actions, np.float32)
        if actions.shape != self.action_space.shape or not np.isfinite(actions).all():
            raise ValueError(f"actions have the shape {actions.shape}; allowed: {self.action_space.shape}, finite numbers")
        return actions


class TaskEnv(gymnasium.Env):
    """One task as a ``gymnasium.Env``: a vector environment of one row."""

    def __init__(self, family: AbstractFamily, vector: Any):
        """``vector``: f32[D] in unit coordinates."""
        self._row = TaskVectorEnv(family, np.asarray(vector)[None], AutoresetMode.DISABLED)
        self.observation_space, self.action_space = self._row.single_observation_space, self._row.single_action_space
        self.metadata = {"render_modes": [], "render_fps": self._row.metadata["render_fps"]}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; `options` are not used."""
        super().reset(seed=seed)
        observation, info = self._row.reset(seed=int(self.np_random.integers(_SEEDS)))
        return observation[0], _alone(info)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step."""
        *numbers, info = self._row.step(np.asarray(action)[None])
        observation, reward, terminated, truncated = (number[0] for number in numbers)
        return observation, float(reward), bool(terminated), bool(truncated), _alone(info)


def episode_keys(root: Any, episodes: Any) -> jax.Array:
    """Keys [N] with which the rows start their episodes ``episodes`` i32[N] after a reset whose seed drew ``root``."""
    rows = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(root), jnp.arange(len(episodes)))
    return jax.vmap(jax.random.fold_in)(rows, jnp.asarray(episodes))


@functools.partial(jax.jit, static_argnums=0)
def _prepare(family: AbstractFamily, vectors: jax.Array) -> base.Model:
    return jax.vmap(family.prepare)(vectors)


@functools.partial(jax.jit, static_argnums=0)
def _begin(family: AbstractFamily, models: base.Model, states: base.State | None, keys: jax.Array, mask: jax.Array) -> Any:
    fresh, first = jax.vmap(family.reset)(models, keys)
    if states is not None:
        fresh = jax.tree.map(functools.partial(jax.vmap(jnp.where), mask), fresh, states)
    return fresh, first


@functools.partial(jax.jit, static_argnums=0)
def _advance(family: AbstractFamily, models: base.Model, states: base.State, actions: jax.Array) -> Any:
    return jax.vmap(family.step)(models, states, actions)


def _choose(mask: np.ndarray, one: base.TimeStep, other: base.TimeStep) -> base.TimeStep:
    """Rows of ``one`` where the mask is set, else of ``other``."""
    return jax.tree.map(lambda a, b: np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b), one, other)


def _info(timestep: base.TimeStep) -> dict[str, Any]:
    every = np.ones(len(timestep.success), bool)
    return {"success": timestep.success, "_success": every, "broken": timestep.broken, "_broken": every}


def _alone(info: dict[str, Any]) -> dict[str, bool]:
    return {name: bool(value[0]) for name, value in info.items() if not name.startswith("_")}


def _rows(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Objects [N]: the values of these rows, None elsewhere, as gymnasium gives final observations."""
    rows = np.full(len(values), None, object)
    for index in np.flatnonzero(mask):
        rows[index] = values[index]
    return rows
