"""`openended family NAME --sample N`: what becomes of tasks that are drawn without any choice, and what one of them costs.

Every vector goes through the loop's own witness search and gate, which gives it one verdict; those are counted of whose
episodes an observation or a reward was not finite. ``uniform`` draws candidates as a generator draws those
without parents; ``chain`` mutates them again and again, each generation the children of the last, as `evolve` would if
everything was kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs import validity
from envs.base import AbstractFamily
from envs.spec import ParamSpec
from openended import ahead, tasks, trees
from openended import repertoire as rep
from openended.compilations import Compilations
from openended.generators.base import immigrants
from openended.generators.evolve import Evolve
from openended.repertoire import FRONTIER
from openended.statistics import clopper_pearson

DRAWS = ("uniform", "chain")
CHUNK = 128  # candidates of one call; a multiple of every usual number of devices
GENERATIONS = 40  # of a chain


class Sample(NamedTuple):
    """What was seen of N candidates."""

    verdict: np.ndarray  # i32[N] index into validity.VERDICTS
    difficulty: np.ndarray  # f32[N] bits
    finite: np.ndarray  # bool[N] all observations and rewards of all its episodes
    seconds: list[float]  # of each chunk
    programs: int  # compiled in all
    later: int  # of these, after the first chunk


def draw(how: str, specs: Sequence[ParamSpec], count: int, rng: np.random.Generator) -> np.ndarray:
    """Candidates f32[count, D] of one of DRAWS."""
    if how == "uniform":
        return tasks.snap(specs, immigrants(specs, count, rng))
    size = -(-count // GENERATIONS)
    evolve = Evolve(immigrants=0.0, speedups=0.0)
    state, book = evolve.init(specs, size, 0), rep.empty(size, len(specs))
    generations = [tasks.snap(specs, immigrants(specs, size, rng))]
    for _ in range(GENERATIONS - 1):
        book = book.change(np.arange(size), vector=generations[-1], status=FRONTIER)
        generations.append(evolve.propose(state, specs, book, size, rng)[0].vector)
    return np.concatenate(generations)[:count]


def sample(
    family: AbstractFamily, search: validity.Search, vectors: np.ndarray, seed: int, store: ahead.Store | None = None
) -> Sample:
    """Ground and play every vector f32[N, D], ``CHUNK`` at a time; ``store``: may have the program."""
    parts, seconds, made_by = [], [], []

    def chunk(rows: np.ndarray, key: jax.Array) -> tuple[np.ndarray, ...]:
        padded = jnp.asarray(np.concatenate([rows, np.repeat(rows[:1], CHUNK - len(rows), axis=0)]))
        finite: list[jax.Array] = []

        def run(*arguments: jax.Array) -> validity.Episodes:
            episodes, seen = program.result()(*arguments)
            finite.append(seen.reshape(CHUNK, -1).all(axis=1))
            return episodes

        found = validity.ground(family, search, run, padded, jax.random.split(key, CHUNK))
        return tuple(np.asarray(x)[: len(rows)] for x in (found.verdict, found.difficulty, np.all(finite, axis=0)))

    with Compilations() as made:
        began = time.perf_counter()
        program = _program(family, search, store)
        for start in range(0, len(vectors), CHUNK):
            parts.append(chunk(vectors[start : start + CHUNK], jax.random.fold_in(jax.random.key(seed), start)))
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
            made_by.append(made.count)
    verdict, difficulty, finite = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Sample(verdict, difficulty, finite, seconds, made_by[-1], made_by[-1] - made_by[0])


def _program(family: AbstractFamily, search: validity.Search, store: ahead.Store | None) -> Future:
    """The player of a chunk's episodes, which also tells whether all that a learner would see of one is finite: the one program
    with the family's physics. Compiled aside, while the search for witnesses begins."""

    def one(vector: jax.Array, key: jax.Array, actions: jax.Array) -> tuple[validity.Episodes, jax.Array]:
        steps = validity.play(family, family.prepare(vector), key, actions)
        return validity.told(steps), jnp.all(jnp.isfinite(steps.observation)) & jnp.all(jnp.isfinite(steps.reward))

    count = CHUNK * search.population
    actions = ahead.floats(count, family.episode_steps, family.actions)
    player = trees.OverDevices(jax.vmap(one), (trees.ROWS,) * 3, trees.ROWS)
    job = player, (ahead.floats(count, len(family.specs)), ahead.keys(count), actions)
    return ahead.compile_aside({"sample": job}, store)["sample"]


def report(family: AbstractFamily, search: validity.Search, how: str, seed: int, found: Sample) -> dict[str, Any]:
    """Shares with 95 % intervals (Clopper-Pearson), costs and speed; ``witnessed``: a goal was held, trivial or not."""
    count = len(found.verdict)
    by = np.bincount(found.verdict, minlength=len(validity.VERDICTS))
    valid, _, still, chance, _ = by
    groups = dict(zip(validity.VERDICTS, by, strict=True)) | {
        "trivial": still + chance,
        "witnessed": valid + still + chance,
    }
    bits = found.difficulty[found.verdict == 0]
    steps = CHUNK * search.steps(family)
    return {
        "family": family.name,
        "draw": how,
        "seed": seed,
        "candidates": count,
        "shares": {name: _share(int(k), count) for name, k in groups.items()},
        "difficulty_bits": {f"{q} %": float(np.percentile(bits, q)) if bits.size else None for q in (10, 50, 90)},
        "not_finite": int(np.sum(~found.finite)),
        "programs": {"in_all": found.programs, "after_the_first_call": found.later},
        "first_call_s": found.seconds[0],
        "steps_per_s": steps / float(np.median(found.seconds[1:])) if len(found.seconds) > 1 else None,
    }


def lines(facts: dict[str, Any]) -> list[str]:
    """The report for people."""
    rows = [f"{facts['candidates']} candidates of {facts['family']}, drawn by '{facts['draw']}' with seed {facts['seed']}"]
    for name, share in facts["shares"].items():
        rows.append(f"  {name:<26} {share['share']:>6.1%}  [{share['lower']:.1%}, {share['upper']:.1%}]  {share['count']}")
    bits = ", ".join(f"{name}: {value:.2f}" for name, value in facts["difficulty_bits"].items() if value is not None)
    programs, speed = facts["programs"], facts["steps_per_s"]
    return [
        *rows,
        f"difficulty of the valid ones, bits: {bits or 'none is valid'}",
        f"candidates with numbers that are not finite: {facts['not_finite']}",
        f"first call {facts['first_call_s']:.1f} s, {programs['in_all']} programs; after it {programs['after_the_first_call']}"
        + ("" if speed is None else f" and {speed:,.0f} control steps/s"),
    ]


def _share(count: int, total: int) -> dict[str, float]:
    low, high = clopper_pearson(count, total)
    return {"count": count, "share": count / total, "lower": float(low), "upper": float(high)}
