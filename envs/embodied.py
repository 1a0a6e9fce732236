"""What is the same for all families whose body Brax moves: the choice of a pipeline."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import ClassVar

import jax

from envs.base import AbstractFamily, Model
from envs.physics import System
from envs.pipelines import Pipeline, Spring
from envs.planar import Planar
from envs.reduced import Generalized, Mjx

PIPELINES: Mapping[str, Pipeline] = {"spring": Spring(), "generalized": Generalized(), "mjx": Mjx()}


class EmbodiedFamily(AbstractFamily):
    """A family with a body. Its ``begin`` and ``move`` go through ``self.moves``, the pipeline that was chosen."""

    pipelines: ClassVar[tuple[str, ...]] = ("spring",)
    plane: str = ""  # "xy" or "xz": the body never leaves it, and spring moves it as a planar one

    def __init__(self, pipeline: str = "spring", **options):
        super().__init__(**options)
        if pipeline not in self.pipelines:
            allowed = ", ".join(self.pipelines)
            raise ValueError(f"families.{self.name}.pipeline is '{pipeline}'; allowed: {allowed}")
        self.pipeline = pipeline
        self.moves = Planar(self.plane) if self.plane and pipeline == "spring" else PIPELINES[pipeline]

    def template(self) -> str:
        """MJCF of the body that `build` makes into a task's."""
        raise NotImplementedError(f"{type(self).__name__} has no template")

    @functools.cached_property
    def _system(self) -> System:
        """The template's System, loaded when the first task is built: what is said of tasks in numbers and words needs none."""
        with jax.ensure_compile_time_eval():  # the first task may be built inside a trace
            return self.moves.load(self.template())

    def prepare(self, vector: jax.Array) -> Model:
        """As every family's, with the System that the pipeline reads."""
        model = super().prepare(vector)
        return model._replace(system=self.moves.adopt(model.system))
