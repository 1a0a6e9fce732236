"""The pipelines of Brax in the joints' own coordinates: generalized, and mjx, which is MuJoCo in JAX.

Spring (``brax/spring``) has six coordinates for every link and joints of stiff springs; here a joint cannot open. What a family
says of its body in terms of springs has a counterpart:

- a link that is cut loose: no mass, and a rotor of 1 kg m^2 on its own joints. Its rows of the mass matrix are then empty but
  for the rotor, so nothing of it reaches the links that exist. A loose link without a parent is simply another body.
- every velocity decays as exp(-rate t): so do those of the joints, since velocities of links are linear in them.
- a contact sends back with a coefficient of restitution: the reference acceleration of the pipeline's own solver undoes
  ``1 + restitution`` times the closing velocity in one timestep, and pushes out of what overlaps as spring does.
- a fluid's forces on the links act through the links' Jacobians (generalized only).
"""

from __future__ import annotations

import abc
import itertools
import xml.etree.ElementTree as ET
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs import physics
from envs.physics import Fluid, Motion, System, actuator, com, inv_rotate, kinematics, quiet, rotate
from envs.pipelines import PLAIN, Moved, Pipeline, Traits

with quiet():
    from brax.generalized import constraint, dynamics
    from brax.generalized import pipeline as generalized
    from mujoco import mjx

HARD = 0.9999  # impedance of contacts, MuJoCo's largest: nothing of them gives way
SLIPPERY = 1e-3  # least coefficient of friction that elliptic cones bear
ROTOR = 1.0  # kg m^2 or kg, on the joints of a link that does not exist


class Reduced(Pipeline):
    """A pipeline in the joints' own coordinates, for slides and hinges; semi-implicit Euler, as both have it."""

    def adopt(self, system: System) -> System:
        """Links that are cut loose without mass."""
        there = _there(system)
        inertia = system.link.inertia
        inertia = inertia.replace(mass=inertia.mass * there, i=inertia.i * there[:, None, None])
        armature = system.dof.armature + ROTOR * (1.0 - there)[system.dof_link()]
        return system.replace(link=system.link.replace(inertia=inertia), dof=system.dof.replace(armature=armature))

    def begin(self, system: System, q: jax.Array, qd: jax.Array) -> Moved:
        """The coordinates and where they put the links."""
        x, xd = kinematics.forward(system, q, qd)
        return Moved(q, qd, x, xd, *com.from_world(system, x, xd))

    def advance(self, system: System, state: Moved, control: jax.Array, substeps: int, traits: Traits = PLAIN) -> Moved:
        """See the base; ``chained`` is no matter: joints do not open. There is no ``ground`` here."""
        step, kept = system.opt.timestep, _kept(system)
        turns = jnp.any(system.dof.motion.ang != 0.0, axis=1)

        def one(_, now: tuple) -> tuple:
            q, qd, _ = now
            gained = self._acceleration(system, now, control, traits.fluid)
            qd = kept * (qd + step * gained)
            qd = _rubbed(system, qd) if traits.rubbing else qd
            q = q + step * qd
            return jnp.where(turns, q - 2.0 * jnp.pi * jnp.round(q / (2.0 * jnp.pi)), q), qd, gained

        q, qd, _ = jax.lax.fori_loop(0, substeps, one, (state.q, state.qd, jnp.zeros_like(state.qd)))
        return self.begin(system, q, qd)

    @abc.abstractmethod
    def _acceleration(self, system: System, now: tuple, control: jax.Array, fluid: Fluid | None) -> jax.Array:
        """f32[nv] in the joints' coordinates; ``now``: positions, velocities, the accelerations of the timestep before."""


