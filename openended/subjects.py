"""A run of which some rounds are finished, as something that can be evaluated, looked at or begun with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from envs import holdout
from openended import configuration, recording
from openended.locate import stored_config
from openended.loop import Loop
from openended.types import Params


class Subject(NamedTuple):
    """A restored run: its parts, its learner after ``round``, and the learner it was born as."""

    loop: Loop
    round: int
    trained: Params
    untrained: Params


def restore(folder: Path) -> Subject:
    """The run in a folder after its last round; a CheckpointError when there is none yet."""
    loop = configuration.build(stored_config(folder))
    fresh = loop.init()
    state = recording.final(folder, fresh)
    return Subject(loop, int(state.round), state.learner.params, fresh.learner.params)


def visit(subject: Subject, suite: str) -> Subject:
    """The subject among the families of a suite that has its own; unchanged for any other suite.

    Raises:
        ConfigurationError: its learner has other widths than the suite.
    """
    if suite not in holdout.FOREIGN:
        return subject
    try:
        return subject._replace(loop=subject.loop.among(holdout.foreign(suite, subject.loop.families)))
    except holdout.HoldoutError as error:
        raise configuration.ConfigurationError(str(error)) from error
