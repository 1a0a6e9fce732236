"""The compiled programs of a run: ground, evaluate and learn, each with one fixed shape, and the count of their steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from envs import validity
from envs.base import AbstractFamily
from openended import ahead, rollouts, trees
from openended.learners.base import AbstractLearner, LearnerState
from openended.objectives.base import AbstractObjective
from openended.types import LearnReport, Outcome, Params

LANES = 8  # parts of a block, each played by one module: of a learner of several
PURPOSES = ("screen", "learn", "verify", "retention", "witness")


class Programs:
    """One program per family and stage. ``steps`` counts every control step that was run, padding included."""

    def __init__(
        self,
        families: dict[str, AbstractFamily],
        learner: AbstractLearner,
        objective: AbstractObjective,
        search: validity.Search,
        episodes: int,
        block: int,
    ):
        if block % len(jax.devices()):
            raise ValueError(f"loop.block is {block}; allowed: a multiple of the {len(jax.devices())} devices")
        self.families, self.learner, self.objective, self.search = families, learner, objective, search
        self.episodes, self.block = episodes, block
        self.lane = block if learner.modules == 1 else _lane(block)  # rows that are played by the same weights
        self.steps = dict.fromkeys(PURPOSES, 0)
        # ("learn",), ("play", FAMILY) and ("live", FAMILY, wiped): traced at the first call, or compiled by `compile`.
        self._programs: dict[tuple, Any] = {("learn",): self._learn_program()}
        self._pending: dict[tuple, Future] = {}
        self._around = dict.fromkeys(families, validity.call)  # what calls the parts of `ground` besides the episodes
        self._asked = False  # to compile
        for name, family in families.items():
            self._programs["see", name] = jax.jit(jax.vmap(functools.partial(_sight, family)))
            self._programs["play", name] = trees.OverDevices(validity.player(family), (trees.ROWS,) * 3, trees.ROWS)
            for wipe in (False, True):
                self._programs["live", name, wipe] = self._live_program(family, wipe)

    def compile(
        self, learning: tuple[LearnerState, Any], candidates: int, updates: int, rows: int, store: ahead.Store | None = None
    ) -> None:
        """Begin, once, to compile what a round of these sizes runs, two programs at a time; who calls one waits for that one.

        ``learning``: the learner and the model of the objective; their shapes are enough.

        The longest comes first, then the others in the order of their first use: the first tasks are proposed while the
        update is still being compiled. Without this each compiles at its first call. A compiled program takes no other shapes.
        """
        if self._asked:
            return
        self._asked = True
        state, model = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), learning)  # strongly typed
        lanes = (jax.ShapeDtypeStruct((self.block // self.lane,), jnp.int32),) if self.learner.modules > 1 else ()
        blank = {name: ahead.floats(updates, rows, len(family.specs)) for name, family in self.families.items()}
        jobs: dict[tuple, tuple] = {("learn",): (state, model, blank, ahead.keys())}
        for name, family in self.families.items():
            plays, numbers = candidates * self.search.population, len(family.specs)
            actions = ahead.floats(plays, family.episode_steps, family.actions)
            jobs["play", name] = ahead.floats(plays, numbers), ahead.keys(plays), actions
            jobs["live", name, False] = state.params, ahead.floats(self.block, numbers), ahead.keys(self.block), *lanes
        if store:
            self._around = {name: ahead.Kept(name, store, validity.OPTIONS) for name in self.families}
        self._pending = ahead.compile_aside({program: (self._programs[program], job) for program, job in jobs.items()}, store)

    def wait(self) -> None:
        """Return when all that `compile` began is compiled."""
        for which in tuple(self._pending):
            self._program(*which)

    def _program(self, *which: Any) -> Callable:
        """A program, compiled if `compile` was asked for it."""
        if which in self._pending:
            self._programs[which] = self._pending.pop(which).result()
        return self._programs[which]

    def ground(self, name: str, vectors: np.ndarray, key: jax.Array) -> Any:
        """Grounding (numpy arrays): witness search and validity of candidates [N, D]; N is the same in every round."""
        family = self.families[name]
        self.steps["witness"] += len(vectors) * self.search.steps(family)
        keys = jax.random.split(key, len(vectors))
        play, around = self._program("play", name), self._around[name]
        found = validity.ground(family, self.search, play, jnp.asarray(vectors), keys, around)
        return jax.tree.map(np.asarray, found._replace(key=jax.random.key_data(found.key)))

    def evaluate(
        self,
        name: str,
        params: Params,
        vectors: np.ndarray,
        key: jax.Array,
        purpose: str,
        *,
        wipe: bool = False,
        route: np.ndarray | None = None,
    ) -> Any:
        """Outcome (numpy arrays) of one lifetime per row of [N, D], any N, in blocks of one fixed size.

        ``route``: modules i64[N] of the learner that play the rows, if not those that it would choose.
        """
        program, several = self._program("live", name, wipe), self.learner.modules > 1
        route = self.routes(name, params, vectors) if route is None else route
        success, broken = np.zeros((len(vectors), self.episodes), bool), np.zeros(len(vectors), bool)
        lined, real = in_lanes(route, self.lane, self.block)
        for start in range(0, len(lined), self.block):
            rows, own = lined[start : start + self.block], real[start : start + self.block]
            keys = jax.random.split(jax.random.fold_in(key, start), self.block)
            lanes = (jnp.asarray(route[rows[:: self.lane]], jnp.int32),) if several else ()
            out = program(params, jnp.asarray(vectors[rows]), keys, *lanes)
            success[rows[own]], broken[rows[own]] = np.asarray(out.success)[own], np.asarray(out.broken)[own]
            if purpose in self.steps:
                self.steps[purpose] += self.block * self.episodes * self.families[name].episode_steps
        return Outcome(success, broken)

    def routes(self, name: str, params: Params, vectors: np.ndarray) -> np.ndarray:
        """Which module i64[N] the learner plays each of these tasks [N, D] with; equal rows are looked at once."""
        if self.learner.modules == 1:
            return np.zeros(len(vectors), np.int64)
        distinct, back = np.unique(vectors, axis=0, return_inverse=True)
        return self.learner.likelihoods(params, self.sights(name, distinct)).argmax(axis=1)[back.ravel()]

    def sights(self, name: str, vectors: np.ndarray) -> np.ndarray:
        """What is seen f32[N, W] at the start of tasks [N, D], which are begun and not played: no step is taken."""
        program, seen = self._programs["see", name], np.zeros((len(vectors), self.learner.policy.observation), np.float32)
        lined, real = in_lanes(np.zeros(len(vectors), np.int64), self.block, self.block)
        for start in range(0, len(lined), self.block):
            rows, own = lined[start : start + self.block], real[start : start + self.block]
            seen[rows[own]] = np.asarray(program(jnp.asarray(vectors[rows])))[own]
        return seen

    def weights(self, name: str, params: Params, vector: np.ndarray) -> Params:
        """What the policy plays one task f32[D] with."""
        on_host = jax.tree.map(np.asarray, params)  # where taking one module is not compiled
        return self.learner.acting(on_host, int(self.routes(name, params, vector[None])[0]))

    def pass_steps(self, updates: int, rows: int) -> int:
        """Environment steps of one pass of learning: so many updates on so many lifetimes of every family."""
        devices = len(jax.devices())
        lifetimes = devices * self.learner.lifetimes(rows // devices)
        return updates * lifetimes * self.episodes * sum(family.episode_steps for family in self.families.values())

    def learn(self, state: LearnerState, model, tasks: dict[str, np.ndarray], key: jax.Array):
        """Passes of updates on tasks {name: f32[P, U, B, D]} -> (state, model, report with success [P U, B, K] by family)."""
        passes, updates, rows, _ = next(iter(tasks.values())).shape
        self.steps["learn"] += passes * self.pass_steps(updates, rows)
        reports = []
        for i in range(passes):
            part = {name: jnp.asarray(vectors[i]) for name, vectors in tasks.items()}
            state, model, report = self._program("learn")(state, model, part, jax.random.fold_in(key, i))
            reports.append(report)
        rows = jax.tree.map(lambda *parts: np.concatenate(parts), *(report._replace(metrics={}) for report in reports))
        metrics = jax.tree.map(lambda *values: float(np.mean(values)), *(report.metrics for report in reports))
        return state, model, (self._by_family(rows, tasks), metrics)

    def _by_family(self, report: LearnReport, tasks: dict[str, np.ndarray]) -> dict[str, LearnReport]:
        """Undo the order in which devices and families were joined, in arrays [U, B, ...]."""
        devices, start, out = len(jax.devices()), 0, {}
        for name in self.families:
            share = tasks[name].shape[2] // devices

            def own(x: np.ndarray, part: slice = slice(start, start + share)) -> np.ndarray:
                split = x.reshape(len(x), devices, -1, *x.shape[2:])[:, :, part]
                return split.reshape(len(x), -1, *x.shape[2:])

            out[name] = jax.tree.map(own, report)
            start += share
        return out

    def _live_program(self, family: AbstractFamily, wipe: bool) -> trees.OverDevices:
        """``(params, f32[block, D], [block] keys) -> Outcome``; of several modules also i32[lanes]: which plays each lane."""
        run, learner = rollouts.outcomes(family, self.learner.policy, self.episodes, wipe), self.learner
        if learner.modules == 1:
            return trees.OverDevices(run, (trees.SAME, trees.ROWS, trees.ROWS), trees.ROWS)

        def lanes(params: Params, vectors: jax.Array, keys: jax.Array, modules: jax.Array) -> Outcome:
            parted = (x.reshape(len(modules), -1, *x.shape[1:]) for x in (vectors, keys))
            out = jax.vmap(run)(learner.acting(params, modules), *parted)
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)

        return trees.OverDevices(lanes, (trees.SAME, *(trees.ROWS,) * 3), trees.ROWS)

    def _learn_program(self) -> Callable:
        policy, learner, objective = self.learner.policy, self.learner, self.objective

        def sample(params, tasks, key):
            return rollouts.lifetimes(self.families, policy, params, tasks, key, self.episodes)

        def update(carry, inputs):
            state, model = carry
            tasks, key = inputs
            intrinsic = lambda rollout: objective.intrinsic(model, rollout)  # noqa: E731
            state, rollout, report = learner.update(state, sample, tasks, intrinsic, key)
            return (state, objective.train(model, rollout)), report._replace(appraisal=objective.appraise(rollout))

        def run(state, model, tasks, key):
            updates = next(iter(tasks.values())).shape[0]
            keys = jax.random.split(trees.device_key(key), updates)
            (state, model), report = jax.lax.scan(update, (state, model), (tasks, keys))
            return state, model, report._replace(metrics=trees.mean(report.metrics))

        rows = PartitionSpec(None, trees.AXIS)
        out: Any = (trees.SAME, trees.SAME, LearnReport(rows, rows, trees.SAME, rows))  # type: ignore[arg-type]
        # Two thirds of the compilation, and as fast: its time goes to products of matrices, which are not compiled.
        options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
        return trees.OverDevices(run, (trees.SAME, trees.SAME, rows, trees.SAME), out, options)


def in_lanes(route: np.ndarray, lane: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows by module: indices i64[M] into route i64[N], M a multiple of block, and bool[M] which are no padding.

    Every ``lane`` successive ones share a module. Padding repeats the first row of the module, or of all.
    """
    lined, real = [], []
    for module in np.unique(route):
        mine = np.flatnonzero(route == module)
        padding = -len(mine) % lane
        lined += [mine, np.repeat(mine[:1], padding)]
        real += [np.ones(len(mine), bool), np.zeros(padding, bool)]
    end = -sum(map(len, real)) % block
    return np.concatenate([*lined, np.zeros(end, np.int64)]), np.concatenate([*real, np.zeros(end, bool)])


def _lane(block: int) -> int:
    """Rows of a lane: about ``LANES`` in a block, alike on every device."""
    devices = len(jax.devices())
    share = block // devices
    return share // math.gcd(share, max(1, LANES // devices))


def _sight(family: AbstractFamily, vector: jax.Array) -> jax.Array:
    """What a learner sees f32[W] at the start of a task, always from the same reset."""
    return family.reset(family.prepare(vector), jax.random.key(0))[1].observation
