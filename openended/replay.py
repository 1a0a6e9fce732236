"""`openended replay`: one lifetime of a run's learner in one task, or the task's witness, frame by frame.

    {"task", "family", "description", "learner", "seed", "dt", "goal", "view", "target_axes", "fixed": SHAPES,
     "objects": {KIND: [row, ...]}, "episodes": [{"episode", "success", "solved_at_s", "reward",
     "frames": [{"t", **SHAPES, "value", "target", "distance", "reward", "solved"}]}]}
    SHAPES: {"capsules": [[x0, y0, z0, x1, y1, z1, radius]], "spheres": [[x, y, z, radius]],
     "boxes": [[x, y, z, quaternion w, x, y, z, half sizes x, y, z]]}

Lengths in m in world coordinates, z up; times in s; ``value`` and ``target`` in the unit of the goal's feature.
``fixed`` has what never moves in the lifetime (obstacles), the frames the rest, in the same order in each; what a task lacks is
left out. ``objects``: rows of the frames that are no part of the body. ``view``, ``target_axes``: how a flat picture shows it
(`envs.drawing`). With a goal of two conditions (`recording.goal`) there are also ``second_axes`` and in each frame ``second``,
its value, target and distance. A frame stands after each control step up to the time limit; the first is the start.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs import drawing
from envs.base import AbstractFamily, Model
from envs.spec import sentence
from openended import checkpoint, configuration, recording, rollouts
from openended.archive import Archive, TaskRow
from openended.exporting import emit, write
from openended.locate import CommandError, UsageError, find_run, find_task, stored_config
from openended.loop import Loop
from openended.metrics import to_json
from openended.networks import AbstractPolicy
from openended.taskfile import load_task
from openended.types import Params


class Film(NamedTuple):
    """An episode, axis [T + 1] from the start on; a leading [K] axis for a lifetime."""

    shapes: dict[str, jax.Array]  # capsules f32[T + 1, N, 7], spheres f32[T + 1, M, 4], boxes f32[T + 1, B, 10]
    value: jax.Array  # f32[T + 1, P, 2]
    reward: jax.Array  # f32[T + 1]
    solved: jax.Array  # bool[T + 1]
    broken: jax.Array  # bool[T + 1]


class Cut(NamedTuple):
    """What of a film goes into its document."""

    goal: dict[str, Any]
    dt: float  # s
    limit: int  # control steps
    moving: dict[str, np.ndarray]  # rows of each kind of shape that are present and move


class Chosen(NamedTuple):
    """The task to replay."""

    id: str
    family: str
    vector: np.ndarray  # f32[D]
    description: str
    witness: Mapping[str, Any] | None  # key: words of the reset key; actions: f32[T, actions]


def run(options: argparse.Namespace) -> int:
    """The command; exit 1 when a witness does not solve its task."""
    folder = find_run(options.run, options.root)
    loop = configuration.build(stored_config(folder))
    if options.episode is not None and (options.witness or options.episode > loop.settings.episodes):
        most = 1 if options.witness else loop.settings.episodes
        raise UsageError(f"--episode is {options.episode}; allowed: 1 to {most}, the episodes of this lifetime")
    replay = play(folder, loop, options.task, "witness" if options.witness else options.learner, options.seed)
    if options.episode is not None:
        replay["episodes"] = [replay["episodes"][options.episode - 1]]
    _files(replay, options)
    if options.json or not options.out:
        emit(replay, options.json, _lines(replay, options))
    return 0 if replay["episodes"][-1]["success"] or not options.witness else 1


def play(folder: Path, loop: Loop, name: str, who: str = "final", seed: int = 0) -> dict[str, Any]:
    """The replay of a run's task, given by its id, the beginning of one, or a task file.

    loop: what `configuration.build` makes of the run's `stored_config`. who: `final`, `untrained`, a stored version of the
    learner, or `witness`. seed: which lifetime.

    Raises:
        CommandError: the task has no witness, or there is no such learner.
        ArchiveError: there is no such task.
    """
    task = _choose(folder, loop, name)
    family = loop.families[task.family]
    if who == "witness":
        return document(family, task, f"witness of {task.id}", witness(family, task)) | {"seed": None}
    told, params = learner(folder, loop, who)
    params = loop.programs.weights(task.family, params, task.vector)
    film = lifetime(family, loop.learner.policy, params, task.vector, jax.random.key(seed), loop.settings.episodes)
    return document(family, task, told, film) | {"seed": seed}


def learner(folder: Path, loop: Loop, which: str) -> tuple[str, Params]:
    """Name and parameters of a run's learner: ``final``, ``untrained``, or a stored version."""
    fresh = loop.init()
    if which == "untrained":
        return "untrained learner", fresh.learner.params
    if which == "final":
        state = recording.final(folder, fresh)
        return f"learner {int(state.version)} (final)", state.learner.params
    stored = checkpoint.versions(folder / "snapshots")
    if not which.isdecimal() or int(which) not in stored:
        known = ", ".join(["final", "untrained", *map(str, stored)])
        raise UsageError(f"--learner is '{which}'; allowed: {known}")
    return f"learner {which}", checkpoint.load_snapshot(folder / "snapshots", int(which), fresh.learner.params)


