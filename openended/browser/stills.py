"""Thumbnails of tasks: drawn from the family's shapes at the start, and kept in a small database beside XLA's cache.

Of a family only the beginning of an episode is compiled, not its physics. What is body and what is obstacle is told apart by
whether a shape hangs on the state of the physics at all.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from envs import drawing
from openended.browser.pictures import thumbnail

REMEMBERED, KEPT = 20_000, 200_000  # pictures in memory; on disk, about 2 kB each
NUDGE = 0.01  # by how much every number of the state is moved
FAST = {"xla_backend_optimization_level": 0}  # run a few times only: compiled in a fifth of the time
_TABLE = "CREATE TABLE IF NOT EXISTS still (name BLOB PRIMARY KEY, svg BLOB NOT NULL)"


class Stills:
    """Pictures by name, in memory and on disk; what cannot be kept on disk is left out. place: the file, None for no disk."""

    def __init__(self, place: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._pictures: OrderedDict[bytes, bytes] = OrderedDict()
        self._db: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.Error, OSError):
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(place, isolation_level=None, timeout=0.5, check_same_thread=False)
                self._db.execute("PRAGMA synchronous = OFF")  # a lost picture is drawn again
                self._db.execute(_TABLE)

    def get(self, name: bytes) -> bytes | None:
        """The picture of that name, None when it must be drawn."""
        with self._lock:
            if name not in self._pictures and self._db is not None:
                with contextlib.suppress(sqlite3.Error):
                    for (svg,) in self._db.execute("SELECT svg FROM still WHERE name = ?", [name]):
                        self._remember(name, bytes(svg))
            return self._pictures.get(name)

    def put(self, name: bytes, picture: bytes) -> None:
        """Keep a picture."""
        with self._lock:
            self._remember(name, picture)
            if self._db is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("INSERT OR REPLACE INTO still VALUES (?, ?)", [name, picture])
                    self._db.execute("DELETE FROM still WHERE rowid <= (SELECT max(rowid) FROM still) - ?", [KEPT])

    def _remember(self, name: bytes, picture: bytes) -> None:
        self._pictures[name] = picture
        while len(self._pictures) > REMEMBERED:
            self._pictures.popitem(last=False)


def named(config: dict[str, Any], family: str, vector: list[float], goal: dict[str, Any]) -> bytes:
    """What a picture is made of, as a name: the sources of the task space, the family's configuration, the task."""
    made_of = (_sources(), (config.get("families") or {}).get(family), family, vector, goal)
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).digest()


@functools.cache
def _sources() -> str:
    """Digest of what draws: the task space and the two modules here."""
    import envs

    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in [*sorted(Path(envs.__path__[0]).rglob("*.py")), here / "pictures.py", here / "stills.py"]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=64)
def start(family: Any) -> Callable[[np.ndarray], Any]:
    """(vector f32[D]) -> (shapes at the start, shapes of a state nearby): what differs is moved by physics. Compiles."""
    import jax
    import jax.numpy as jnp

    def nudged(x):
        far = NUDGE * jnp.arange(1, x.size + 1, dtype=jnp.float32).reshape(x.shape)  # no two alike: none make up for another
        return x + far.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    def shapes(vector):
        model = family.prepare(vector)
        state = family.begin(model, jax.random.key(0))
        return family.shapes(model, state), family.shapes(model, jax.tree.map(nudged, state))

    vector = jax.ShapeDtypeStruct((len(family.specs),), jnp.float32)
    return jax.jit(shapes, compiler_options=FAST).lower(vector).compile()  # type: ignore[no-any-return]


def draw(family: Any, vector: list[float], goal: dict[str, Any]) -> bytes:
    """The picture of a task as SVG."""
    first, other = start(family)(np.asarray(vector, np.float32))
    fixed, body, objects = {}, {}, {}
    for kind in drawing.KINDS:
        shape, after = np.asarray(first[kind], float), np.asarray(other[kind], float)
        there = (shape[:, -1] > 0) & np.all(np.isfinite(shape), axis=1)
        moves = drawing.moves(np.stack([shape, after]))
        fixed[kind], body[kind] = shape[there & ~moves].tolist(), shape[there & moves].tolist()
        rows = np.flatnonzero(there & moves)
        objects[kind] = np.flatnonzero(np.isin(rows, family.object_rows.get(kind, ()))).tolist()
    along = drawing.axes(goal["feature"], goal["unit"], len(goal["target"]), family.view)
    return thumbnail(family.view, goal, along, fixed, body, objects).encode()
