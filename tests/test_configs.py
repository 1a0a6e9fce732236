"""Every option of every group composes and builds; wrong keys and values are refused in one sentence."""

import pytest
from hydra.utils import instantiate

from openended import configuration
from openended.configuration import ConfigurationError

GROUPS = ("acceptance", "family", "generator", "interface", "learner", "objective", "experiment")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((configuration.folder() / group).glob("*.yaml"))]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_option_composes_and_builds(group, option):
    config = configuration.read([f"family=[{option}]" if group == "family" else f"{group}={option}"])
    if group == "family":
        assert instantiate(config.families[option]).name == option
    elif group != "experiment":
        assert configuration.build(config) is not None


def test_the_families_of_a_run_share_the_widest_layout():
    loop = configuration.build(configuration.read(["family=[probe,reacher]"]))
    assert {family.layout for family in loop.families.values()} == {loop.families["reacher"].layout}
    layout, policy = loop.families["probe"].layout, loop.learner.policy
    assert (policy.observation, policy.actions) == (layout.observation, layout.actions) == (25, 3)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("learner.nonsense=1", "nonsense"),
        ("generator=magic", "magic"),
        ("run.rounds=-1", "run.rounds is -1; allowed: a whole number of at least 0"),
        ("loop.rows=0", "loop.rows is 0"),
        ("run.name=a/b", "run.name is 'a/b'"),
        ("run.seed=4294967296", "run.seed is 4294967296; allowed: a whole number of at most 4294967295"),
        ("loop.gate_lifetimes=0", "loop.gate_lifetimes is 0; allowed: a whole number of at least 1"),
        ("loop.gate=1.5", r"loop\.gate is 1\.5; allowed: a number from 0 to 1"),
        ("loop.gate=true", "loop.gate is True; allowed: a number from 0 to 1"),
        ("loop.frontier_share=-0.1", r"loop\.frontier_share is -0\.1; allowed: a number from 0 to 1"),
        ("loop.replay_share=0.8", r"loop\.replay_share is 0\.8; allowed: at most 1 - loop\.frontier_share=0\.75"),
    ],
)
def test_a_wrong_override_is_refused(override, words):
    with pytest.raises(ConfigurationError, match=words) as error:
        configuration.read([override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("acceptance.solve=1.5", "acceptance.solve=1.5 is not allowed"),
        ("learner.memory=lstm", "learner.memory is 'lstm'; allowed: fast_weights, gru, transformer, none"),
        ("learner.policy.span=0", "learner.policy.span is 0; allowed: a whole number of at least 1"),
        ("learner.learning_rate=0", "learner.learning_rate is 0; allowed: above 0"),
        ("learner.settings.averaging=2", "learner.settings.averaging is 2; allowed: above 0 and at most 1"),
        ("objective.intrinsic_weight=-1", "objective.intrinsic_weight is -1"),
        ("objective.hidden=0", "objective.hidden is 0; allowed: a whole number of at least 1"),
        ("loop.block=63", "loop.block is 63; allowed: a multiple of"),
        ("loop.rows=63", "loop.rows is 63; allowed: a multiple of the"),
        ("learner=metagenrl learner.policy.episode_steps=20", "learner.policy.episode_steps is 20; allowed: 40, as that of"),
        (
            "loop.candidates=33 search.population=5",
            "loop.candidates is 33; allowed: a number that, times search.population=5, is a multiple of the",
        ),
        (
            "family=[navigator,probe] families.probe.episode_steps=20",
            "families.probe.episode_steps is 20; allowed: 40, as families.navigator.episode_steps",
        ),
    ],
)
def test_a_part_refuses_its_values_by_name(override, words):
    with pytest.raises(ConfigurationError, match=words):
        configuration.build(configuration.read(["experiment=probe", *override.split()]))


@pytest.mark.parametrize("allowed", ["loop.candidates=33", "loop.frontier_share=0.5 loop.replay_share=0.5 loop.gate=1"])
def test_what_is_just_allowed(allowed):
    assert configuration.build(configuration.read(["experiment=probe", *allowed.split()])) is not None


def test_all_that_counts_steps_of_an_episode_follows_one_key():
    loop = configuration.build(configuration.read(["experiment=probe", "learner=metagenrl", "space.episode_steps=20"]))
    assert loop.learner.policy.episode_steps == loop.families["probe"].episode_steps == 20


def test_a_family_refuses_its_options_by_name():
    config = configuration.read(["experiment=probe", "family=[reacher]", "families.reacher.most_links=6"])
    with pytest.raises(ConfigurationError, match="most_links is 6; allowed: 3 to 5"):
        configuration.build(config)
