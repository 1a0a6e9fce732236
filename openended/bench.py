"""`openended bench`: how fast the physics, the policy, learning, whole rounds and compilation are on this machine.

One process times every part once per repetition, in turn; a figure is the median over the repetitions (``raw``, ``policy``:
of the best batch size). A timed call has its programs compiled and a key of its own, and ends when its results are there,
which depend on the last state of every row. ``learn``: a round's updates alone, lifetimes included. ``arithmetic``: operations
of a control step, beside ``ceilings``, what one device does at most, see `openended.hardware`. ``cold_s`` and ``warm_s``:
compiling a round's programs, once, in new processes.

A round is what `train` does for one: the loop's round, the held-out measurement, checkpoint, metrics and archive, in a folder
that is thrown away. ``efficiency``: learn-purpose control steps per second of such rounds, over those of lifetimes with the
policy alone (harmonic mean of the families: a round learns from equal rows of each). ``host_share``: a round's time outside
of the calls that ground, evaluate and learn. ``stages``: seconds of a round's stages, recording last. ``--quick``: one batch
size, few repetitions, at most 8 updates a round, no cold and warm compilation. ``--growth``: none of this, but what a round
costs with 100 and with 10,000 accepted tasks, see `openended.growth`; without it ``growth`` holds null.
"""

from __future__ import annotations

import argparse
import functools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from omegaconf import DictConfig

from envs import validity
from envs.base import AbstractFamily
from openended import configuration, growth, hardware, rollouts, trees
from openended.exporting import emit
from openended.ledger import LoopState, Settings
from openended.locate import CommandError
from openended.loop import Loop
from openended.programs import PURPOSES
from openended.summary import WARM_UP
from openended.timed import Rounds, Seen, median
from openended.traces import traces_of

BATCHES = (256, 1024)  # rows tried beside those of the configuration
ACCELERATOR_BATCHES = (2048, 8192, 32768)
REPEATS, QUICK_REPEATS = 3, 2
QUICK_UPDATES = 8
ALL = "all"


class Part(NamedTuple):
    """Something to time: its group (raw, policy), the name of its figure, the control steps of a call."""

    group: str
    name: str
    steps: int
    call: Callable[[jax.Array], Any]  # takes a fresh key


def run(options: argparse.Namespace) -> int:
    """The command."""
    config = configuration.read(options.overrides)
    if options.quick:
        config.loop.updates = min(config.loop.updates, QUICK_UPDATES)
    if options.growth:
        found = growth.measure(config, options.quick)
        emit({"growth": found, "device": device()}, options.json, growth.lines(found), options.out)
        return 0
    cold = warm = None
    if not options.quick:  # before this process touches an accelerator, which it may not share
        with tempfile.TemporaryDirectory(prefix="openended-bench-") as cache:
            _tell("compiling twice, in processes of their own")
            cold, warm = (compile_apart(options.overrides, Path(cache)) for _ in range(2))
    found = measure(config, options.quick)
    found["compile"] = {"cold_s": cold, "warm_s": warm, **found["compile"]}
    emit(found, options.json, lines(found), options.out)
    return 0


def measure(config: DictConfig, quick: bool) -> dict[str, Any]:
    """Everything that this process measures, under the keys of the JSON answer."""
    loop, repeats = configuration.build(config), QUICK_REPEATS if quick else REPEATS
    with tempfile.TemporaryDirectory(prefix="openended-bench-") as folder, Rounds(config, loop, Path(folder)) as rounds:
        _tell("compiling")
        loop.compile()
        for _ in range(WARM_UP - 1):
            rounds.next()
        parts = _parts(loop, rounds.state, quick)
        calls = [part.call for part in parts] + [lambda key: rounds.next()]
        *seconds, _ = interleave(calls, repeats, jax.random.key(config.run.seed))
    found = report(parts, seconds, rounds.seen[WARM_UP:])
    per_step = {name: hardware.arithmetic(family, loop.learner.policy) for name, family in loop.families.items()}
    return found | {"arithmetic": per_step, "ceilings": hardware.ceilings()}