def lifetime(
    family: AbstractFamily, policy: AbstractPolicy, params: Params, vector: np.ndarray, key: jax.Array, episodes: int
) -> Film:
    """The lifetime that `rollouts.lifetime` gives for this key, filmed: axes [K, T + 1].

    The policy is run by `rollouts.lifetime`; its actions are then played again from the same resets, which a test holds to give
    the same rewards and successes.
    """
    return shooting(family, policy, episodes)(params, jnp.asarray(vector), key)


@functools.lru_cache(maxsize=32)
def shooting(family: AbstractFamily, policy: AbstractPolicy, episodes: int) -> Callable[[Params, jax.Array, jax.Array], Film]:
    """(params, vector, key) -> film of a lifetime: one program for all tasks, learners of one shape and keys."""

    @jax.jit
    def shoot(params, vector, key):
        rollout = rollouts.lifetime(family, policy, params, vector, key, episodes)
        actions = rollout.action.reshape(episodes, -1, family.layout.actions)
        resets = jax.vmap(lambda k: jax.random.split(k)[0])(jax.random.split(key, episodes))
        model = family.prepare(vector)
        return jax.vmap(lambda k, a: watch(family, model, k, a))(resets, actions)

    return shoot


@functools.lru_cache(maxsize=32)
def watching(family: AbstractFamily) -> Callable[[jax.Array, jax.Array, jax.Array], Film]:
    """(vector, key, actions) -> film of one episode: one program for all tasks."""
    return jax.jit(lambda vector, key, actions: watch(family, family.prepare(vector), key, actions))


def watch(family: AbstractFamily, model: Model, key: jax.Array, actions: jax.Array) -> Film:
    """One episode under actions f32[T, actions or more], filmed."""

    def frame(state, timestep):
        shapes = family.shapes(model, state.physics)
        return Film(shapes, timestep.value, timestep.reward, timestep.success, timestep.broken)

    def step(state, action):
        state, timestep = family.step(model, state, action)
        return state, frame(state, timestep)

    state, timestep = family.reset(model, key)
    _, film = jax.lax.scan(step, state, actions)
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), frame(state, timestep), film)


def document(family: AbstractFamily, task: Chosen, learner: str, film: Film) -> dict[str, Any]:
    """The replay as plain data; film: axes [K, T + 1]."""
    goal = recording.goal(family, task.vector)
    limit = round(goal["limit_s"] / family.control_dt)
    film = jax.tree.map(np.asarray, film)
    present = {kind: np.flatnonzero(shape[0, 0, :, -1] > 0) for kind, shape in film.shapes.items()}
    moves = {kind: drawing.moves(np.concatenate(shape)) for kind, shape in film.shapes.items()}
    moving = {kind: rows[moves[kind][rows]] for kind, rows in present.items()}
    fixed = {kind: film.shapes[kind][0, 0, rows[~moves[kind][rows]]] for kind, rows in present.items()}
    cut = Cut(goal, family.control_dt, limit, moving)
    return {
        "task": task.id,
        "family": family.name,
        "description": task.description,
        "learner": learner,
        "dt": family.control_dt,
        "goal": goal,
        "view": family.view,
        "target_axes": _axes(goal, family),
        **({"second_axes": _axes(goal["second"], family)} if "second" in goal else {}),
        "fixed": {kind: [_round(shape) for shape in shapes] for kind, shapes in fixed.items()},
        "objects": {kind: np.flatnonzero(np.isin(moving[kind], rows)).tolist() for kind, rows in family.object_rows.items()},
        "episodes": [_episode(k, jax.tree.map(lambda x, k=k: x[k], film), cut) for k in range(len(film.solved))],
    }


