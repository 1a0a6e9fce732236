"""Checkpoints: bit-exact round trips, damage that is found, kills that leave nothing half done."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openended import checkpoint
from openended.checkpoint import CheckpointError


class Inner(NamedTuple):
    count: jax.Array
    key: jax.Array


def state(seed: int = 0) -> dict:
    return {
        "params": [jnp.arange(6, dtype=jnp.float32).reshape(2, 3) + seed, np.array([True, False])],
        "inner": Inner(jnp.int32(seed), jax.random.split(jax.random.key(seed), 4)),
        "wide": np.array(2**40 + seed),
        "empty": np.zeros((0, 3), np.float32),
        "half": jnp.ones(3, jnp.bfloat16),
        "weak": jnp.full((), 1.5),
        "nan": np.array([np.nan, np.inf, -0.0]),
        "plain": 7 + seed,
    }


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip_one_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_round_trip_is_exact(tmp_path):
    before = state(3)
    checkpoint.save(tmp_path, 5, before)
    like = jax.eval_shape(lambda: {key: value for key, value in state().items() if key != "plain"}) | {"plain": 0}
    like["wide"], like["nan"] = before["wide"], before["nan"]  # eval_shape would narrow 64-bit leaves
    restored = checkpoint.restore(tmp_path, like)
    assert restored.round == 5 and restored.problems == []
    assert checkpoint.tree_hash(restored.state) == checkpoint.tree_hash(before)
    assert isinstance(restored.state["inner"], Inner) and restored.state["plain"] == 10
    assert isinstance(restored.state["params"][0], np.ndarray)
    assert restored.state["inner"].key.dtype == before["inner"].key.dtype
    assert np.signbit(restored.state["nan"][2]) and not jnp.asarray(restored.state["weak"]).weak_type
    drawn = [jax.random.normal(tree["inner"].key[1]) for tree in (before, restored.state)]
    assert drawn[0] == drawn[1]


def test_tree_hash_sees_every_difference():
    base = {"a": np.zeros(4, np.float32), "b": np.int32(1)}
    others = [
        {"a": np.zeros(4, np.float32), "c": np.int32(1)},
        {"a": np.zeros((2, 2), np.float32), "b": np.int32(1)},
        {"a": np.zeros(4, np.int32), "b": np.int32(1)},
        {"a": np.array([0, 0, 0, -0.0], np.float32), "b": np.int32(1)},
    ]
    hashes = {checkpoint.tree_hash(tree) for tree in [base, *others]}
    assert len(hashes) == 5
    assert checkpoint.tree_hash(jax.tree.map(jnp.asarray, base)) == checkpoint.tree_hash(base)


@pytest.mark.parametrize("what", ["bit", "manifest bit", "manifest edited", "file gone", "manifest gone"])
def test_damage_is_found_and_the_older_one_is_used(tmp_path, what):
    for number in (1, 2):
        path = checkpoint.save(tmp_path, number, state(number))
    victim = path / checkpoint.MANIFEST if "manifest" in what else largest_file(path / "arrays")
    if what == "manifest edited":
        victim.write_text(victim.read_text().replace('"wide"', '"tall"'))
    else:
        victim.unlink() if "gone" in what else flip_one_bit(victim)
    restored = checkpoint.restore(tmp_path, state())
    assert restored.round == 1 and restored.state["wide"] == 2**40 + 1
    assert len(restored.problems) == 1 and "Checkpoint 2 is damaged" in restored.problems[0]
    assert path.exists()


def test_nothing_good_left_is_one_sentence_and_nothing_is_deleted(tmp_path):
    with pytest.raises(CheckpointError, match="no good checkpoint in"):
        checkpoint.restore(tmp_path / "absent", state())
    flip_one_bit(largest_file(checkpoint.save(tmp_path, 4, state()) / "arrays"))
    with pytest.raises(CheckpointError, match=r"Checkpoint 4 is damaged .*has changed"):
        checkpoint.restore(tmp_path, state())
    checkpoint.save(tmp_path, 4, state(9))
    assert (tmp_path / "damaged-4-1" / checkpoint.MANIFEST).exists()
    assert checkpoint.restore(tmp_path, state()).state["plain"] == 16


def test_a_copied_checkpoint_cannot_pose_as_another_round(tmp_path):
    shutil.copytree(checkpoint.save(tmp_path, 1, state()), tmp_path / "2")
    assert checkpoint.restore(tmp_path, state()).round == 1


def test_keep_milestones_at_and_rolled_back_future(tmp_path):
    tree = {"x": np.arange(3)}
    for number in range(8):
        checkpoint.save(tmp_path, number, tree, keep=2, milestones=range(0, 100, 5))
    assert checkpoint.versions(tmp_path) == [0, 5, 6, 7]
    assert checkpoint.restore(tmp_path, tree, at=6).round == 6
    assert checkpoint.restore(tmp_path, tree, at=4).round == 0
    checkpoint.save(tmp_path, 1, {"x": np.arange(3) + 1}, keep=2)
    assert checkpoint.versions(tmp_path) == [0, 1]
    assert list(checkpoint.restore(tmp_path, tree).state["x"]) == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"wide": np.zeros(2)}, "leaf 'wide' is int64"),
        ({"extra": np.zeros(2)}, "leaf 'extra' is missing"),
        ({"inner": Inner(jnp.int32(0), jax.random.split(jax.random.key(0, impl="rbg"), 4))}, "leaf 'inner/key' is"),
    ],
)
def test_another_configuration_is_named_not_skipped(tmp_path, change, named):
    checkpoint.save(tmp_path, 1, state())
    with pytest.raises(CheckpointError, match=named):
        checkpoint.restore(tmp_path, state() | change)


def test_only_numbers_are_saved(tmp_path):
    with pytest.raises(TypeError, match="leaf 'name'"):
        checkpoint.save(tmp_path, 1, {"name": "text"})
    assert checkpoint.versions(tmp_path) == []


def test_a_full_disk_is_one_sentence_and_keeps_the_old_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, state())

    def full(*_: object) -> None:
        raise ValueError("RESOURCE_EXHAUSTED: pages of text, No space left on device, more pages")

    monkeypatch.setattr(checkpoint.ocp, "save", full)
    with pytest.raises(CheckpointError, match=r"2' could not be written: the disk is full\.$"):
        checkpoint.save(tmp_path, 2, state())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]


def test_a_checkpoint_appears_whole(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, state())

    def killed(source, target):
        assert target == tmp_path / "2" and (source / checkpoint.MANIFEST).exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(tmp_path), "rename", killed)
        checkpoint.save(tmp_path, 2, state())
    assert checkpoint.restore(tmp_path, state()).round == 1 and not (tmp_path / "2").exists()


def test_thinning_is_geometric_and_never_asks_for_what_is_gone():
    present: list[int] = []
    for newest in range(600):
        present = sorted(checkpoint.thinned([*present, newest]))
        assert {0, *range(max(0, newest - 7), newest + 1)} <= set(present)
        assert len(present) <= 8 + 5 * max(1, newest.bit_length() - 2)
    gaps = np.diff(present)[::-1]
    assert gaps.max() >= 128 and gaps.max() < 2 * 600 / 4
    assert all(small <= 2 * max(gaps[: i + 1]) for i, small in enumerate(gaps[1:]))


def test_snapshots(tmp_path):
    for version in range(0, 60, 3):
        checkpoint.save_snapshot(tmp_path, version, {"w": np.full(2, version)}, protect={24, 27, 30})
    kept = checkpoint.versions(tmp_path)
    assert {0, 24, 27, 30, *range(36, 60, 3)} <= set(kept) and len(kept) < 20
    assert checkpoint.load_snapshot(tmp_path, 27, {"w": np.zeros(2, int)})["w"][0] == 27
    with pytest.raises(CheckpointError, match=r"Learner 1 .*manifest.json is missing"):
        checkpoint.load_snapshot(tmp_path, 1, {"w": np.zeros(2, int)})


SAVER = """
import sys, numpy as np
from openended import checkpoint
print("ready", flush=True)
for number in range(10_000):
    checkpoint.save(sys.argv[1], number, {f"x{i}": np.full(2000, number) for i in range(20)})
    print(number, flush=True)
"""


def test_killed_while_saving_loses_nothing_acknowledged(tmp_path):
    like, chance = {f"x{i}": np.zeros(2000, int) for i in range(20)}, random.Random(0)
    for trial in range(3):
        folder = tmp_path / str(trial)
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        saver = subprocess.Popen([sys.executable, "-c", SAVER, folder], stdout=subprocess.PIPE, env=environment)
        assert saver.stdout is not None and saver.stdout.readline() == b"ready\n"
        time.sleep(0.3 + chance.uniform(0, 0.3))
        saver.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in saver.communicate()[0].split()]
        restored = checkpoint.restore(folder, like)
        assert restored.problems == [] and restored.round in (acknowledged[-1], acknowledged[-1] + 1)
        assert all((value == restored.round).all() for value in restored.state.values())
        checkpoint.save(folder, restored.round + 1, like)
        assert not list(folder.glob(".tmp-*"))
