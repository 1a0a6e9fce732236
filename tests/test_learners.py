"""Every learner learns the physics-free family from its own configuration; memory is what makes the difference."""

import functools

import jax
import numpy as np
import pytest

from envs.spec import encode
from openended import configuration

# Calls of eight updates, and the least success in the last episode afterwards; an untrained policy is near 0.
THRESHOLDS = {
    "rl2": (12, 0.9),
    "modular": (12, 0.9),
    "memoryless": (12, 0.9),
    "evolution": (12, 0.5),
    "transformer": (6, 0.9),
    "vsml": (6, 0.8),
    "metagenrl": (6, 0.9),
}
OPTIONS = {"transformer": ["learner=rl2", "learner.memory=transformer"]}  # what is not an option of its own


def tasks(family, rows, hidden_signs, rng):
    """Visible position goals, motors reversed or not."""
    names = [spec.name for spec in family.specs]
    out = np.repeat(encode(family.specs, {"hidden": 0, "feature": 0, "noise": 0.0, "tolerance": 1.5})[None], rows, axis=0)
    for name in ("target_a", "target_b"):
        out[:, names.index(name)] = rng.uniform(size=rows)
    for name in ("reversed_0", "reversed_1"):
        out[:, names.index(name)] = rng.choice([0.25, 0.75] if hidden_signs else [0.25], rows)
    return out.astype(np.float32)


@functools.cache
def learned(learner, hidden_signs):
    """Success by episode on fresh tasks after learning from tasks of the same kind."""
    options = OPTIONS.get(learner, [f"learner={learner}"])
    config = configuration.read(["experiment=probe", *options, "objective=off", "loop.rows=128", "loop.block=128"])
    loop, rng = configuration.build(config), np.random.default_rng(0)
    state, family = loop.init(), loop.families["probe"]
    learner_state, model = state.learner, state.model
    for update in range(THRESHOLDS[learner][0]):
        batch = {"probe": tasks(family, 8 * 128, hidden_signs, rng).reshape(1, 8, 128, -1)}
        learner_state, model, _ = loop.programs.learn(learner_state, model, batch, jax.random.key(update))
    fresh = tasks(family, 512, hidden_signs, rng)
    return loop.programs.evaluate("probe", learner_state.params, fresh, jax.random.key(99), "test").success.mean(axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("learner", sorted(THRESHOLDS))
def test_a_learner_learns_with_known_motors(learner):
    assert learned(learner, False)[-1] >= THRESHOLDS[learner][1]


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["rl2", "transformer", "metagenrl"])
def test_only_memory_finds_out_motor_directions(learner):
    with_memory, without = learned(learner, True)[-1], learned("memoryless", True)[-1]
    assert with_memory >= 0.9 and without <= 0.3, (with_memory, without)
