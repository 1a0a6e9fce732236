"""Every family in every pipeline besides spring that it allows: contract, agreement with spring, known answers.

One program for each: 16 tasks, 32 control steps, timesteps that may be a share of the family's own. Spring's joints get stiffer
as the timestep gets shorter, so that in the limit all pipelines are the same body.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from envs.adapters import as_brax, mjcf
from envs.cartpole import POLES, Cartpole
from envs.crawler import Crawler
from envs.juggler import Juggler
from envs.navigator import Navigator
from envs.pusher import OBSTACLES, Pusher
from envs.reacher import Reacher
from envs.spec import encode
from envs.swimmer import Swimmer
from envs.walker import Walker
from openended import configuration, exporting
from openended.configuration import ConfigurationError
from tests.comparing import HASTE

FAMILIES = (Navigator, Reacher, Cartpole, Pusher, Juggler, Swimmer, Walker, Crawler)
OTHERS = [(cls, pipeline) for cls in FAMILIES for pipeline in cls.pipelines[1:]]
ROWS, STEPS = 16, 32
FINE, FIRST = 1.0 / 8.0, 1.0 / 100.0  # shares of the timestep; after the second no servo has been damped yet
traces: dict[tuple[str, str], int] = {}


class Case(NamedTuple):
    """What the tests need to know of a family: values of tasks."""

    free: dict[str, float]  # nothing touches within 0.2 s
    motor: tuple[str, float, float]  # a number and two values of it, of which the second drives a motor twice as strongly
    pull: tuple[str, float]  # an outer force and a step of it
    only: dict[str, float]  # the other outer forces are off
    absent: tuple[dict[str, float], str]  # a part is off, and a number of it


CASES = {
    "navigator": Case(
        {f"obstacle_{i}": 0 for i in range(3)},
        ("strength", 3.0, 6.0),
        ("wind_x", 0.2),
        {"wind_y": 0.0},
        ({"obstacle_0": 0}, "obstacle_0_distance"),
    ),
    "reacher": Case(
        {"links": 3},
        ("strength", 8.0, 16.0),
        ("gravity_x", 0.5),
        {"gravity_y": 0.0},
        ({"links": 2}, "length_2"),
    ),
    "cartpole": Case(
        {"poles": 2},
        ("strength", 4.0, 8.0),
        ("gravity", 4.0),
        {"tilt": 0.0, "upright": 0.0},
        ({"poles": 1}, "length_1"),
    ),
    "pusher": Case(
        {"gap": 0.15, "strength": 4.0, "mass": 1.5, **{f"obstacle_{i}": 0 for i in range(OBSTACLES)}},
        ("strength", 4.0, 8.0),
        ("slope_x", 0.1),
        {"slope_y": 0.0},
        ({"obstacle_0": 0}, "obstacle_0_distance"),
    ),
    "swimmer": Case(
        {"links": 4},
        ("response", 9.0, 9.0 * 2.0**0.5),
        ("current_x", 0.04),
        {"current_y": 0.0},
        ({"links": 3}, "length_3"),
    ),
}
COMMAND = {"navigator": 1.0, "pusher": 1.0}  # of the comparison with spring
MOTOR_OFFSET = {"swimmer": 3}  # where the first motor's joint is among the velocities
LEAST = {"swimmer": 0.005}  # m/s^2 or rad/s^2 that a step of the outer force adds
PULLED = {"pusher": slice(0, 2)}  # velocities that only the outer force changes; elsewhere all


@functools.cache
def family(cls, pipeline):
    return cls(pipeline=pipeline)


@functools.cache
def program(cls, pipeline):
    """(tasks [B, D], one key, (given [B], q, qd), commands [B, T, A], share f32[]) -> features, q, qd of every control step."""
    made = family(cls, pipeline)

    def one(vector, key, start, commands, share):
        traces[made.name, pipeline] = traces.get((made.name, pipeline), 0) + 1
        model = made.prepare(vector)
        system, link = model.system, model.system.link
        link = link.replace(
            constraint_stiffness=link.constraint_stiffness / share**2,
            constraint_vel_damping=link.constraint_vel_damping / share,
            constraint_ang_damping=link.constraint_ang_damping / share,
        )
        system = system.replace(link=link, opt=system.opt.replace(timestep=system.opt.timestep * share))
        model = model._replace(system=system)
        given, q, qd = start
        own = made.begin(model, key)
        state = made.moves.begin(system, jnp.where(given, q, own.q), jnp.where(given, qd, own.qd))

        def step(state, command):
            state = made.move(model, state, command * made.active(model))
            return state, (made.measure(model, state), state.q, state.qd)

        return jax.lax.scan(step, state, commands)[1]

    return jax.jit(jax.vmap(one, in_axes=(0, None, 0, 0, None)), compiler_options=HASTE if cls is not Pusher else None)


def play(cls, pipeline, vectors, commands, q=None, qd=None, share=1.0, seed=0):
    """The first rows of the program's answer, as numpy arrays; q and qd: where the body starts, else as the family has it."""
    made, rows = family(cls, pipeline), len(vectors)
    size = made._system.nq

    def filled(values, shape):
        whole = np.zeros((ROWS, *shape), np.float32)
        whole[:rows] = values
        return jnp.asarray(whole)

    places, speeds = (filled(0.0 if given is None else given, (size,)) for given in (q, qd))
    start = (jnp.full(ROWS, q is not None), places, speeds)
    whole = filled(commands, (STEPS, made.actuators))
    answer = program(cls, pipeline)(filled(vectors, (len(made.specs),)), jax.random.key(seed), start, whole, jnp.float32(share))
    return [np.asarray(part)[:rows] for part in answer]


