"""Numbers of a task vector: round trip, bounds, refusals by name."""

import numpy as np
import pytest

from envs.interface import BOTH_HIDDEN, redirect
from envs.navigator import Navigator
from envs.probe import Probe
from envs.reacher import Reacher
from envs.spec import ParamSpec, decode, encode, sentence, validate
from openended.tasks import snap

SPECS = (
    ParamSpec("a", "world", -1.0, 3.0, "m", "linear"),
    ParamSpec("b", "body", 0.5, 2.0, "kg", "log", "log"),
    ParamSpec("c", "body", 2, 4, "", "count", "integer"),
    ParamSpec("d", "goal", 0, 1, "", "flag", "flag"),
    ParamSpec("e", "goal", 7, 7, "", "pinned"),
    ParamSpec("f", "goal", 0, 1, "", "rare", "rare"),
)


def test_known_values():
    got = decode(SPECS, np.array([0.25, 0.5, 0.34, 0.5, 0.9, 0.74], np.float32))
    np.testing.assert_allclose([float(v) for v in got.values()], [0.0, 1.0, 3.0, 1.0, 7.0, 0.0], rtol=1e-6)


def test_encode_is_the_inverse():
    values = {"a": 0.0, "b": 1.7, "c": 4.0, "d": 0.0, "f": 1.0}
    back = decode(SPECS, encode(SPECS, values))
    assert {k: pytest.approx(float(back[k]), rel=1e-5, abs=1e-6) for k in values} == values


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ([0.5] * 4, "has 6 numbers; got shape"),
        ([0.5, np.nan, 0.5, 0.5, 0.5, 0.5], "task parameter b is nan; allowed: a finite number"),
        ([0.5, 0.5, 1.2, 0.5, 0.5, 0.5], "task parameter c is 1.2; allowed: 0 to 1"),
        ("no", "a list of 6 numbers"),
    ],
)
def test_wrong_vectors_are_refused_by_name(vector, words):
    with pytest.raises(ValueError, match=words):
        validate(SPECS, vector)


def test_wrong_values_are_refused_by_name():
    with pytest.raises(ValueError, match=r"a is 5 m; allowed: -1 to 3"):
        encode(SPECS, {"a": 5.0})
    with pytest.raises(ValueError, match="unknown task parameter 'z'"):
        encode(SPECS, {"z": 5.0})


@pytest.mark.parametrize("family", [Probe, Navigator, Reacher])
def test_every_number_of_a_family_is_explained(family):
    specs = family().specs
    assert len({spec.name for spec in specs}) == len(specs)
    assert all(spec.meaning and spec.low <= spec.high for spec in specs)
    assert [s.part for s in specs] == sorted((s.part for s in specs), key=["world", "body", "interface", "goal"].index)


@pytest.mark.parametrize(
    ("family", "options"), [(Navigator, {"gates": True}), (Reacher, {"spatial": True}), (Reacher, {"most_links": 5})]
)
def test_an_option_explains_its_numbers_and_puts_them_last(family, options):
    """Only more links, which come with motors of their own, put numbers between the others."""
    plain, wide = family().specs, family(**options).specs
    assert len({spec.name for spec in wide}) == len(wide) > len(plain)
    assert all(spec.meaning and spec.low <= spec.high for spec in wide)
    if "most_links" not in options:
        assert all(new == old or new.name in ("feature", "feature_2") for new, old in zip(wide, plain, strict=False))
    order = [spec.name for spec in wide if spec.name in {old.name for old in plain}]
    assert order == [spec.name for spec in plain]


@pytest.mark.parametrize("family", [Probe, Navigator, Reacher])
def test_snapping_changes_no_task(family):
    specs = family().specs
    vectors = np.random.default_rng(0).uniform(size=(64, len(specs))).astype(np.float32)
    for before, after in zip(vectors, snap(specs, vectors), strict=True):
        old, new = decode(specs, before), decode(specs, after)
        assert {name: float(old[name]) for name in old} == {name: float(new[name]) for name in new}


def test_redirecting_changes_motor_directions_and_nothing_else():
    specs = Reacher().specs
    vectors = snap(specs, np.full((256, len(specs)), 0.3, np.float32))
    new = redirect(specs, vectors, np.random.default_rng(0))
    changed = {specs[i].name for i in np.flatnonzero(np.any(new != vectors, axis=0))}
    assert changed == {"reversed_0", "reversed_1", "reversed_2"}
    signs = np.stack([[float(decode(specs, row)[name]) for name in sorted(changed)] for row in new[:64]])
    assert len(np.unique(signs, axis=0)) == 8
    assert np.array_equal(snap(specs, new), new)


def test_where_the_goal_is_hidden_most_motors_are_straight():
    specs = Reacher().specs
    names = [spec.name for spec in specs]
    vectors = np.full((2000, len(specs)), 0.3, np.float32)
    vectors[:1000, names.index("hidden")] = 0.9
    motors = [i for i, name in enumerate(names) if name.startswith("reversed_")]
    turned = np.any(redirect(specs, vectors, np.random.default_rng(0))[:, motors] >= 0.5, axis=1)
    assert turned[:1000].mean() == pytest.approx(BOTH_HIDDEN * 7 / 8, abs=0.04)
    assert turned[1000:].mean() == pytest.approx(7 / 8, abs=0.04)


def test_a_description_as_a_sentence():
    assert sentence("a point at 0.5 m, in \u00d6rebro") == "A point at 0.5 m, in \u00d6rebro."
    assert sentence("") == "."
