"""How a body moves: the contract of a pipeline, and Brax's spring pipeline, for which every family builds its System.

Two more are in `envs.reduced`. They read the same System after they have adopted it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs import physics
from envs.physics import Fluid, Motion, System, Transform

# Places x, z f32[N] of points -> their distance from the ground, negative inside, and the way out of it, of length 1.
Surface = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]


class Moved(NamedTuple):
    """State of a body in its joints' coordinates, and what follows from them: as the fields of a Brax state."""

    q: jax.Array
    qd: jax.Array
    x: Transform  # frames of the links in the world
    xd: Motion
    x_i: Transform  # their mass centres
    xd_i: Motion


class Traits(NamedTuple):
    """What a body and its surroundings ask of a timestep beside joints, motors and contacts."""

    chained: bool = False  # links hang on links away from their origins
    rubbing: bool = False  # with `physics.set_dry_friction`, for bodies on slide joints
    fluid: Fluid | None = None  # what resists the links
    ground: Surface | None = None  # what the balls of the model's pairs meet, instead of their planes (`terrain.tangents`)


PLAIN = Traits()


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
    def advance(self, system: System, state: Any, control: jax.Array, substeps: int, traits: Traits = PLAIN) -> Any:
        """Physics state after ``substeps`` timesteps under a constant command."""


class Spring(Pipeline):
    """Brax's spring pipeline as `envs.physics` runs it."""

    def adopt(self, system: System) -> System:
        """Nothing is to be done."""
        return system

    def begin(self, system: System, q: jax.Array, qd: jax.Array) -> Any:
        """A state of ``brax/spring``."""
        return physics.begin(system, q, qd)

    def advance(self, system: System, state: Any, control: jax.Array, substeps: int, traits: Traits = PLAIN) -> Any:
        """See the base."""
        first = physics.as_it_is if traits.fluid is None else physics.resist(traits.fluid)
        then = physics.joint_velocities if traits.chained else physics.rub if traits.rubbing else physics.as_it_is
        ground = traits.ground
        if ground is None:
            return physics.advance(system, state, control, substeps, first=first, then=then)

        def one(_: Any, now: Any) -> Any:
            return physics.advance(_laid(system, ground, now), now, control, 1, first=first, then=then)

        return jax.lax.fori_loop(0, substeps, one, state)


def _laid(system: System, ground: Surface, state: Any) -> System:
    """System in which the plane of every pair touches the ground where it is nearest to the ball."""
    planes, balls = np.asarray(system.pair_geom1), np.asarray(system.pair_geom2)
    row = slice(int(planes[0]), int(planes[-1]) + 1)  # they follow one another: a slice is written faster than single rows
    links = np.asarray(system.geom_bodyid)[balls] - 1
    center = state.x.take(links).vmap().do(Transform.create(pos=system.geom_pos[balls])).pos
    gap, out_x, out_z = ground(center[:, 0], center[:, 2])
    half = jnp.sqrt(jnp.maximum(1.0 + out_z, 1e-9) / 2.0)  # cosine of half the angle by which z turns into the way out
    zero = jnp.zeros_like(half)
    turn = jnp.stack([half, zero, out_x / (2.0 * half), zero], axis=1)
    position = system.geom_pos.at[row].set(center - gap[:, None] * jnp.stack([out_x, zero, out_z], axis=1))
    return system.replace(geom_pos=position, geom_quat=jnp.asarray(system.geom_quat).at[row].set(turn))
