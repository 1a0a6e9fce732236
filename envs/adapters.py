"""One task outside this project: as a ``brax.envs.Env``, or as a MuJoCo model (MJCF) of its body and world."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs import base
from envs.base import AbstractFamily
from envs.drawing import axes
from envs.physics import quiet

with quiet():
    import mujoco
    from brax.base import System
    from brax.envs.base import Env, State

AWAY = 20.0  # m: a geom farther from the origin of its link or of the world is parked there because this task lacks it
JOINT_TYPES = {0: "free", 1: "ball", 2: "slide", 3: "hinge"}  # mjtJoint
GEOM_TYPES = {0: "plane", 2: "sphere", 3: "capsule", 4: "ellipsoid", 5: "cylinder", 6: "box"}  # mjtGeom
_LOST = """
What MJCF cannot carry: the delay of {delay} control steps of {dt:g} s before a motor obeys, sensor noise of {noise:.3g},
and the goal itself: {goal}.{unexported}
Brax runs this body in its {pipeline} pipeline; MuJoCo's contacts and joints differ in detail. Velocities decay at {drag:.3g}
per second there; here each joint is damped by that rate times its inertia in the reference pose, which is exact for one body
and close for a chain. The start pose is the keyframe. Controls are in the order of the policy's actions.
"""


class TaskEnv(Env):
    """One task as a brax environment: one episode of the family's own ``reset`` and ``step``.

    Observations and actions have the widths of the run; ``done`` at success, at the time limit, or when the physics breaks.
    ``metrics``: success, broken. Unlike everything else here it holds its task, as brax environments do.
    """

    def __init__(self, family: AbstractFamily, vector: Any):
        self.family = family
        self.model = family.prepare(jnp.asarray(vector, jnp.float32))

    def reset(self, rng: jax.Array) -> State:
        """Start an episode; ``rng``: a typed or a raw key."""
        return _as_state(*self.family.reset(self.model, rng), info={})

    def step(self, state: State, action: jax.Array) -> State:
        """One control step."""
        return _as_state(*self.family.step(self.model, state.pipeline_state, action), info=state.info)

    @property
    def observation_size(self) -> int:
        """Width of an observation."""
        return self.family.layout.observation

    @property
    def action_size(self) -> int:
        """Width of an action; a body with fewer motors ignores the rest."""
        return self.family.layout.actions

    @property
    def backend(self) -> str:
        """The pipeline of brax that moves the body; empty for a family without one."""
        return self.family.pipeline

    @property
    def dt(self) -> float:
        """Seconds per control step."""
        return self.family.control_dt


def as_brax(family: AbstractFamily, vector: Any) -> TaskEnv:
    """The task of a unit vector f32[D] as a ``brax.envs.Env``."""
    return TaskEnv(family, vector)


def _as_state(state: base.State, timestep: base.TimeStep, info: dict[str, Any]) -> State:
    done = timestep.terminated | timestep.truncated | timestep.broken
    metrics = {"success": timestep.success.astype(jnp.float32), "broken": timestep.broken.astype(jnp.float32)}
    return State(state, timestep.observation, timestep.reward, done.astype(jnp.float32), metrics, info)


def mjcf(family: AbstractFamily, vector: Any, title: str = "") -> str:
    """XML of the task's body and world that ``mujoco.MjModel.from_xml_string`` loads.

    Bodies, joints, inertias, motors (gear = strength x hidden sign x hidden gain), gravity, obstacles and, where the goal is a
    place, a site for it. Everything is read from the brax ``System`` that the family builds; links that the task cuts loose
    are left out, and a geom that the family leaves at its template's size is stretched along with its link's centre of mass.

    Raises:
        ValueError: the family has no bodies.
    """
    model = family.prepare(jnp.asarray(vector, jnp.float32))
    if not isinstance(model.system, System):
        raise ValueError(f"the family '{family.name}' is free of physics, so there is no MuJoCo model of its tasks")
    body = _Body(family, model)
    text = body.xml(title)
    inertia = mujoco.MjModel.from_xml_string(text).dof_M0
    return body.xml(title, damping=body.drag * inertia)


class _Body:
    """A task's System as numpy arrays, written as XML."""

    def __init__(self, family: AbstractFamily, model: base.Model):
        self.family, self.task = family, model.task
        # As it was built: other pipelines than spring change it when they adopt it.
        self.system = jax.tree.map(np.asarray, family.build(model.task.world, model.task.body))
        self.start = np.asarray(family.begin(model, jax.random.key(0)).q)
        self.motors_on = np.asarray(family.active(model))
        self.drag = max(0.0, -float(self.system.vel_damping))
        link, self.parents = self.system.link, [int(p) for p in self.system.link_parents]
        self.damping: list[float] = []  # of the degrees of freedom that are still to be written, in MuJoCo's order
        self.present: list[bool] = []
        for index, parent in enumerate(self.parents):  # parents come first
            self.present.append(bool(link.constraint_stiffness[index] > 0) and (parent < 0 or self.present[parent]))

    def xml(self, title: str, damping: np.ndarray | None = None) -> str:
        """The document; ``damping``: per degree of freedom that is present."""
        root = ET.Element("mujoco", model=self.family.name)
        root.append(ET.Comment(f" {_plain(title)} " if title else f" {self.family.name} "))
        root.append(ET.Comment(_plain(self._lost())))
        ET.SubElement(root, "compiler", angle="radian", balanceinertia="true")
        gravity, step = _text(self.system.gravity), f"{float(self.system.opt.timestep):g}"
        ET.SubElement(root, "option", timestep=step, gravity=gravity, integrator="implicitfast")
        world = ET.SubElement(root, "worldbody")
        ET.SubElement(world, "light", pos="0 0 3", dir="0 0 -1")
        self._geoms(world, -1)
        self._site(world)
        self.damping = list(np.zeros(self.system.nv) if damping is None else damping)
        self._children(world, -1)
        self._actuators(ET.SubElement(root, "actuator"))
        key = ET.SubElement(ET.SubElement(root, "keyframe"), "key", name="start")
        key.set("qpos", _text(self.start[self._coordinates()]))
        ET.indent(root)
        return ET.tostring(root, encoding="unicode") + "\n"

    def _children(self, element: ET.Element, parent: int) -> None:
        link = self.system.link
        for index, above in enumerate(self.parents):
            if above != parent or not self.present[index]:
                continue
            at, turn = link.transform.pos[index], link.transform.rot[index]
            body = ET.SubElement(element, "body", name=self.system.link_names[index], pos=_text(at), quat=_text(turn))
            inertia, full = link.inertia, link.inertia.i[index]
            entries = _text([full[0, 0], full[1, 1], full[2, 2], full[0, 1], full[0, 2], full[1, 2]])
            place_ = _text(inertia.transform.pos[index])
            ET.SubElement(body, "inertial", pos=place_, mass=_number(inertia.mass[index]), fullinertia=entries)
            self._joints(body, index)
            self._geoms(body, index)
            self._children(body, index)

    def _joints(self, body: ET.Element, link: int) -> None:
        s = self.system
        for j in np.flatnonzero(np.asarray(s.jnt_bodyid) == link + 1):
            kind = JOINT_TYPES[int(s.jnt_type[j])]
            joint = ET.SubElement(body, "joint", name=self._name(s.name_jntadr[j], f"joint_{j}"), type=kind)
            free = [self.damping.pop(0) for _ in range({"free": 6, "ball": 3}.get(kind, 1))]
            if kind != "free":
                joint.set("axis", _text(s.jnt_axis[j]))
                joint.set("pos", _text(s.jnt_pos[j]))
                if s.jnt_limited[j]:
                    joint.set("range", _text(s.jnt_range[j]))
            joint.set("damping", _number(free[0]))
            if loss := float(s.dof_frictionloss[s.jnt_dofadr[j]]):
                joint.set("frictionloss", _number(loss))

    def _geoms(self, element: ET.Element, link: int) -> None:
        s = self.system
        stretch = 1.0 if link < 0 else self._stretch(link)
        for g in np.flatnonzero(np.asarray(s.geom_bodyid) == link + 1):
            kind, at, size = int(s.geom_type[g]), s.geom_pos[g], np.array(s.geom_size[g])
            if kind not in GEOM_TYPES or np.linalg.norm(at) > AWAY:
                continue
            if np.isclose(s.geom_rbound[g], _bound(kind, size), rtol=1e-3) and kind in (3, 5):
                at, size[1] = at * stretch, size[1] * stretch
            geom = ET.SubElement(element, "geom", type=GEOM_TYPES[kind], pos=_text(at), quat=_text(s.geom_quat[g]))
            geom.set("size", _text(size))
            geom.set("contype", str(int(s.geom_contype[g])))
            geom.set("conaffinity", str(int(s.geom_conaffinity[g])))
            geom.set("friction", _text(s.geom_friction[g]))
            geom.set("rgba", "0.6 0.6 0.6 1" if link < 0 else "0 0.45 0.7 1")
            if name := self._name(s.name_geomadr[g], ""):
                geom.set("name", name)

    def _stretch(self, link: int) -> float:
        """How much longer the link is than its template, by the distance of its centre of mass."""
        before, now = np.asarray(self.system.body_ipos[link + 1]), self.system.link.inertia.transform.pos[link]
        square = float(before @ before)
        return float(now @ before) / square if square > 1e-8 else 1.0

    def _actuators(self, element: ET.Element) -> None:
        s, hidden = self.system, self.task.interface
        joint_of = np.asarray(s.actuator_trnid)[:, 0]
        for action in range(len(joint_of)):
            motor = int(np.flatnonzero(np.asarray(hidden.order) == action)[0])
            joint = int(joint_of[motor])
            if not self.present[int(s.jnt_bodyid[joint]) - 1]:
                continue
            gain = float(hidden.gain[motor])
            force = float(s.actuator.gain[motor] * s.actuator.gear[motor] * self.motors_on[motor])
            # The command is clipped to +-1 after the hidden gain: an action acts up to 1 / gain.
            reach = min(1.0, 1.0 / gain)
            command = _number(float(hidden.sign[motor]) * gain * force)
            spring = _text([0.0, s.actuator.bias_q[motor], s.actuator.bias_qd[motor]])
            servo = {"gainprm": command, "biastype": "affine", "biasprm": spring}
            plain = not (s.actuator.bias_q[motor] or s.actuator.bias_qd[motor])
            ET.SubElement(
                element,
                "motor" if plain else "general",
                {"gear": command} if plain else servo,
                name=f"motor_{motor}",
                joint=self._name(s.name_jntadr[joint], f"joint_{joint}"),
                ctrllimited="true",
                ctrlrange=f"{-reach:.7g} {reach:.7g}",
            )

    def _site(self, world: ET.Element) -> None:
        for part in range(int(self.task.goal.used)):
            self._target(world, part)

    def _target(self, world: ET.Element, part: int) -> None:
        goal, feature = self.task.goal, self.family.features[int(self.task.goal.feature[part])]
        along = axes(feature.name, feature.unit, feature.size, self.family.view)
        if not along:
            return
        # A ball at a place; a thin slab across the plane of motion where only one coordinate is asked for.
        tolerance, flat = float(goal.tolerance[part]), {"top": "z", "side": "y"}.get(self.family.view, "")
        at = {axis: float(x) for axis, x in zip(along, goal.target[part], strict=False)}
        spot = [at.get(axis, 0.0) for axis in "xyz"]
        size = [tolerance if axis in at or len(along) == 2 else 0.005 if axis == flat else 2.0 for axis in "xyz"]
        kind, name = "sphere" if len(along) == 2 else "box", "target" if part == 0 else f"target_{part + 1}"
        ET.SubElement(world, "site", name=name, type=kind, pos=_text(spot), size=_text(size), rgba="0.84 0.37 0 0.3")

    def _coordinates(self) -> np.ndarray:
        """Which positions of q belong to joints that are present."""
        s = self.system
        width = {0: 7, 1: 4, 2: 1, 3: 1}
        of = [(int(s.jnt_bodyid[j]) - 1, width[int(s.jnt_type[j])]) for j in range(len(s.jnt_type))]
        return np.array([here for link, n in of for here in [self.present[link]] * n], bool)

    def _lost(self) -> str:
        goal, hidden = self.task.goal, self.task.interface
        between = ", then " if goal.ordered else " and "
        conditions = between.join(self._condition(part) for part in range(int(goal.used)))
        words = f"{conditions} for {int(goal.hold)} control steps{' each' * bool(goal.ordered)} before step {int(goal.limit)}"
        dt, noise, delay = self.family.control_dt, float(hidden.noise), int(hidden.delay)
        unexported = f" Nor this: {self.family.unexported}." if self.family.unexported else ""
        if self.family.bounds.projects:
            unexported += " Nor the random matrices between a policy and this body: controls are those of its own motors."
        return _LOST.format(
            delay=delay, dt=dt, noise=noise, goal=words, drag=self.drag, unexported=unexported, pipeline=self.family.pipeline
        )

    def _condition(self, part: int) -> str:
        goal, feature = self.task.goal, self.family.features[int(self.task.goal.feature[part])]
        target = ", ".join(f"{float(x):.3g}" for x in goal.target[part, : feature.size])
        return f"{feature.name} within {float(goal.tolerance[part]):.3g} of ({target}) {feature.unit}"

    def _name(self, address: int, otherwise: str) -> str:
        names: bytes = self.system.names
        return names[address : names.index(b"\0", address)].decode() or otherwise


def _bound(kind: int, size: np.ndarray) -> float:
    """Radius of the ball around a geom, as MuJoCo computes it for spheres, capsules and cylinders."""
    return float(size[0] + size[1]) if kind == 3 else float(np.hypot(size[0], size[1])) if kind == 5 else float(size[0])


def _text(numbers: Any) -> str:
    return " ".join(_number(x) for x in np.asarray(numbers, float).ravel())


def _number(x: Any) -> str:
    return f"{float(x):.7g}"


def _plain(text: str) -> str:
    return text.replace("--", "-")  # an XML comment must not hold two hyphens
