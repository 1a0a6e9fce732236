"""Checkpoints of the training state and snapshots of the learner: orbax data under a sha256 manifest.

orbax alone is kill-safe but loads flipped bits silently and does not fsync everything. So every save goes to a
temporary folder, gets a manifest with the sha256 of each file, is fsynced whole, and only then renamed: what lacks a
manifest that verifies does not exist. When a function here returns, its data is durable; nothing happens later.

    FOLDER/12/manifest.json     {"manifest": {number, leaves, files}, "sha256": of the manifest's canonical JSON}
    FOLDER/12/arrays/           an orbax (v1) pytree {dtype: flat array}

orbax takes about 1 ms per leaf: the leaves lie end to end in one array per dtype, as the manifest's `leaves` says.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import math
import os
import shutil
from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

MANIFEST = "manifest.json"
RECENT_SNAPSHOTS = 8
_TEMPORARY = ".tmp-"
logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax prints pages about errors that it raises as well


class CheckpointError(Exception):
    """A checkpoint cannot be written, or none can be read; the message is one sentence for the user."""


class Restored(NamedTuple):
    """`round` and its `state`; `problems`: one sentence per newer checkpoint that was skipped because it is damaged."""

    round: int
    state: Any
    problems: list[str]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """Where a leaf sits in the tree and what it is; `impl`: the generator of a typed PRNG key, stored as its data."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    impl: str | None = None

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}" + (f" (key of {self.impl})" if self.impl else "")


def save(folder: str | Path, round: int, state: Any, keep: int = 3, milestones: Container[int] = ()) -> Path:
    """Store `state` (a pytree of arrays, numbers and typed PRNG keys) as checkpoint `round`; returns its folder.

    Afterwards the newest `keep` checkpoints and those whose round is in `milestones` remain. Checkpoints of later
    rounds belong to a future that was rolled back, and go. Damaged ones are never deleted. Raises `CheckpointError`
    when the state cannot be written (full disk), `TypeError` when a leaf is not an array of numbers.
    """
    folder = Path(folder).resolve()
    path = _write(folder, round, state)
    older = [number for number in versions(folder) if number <= round]
    _drop_others(folder, {*older[-max(1, keep) :], *(number for number in older if number in milestones)})
    return path


def restore(folder: str | Path, like: Any, at: int | None = None) -> Restored:
    """The newest good checkpoint (not later than `at`, when given), in the structure of `like`.

    Leaves are numpy arrays on no device, strongly typed, bit for bit as saved; typed PRNG keys are keys again. `like`
    may hold `ShapeDtypeStruct`s. Raises `CheckpointError` when no good checkpoint is left or it does not fit `like`.
    """
    folder = Path(folder).resolve()
    problems: list[str] = []
    for number in reversed([n for n in versions(folder, complete=False) if at is None or n <= at]):
        try:
            return Restored(number, _read(folder / str(number), like), problems)
        except _Damaged as damage:
            problems.append(f"Checkpoint {number} is damaged ({damage}) and was skipped.")
    raise CheckpointError(" ".join([f"There is no good checkpoint in '{folder}'.", *problems]))


def save_snapshot(folder: str | Path, version: int, params: Any, protect: Container[int] = ()) -> Path:
    """Store the learner's `params` as `version`, then thin: the last 8 versions stay, of older ones about four per
    doubling of age, always the first, and those in `protect` (frontier tasks may need them). Errors as in `save`."""
    folder = Path(folder).resolve()
    path = _write(folder, version, params)
    older = [number for number in versions(folder) if number <= version]
    _drop_others(folder, thinned(older) | {number for number in older if number in protect})
    return path


def load_snapshot(folder: str | Path, version: int, like: Any) -> Any:
    """The learner's parameters of exactly `version`, as in `restore`; `CheckpointError` when missing or damaged."""
    path = Path(folder).resolve() / str(version)
    try:
        return _read(path, like)
    except _Damaged as damage:
        raise CheckpointError(f"Learner {version} in '{path.parent}' cannot be read: {damage}.") from damage