def tasks(cls, rows, seed=0, **values):
    """Random tasks f32[rows, D] with some of their numbers set."""
    specs = family(cls, "spring").specs
    vectors = np.random.default_rng(seed).random((rows, len(specs))).astype(np.float32)
    fixed, names = encode(specs, values), [spec.name for spec in specs]
    for name in values:
        vectors[:, names.index(name)] = fixed[names.index(name)]
    return vectors


def noise(cls, rows, seed=1):
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (rows, STEPS, family(cls, "spring").actuators)).astype(np.float32)


def every_other():
    return pytest.mark.parametrize(("cls", "pipeline"), [pytest.param(c, p, id=f"{c.name}-{p}") for c, p in OTHERS])


def those(cls):
    return pytest.mark.parametrize("pipeline", cls.pipelines[1:])


@pytest.mark.parametrize("cls", FAMILIES)
def test_a_pipeline_that_the_body_does_not_allow_is_refused(cls):
    assert cls.pipelines[0] == "spring" and cls.pipeline == ""
    for wrong in {"generalized", "mjx", "positional"} - set(cls.pipelines):
        with pytest.raises(ValueError, match=rf"families.{cls.name}.pipeline is '{wrong}'; allowed: spring") as error:
            cls(pipeline=wrong)
        assert "\n" not in str(error.value)


def test_a_run_keeps_its_pipeline(tmp_path):
    """The loop's family, the one made from what a run stores (for eval, replay, exports), and exported tasks."""
    config = configuration.read(["family=[navigator]", "families.navigator.pipeline=mjx"])
    assert configuration.build(config).families["navigator"].pipeline == "mjx"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration.plain(config)), encoding="utf-8")
    made = exporting.stored_family(tmp_path, "navigator")
    assert made.pipeline == as_brax(made, tasks(Navigator, 1)[0]).backend == "mjx"
    assert exporting._options(tmp_path, "navigator")["pipeline"] == "mjx"


def test_a_wrong_pipeline_of_a_run_is_refused():
    with pytest.raises(ConfigurationError, match=r"families.walker.pipeline is 'mjx'; allowed: spring"):
        configuration.build(configuration.read(["family=[walker]", "families.walker.pipeline=mjx"]))


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Reacher, Pusher])
def test_the_mujoco_model_of_a_task_is_the_same_in_every_pipeline(cls):
    """Absent links, stretched geoms, contacts; only the pipeline's name differs."""
    vector = tasks(cls, 1, **CASES[cls.name].absent[0])[0]
    texts = {name: mjcf(family(cls, name), vector) for name in cls.pipelines}
    assert all(
        text.replace(f"in its {name} pipeline", "in its spring pipeline") == texts["spring"] for name, text in texts.items()
    )
    assert "in its mjx pipeline" in texts["mjx"]


def test_the_table_of_cases_is_whole():
    assert {cls.name for cls, _ in OTHERS} == set(CASES)


