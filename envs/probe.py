"""Probe: a physics-free point with known answers, for tests and for finding out why a learner does not learn.

``x <- clip(x + 0.15 control + drift, -1.5, 1.5)``: with known signs one linear map solves it; with hidden signs a learner must
try a motor before it knows where it leads; with a hidden goal only memory across episodes can do better than searching.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.base import AbstractFamily, Model
from envs.goals import FeatureSpec
from envs.spec import ParamSpec

SPEED = 0.15  # units per control step at full command
WALL = 1.5


class Point(NamedTuple):
    """Position f32[2]."""

    position: jax.Array


class Probe(AbstractFamily):
    """A point in a square. Sensors (2): position. Actions (2): velocity along x and y."""

    name = "probe"
    sensors = 2
    actuators = 2
    control_dt = 0.05
    max_speed = 10.0
    speed_unit = "units"
    features = (
        FeatureSpec("position", "units", 2, -1.0, 1.0, 0.15, "where the point is"),
        FeatureSpec("x", "units", 1, -1.0, 1.0, 0.1, "how far along x"),
    )
    own_specs = (
        ParamSpec("drift_x", "world", -0.03, 0.03, "units/step", "steady drift along x"),
        ParamSpec("drift_y", "world", -0.03, 0.03, "units/step", "steady drift along y"),
    )

    def build(self, world: dict, body: dict) -> Any:
        """Drift f32[2]."""
        return jnp.stack([world["drift_x"], world["drift_y"]])

    def begin(self, model: Model, key: jax.Array) -> Point:
        """Within 0.05 of the origin."""
        return Point(jax.random.uniform(key, (2,), minval=-0.05, maxval=0.05))

    def move(self, model: Model, state: Point, control: jax.Array) -> Point:
        """One control step."""
        return Point(jnp.clip(state.position + SPEED * control + model.system, -WALL, WALL))

    def sense(self, model: Model, state: Point) -> jax.Array:
        """f32[2] position."""
        return state.position

    def measure(self, model: Model, state: Point) -> jax.Array:
        """f32[2, 2]: position, x."""
        return jnp.stack([state.position, jnp.stack([state.position[0], jnp.zeros(())])])

    def speed(self, model: Model, state: Point) -> jax.Array:
        """Distance from the origin: it cannot leave the walls, so the guard only meets non-finite numbers."""
        return jnp.max(jnp.abs(state.position))

    def describe(self, values: dict[str, float]) -> str:
        """Plain words."""
        return f"a point with drift ({values['drift_x']:.2f}, {values['drift_y']:.2f}) a step"

    def shapes(self, model: Model, state: Point) -> dict[str, jax.Array]:
        """One sphere."""
        sphere = jnp.concatenate([state.position, jnp.array([0.0, 0.05])])[None]
        return {"capsules": jnp.zeros((0, 7)), "spheres": sphere, "boxes": jnp.zeros((0, 10))}
