"""One, two and four devices: what is played is the same to the bit, and a gradient is the same but for rounding.

What is learned from is not the same: each device draws the lifetimes and the minibatches of its own share.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TASKS = 64
CONFIG = ("experiment=probe", f"loop.block={TASKS}", "learner.settings.minibatches=1")


def main(out: str) -> None:
    """What one process finds, on as many devices as it has."""
    import jax
    import jax.numpy as jnp

    from openended import configuration, ppo, rollouts, trees

    loop = configuration.build(configuration.read(CONFIG))
    programs, family, policy, settings = loop.programs, loop.families["probe"], loop.learner.policy, loop.learner.settings
    params = loop.learner.init(jax.random.key(0)).params
    params["actor"]["w"] = 100.0 * params["actor"]["w"]  # a new-born policy hardly acts
    vectors = np.asarray(jax.random.uniform(jax.random.key(1), (TASKS, len(family.specs))))
    played = programs.evaluate("probe", params, vectors, jax.random.key(2), "screen")
    grounding = programs.ground("probe", vectors, jax.random.key(3))

    crowd = rollouts.Crowd(family, jnp.asarray(vectors), jax.random.split(jax.random.key(4), TASKS))
    rollout = jax.jit(lambda p: rollouts.together([crowd], policy, p, 3))(params)
    rollout = rollout._replace(running=jnp.ones_like(rollout.running))  # devices weigh alike, however many steps each has

    def gradient(params, rollout):
        batch = ppo.prepare(rollout, rollout.reward, settings)
        return trees.mean(jax.grad(lambda p: ppo.loss(p, policy, batch, settings)[0])(params))

    slopes = trees.OverDevices(gradient, (trees.SAME, trees.ROWS), trees.SAME)(params, rollout)
    slopes = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(slopes)])
    np.savez(
        out,
        devices=len(jax.devices()),
        success=played.success,
        vector=grounding.vector,
        verdict=grounding.verdict,
        actions=grounding.actions,
        difficulty=grounding.difficulty,
        gradient=slopes,
    )


def found(folder: Path, devices: int) -> dict[str, np.ndarray]:
    """Of a process of its own."""
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    flags, out = f"{flags} --xla_force_host_platform_device_count={devices}", folder / f"{devices}.npz"
    subprocess.run([sys.executable, __file__, str(out)], env=os.environ | {"XLA_FLAGS": flags}, check=True, timeout=600)
    with np.load(out) as numbers:
        assert numbers["devices"] == devices
        return dict(numbers)


@pytest.mark.slow
def test_two_and_four_devices_find_what_one_finds(tmp_path: Path) -> None:
    one, *others = (found(tmp_path, devices) for devices in (1, 2, 4))
    assert 0.0 < one["success"].mean() < 1.0 and len(set(one["verdict"].tolist())) > 1
    assert np.linalg.norm(one["gradient"]) > 1e-3
    for other in others:
        for name in ("success", "vector", "verdict", "actions", "difficulty"):
            np.testing.assert_array_equal(other[name], one[name], name)
        assert np.max(np.abs(other["gradient"] - one["gradient"])) < 1e-5 * np.max(np.abs(one["gradient"]))


if __name__ == "__main__":
    main(sys.argv[1])