@pytest.mark.slow
@every_other()
def test_contract(cls, pipeline):
    """Finite whatever the commands; a row does not know its neighbours, even one that is not a number; one trace for all."""
    vectors, commands = tasks(cls, ROWS), noise(cls, ROWS)
    alone = play(cls, pipeline, vectors, commands)
    assert all(np.all(np.isfinite(part)) for part in alone)
    assert np.std(alone[0]) > 0.05, "nothing moves"
    poisoned = np.copy(vectors)
    poisoned[0] = np.nan
    beside = play(cls, pipeline, poisoned, np.concatenate([noise(cls, 2, seed=2), commands[2:]]))
    for a, b in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(a[2:], b[2:])
    play(cls, pipeline, tasks(cls, ROWS, seed=3), commands)
    assert traces[cls.name, pipeline] == 1


@pytest.mark.slow
@every_other()
def test_it_moves_as_in_the_spring_pipeline(cls, pipeline):
    """0.2 s without contact in an eighth of the timestep: features differ by at most a tenth of their base tolerances and
    a tenth of what moves most."""
    vectors = tasks(cls, ROWS, **CASES[cls.name].free)
    commands = COMMAND.get(cls.name, 0.3) * np.repeat(noise(cls, ROWS)[:, :1], STEPS, axis=1)
    spring, other = (play(cls, name, vectors, commands, share=FINE)[0] for name in ("spring", pipeline))
    tolerance = np.array([feature.tolerance for feature in cls.features])[:, None]
    moved, away = (np.max(np.abs(values) / tolerance) for values in (spring[:, -1] - spring[:, 0], other - spring))
    assert moved > 0.3, "it moves"
    assert away < 0.1 * min(moved, 1.0)


@pytest.mark.slow
@every_other()
def test_motors_and_outer_forces_of_the_task_act(cls, pipeline):
    """Twice the strength is twice the acceleration at first; an outer force adds twice as much in two steps as in one; 1 %."""
    case, seconds = CASES[cls.name], cls.control_dt * FIRST
    (motor, weak, strong), (pull, size) = case.motor, case.pull
    base = case.free | case.only
    several = [tasks(cls, 1, **{**base, motor: value})[0] for value in (weak, weak, strong, strong)]
    several += [tasks(cls, 1, **{**base, pull: steps * size})[0] for steps in (1, 2, 3)]
    commands = np.zeros((7, STEPS, family(cls, "spring").actuators), np.float32)
    commands[[1, 3], :, 0] = 1.0
    start = np.array(play(cls, pipeline, np.stack(several), np.zeros_like(commands), share=1e-6)[1][:, 0])
    gained = play(cls, pipeline, np.stack(several), commands, q=start, share=FIRST)[2][:, 0] / seconds
    driven = (gained[[1, 3]] - gained[[0, 2]])[:, MOTOR_OFFSET.get(cls.name, 0)]
    assert abs(driven[0]) > 0.5 and driven[1] / driven[0] == pytest.approx(2.0, rel=0.01)
    once, twice = np.linalg.norm((gained[5:] - gained[4])[:, PULLED.get(cls.name, slice(None))], axis=1)
    assert once > LEAST.get(cls.name, 0.05) and twice / once == pytest.approx(2.0, rel=0.01)


@pytest.mark.slow
@every_other()
def test_an_absent_part_takes_no_part(cls, pipeline):
    """The features are the same whatever a number of a part that does not exist; where it exists they are not."""
    off, number = CASES[cls.name].absent
    spec = next(spec for spec in family(cls, "spring").own_specs if spec.name == number)
    ends = (spec.low, spec.high)
    there = {name: 1 if value == 0 else value + 1 for name, value in off.items()}
    vectors = np.concatenate([tasks(cls, 3, seed=5, **{**off, number: end}) for end in ends])
    vectors = np.concatenate([vectors, tasks(cls, 3, seed=5, **{**off, **there, number: ends[0]})])
    commands = np.tile(noise(cls, 3, seed=6), (3, 1, 1))
    values = play(cls, pipeline, vectors, commands)[0]
    np.testing.assert_allclose(values[:3], values[3:6], atol=1e-5)
    assert number.startswith("obstacle") or np.max(np.abs(values[:3] - values[6:])) > 1e-3


# Known answers.