def versions(folder: str | Path, complete: bool = True) -> list[int]:
    """Numbers of what `folder` keeps, ascending: versions of the learner, or rounds of checkpoints. `complete` leaves
    out what has no manifest; whether the rest is good, only reading it finds out."""
    places = [path for path in Path(folder).glob("*") if path.name.isdecimal() and path.name == str(int(path.name))]
    return sorted(int(path.name) for path in places if not complete or (path / MANIFEST).exists())


def thinned(numbers: list[int]) -> set[int]:
    """Which of the ascending `numbers` to keep.

    A number of age a >= 8 (newest minus it) shares a slot of aligned width 2^(floor(log2(a / 8)) + 1) with its
    neighbours, and the oldest in a slot stays. Slots only ever merge in pairs as they age, so thinning again later
    never asks for one that is gone, and about 4 log2(newest / 8) + 8 remain.
    """
    kept: dict[tuple[int, int], int] = {}
    for position, number in enumerate(numbers):
        age = numbers[-1] - number
        recent = age < RECENT_SNAPSHOTS or len(numbers) - position <= RECENT_SNAPSHOTS
        width = 0 if recent else 2 ** (int(math.log2(age / RECENT_SNAPSHOTS)) + 1)
        kept.setdefault((width, number // width if width else number), number)
    return set(kept.values())


def tree_hash(tree: Any) -> str:
    """sha256 (hex) over the paths, dtypes, shapes and bytes of all leaves: equal when the trees are, bit for bit."""
    digest = hashlib.sha256()
    leaves, arrays = _flatten(tree)
    for leaf, array in zip(leaves, arrays, strict=True):
        digest.update(json.dumps(asdict(leaf)).encode() + b"\0" + array.tobytes())
    return digest.hexdigest()


def _flatten(tree: Any) -> tuple[list[_Leaf], list[np.ndarray[Any, Any]]]:
    leaves, arrays = [], []
    for path, value in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name, impl = _name(path), None
        if _is_key(value):
            impl, value = str(jax.random.key_impl(value)), jax.random.key_data(value)
        array = np.asarray(value)
        if not (jnp.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
            raise TypeError(f"leaf '{name}' of type {type(value).__name__} is not an array of numbers")
        array = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
        leaves.append(_Leaf(name, array.dtype.name, array.shape, impl))
        arrays.append(array)
    if len({leaf.path for leaf in leaves}) < len(leaves):
        raise TypeError("two leaves of the tree have the same path; a dictionary key must not contain '/'")
    return leaves, arrays


def _unflatten(like: Any, stored: dict[str, tuple[_Leaf, np.ndarray[Any, Any]]], where: Path) -> Any:
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    for extra in sorted(stored.keys() ^ {_name(path) for path, _ in paths}):
        side = "is only in the file" if extra in stored else "is missing from the file"
        raise CheckpointError(f"'{where}' was written by a different configuration: leaf '{extra}' {side}.")
    values = []
    for path, expected in paths:
        leaf, array = stored[_name(path)]
        wanted = _describe(leaf.path, expected)
        value: Any = array.item() if isinstance(expected, bool | int | float) else array
        if leaf.impl:
            value = jax.random.wrap_key_data(jnp.asarray(array), impl=leaf.impl)
            leaf = replace(leaf, impl=str(value.dtype))
        if leaf != wanted:
            what = f"leaf '{leaf.path}' is {leaf} in the file and {wanted} now"
            raise CheckpointError(f"'{where}' was written by a different configuration: {what}.")
        values.append(value)
    return jax.tree_util.tree_unflatten(structure, values)


def _describe(name: str, expected: Any) -> _Leaf:
    if _is_key(expected):
        # jax names the generator of arrays only, and `expected` may be a ShapeDtypeStruct: its dtype has to do.
        data = jax.eval_shape(jax.random.key_data, expected)
        return _Leaf(name, data.dtype.name, data.shape, str(expected.dtype))
    expected = expected if hasattr(expected, "dtype") else np.asarray(expected)
    return _Leaf(name, expected.dtype.name, tuple(expected.shape))


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_key(value: Any) -> bool:
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


class _Damaged(Exception):
    """Why a folder is no checkpoint."""


def _write(folder: Path, number: int, tree: Any) -> Path:
    leaves, arrays = _flatten(tree)
    parts: dict[str, list[np.ndarray[Any, Any]]] = {}
    for leaf, array in zip(leaves, arrays, strict=True):
        parts.setdefault(leaf.dtype, []).append(array.ravel())
    # orbax refuses empty arrays; a dtype without a single number needs none.
    packed = {dtype: flat for dtype, part in parts.items() if (flat := np.concatenate(part)).size}
    final, temporary = folder / str(number), folder / f"{_TEMPORARY}{number}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)  # what a killed process left; the run's lock keeps live ones out
        temporary.mkdir()
        ocp.save(temporary / "arrays", packed or {"none": np.zeros(1, np.int8)})
        places = sorted(path for path in temporary.rglob("*") if path.is_file())
        files = {str(path.relative_to(temporary)): _sha256(path.read_bytes()) for path in places}
        body = {"number": number, "leaves": [asdict(leaf) for leaf in leaves], "files": files}
        (temporary / MANIFEST).write_text(json.dumps({"manifest": body, "sha256": _sha256(body)}, indent=1))
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
        _make_way(final)
        temporary.rename(final)
        _sync(folder)
    except Exception as error:  # tensorstore reports a full disk in exceptions of its own
        shutil.rmtree(temporary, ignore_errors=True)
        why = "the disk is full" if "No space left" in str(error) else f"{type(error).__name__}: {error}"[:300]
        raise CheckpointError(f"Checkpoint '{final}' could not be written: {why}.") from error
    return final


def _read(path: Path, like: Any) -> Any:
    body = _verify(path)
    leaves = [_Leaf(**(entry | {"shape": tuple(entry["shape"])})) for entry in body["leaves"]]
    try:
        packed = ocp.load(path / "arrays")
    except Exception as error:
        raise _Damaged(f"orbax cannot load it: {type(error).__name__}") from error
    offsets = dict.fromkeys({leaf.dtype for leaf in leaves}, 0)
    stored = {}
    for leaf in leaves:
        start, size = offsets[leaf.dtype], math.prod(leaf.shape)
        flat = np.asarray(packed[leaf.dtype])[start : start + size] if size else np.zeros(0, jnp.dtype(leaf.dtype))
        stored[leaf.path] = leaf, flat.reshape(leaf.shape).copy()
        offsets[leaf.dtype] = start + size
    return _unflatten(like, stored, path)


def _verify(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads((path / MANIFEST).read_bytes())
        body: dict[str, Any] = whole["manifest"]
        intact = whole["sha256"] == _sha256(body) and body["number"] == int(path.name)
        changed = [name for name, digest in body["files"].items() if _sha256((path / name).read_bytes()) != digest]
    except FileNotFoundError as error:
        raise _Damaged(f"{Path(error.filename).name} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Damaged("it cannot be read") from error
    if changed or not intact:
        raise _Damaged(f"{changed[0] if intact else MANIFEST} has changed")
    return body


def _make_way(final: Path) -> None:
    """Move what is at `final` out of the way: a good checkpoint to be swept up, a damaged one to be looked at."""
    if not final.exists():
        return
    try:
        _verify(final)
        final.rename(final.with_name(f"{_TEMPORARY}old-{final.name}"))
    except _Damaged:
        places = (final.with_name(f"damaged-{final.name}-{i}") for i in itertools.count(1))
        final.rename(next(place for place in places if not place.exists()))


def _drop_others(folder: Path, kept: set[int]) -> None:
    for number in set(versions(folder)) - kept:
        path = folder / str(number)
        with contextlib.suppress(_Damaged):
            _verify(path)
            path.rename(folder / f"{_TEMPORARY}drop-{number}")  # half deleted, it would look like a damaged one
    _sweep(folder)


def _sweep(folder: Path) -> None:
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(content: bytes | dict[str, Any]) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()