def _axes(condition: dict[str, Any], family: AbstractFamily) -> str:
    return drawing.axes(condition["feature"], condition["unit"], len(condition["target"]), family.view)


def _reached(condition: dict[str, Any], value: Any) -> dict[str, Any]:
    """Value, target and distance of a condition; value: f32[2]."""
    size, target = len(condition["target"]), np.asarray(condition["target"])
    distance = round(float(np.linalg.norm(value[:size] - target)), 5)
    return {"value": _round(value[:size]), "target": _round(target), "distance": distance}


def _episode(index: int, film: Film, cut: Cut) -> dict[str, Any]:
    second = cut.goal.get("second")
    frames = [
        {
            "t": round(i * cut.dt, 6),
            **{kind: [_round(row) for row in shape[i, cut.moving[kind]]] for kind, shape in film.shapes.items()},
            **_reached(cut.goal, film.value[i, 0]),
            **({"second": _reached(second, film.value[i, 1])} if second else {}),
            "reward": round(float(film.reward[i]), 5),
            "solved": bool(film.solved[i]),
        }
        for i in range(cut.limit + 1)
    ]
    solved = [frame["t"] for frame in frames if frame["solved"]]
    return {
        "episode": index + 1,
        "success": bool(film.solved[-1]) and not bool(film.broken.any()),
        "solved_at_s": solved[0] if solved else None,
        "reward": round(float(film.reward[: cut.limit + 1].sum()), 5),
        "frames": frames,
    }


def _choose(folder: Path, loop: Loop, name: str) -> Chosen:
    """A task of the archive, or of a task file."""
    if Path(name).is_file():
        file = load_task(name, loop.families)
        return Chosen(file.id or Path(name).stem, file.family, file.vector, file.description, None)
    with Archive(folder / "archive.db", readonly=True) as archive:
        return chosen(find_task(archive, name))


def chosen(task: TaskRow) -> Chosen:
    """A task of the archive, to replay."""
    witness = json.loads(task.witness) if task.witness else None
    return Chosen(task.id, task.family, np.asarray(task.vector, np.float32), task.description, witness)


def witness(family: AbstractFamily, task: Chosen) -> Film:
    """The stored witness, filmed: one episode, axes [1, T + 1]. `CommandError` when the task has none."""
    if not task.witness:
        raise CommandError(f"The task '{task.id}' has no stored witness.")
    key = jax.random.wrap_key_data(jnp.asarray(task.witness["key"], jnp.uint32))
    actions = jnp.asarray(task.witness["actions"], jnp.float32)
    film = watching(family)(jnp.asarray(task.vector), key, actions)
    return jax.tree.map(lambda x: x[None], film)


def _files(replay: dict[str, Any], options: argparse.Namespace) -> None:
    if options.out:
        write(to_json(replay), options.out)
    if not (options.png or options.gif):
        return
    from envs import render

    for path, draw in ((options.png, render.save_contact_sheet), (options.gif, render.save_animation)):
        try:
            if path:
                draw(replay, path)
        except OSError as error:
            raise CommandError(f"'{path}' cannot be written: {error.strerror or error}.") from error


def _lines(replay: dict[str, Any], options: argparse.Namespace) -> list[str]:
    lines = [
        replay["task"],
        sentence(replay["description"]),
        f"{replay['learner'].capitalize()}:",
    ]
    for episode in replay["episodes"]:
        solved = f"solved at t = {episode['solved_at_s']:.2f} s" if episode["success"] else "not solved"
        closest = min(frame["distance"] for frame in episode["frames"])
        unit = replay["goal"]["unit"]
        lines.append(f"  episode {episode['episode']}: {solved}, reward {episode['reward']:.2f}, closest {closest:.3f} {unit}")
    if options.witness and not replay["episodes"][0]["success"]:
        lines.append("The stored witness does not solve the task here: was the run made on another kind of machine or version?")
    made = [path for path in (options.png, options.gif) if path]
    lines.append(f"Drawn: {', '.join(made)}." if made else "Draw it with --png FILE or --gif FILE; --json gives every frame.")
    return lines


def _round(numbers: Any) -> list[float]:
    return [round(float(x), 5) for x in numbers]
