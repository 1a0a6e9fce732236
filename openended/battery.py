"""`openended eval RUN --battery invariance`: the held-out tasks again, with something between learner and body that is new.

A learner that finds out in every lifetime what its sensors and motors are for does not mind whether they have changed places;
one that learned it once for all does. Each condition has matrices of its own between the learner and what it would have sensed
and done, ``DRAWS`` of them drawn at random and met in turn by the lifetimes of a task:

- ``shuffled_sensors``, ``shuffled_motors``: they have changed places; the goal is seen as before;
- ``reversed_motors``: all run the other way;
- ``projected``: sensors and motors each behind a random rotation;
- ``longer_2``, ``longer_4``: nothing is between, but lifetimes have 2 and 4 times as many episodes.

With ``--bodies``: families that the run did not train on, each with its own tasks of the suite; a learner of fixed widths
takes those that fit into them.
"""

from __future__ import annotations

import argparse
import copy
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from envs.base import AbstractFamily, Maps, widest
from envs.holdout import FAMILIES, HeldOut
from openended import evaluate, statistics, subjects, suites, wording
from openended.exporting import emit
from openended.learners.base import AbstractLearner
from openended.locate import UsageError, find_run
from openended.loop import Loop
from openended.programs import Programs
from openended.subjects import Subject
from openended.types import Params

DRAWS = 8
CONDITIONS = ("as_trained", "shuffled_sensors", "shuffled_motors", "reversed_motors", "projected")
LONGER = (2, 4)
FIRST, LAST = "first", "last"


def run(options: argparse.Namespace) -> int:
    """The command."""
    folder = find_run(options.run, options.root)
    subject = subjects.restore(folder)
    answer = measure(subject, suites.measurable(options.suite, subject.loop.families), options)
    emit(answer, options.json, lines(answer, evaluate.told(folder, subject, options.lifetimes)))
    return 0


def measure(subject: Subject, suite: Sequence[HeldOut], options: argparse.Namespace) -> dict[str, Any]:
    """What the command prints as JSON; suite: its tasks for the run's families; options: ``suite lifetimes seed bodies``."""
    families, key = subject.loop.families, suites.seeds(options.seed)
    bodies = _named(options, families)
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(task.family for task in suite):
        tasks = [task for task in suite if task.family == name]
        found[name] = of_family(families[name], subject, tasks, options.lifetimes, key)
    unseen = {name: _unseen(name, subject, options, key) for name in bodies}
    return {"suite": options.suite, "lifetimes": options.lifetimes, "conditions": found, "unseen_bodies": unseen}


def of_family(
    family: AbstractFamily, subject: Subject, tasks: Sequence[HeldOut], lifetimes: int, key: jax.Array
) -> dict[str, dict[str, Any]]:
    """Success in the first and the last episode, with intervals, under every condition."""
    learner, episodes = subject.loop.learner, subject.loop.programs.episodes
    vectors = np.stack([task.vector for task in tasks])
    behind = family.behind(maps(family, np.random.default_rng(zlib.crc32(family.name.encode()))))
    program = _program(behind, subject.loop, learner, episodes)
    found = {}
    for i, name in enumerate(CONDITIONS):
        which = i * DRAWS + np.arange(len(vectors) * lifetimes) % DRAWS
        rows = np.concatenate([np.repeat(vectors, lifetimes, axis=0), which[:, None]], axis=1).astype(np.float32)
        found[name] = _rates(program(subject.trained, rows, key), len(vectors))
    for times in LONGER:
        program = _program(family, subject.loop, learner, times * episodes)
        found[f"longer_{times}"] = _rates(program(subject.trained, np.repeat(vectors, lifetimes, axis=0), key), len(vectors))
    return found


def maps(family: AbstractFamily, rng: np.random.Generator) -> Maps:
    """Matrices of all conditions, ``DRAWS`` of each in their order, between a learner and this family."""
    sensors, motors = np.eye(family.perceived), np.eye(family.actions)
    pairs = {
        "as_trained": lambda: (sensors, motors),
        "shuffled_sensors": lambda: (sensors[_moved(len(sensors), rng)], motors),
        "shuffled_motors": lambda: (sensors, motors[_moved(len(motors), rng)]),
        "reversed_motors": lambda: (sensors, -motors),
        "projected": lambda: (_rotation(len(sensors), rng), _rotation(len(motors), rng)),
    }
    observing, acting = zip(*(pairs[name]() for name in CONDITIONS for _ in range(DRAWS)), strict=True)
    return Maps(jnp.asarray(np.stack(observing), jnp.float32), jnp.asarray(np.stack(acting), jnp.float32))


