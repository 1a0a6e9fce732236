"""Frozen held-out suites, for measuring only. Never used for training or for choosing anything.

``handmade-...``: tasks made by hand. ``sampled``: tasks drawn as candidates are drawn for training, witnessed, from seeds of
their own; ``python -m envs.sampled`` made their vectors, ``suites/sampled/FAMILY.npy``. ``stock``: drawn likewise, in the
bodies of Brax's own environments, which no run can train on; a learner meets them behind random projections.

A hand-made suite is a folder ``suites/NAME`` with one table per family, ``FAMILY.txt``; a table that it lacks is that of the
suite which it continues. A row is a task, a column a number of the task or several with the same beginning: ``wind`` stands
for ``wind_x,wind_y``, ``reversed`` for one switch per motor. A cell holds values in the order of the family's specs,
separated by commas:

    0.3     that physical value
    80%     80 % of the way through the bounds of the spec, in the spec's own scale
    -       the middle of the bounds, and 0 for a switch, like everything that is left out

The cell of ``goal`` is ``FEATURE:SHARE,SHARE``: each component of the target as a share, -1 to 1, of the feature's bounds.
``size`` says how far goal, body and world are from the default. What a run's configuration pins keeps its pinned value.

``python -m envs.holdout`` prints every suite's tables: family, number of tasks per group, and the hash.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from envs import interface, stock
from envs.base import AbstractFamily
from envs.cartpole import Cartpole
from envs.crawler import Crawler
from envs.goals import FeatureSpec
from envs.juggler import Juggler
from envs.navigator import Navigator
from envs.probe import Probe
from envs.pusher import Pusher
from envs.reacher import Reacher
from envs.spec import ParamSpec, decode, encode
from envs.swimmer import Swimmer
from envs.walker import Walker

_FIRST: tuple[type[AbstractFamily], ...] = (Navigator, Reacher, Probe)
_ALL: tuple[type[AbstractFamily], ...] = (*_FIRST, Cartpole, Pusher, Swimmer, Juggler, Walker, Crawler)
FAMILIES: dict[str, tuple[type[AbstractFamily], ...]]  # that have tasks in a suite
FAMILIES = {"handmade-v1": _FIRST, "handmade-v2": _ALL, "sampled": _ALL, "stock": stock.BODIES}
FOREIGN = ("stock",)  # suites in bodies of their own instead of those of a run
CONTINUES = {"handmade-v2": "handmade-v1"}
GROUPS = ("visible", "hidden_goal", "both_hidden")
SIZES = ("small", "medium", "large")
HASHES = {
    "handmade-v1": "b99c1042e79a448379d51ffdb80f0f5959f064c5bb027884c563bb9a40b300ba",
    "handmade-v2": "79dd217586c2eb33564cae0b9b61d02f0dae80c48ae868664baa03d42681f570",
    "sampled": "eccaa25fff12aade85c55a2421c944f5a9e3a7a38417bc56ec0c1f6767fd57ab",
    "stock": "4de08459589a21f40dcfa442c60d34a90d4fc2a73c6d656b401b0e3dbd72c5f3",
}
_FOLDER = Path(__file__).resolve().parent / "suites"


class HoldoutError(Exception):
    """A suite is unknown or is not the frozen one; the message is one sentence for the user."""


class HeldOut(NamedTuple):
    """One held-out task.

    ``group``: ``visible`` (the goal is observed), ``hidden_goal`` (it is found from reward, and no motor runs backwards) or
    ``both_hidden`` (it is found from reward with motors that run backwards, or behind a projection).
    """

    family: str
    group: str
    size: str
    vector: np.ndarray  # f32[D] in the unit box


def tasks(suite: str, families: Mapping[str, AbstractFamily]) -> list[HeldOut]:
    """The suite's tasks for these families, encoded within their bounds; none for a family without a table.

    Raises:
        HoldoutError: there is no such suite, or it is not the one that was frozen.
    """
    verify(suite)
    try:
        return [task for family in families.values() for task in rows(suite, family)]
    except ValueError as error:
        raise HoldoutError(f"The suite '{suite}' does not fit the bounds of this run: {error}.") from error


def foreign(suite: str, trained_on: Mapping[str, AbstractFamily]) -> dict[str, AbstractFamily]:
    """The families of a suite in bodies of its own, for a learner that was trained on others.

    Raises:
        HoldoutError: it was not trained behind projections of the suite's widths.
    """
    families = {family.name: family for family in (cls() for cls in FAMILIES[suite])}
    own, theirs = ({(f.bounds.sensors, f.bounds.actions) for f in some.values()} for some in (families, trained_on))
    if own != theirs:
        (wide,), others = own, " or ".join(f"{n} and {m}" if n else "none" for n, m in sorted(theirs))
        raise HoldoutError(
            f"The suite '{suite}' is for learners behind random projections to {wide[0]} sensors and {wide[1]} actions, of "
            f"which this run has {others}: train one with `openended train interface=projection`."
        )
    layout = next(iter(trained_on.values())).layout
    return {name: family.padded(layout) for name, family in families.items()}


def verify(suite: str) -> None:
    """Raises a HoldoutError unless the suite is known and has its frozen hash."""
    if suite not in HASHES:
        raise HoldoutError(f"The suite is '{suite}'; allowed: {', '.join(HASHES)}.")
    found = fingerprint(suite)
    if found != HASHES[suite]:
        raise HoldoutError(
            f"The suite '{suite}' is not the frozen one (hash {found[:12]}, frozen {HASHES[suite][:12] or 'never'}): "
            "its tables or the bounds of its families have changed, so its numbers cannot be compared with earlier ones."
        )


def fingerprint(suite: str) -> str:
    """sha256 (hex) over families, their bounds, and group, size and float32 vector of every task, at default options."""
    digest = hashlib.sha256(suite.encode())
    for family in (cls() for cls in FAMILIES[suite]):
        bounds = [(s.name, s.low, s.high, s.scale) for s in family.specs]
        aims = [(f.name, f.size, f.low, f.high, f.tolerance) for f in family.features]
        digest.update(json.dumps([family.name, bounds, aims]).encode())
        for task in rows(suite, family):
            digest.update(f"{task.group} {task.size} ".encode() + task.vector.astype("<f4").tobytes())
    return digest.hexdigest()


def rows(suite: str, family: AbstractFamily) -> list[HeldOut]:
    """Every task of the family, whether the suite is the frozen one or not: for making and freezing it."""
    path = _FOLDER / suite / f"{family.name}.txt"
    if path.with_suffix(".npy").is_file():
        return _drawn(family, np.load(path.with_suffix(".npy"), allow_pickle=False))
    if not path.is_file():
        return rows(CONTINUES[suite], family) if suite in CONTINUES else []
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"]
    return [_task(family, dict(zip(lines[0], cells, strict=True))) for cells in lines[1:]]


def _drawn(family: AbstractFamily, units: np.ndarray) -> list[HeldOut]:
    """Tasks of vectors f32[N, D] under the family's default options; the size is a third of the order by distance from 0.5."""
    default = type(family)()
    order = np.argsort(np.argsort(np.mean(np.abs(units - 0.5), axis=1), kind="stable"), kind="stable")
    # By jax, whose exp may differ from numpy's in the last digit: the hashes are of these values.
    columns = {name: np.asarray(column) for name, column in decode(default.specs, jnp.asarray(units.T)).items()}
    rows_ = [{name: float(column[i]) for name, column in columns.items()} for i in range(len(units))]
    return [_held_out(family, values, SIZES[3 * place // len(units)]) for values, place in zip(rows_, order, strict=True)]


def _task(family: AbstractFamily, row: Mapping[str, str]) -> HeldOut:
    values: dict[str, float] = {}
    for column, cell in row.items():
        if column == "goal":
            values |= _goal(family.features, cell)
        elif column != "size":
            values |= _values(family.specs, column, cell)
    return _held_out(family, values, row["size"])


def _held_out(family: AbstractFamily, values: Mapping[str, float], size: str) -> HeldOut:
    """The task of these values, in physical units, without what they do not name; what the family pins keeps its value.

    Where the family has a projection and the values have none, they decide which it is.
    """
    pinned = {spec.name: spec.low for spec in family.specs if spec.pinned}
    if family.bounds.projects and "projection" not in values:
        digest = hashlib.sha256(json.dumps(sorted(values.items())).encode()).digest()
        values = {**values, "projection": int.from_bytes(digest[:4], "big") % interface.PROJECTIONS}
    values = {spec.name: 0.0 for spec in family.specs if spec.switch} | dict(values)
    vector = encode(family.specs, {name: value for name, value in values.items() if name not in pinned})
    return HeldOut(family.name, _group({**values, **pinned}), size, np.round(vector.astype(float), 6).astype(np.float32))


def _group(values: Mapping[str, float]) -> str:
    if values["hidden"] < 0.5:
        return "visible"
    turned = any(value >= 0.5 for name, value in values.items() if name.startswith("reversed_")) or "projection" in values
    return "both_hidden" if turned else "hidden_goal"


def _goal(features: Sequence[FeatureSpec], cell: str) -> dict[str, float]:
    name, _, shares = cell.partition(":")
    index = [feature.name for feature in features].index(name)
    units = [(1.0 + float(share)) / 2.0 for share in shares.split(",")]
    return {"feature": float(index), **dict(zip(("target_a", "target_b"), units, strict=False))}


def _values(specs: Sequence[ParamSpec], column: str, cell: str) -> dict[str, float]:
    """The numbers of a cell by name; those in the middle of their bounds are left out."""
    mine = [spec for spec in specs if spec.name == column or spec.name.startswith(f"{column}_")]
    parts = cell.split(",")
    if not mine or len(parts) > len(mine):
        raise ValueError(f"column '{column}' has {len(mine)} numbers, its cell '{cell}' {len(parts)}")
    pairs = zip(mine, parts, strict=False)
    return {spec.name: _value(spec, part) for spec, part in pairs if part != "-"}


def _value(spec: ParamSpec, part: str) -> float:
    if not part.endswith("%"):
        return float(part)
    share = float(part[:-1]) / 100.0
    if spec.scale == "log":
        inside = math.exp(math.log(spec.low) + share * math.log(spec.high / spec.low))
    else:
        inside = spec.low + share * (spec.high - spec.low)
    return min(max(inside, spec.low), spec.high)


def main() -> None:
    """Print every suite: family, tasks per group, hash."""
    for suite in HASHES:
        for family in (cls() for cls in FAMILIES[suite]):
            groups = Counter(task.group for task in rows(suite, family))
            print(f"{suite}  {family.name:<10} {groups.total():>3} tasks: " + ", ".join(f"{groups[g]} {g}" for g in GROUPS))
        found = fingerprint(suite)
        print(f"{suite}  {found}  {'frozen' if found == HASHES[suite] else 'NOT THE FROZEN ONE'}")


if __name__ == "__main__":
    main()
