"""A run that begins with another run's learner."""

import jax
import numpy as np
import pytest

from openended import cli, configuration, subjects, train
from openended.archive import Archive
from openended.learners.evolution import Evolution
from tests.small import SMALL

TINY = ["experiment=probe", *SMALL]


@pytest.fixture(scope="module")
def root(train_tiny):
    return train_tiny(1)


@pytest.fixture(scope="module")
def first(root):
    return subjects.restore(root / "tiny").trained


def near(a, b) -> bool:
    return all(np.allclose(x, y, atol=1e-4) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_it_begins_as_the_other_ended_and_goes_on_without_it(root, first):
    """With hardly a step of learning it is still the same; once begun it needs no start."""
    still = ["learner.learning_rate=1e-9", "learner.final_learning_rate=1e-9"]
    command = ["train", *TINY, *still, f"run.root={root}", "run.name=second", "run.start=tiny", "run.seed=5"]
    assert cli.main([*command, "run.rounds=1"]) == 0
    second = subjects.restore(root / "second")
    assert near(first, second.trained) and not near(first, second.untrained)
    config = configuration.read([*TINY, f"run.root={root}", "run.name=second", "run.start=gone"])
    assert train.inherited(config.run, second.loop) is None, "a run that has a checkpoint goes on from there"


def test_a_checkpoint_of_a_round_that_never_ended_is_no_beginning(root, first):
    """Its round is made again, and by the learner that it began with."""
    config = configuration.read([*TINY, f"run.root={root}", "run.name=cut", "run.start=tiny"])
    (root / "cut" / "checkpoints" / "1").mkdir(parents=True)
    Archive(root / "cut" / "archive.db").close()
    assert near(train.inherited(config.run, configuration.build(config)), first)


def test_what_cannot_be_begun_with_is_one_sentence_and_leaves_no_run(root, capsys):
    command = ["train", *TINY, f"run.root={root}", "run.name=third", "run.rounds=1"]
    for more, words in (
        (["run.start=nobody"], "run.start cannot be used: There is no run 'nobody'"),
        (["run.start=tiny", "learner.memory=gru"], "run.start is 'tiny', whose learner has other weights; allowed: a run with"),
        (["run.start=tiny", "learner.policy.width=32"], "run.start is 'tiny', whose learner has other weights"),
    ):
        capsys.readouterr()
        assert cli.main([*command, *more]) == 3
        assert words in capsys.readouterr().err
    assert not (root / "third" / "config.yaml").exists()


def test_an_evolution_strategy_begins_there_too(root, first):
    config = configuration.read([*TINY, "learner=evolution", f"run.root={root}", "run.name=fourth", "run.start=tiny"])
    loop = configuration.build(config)
    assert isinstance(loop.learner, Evolution)
    assert near(loop.init(train.inherited(config.run, loop)).learner.params, first)


def test_none_is_new_born(root):
    config = configuration.read([*TINY, f"run.root={root}", "run.name=fifth"])
    assert train.inherited(config.run, configuration.build(config)) is None