class Generalized(Reduced):
    """``brax/generalized`` with the exact inverse of the mass matrix."""

    def adopt(self, system: System) -> System:
        """See the base; contacts by the solver's reference acceleration."""
        system = super().adopt(system)
        solref, solimp = _bouncing(system, system.elasticity)
        return system.replace(geom_solref=solref, geom_solimp=solimp)

    def _acceleration(self, system: System, now: tuple, control: jax.Array, fluid: Fluid | None) -> jax.Array:
        q, qd, _ = now
        state = generalized.init(system, q, qd)
        tau = actuator.to_tau(system, control, q, qd)
        if fluid is not None:
            tau = tau + _in_joints(system, state, _resistance(system, self.begin(system, q, qd), fluid))
        state = state.replace(qf_smooth=dynamics.forward(system, state, tau))
        return state.mass_mx_inv @ (state.qf_smooth + constraint.force(system, state))


class Mjx(Reduced):
    """MuJoCo's equations in JAX. ``brax/mjx`` wraps the same, but its link frames are one timestep old.

    Contacts are written as pairs with elliptic cones: only these have a reference of their own along the surface, so that what
    bounces is not thrown back sideways.
    """

    def load(self, xml: str) -> System:
        """See the base."""
        return physics.load(_paired(xml))

    def adopt(self, system: System) -> System:
        """The same in the fields of a MuJoCo model; ``invweight0`` follows the masses as `physics.set_links` has it."""
        system = super().adopt(system)
        link, motor = system.link, system.actuator
        inertia, bias = link.inertia, jnp.stack([motor.bias_q, motor.bias_qd], axis=1)
        system = system.replace(
            body_mass=_below(system.body_mass, inertia.mass),
            body_inertia=_below(system.body_inertia, jax.vmap(jnp.diag)(inertia.i)),
            body_ipos=_below(system.body_ipos, inertia.transform.pos),
            body_iquat=_below(system.body_iquat, inertia.transform.rot),
            body_pos=_below(system.body_pos, link.transform.pos),
            body_quat=_below(system.body_quat, link.transform.rot),
            body_invweight0=jnp.asarray(system.body_invweight0).at[1:, 0].set(link.invweight),
            dof_armature=system.dof.armature,
            actuator_gainprm=jnp.asarray(system.actuator_gainprm).at[:, 0].set(motor.gain),
            actuator_biasprm=jnp.asarray(system.actuator_biasprm).at[:, 1:3].set(bias),
            opt=system.opt.replace(gravity=system.gravity),
        )
        return _pairs(system) if system.npair else system

    def _acceleration(self, system: System, now: tuple, control: jax.Array, fluid: Fluid | None) -> jax.Array:
        q, qd, guess = now
        data = mjx.make_data(system).replace(qpos=q, qvel=qd, ctrl=control, qacc_warmstart=guess)
        if fluid is not None:
            raise NotImplementedError("a fluid in the mjx pipeline")
        return mjx.forward(system, data).qacc


def _there(system: System) -> jax.Array:
    """f32[L]: 0 for a link that `physics.cut_loose` detached from a parent."""
    hangs = np.asarray(system.link_parents) >= 0
    return jnp.where(hangs & (system.link.constraint_stiffness <= 0.0), 0.0, 1.0)


def _below(rows: jax.Array, links: jax.Array) -> jax.Array:
    """Rows of MuJoCo's bodies, of which the first is the world, with these for the links."""
    return jnp.asarray(rows).at[1:].set(links)


def _kept(system: System) -> jax.Array:
    """Share of a velocity that drag leaves in one timestep."""
    return jnp.exp(system.vel_damping * system.opt.timestep)


def _bouncing(system: System, restitution: jax.Array) -> tuple[jax.Array, jax.Array]:
    """solref f32[N, 2] and solimp f32[N, 5] of contacts that turn a closing velocity v into -restitution v within a timestep,

    drag included, and push out of what overlaps by erp / timestep x depth, as the spring pipeline does.
    """
    step, kept = system.opt.timestep, _kept(system)
    damping = (1.0 + restitution / kept) / step * HARD
    stiffness = jnp.broadcast_to(system.baumgarte_erp / (kept * step**2) * HARD, damping.shape)
    solimp = jnp.broadcast_to(jnp.array([HARD, HARD, 1e-3, 0.5, 2.0]), (len(damping), 5))
    return jnp.stack([-stiffness, -damping], axis=1), solimp