def report(parts: Sequence[Part], seconds: Sequence[Sequence[float]], rounds: Sequence[Seen]) -> dict[str, Any]:
    """The answer from what was timed; ``seconds`` has one list per part."""
    rates = best(parts, seconds)
    learn = median(round.steps["learn"] / round.seconds for round in rounds)
    return {
        **rates,
        "learn": median(round.steps["learn"] / round.inside["learn"] for round in rounds),
        "round": {
            "steps_per_s": median(sum(round.steps.values()) / round.seconds for round in rounds),
            "efficiency": learn / harmonic(rates["policy"].values()),
            "steps_by_purpose": {purpose: sum(round.steps[purpose] for round in rounds) for purpose in PURPOSES},
        },
        "compile": {"after_warmup": sum(round.compilations for round in rounds)},
        "host_share": median(round.host / round.seconds for round in rounds),
        "growth": {"ratio_10000_to_100": None},
        "stages": {name: median(round.stages[name] for round in rounds) for name in rounds[0].stages},
        "peak_bytes": peak(),
        "device": device(),
    }


def device() -> str:
    """What this process computes on."""
    return f"{jax.default_backend()}, {jax.device_count()} x {jax.devices()[0].device_kind}, {os.cpu_count()} cpus"


def peak() -> dict[str, int]:
    """The most memory so far: of this process, and of the accelerator where it tells."""
    found = {"process": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    told = jax.local_devices()[0].memory_stats() or {}
    return found | ({"device": int(told["peak_bytes_in_use"])} if "peak_bytes_in_use" in told else {})


def lines(found: dict[str, Any]) -> list[str]:
    """The answer as a table; under ``all`` the harmonic mean where families were measured one by one."""
    groups = ("raw", "policy")
    rates = {group: {ALL: harmonic(found[group].values())} | found[group] for group in groups}
    names = [*found["raw"], ALL]
    width = max(map(len, [*names, "compile", "steps/s"])) + 2
    rows = ["steps/s".ljust(width) + "".join(f"{group:>13}" for group in groups)]
    rows += [name.ljust(width) + "".join(f"{rates[group][name]:>13,.0f}" for group in groups) for name in names]
    whole, compiled = found["round"], found["compile"]
    speed = f"{whole['steps_per_s']:,.0f} steps/s, efficiency {whole['efficiency']:.2f}, {found['host_share']:.0%} on the host"
    total = sum(whole["steps_by_purpose"].values())
    shares = ", ".join(f"{purpose} {count / total:.0%}" for purpose, count in whole["steps_by_purpose"].items())
    times = [f"{name} {compiled[f'{name}_s']:.1f} s, " for name in ("cold", "warm") if compiled[f"{name}_s"] is not None]
    programs = f"{''.join(times)}after warm-up {compiled['after_warmup']} programs"
    stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found["stages"].items())
    memory = ", ".join(f"{name} {bytes_ / 1e9:.2f} GB" for name, bytes_ in found["peak_bytes"].items())
    facts = {
        "update": f"{found['learn']:,.0f} steps/s, lifetimes included",
        "round": speed,
        "": f"steps: {shares}",
        "stages": stages,
        "compile": programs,
        "memory": memory,
    }
    if "arithmetic" in found:
        most = found["ceilings"]["flops_per_s"]
        of = {name: found["raw"][name] * each["physics"] / most for name, each in found["arithmetic"].items()}
        facts["arithmetic"] = (
            f"{', '.join(f'{name} {share:.1%}' for name, share in of.items())} of {most / 1e9:,.0f} Gflop/s a device"
        )
    facts["device"] = found["device"]
    return [*rows, *(name.ljust(width) + text for name, text in facts.items())]


def interleave(calls: Sequence[Callable[[jax.Array], Any]], repeats: int, key: jax.Array) -> list[list[float]]:
    """Seconds [call][repeat]: one untimed pass over all calls, then ``repeats`` timed ones."""
    seconds: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats + 1):
        _tell(f"pass {repeat} of {repeats}" if repeat else "warming up")
        for index, call in enumerate(calls):
            fresh = jax.block_until_ready(jax.random.fold_in(key, repeat * len(calls) + index))
            began = time.perf_counter()
            jax.block_until_ready(call(fresh))
            if repeat:
                seconds[index].append(time.perf_counter() - began)
    return seconds