@pytest.mark.slow
@those(Cartpole)
def test_period_of_a_pole_under_a_free_cart(pipeline):
    """The same formula as for spring in tests/test_physics_sanity.py; within 2 %."""
    cart, mass, drag, length, gravity = 1.2, 0.2, 0.2, 0.3, 9.81
    values = {"poles": 1, "tilt": 0.0, "gravity": gravity, "friction": drag}
    vectors = tasks(Cartpole, 1, **values, length_0=length, pole_mass=mass, cart_mass=cart)
    q = np.zeros((1, 1 + POLES), np.float32)
    q[0, 1] = np.pi - 0.1
    angle = play(Cartpole, pipeline, vectors, np.zeros((1, STEPS, 1)), q=q)[1][0, :, 1]
    angle = np.angle(np.exp(1j * (angle - np.pi)))  # from hanging
    crossing = np.flatnonzero(angle[:-1] * angle[1:] < 0.0)
    times = 0.05 * (crossing + angle[crossing] / (angle[crossing] - angle[crossing + 1]))
    assert len(times) >= 3
    center, inertia = length / 2.0, mass * length**2 / 2.0
    omega = np.sqrt(mass * gravity * center / (inertia - (mass * center) ** 2 / (cart + mass)) - (drag / 2.0) ** 2)
    assert (times[2] - times[0]) == pytest.approx(2.0 * np.pi / omega, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "pipeline", "share"), [*((Navigator, name, 0.25) for name in Navigator.pipelines[1:]), (Pusher, "mjx", 1.0)]
)
def test_a_puck_nears_its_terminal_velocity(cls, pipeline, share):
    """v = F / (m k) (1 - exp(-k t)), within 2 %: strength, mass and drag of the task act."""
    values = CASES[cls.name].free | {"friction": 2.0, "strength": 5.0, "mass": 0.8}
    values |= {
        name: 0.0
        for name in ("wind_x", "wind_y", "slope_x", "slope_y")
        if name in {s.name for s in family(cls, "spring").own_specs}
    }
    commands = np.zeros((1, STEPS, 2), np.float32)
    commands[:, :, 0] = 1.0
    q = np.zeros((1, family(cls, pipeline)._system.nq), np.float32)
    q[:, 3:] = 0.5  # the pusher's object is out of the way
    speed = play(cls, pipeline, tasks(cls, 1, **values), commands, q=q, share=share)[2][0, :, 0]
    time = 0.05 * share * np.arange(1, STEPS + 1)
    np.testing.assert_allclose(speed, 5.0 / (0.8 * 2.0) * (1.0 - np.exp(-2.0 * time)), rtol=0.02)


@pytest.mark.slow
@those(Navigator)
def test_obstacles_keep_the_puck_out(pipeline):
    """A puck driven at an obstacle stops before it; without the obstacle it passes the same place."""
    values = {"wind_x": 0.0, "wind_y": 0.0, "obstacle_1": 0, "obstacle_2": 0, "friction": 1.0}
    values |= {"obstacle_0_angle": 0.0, "obstacle_0_distance": 0.6, "obstacle_0_radius": 0.2}
    vectors = np.concatenate([tasks(Navigator, 1, **values, obstacle_0=there) for there in (0, 1)])
    commands = np.zeros((2, STEPS, 2), np.float32)
    commands[:, :, 0] = 1.0
    q = play(Navigator, pipeline, vectors, commands, q=np.zeros((2, 2), np.float32))[1]
    assert q[0, -1, 0] > 1.0
    assert 0.25 < q[1, -1, 0] < 0.6 - 0.28 + 0.02


@pytest.mark.slow
@those(Pusher)
def test_a_collision_keeps_the_momentum_and_loses_speed(pipeline):
    """Head on: m v + M V is kept, the parting speed is bounce times the closing speed; within 3 %, friction acts meanwhile."""
    values = CASES["pusher"].free | {"friction": 0.3, "rubbing": 0.05, "slope_x": 0.0, "slope_y": 0.0}
    values |= {"mass": 1.0, "object_mass": 0.5, "object_radius": 0.1, "grip": 0.5}
    vectors = np.concatenate([tasks(Pusher, 1, **values, bounce=bounce) for bounce in (0.0, 0.6)])
    q, qd = np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32)
    q[:, 2], qd[:, 0] = 0.25, 2.0
    speed = play(Pusher, pipeline, vectors, np.zeros((2, STEPS, 2)), q=q, qd=qd)[2]
    for row, bounce in ((0, 0.0), (1, 0.6)):
        after = np.flatnonzero(speed[row, :, 2] > 0.1)[0]
        puck, thing = speed[row, after, 0], speed[row, after, 2]
        assert puck + 0.5 * thing == pytest.approx(2.0, rel=0.03)
        assert -0.03 <= (thing - puck) / 2.0 - bounce <= 0.11
