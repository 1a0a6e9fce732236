"""Compose the configuration with hydra and build the loop from it: the only place that reads ``configs/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


class ConfigurationError(Exception):
    """The configuration cannot be used; the message is one sentence for the user."""


def folder() -> Path:
    """The folder of YAML files: inside the wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_configs"
    return installed if installed.is_dir() else package.parent / "configs"


def read(overrides: Sequence[str]) -> DictConfig:
    """The configuration of these overrides.

    Raises:
        ConfigurationError: a key or option is unknown, or a value is not one.
    """
    config = _composed("config", overrides)
    _check(config)
    return config


def read_sweep(overrides: Sequence[str]) -> DictConfig:
    """The keys ``ablate.*`` with these overrides; they describe a sweep and are no part of a run's configuration.

    Raises:
        ConfigurationError: a key is unknown, or a value is not one.
    """
    return _composed("ablate/arms", overrides).ablate


def _composed(file: str, overrides: Sequence[str]) -> DictConfig:
    try:
        with initialize_config_dir(str(folder()), version_base="1.3"):
            config = compose(file, overrides=list(overrides))
        OmegaConf.resolve(config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigurationError(" ".join(str(error).split())) from error
    return config


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain data."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def build(config: DictConfig):
    """The :class:`~openended.loop.Loop` of a configuration.

    Raises:
        ConfigurationError: a component refuses its values.
    """
    from openended.loop import Loop

    made = families(config)
    layout = next(iter(made.values())).layout
    try:
        parts = {name: instantiate(config[name]) for name in ("generator", "objective", "acceptance", "search")}
        policy = instantiate(config.learner.policy, observation=layout.observation, actions=layout.actions)
        parts["learner"] = instantiate(config.learner, policy=policy)
        loop = Loop(made, settings=instantiate(config.loop), seed=config.run.seed, **parts)
    except (HydraException, TypeError, ValueError) as error:
        raise _refused(error) from error
    _check_devices(loop)
    _check_episodes(loop)
    return loop


def families(config: DictConfig) -> dict[str, Any]:
    """The families of a configuration by name, padded to one width; none of the rest is loaded. Raises like `build`."""
    from envs.base import widest

    try:
        made = {str(name): instantiate(part) for name, part in config.families.items()}
        layout = widest(made.values())
    except (HydraException, TypeError, ValueError) as error:
        raise _refused(error) from error
    steps = {name: family.episode_steps for name, family in made.items()}
    first = next(iter(steps))
    for name, own in steps.items():
        if own != steps[first]:
            allowed = f"{steps[first]}, as families.{first}.episode_steps"
            raise ConfigurationError(f"families.{name}.episode_steps is {own}; allowed: {allowed}")
    return {name: family.padded(layout) for name, family in made.items()}


def _check_devices(loop: Any) -> None:
    """A ConfigurationError unless the devices divide what is spread over them; `Programs` looks at the block itself."""
    import jax

    count, sizes, population = len(jax.devices()), loop.settings, loop.programs.search.population
    if sizes.rows % count:
        raise ConfigurationError(f"loop.rows is {sizes.rows}; allowed: a multiple of the {count} devices")
    if sizes.candidates * population % count:
        allowed = f"a number that, times search.population={population}, is a multiple of the {count} devices"
        raise ConfigurationError(f"loop.candidates is {sizes.candidates}; allowed: {allowed}")


def _check_episodes(loop: Any) -> None:
    """A ConfigurationError unless a policy that is told how long an episode lasts is told the truth."""
    steps = next(iter(loop.families.values())).episode_steps
    told = getattr(loop.learner.policy, "episode_steps", steps)
    if told != steps:
        raise ConfigurationError(f"learner.policy.episode_steps is {told}; allowed: {steps}, as that of the families")


def _refused(error: Exception) -> ConfigurationError:
    return ConfigurationError(" ".join(str(error.__cause__ or error).split()))


def check_name(key: str, name: str) -> None:
    """A ConfigurationError unless the name can be that of a folder."""
    if not name or "/" in name or name.startswith("."):
        raise ConfigurationError(f"{key} is '{name}'; allowed: a folder name without '/' that does not begin with '.'")


def _check(config: DictConfig) -> None:
    for key, least in _LEAST.items():
        value = OmegaConf.select(config, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigurationError(f"{key} is {value}; allowed: a whole number of at least {least}")
    if config.run.seed > MOST_SEED:
        raise ConfigurationError(f"run.seed is {config.run.seed}; allowed: a whole number of at most {MOST_SEED}")
    for key in _SHARES:
        value = OmegaConf.select(config, key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise ConfigurationError(f"{key} is {value}; allowed: a number from 0 to 1")
    frontier, replay = config.loop.frontier_share, config.loop.replay_share
    if frontier + replay > 1:
        allowed = f"at most 1 - loop.frontier_share={1 - frontier:g}"
        raise ConfigurationError(f"loop.replay_share is {replay}; allowed: {allowed}")
    check_name("run.name", str(config.run.name))
    if not config.get("families"):
        raise ConfigurationError("family is empty; allowed: at least one of " + ", ".join(_options("family")))


MOST_SEED = 2**32 - 1  # JAX makes a key of the lower 32 bits: a larger seed repeats a smaller one, from 2**63 on it fails
_SIZES = """episodes candidates screen_lifetimes trials updates passes rows block capacity stay pool frontier most_lifetimes
gate_lifetimes"""
_SHARES = ("loop.frontier_share", "loop.replay_share", "loop.gate")
_LEAST = {  # whole numbers, and what they must be at least
    **{"run.rounds": 0, "run.steps": 0, "run.seed": 0, "heldout.every": 0, "loop.entries": 0, "heldout.lifetimes": 1},
    **{f"loop.{name}": 1 for name in _SIZES.split()},
}


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (folder() / group).glob("*.yaml"))
