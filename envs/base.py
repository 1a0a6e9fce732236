"""The contract of a task family and everything that is the same for all of them.

A family's author writes a body (its parameters, ``build``, ``begin``, ``move``, ``sense``, ``measure``). This base adds
the hidden interface, the goal, the reward, the time limit, the guard against broken physics, and one fixed layout of
observations and actions, so that one learner serves every family. A task is always an argument, never an attribute.
"""

from __future__ import annotations

import abc
import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp

from envs import goals, interface, noise
from envs.drawing import View
from envs.goals import FeatureSpec, Goal
from envs.interface import Interface, InterfaceBounds
from envs.spec import ParamSpec, decode

CODE = 4  # numbers that tell families apart

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _traced_once(method: _Method) -> _Method:
    """Every program of a run contains the physics of its families: Brax's Python is gone through once for all of them."""
    return jax.jit(method, static_argnums=0, inline=True)  # type: ignore[return-value]


class Layout(NamedTuple):
    """Widths to which the families of one run are padded, so that one learner serves them all."""

    sensors: int
    actions: int
    features: int  # one-hot width of a feature of the goal
    parts: int = 1  # conditions of a goal

    @property
    def observation(self) -> int:
        """Numbers that a learner observes: sensors, which motors exist, what is known of the goal, the family's signature."""
        return self.sensors + self.actions + goals.seen(self.features, self.parts) + CODE


class Maps(NamedTuple):
    """V pairs of matrices between a learner and the sensors and actions that it would have without."""

    observing: jax.Array  # f32[V, N, N]
    acting: jax.Array  # f32[V, M, M]


class Task(NamedTuple):
    """A decoded task: named physical numbers in four parts."""

    world: dict[str, jax.Array]
    body: dict[str, jax.Array]
    interface: Interface
    goal: Goal


class Model(NamedTuple):
    """A task and what a family computes from it once per lifetime (for Brax families the ``System``). Never stored."""

    task: Task
    system: Any


class State(NamedTuple):
    """Everything that changes within an episode."""

    physics: Any
    time: jax.Array  # i32[] control steps since reset
    progress: goals.Progress
    queue: jax.Array  # f32[MAX_DELAY, M] delayed actions
    noise: jax.Array  # u32[2] the episode's stream of sensor noise
    broken: jax.Array  # bool[] physics left its bounds; the state is frozen


class TimeStep(NamedTuple):
    """What one control step gives. ``value``: the goal's features; it is for search and pictures, not for learners."""

    observation: jax.Array  # f32[layout.observation]
    reward: jax.Array  # f32[]
    success: jax.Array  # bool[] solved in this episode so far
    terminated: jax.Array  # bool[] solved just now
    truncated: jax.Array  # bool[] the time limit is reached
    running: jax.Array  # bool[] the step was within the limit
    broken: jax.Array  # bool[]
    value: jax.Array  # f32[P, 2]