def _pairs(system: System) -> System:
    """Friction and restitution of the pairs that `_paired` wrote, from those of their geoms."""
    first, second = np.asarray(system.pair_geom1), np.asarray(system.pair_geom2)
    sliding = jnp.maximum(system.geom_friction[first, 0], system.geom_friction[second, 0])
    solref, solimp = _bouncing(system, 0.5 * (system.elasticity[first] + system.elasticity[second]))
    still = jnp.broadcast_to(jnp.stack([0.0, -HARD / system.opt.timestep]), solref.shape)
    return system.replace(
        pair_friction=jnp.broadcast_to(jnp.maximum(sliding, SLIPPERY)[:, None], (system.npair, 5)),
        pair_solref=solref,
        pair_solimp=solimp,
        pair_solreffriction=still,
    )


def _paired(xml: str) -> str:
    """The model with the contacts between its geoms as explicit pairs, in elliptic cones."""
    root = ET.fromstring(xml)
    geoms = [(body, geom) for body in root.iter() for geom in body.findall("geom")]
    meeting = [(one, two) for one, two in itertools.combinations(geoms, 2) if one[0] is not two[0] and _meet(one[1], two[1])]
    if meeting:
        ET.SubElement(root, "option", cone="elliptic")
        contact = ET.SubElement(root, "contact")
        for number, geom in enumerate(dict.fromkeys(geom for both in meeting for _, geom in both)):
            geom.set("name", geom.get("name", f"geom_{number}"))
        for (_, a), (_, b) in meeting:
            ET.SubElement(contact, "pair", geom1=a.attrib["name"], geom2=b.attrib["name"])
        for one, two in dict.fromkeys((one.get("name", "world"), two.get("name", "world")) for (one, _), (two, _) in meeting):
            ET.SubElement(contact, "exclude", body1=one, body2=two)  # of what MuJoCo would find itself; geoms stay as they are
    return ET.tostring(root, encoding="unicode")


def _meet(a: ET.Element, b: ET.Element) -> int:
    """Whether MuJoCo lets two geoms of different bodies touch."""
    (kind_a, with_a), (kind_b, with_b) = ([int(geom.get(name, "1")) for name in ("contype", "conaffinity")] for geom in (a, b))
    return kind_a & with_b or kind_b & with_a


def _rubbed(system: System, qd: jax.Array) -> jax.Array:
    """`physics.rub` for links on slide joints of the world: |qd| of a link falls by (force / mass) dt, not below 0."""
    link = np.asarray(system.dof_bodyid) - 1
    same = jnp.asarray(link[:, None] == link[None, :], jnp.float32)
    most = system.dof_frictionloss / system.link.inertia.mass[link] * system.opt.timestep
    speed = jnp.sqrt(jnp.dot(same, qd**2, precision="highest"))
    return qd * (1.0 - jnp.minimum(most / jnp.maximum(speed, 1e-9), 1.0))


def _resistance(system: System, state: Moved, fluid: Fluid) -> Motion:
    """Force and torque f32[L, 3] on the mass centres by which one free link would slow down as `physics.slowed` has it."""
    inertia, step = system.link.inertia, system.opt.timestep
    change = physics.slowed(fluid, step, state.x_i, state.xd_i) - state.xd_i
    local = jax.vmap(inv_rotate)(change.ang, state.x_i.rot)
    torque = jax.vmap(rotate)(jax.vmap(jnp.matmul)(inertia.i, local), state.x_i.rot)
    return Motion(vel=change.vel * inertia.mass[:, None] / step, ang=torque / step)


def _in_joints(system: System, state: Any, force: Motion) -> jax.Array:
    """Forces f32[nv] in the joints' coordinates of what acts on the mass centres."""
    x_i = state.x.vmap().do(system.link.inertia.transform)
    jacobian = jax.vmap(constraint.point_jacobian, in_axes=(None, None, None, 0, 0))
    rows = jacobian(system, state.root_com, state.cdof, x_i.pos, jnp.arange(len(x_i.pos)))
    return jnp.einsum("lvx,lx->v", rows.vel, force.vel) + jnp.einsum("lvx,lx->v", rows.ang, force.ang)
