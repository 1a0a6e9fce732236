"""What every test runs under: two CPU devices, a persistent compilation cache, quiet dependencies.

JAX reads these variables when it is first imported, and this file is imported before any test. They are variables, not
`jax.config` calls, so that the processes which tests start get them too. What the caller has already set is kept.
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

_DEVICES = "--xla_force_host_platform_device_count"


def _set_environment() -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    if _DEVICES not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_DEVICES}=2".strip()
    cache = os.environ.get("OPENENDED_CACHE") or str(Path.home() / ".cache" / "openended" / "xla")
    defaults = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "MPLBACKEND": "agg",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


_set_environment()

# The first example of a property compiles, so no deadline; the same examples on every run, so that CI is repeatable.
hypothesis.settings.register_profile("openended", deadline=None, derandomize=True)
hypothesis.settings.load_profile("openended")


_MANY_MAPPINGS = 15_000  # Linux allows a process 65,530; beyond that XLA dies of a segmentation fault


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_are_let_go() -> Iterator[None]:
    """Every compiled kernel keeps a few mappings of memory, and a whole suite in one process would run out of them."""
    yield
    mappings = Path("/proc/self/maps")
    if "jax" in sys.modules and mappings.exists() and mappings.read_bytes().count(b"\n") > _MANY_MAPPINGS:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def train_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """(rounds) -> a new folder of runs that holds `tiny`, trained for so many small rounds on the physics-free family."""

    def train(rounds: int) -> Path:
        from openended import cli
        from tests.small import SMALL

        folder = tmp_path_factory.mktemp("runs")
        named = [f"run.root={folder}", "run.name=tiny", f"run.rounds={rounds}"]
        assert cli.main(["train", "experiment=probe", *named, *SMALL]) == 0
        return folder

    return train


@pytest.fixture
def key_reuse_is_an_error() -> Iterator[None]:
    """A random key that is used twice raises. A test asks for this itself, since some dependencies reuse keys."""
    import jax

    with jax.debug_key_reuse(True):
        yield