def best(parts: Sequence[Part], seconds: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
    """Steps per second {group: {name: rate}}: the best of the medians of the parts that share a name."""
    rates: dict[str, dict[str, float]] = {}
    for part, times in zip(parts, seconds, strict=True):
        named = rates.setdefault(part.group, {})
        named[part.name] = max(named.get(part.name, 0.0), part.steps / median(times))
    return rates


def harmonic(rates: Iterable[float]) -> float:
    """Rate of equal shares of work done one after the other: n / (1/r_1 + ... + 1/r_n)."""
    listed = list(rates)
    return len(listed) / sum(1.0 / rate for rate in listed)


def physics(family: AbstractFamily, episodes: int) -> Callable[..., Any]:
    """``(params, f32[N, D] tasks, [N] keys) -> feature and success at the ends of episodes``, of random actions."""

    def one(_: Any, vector: jax.Array, key: jax.Array) -> Any:
        model = family.prepare(vector)

        def episode(total: jax.Array, episode_key: jax.Array) -> Any:
            steps = validity.play_at_random(family, model, episode_key)
            return total + steps.value[-1], (steps.success[-1], steps.broken[-1])

        return jax.lax.scan(episode, jnp.zeros((family.parts, 2)), jax.random.split(key, episodes))

    return jax.vmap(one, in_axes=(None, 0, 0))


def _parts(loop: Loop, state: LoopState, quick: bool) -> list[Part]:
    """Physics and policy, on tasks drawn from the whole unit box."""
    rng, of, parts = np.random.default_rng(loop.seed), loop.programs, []
    for name, family in loop.families.items():
        policy = rollouts.outcomes(family, loop.learner.policy, of.episodes)
        for group, rows in {"raw": physics(family, of.episodes), "policy": policy}.items():
            program = _spread(rows)
            for batch in _batches(loop.settings, quick):
                tasks = jnp.asarray(rng.random((batch, len(family.specs)), np.float32))
                call = functools.partial(program, loop.learner.acting(state.learner.params, 0), tasks)
                parts.append(Part(group, name, batch * of.episodes * family.episode_steps, call))
    return parts


def _spread(rows: Callable[..., Any]) -> Callable[..., Any]:
    """``(params, tasks, key)``: compiled for all devices, with a key for every row."""

    def run(params: Any, tasks: jax.Array, key: jax.Array) -> Any:
        return rows(params, tasks, jax.random.split(trees.device_key(key), tasks.shape[0]))

    return trees.OverDevices(run, (trees.SAME, trees.ROWS, trees.SAME), trees.ROWS)


def _batches(sizes: Settings, quick: bool) -> list[int]:
    """Rows to try, multiples of the number of devices."""
    devices = len(jax.devices())
    more = BATCHES if jax.default_backend() == "cpu" else ACCELERATOR_BATCHES
    wanted = (sizes.rows,) if quick else (sizes.rows, *more)
    return sorted({-(-rows // devices) * devices for rows in wanted})


def compile_apart(overrides: Sequence[str], cache: Path) -> float:
    """Seconds to compile a round's programs in a new process that keeps its programs in ``cache``."""
    kept = ("jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes")
    settings = {name.upper(): str(jax.config.values[name]) for name in kept} | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "openended.bench", *overrides]
    ended = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    if ended.returncode:
        configuration.build(configuration.read(overrides))  # says what is wrong where the configuration is to blame
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise CommandError(f"Compilation could not be measured: {last}.")
    return float(ended.stdout.split()[-1])


def _tell(sentence: str) -> None:
    print(f"bench: {sentence}", file=sys.stderr)


if __name__ == "__main__":  # the process of compile_apart
    _config = configuration.read(sys.argv[1:])
    _loop = configuration.build(_config)
    _began = time.perf_counter()
    _loop.compile(traces_of(_config))
    _loop.programs.wait()
    print(time.perf_counter() - _began)