class AbstractFamily(abc.ABC):
    """One static body plan: the unit of compilation. Subclasses are final and hold no task."""

    name: ClassVar[str]
    control_dt: ClassVar[float]  # s
    max_speed: ClassVar[float]  # the physics gate, in the family's own unit
    speed_unit: ClassVar[str]
    # What an option of a family may change: its `__init__` sets these before the base's.
    sensors: int  # numbers that `sense` gives
    actuators: int
    features: tuple[FeatureSpec, ...]
    own_specs: tuple[ParamSpec, ...]  # world and body
    option_specs: tuple[ParamSpec, ...] = ()  # world and body of an option: last, so that the others keep their places
    view: View = "top"  # from where a still picture shows most: the x-y plane, the x-z plane, or an oblique view
    # Rows of `shapes` that are neither the body nor fixed: things that it moves, drawn in another colour.
    object_rows: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    pipelines: ClassVar[tuple[str, ...]] = ()  # of Brax that can move the body as its tasks say
    pipeline: str = ""  # the one that does
    unexported: ClassVar[str] = ""  # what of its physics an MJCF file cannot say, in words
    maps: Maps | None = None  # set by `behind`

    def __init__(
        self,
        bounds: InterfaceBounds | None = None,
        episode_steps: int = 40,
        hidden_goals: bool = True,
        combined_goals: bool = False,
    ):
        if episode_steps < 2:
            raise ValueError(f"family.{self.name}.episode_steps is {episode_steps}; allowed: at least 2")
        self.bounds = InterfaceBounds() if bounds is None else bounds
        self.episode_steps = episode_steps
        self.code = signature(self.name)
        self.parts = goals.conditions(combined_goals)
        self.perceived = self.bounds.sensors or self.sensors  # numbers of sensors and actions on the learner's side
        self.actions = self.bounds.actions or self.actuators
        width = max(len(self.features), goals.WIDTH if self.bounds.projects else 0)
        self.layout = Layout(self.perceived, self.actions, width, self.parts)  # its own, until it is `padded`
        seconds = episode_steps * self.control_dt
        self.specs: tuple[ParamSpec, ...] = (
            *self.own_specs,
            *self.bounds.specs(self.actuators),
            *goals.specs(self.features, seconds, hidden_goals, combined_goals),
            *self.option_specs,
        )

    # What a family's author writes.

    @abc.abstractmethod
    def build(self, world: dict, body: dict) -> Any:
        """The static-shaped system (masses, inertias, placed obstacles) of one task. Traceable, called once a lifetime."""

    @abc.abstractmethod
    def begin(self, model: Model, key: jax.Array) -> Any:
        """Physics state at the start of an episode."""

    @abc.abstractmethod
    def move(self, model: Model, physics: Any, control: jax.Array) -> Any:
        """Physics state one control step later; control: f32[actuators] in [-1, 1]."""

    @abc.abstractmethod
    def sense(self, model: Model, physics: Any) -> jax.Array:
        """f32[sensors], numbers of order one."""

    @abc.abstractmethod
    def measure(self, model: Model, physics: Any) -> jax.Array:
        """Every feature now, f32[len(features), 2], in the features' units."""

    @abc.abstractmethod
    def speed(self, model: Model, physics: Any) -> jax.Array:
        """The largest speed in the body, in ``speed_unit``; the guard compares it with ``max_speed``."""

    def active(self, model: Model) -> jax.Array:
        """f32[actuators]: 1 where a motor exists in this task."""
        return jnp.ones(self.actuators)

    def fault(self, model: Model, physics: Any) -> jax.Array:
        """bool: the start state is impossible (for example inside an obstacle)."""
        return jnp.zeros((), bool)

    @abc.abstractmethod
    def describe(self, values: dict[str, float]) -> str:
        """World and body of a task in plain words, from its decoded values."""

    @abc.abstractmethod
    def shapes(self, model: Model, physics: Any) -> dict[str, jax.Array]:
        """What to draw, in metres and world coordinates, z up; all three keys, each with as many rows for every task.

        capsules: f32[N, 7] (x0 y0 z0 x1 y1 z1 radius); spheres: f32[M, 4] (x y z radius); boxes: f32[B, 10] (centre x y z,
        quaternion w x y z, half sizes x y z). What a task lacks has radius, or half sizes, 0. Body first, then objects and
        obstacles; what never moves is drawn as an obstacle.
        """

    # What is the same for all families.

    def padded(self, layout: Layout) -> Self:
        """The same family with observations and actions of these widths."""
        other = copy.copy(self)
        other.layout = layout
        return other

    def behind(self, maps: Maps) -> Self:
        """The same family with the learner behind one of these pairs of matrices: the number after a task's own says which."""
        other = copy.copy(self)
        other.maps = maps
        return other

    def decode(self, vector: jax.Array) -> Task:
        """Task of a unit vector f32[D]; behind maps f32[D + 1]."""
        values = decode(self.specs, vector)
        part = {spec.name: spec.part for spec in self.specs}
        hidden = self.bounds.decode(values, self.sensors, self.actuators)
        if self.maps is not None:
            which = vector[len(self.specs)].astype(jnp.int32)
            hidden = interface.behind(hidden, self.maps.observing[which], self.maps.acting[which])
        return Task(
            world={name: value for name, value in values.items() if part[name] == "world"},
            body={name: value for name, value in values.items() if part[name] == "body"},
            interface=hidden,
            goal=goals.from_values(values, self.features, self.control_dt),
        )

    def prepare(self, vector: jax.Array) -> Model:
        """Task and system of a unit vector; call it once per lifetime, inside the vmapped rollout."""
        task = self.decode(vector)
        return Model(task, self.build(task.world, task.body))

    @_traced_once
    def reset(self, model: Model, key: jax.Array) -> tuple[State, TimeStep]:
        """Start an episode."""
        start_key, noise_key = jax.random.split(key)
        physics = self.begin(model, start_key)
        progress = goals.begin(model.task.goal, self._value(model, physics))
        queue = jnp.zeros((interface.MAX_DELAY, self.actions))
        broken = ~(self.speed(model, physics) <= self.max_speed) | self.fault(model, physics)
        state = State(physics, jnp.zeros((), jnp.int32), progress, queue, noise.stream(noise_key), broken)
        return state, self._timestep(model, state, jnp.zeros(()), jnp.zeros((), bool))

    @_traced_once
    def step(self, model: Model, state: State, action: jax.Array) -> tuple[State, TimeStep]:
        """One control step; action: f32[actions] or wider, of which the first ``actions`` are used."""
        action = jnp.clip(action[: self.actions], -1.0, 1.0)
        control, queue = interface.actuate(model.task.interface, state.queue, action)
        physics = self.move(model, state.physics, control * self.active(model))
        time = state.time + 1
        value = self._value(model, physics)
        progress, reward = goals.advance(model.task.goal, state.progress, value, time)
        # A row that breaks stays broken: its outputs are masked below, and no other row can see its numbers.
        broken = state.broken | ~(self.speed(model, physics) <= self.max_speed) | ~jnp.all(jnp.isfinite(value))
        after = State(physics, time, progress, queue, state.noise, broken)
        return after, self._timestep(model, after, reward, progress.solved & ~state.progress.solved)

    @property
    def sensed(self) -> jax.Array:
        """f32[layout.observation]: 1 for sensors and what is known of the goal; 0 for padding, motor mask and signature."""
        body = jnp.arange(self.layout.sensors) < self.perceived
        goal = goals.own(len(self.features), self.parts, self.layout.features, self.layout.parts)
        return jnp.concatenate([body, jnp.zeros(self.layout.actions), goal, jnp.zeros(CODE)]).astype(jnp.float32)

    def action_mask(self, model: Model) -> jax.Array:
        """f32[layout.actions]: 1 where an action drives a motor of this task; behind a projection each drives all of them."""
        own, acting = self.active(model), model.task.interface.acting
        if acting is not None:
            own = (own @ jnp.abs(acting) > 0.0).astype(jnp.float32)
        return jnp.zeros(self.layout.actions).at[: self.actions].set(own)

    def _value(self, model: Model, physics: Any) -> jax.Array:
        return self.measure(model, physics)[model.task.goal.feature]

    def _timestep(self, model: Model, state: State, reward: jax.Array, terminated: jax.Array) -> TimeStep:
        goal, value = model.task.goal, self._value(model, state.physics)
        sensors = self.sense(model, state.physics)
        sensors = interface.observe(model.task.interface, sensors, state.noise, state.time)
        sensors = jnp.pad(sensors, (0, self.layout.sensors - self.perceived))
        seen = goals.observe(goal, state.progress, value, self.layout.features, self.layout.parts)
        parts = [jnp.clip(sensors, -5.0, 5.0), self.action_mask(model), jnp.clip(seen, -5.0, 5.0), jnp.asarray(self.code)]
        observation = jnp.concatenate(parts)
        return TimeStep(
            observation=jnp.where(state.broken, 0.0, observation),
            reward=jnp.where(state.broken, 0.0, reward),
            success=state.progress.solved & ~state.broken,
            terminated=terminated & ~state.broken,
            truncated=state.time == goal.limit,
            running=(state.time <= goal.limit) & ~state.broken,
            broken=state.broken,
            value=jnp.where(state.broken, 0.0, value),
        )


def widest(families: Iterable[AbstractFamily]) -> Layout:
    """The layout into which all of these fit."""
    return Layout(*(max(widths) for widths in zip(*(family.layout for family in families), strict=True)))


def signature(name: str) -> tuple[float, ...]:
    """CODE numbers of +-1 from the family's name: a learner sees in which body it is, whatever else runs beside it."""
    bits = int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big")
    return tuple(1.0 if bits >> i & 1 else -1.0 for i in range(CODE))
