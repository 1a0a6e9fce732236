"""How a body moves: the contract of a pipeline, and Brax's spring pipeline, for which every family builds its System.

Two more are in `envs.reduced`. They read the same System after they have adopted it.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import jax

from envs import physics
from envs.physics import Fluid, Motion, System, Transform


class Moved(NamedTuple):
    """State of a body in its joints' coordinates, and what follows from them: as the fields of a Brax state."""

    q: jax.Array
    qd: jax.Array
    x: Transform  # frames of the links in the world
    xd: Motion
    x_i: Transform  # their mass centres
    xd_i: Motion


class Pipeline(abc.ABC):
    """How a System moves."""

    def load(self, xml: str) -> System:
        """System of an MJCF model: the static part of a family."""
        return physics.load(xml)

    @abc.abstractmethod
    def adopt(self, system: System) -> System:
        """The System with what this pipeline reads of a body that was built for spring; once per lifetime."""

    @abc.abstractmethod
    def begin(self, system: System, q: jax.Array, qd: jax.Array) -> Any:
        """Physics state with these joint positions and velocities; it has at least the fields of `Moved`."""

    @abc.abstractmethod
    def advance(
        self,
        system: System,
        state: Any,
        control: jax.Array,
        substeps: int,
        *,
        chained: bool = False,
        rubbing: bool = False,
        fluid: Fluid | None = None,
    ) -> Any:
        """Physics state after ``substeps`` timesteps under a constant command.

        ``chained``: links hang on links away from their origins. ``rubbing``: with `physics.set_dry_friction`, for bodies on
        slide joints. ``fluid``: what resists the links.
        """


class Spring(Pipeline):
    """Brax's spring pipeline as `envs.physics` runs it."""

    def adopt(self, system: System) -> System:
        """Nothing is to be done."""
        return system

    def begin(self, system: System, q: jax.Array, qd: jax.Array) -> Any:
        """A state of ``brax/spring``."""
        return physics.begin(system, q, qd)

    def advance(
        self,
        system: System,
        state: Any,
        control: jax.Array,
        substeps: int,
        *,
        chained: bool = False,
        rubbing: bool = False,
        fluid: Fluid | None = None,
    ) -> Any:
        """See the base."""
        first = physics.as_it_is if fluid is None else physics.resist(fluid)
        then = physics.joint_velocities if chained else physics.rub if rubbing else physics.as_it_is
        return physics.advance(system, state, control, substeps, first=first, then=then)