def lines(answer: Mapping[str, Any], about: str) -> list[str]:
    """A table of each family, conditions by row."""
    out = [f"Invariance, held-out suite {answer['suite']}: {about}"]
    for name, found in answer["conditions"].items():
        rows = {condition: [_cell(level[FIRST]), _cell(level[LAST])] for condition, level in found.items()}
        out += ["", name, *wording.table(["first episode", "last episode"], rows)]
    unseen = answer["unseen_bodies"]
    if unseen:
        rows = {name: [x] if isinstance(x, str) else [_cell(x[FIRST]), _cell(x[LAST])] for name, x in unseen.items()}
        fitting = {name: cells for name, cells in rows.items() if len(cells) > 1}
        out += ["", "bodies that it never saw", *wording.table(["first episode", "last episode"], fitting)]
        out += [f"{name}: {cells[0]}" for name, cells in rows.items() if len(cells) == 1]
    return [*out, "", "[low, high]: 95 % interval over lifetimes, for these tasks and this learner."]


def _program(family: AbstractFamily, loop: Loop, learner: AbstractLearner, episodes: int) -> Any:
    """``(params, f32[N, D], key) -> success bool[N, K]``, compiled at its first call."""
    programs = Programs({family.name: family}, learner, loop.objective, loop.programs.search, episodes, loop.settings.block)

    def call(params: Params, rows: np.ndarray, key: jax.Array) -> np.ndarray:
        return programs.evaluate(family.name, params, rows, key, "battery").success

    return call


def _unseen(name: str, subject: Subject, options: argparse.Namespace, key: jax.Array) -> dict[str, Any] | str:
    """Success in a family's tasks of the suite, or in words why the learner does not fit it."""
    trained, learner = next(iter(subject.loop.families.values())), subject.loop.learner
    made = {family.name: family for family in (cls(**_options(trained)) for cls in FAMILIES[options.suite])}[name]
    wide = widest([trained, made])
    if wide != trained.layout:
        policy = learner.policy
        if not hasattr(policy, "fitted") or learner.modules > 1:  # a controller has one width
            return f"does not fit: it has {_widths(made)}, the learner {_widths(trained)}"
        learner = copy.copy(learner)
        learner.policy = policy.fitted(wide.observation, wide.actions)
    family = made.padded(wide)
    tasks, _ = suites.held_out(options.suite, {name: family})
    rows = np.repeat(np.stack([task.vector for task in tasks]), options.lifetimes, axis=0)
    program = _program(family, subject.loop, learner, subject.loop.programs.episodes)
    return _rates(program(subject.trained, rows, key), len(tasks))


def _options(family: AbstractFamily) -> dict[str, Any]:
    return {"bounds": family.bounds, "episode_steps": family.episode_steps, "combined_goals": family.parts > 1}


def _widths(family: AbstractFamily) -> str:
    layout = family.layout
    return f"{layout.sensors} sensors, {layout.actions} motors and {layout.features} features of a goal"


def _named(options: argparse.Namespace, families: Mapping[str, AbstractFamily]) -> list[str]:
    names = [name for name in options.bodies.split(",") if name]
    allowed = [family.name for family in FAMILIES[options.suite] if family.name not in families]
    for name in names:
        if name not in allowed:
            which = f"families of the suite '{options.suite}' that the run did not train on"
            raise UsageError(f"--bodies has '{name}'; allowed: {which}: {', '.join(allowed) or 'none'}")
    return names


def _moved(count: int, rng: np.random.Generator) -> np.ndarray:
    """A random order in which something has moved, where there are two at least."""
    order = np.arange(count)
    while count > 1 and np.array_equal(order, np.arange(count)):
        order = rng.permutation(count)
    return order


def _rotation(count: int, rng: np.random.Generator) -> np.ndarray:
    return scipy.stats.ortho_group.rvs(count, random_state=rng) if count > 1 else np.ones((1, 1))


def _rates(success: np.ndarray, tasks: int) -> dict[str, Any]:
    """Mean and interval over lifetimes [tasks x n, K] of the first and the last episode; the means of all."""
    by_task = success.reshape(tasks, -1, success.shape[1])
    ends = {FIRST: by_task[:, :, 0], LAST: by_task[:, :, -1]}
    found: dict[str, Any] = {"episodes": success.mean(axis=0).tolist()}
    for name, values in ends.items():
        level = statistics.stratified_bootstrap(values, np.random.default_rng(0), np.mean, 1000)
        found[name] = {"mean": level.estimate, "low": level.low, "high": level.high}
    return found


def _cell(level: Mapping[str, float]) -> str:
    return f"{level['mean']:.2f} [{level['low']:.2f}, {level['high']:.2f}]"
