"""Reports of sweeps from results made by hand: levels, differences, verdicts, refusals, tables and the plot."""

import json

import numpy as np
import pytest

from openended import comparing_words, comparison
from openended.comparison import LEAST_SEEDS, OTHER_TASKS, OTHER_VERSIONS, UNDECIDED, UNEQUAL, Result
from openended.locate import CommandError
from openended.metrics import to_json
from openended.statistics import Interval

GROUPS = (("left", "visible"), ("left", "hidden_goal"), ("right", "visible"), ("right", "both_hidden"))
SUITES = ["hand/all", "hand/left", "hand/right", "hand/hidden_goal", "hand/both_hidden"]


def result(seed, last, first=0.0, wiped=0.0, steps=100, describe="", **more):
    """A run with these successes in the last episode of the four tasks; a number stands for all of them."""
    last = [last] * 4 if isinstance(last, float) else last
    rows = [
        {"family": family, "group": group, "size": "small", "description": f"{describe}{i}"}
        | {"trained_last": last[i], "trained_first": first, "wiped_last": wiped}
        | {"trained_halves": more.get("halves", [[x, x] for x in last])[i]}
        for i, (family, group) in enumerate(GROUPS)
    ]
    facts = {"steps": {"learn": steps - 10, "screen": 10}, "accepted": seed, "retained": 1, "rounds": 2, "seconds": 3.5}
    facts |= {"annecs": seed, "retained_annecs": 0, "transfer": more.get("transfer", -0.01 * seed)}
    facts |= {"versions": {"python": "3.11.7", "packages": {"jax": more.get("jax", "0.11")}}}
    episodes = {key.removeprefix("hand/"): [first, 0.5, float(np.mean(last))] for key in SUITES}
    return Result(seed, rows, facts, episodes)


def test_levels_by_hand():
    """Sixteen scores of `all`: the mean of the middle eight; a group of one task and four seeds: of the middle two."""
    arm = [result(s, [0.1 * s, 0.2 * s, 1.0, 0.0]) for s in range(4)]
    found = comparison.report("hand", {"one": arm})["arms"]["one"]
    assert list(found) == SUITES
    # 0 0 0 0 0 0 | 0.1 0.2 0.2 0.3 0.4 0.6 | 1 1 1 1: trimmed by four at each end
    assert found["hand/all"]["iqm"] == pytest.approx((0 + 0 + 0.1 + 0.2 + 0.2 + 0.3 + 0.4 + 0.6) / 8)
    assert found["hand/hidden_goal"]["iqm"] == pytest.approx((0.2 + 0.4) / 2)
    assert found["hand/right"] == {"iqm": 1.0, "low": 1.0, "high": 1.0, "seeds": 4}
    level = found["hand/hidden_goal"]
    assert level["low"] < level["iqm"] < level["high"] and level["seeds"] == 4


def test_student_interval_by_hand():
    """0.1 0.2 0.3: mean 0.2, s = 0.1, t(0.975; 2) = 4.302653, half = 4.302653 * 0.1 / sqrt(3) = 0.248414."""
    found = comparison.paired(np.array([0.1, 0.2, 0.3]))
    assert found == pytest.approx({"mean": 0.2, "low": 0.2 - 0.248414, "high": 0.2 + 0.248414}, abs=1e-6)
    assert comparison.paired(np.array([0.1])) == {"mean": 0.1, "low": None, "high": None}


@pytest.mark.parametrize(
    ("seeds", "better", "gap", "told"),
    [
        (5, (0.9, 0.6, 1.0), (0.1, 0.3), "a"),
        (5, (0.1, 0.0, 0.4), (-0.3, -0.1), "b"),
        (5, (0.9, 0.6, 1.0), (-0.1, 0.3), UNDECIDED),  # other seeds may differ
        (5, (0.6, 0.4, 0.8), (0.1, 0.3), UNDECIDED),
        (5, (0.1, 0.0, 0.4), (0.1, 0.3), UNDECIDED),  # the two do not agree
        (4, (1.0, 1.0, 1.0), (0.1, 0.3), UNDECIDED),  # too few seeds, however clear
        (5, (1.0, 1.0, 1.0), (None, None), UNDECIDED),
    ],
)
def test_verdicts(seeds, better, gap, told):
    assert comparison.verdict(seeds, Interval(*better), {"mean": 0.2, "low": gap[0], "high": gap[1]}) == told


def test_budgets_within_a_tenth_are_equal():
    assert comparison.equal([100, 90, 95]) and not comparison.equal([100, 89])


def arms(n, **more):
    """Two arms of n seeds, the first always 0.4 to 0.6 better."""
    wiggle = [0.01 * (s % 3) for s in range(n)]
    first = [result(s, 0.6 + wiggle[s], first=0.5, wiped=0.1) for s in range(n)]
    return {"good": first, "bad": [result(s, 0.1 + 2 * wiggle[s], **more) for s in range(n)]}


def rows(arms):
    return {row["suite"]: row for row in comparison.report("hand", arms)["comparisons"]}


def test_a_clear_difference_is_told_from_five_seeds_on_and_on_the_right_side():
    row = rows(arms(LEAST_SEEDS))["hand/all"]
    assert (row["a"], row["b"], row["verdict"], row["seeds"]) == ("good", "bad", "a", 5)
    assert (row["probability_of_improvement"], row["low"], row["high"]) == (1.0, 1.0, 1.0)
    assert row["difference"]["mean"] == pytest.approx(0.5 - np.mean([0, 0.01, 0.02, 0, 0.01]))
    assert {found["verdict"] for found in rows(dict(reversed(arms(LEAST_SEEDS).items()))).values()} == {"b"}
    assert {found["verdict"] for found in rows(arms(LEAST_SEEDS - 1)).values()} == {UNDECIDED}


def test_an_arm_against_its_like():
    same = arms(5)["good"]
    row = rows({"one": same, "two": same})["hand/left"]
    assert row["verdict"] == UNDECIDED and row["probability_of_improvement"] == 0.5
    assert row["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_unequal_budgets_are_refused():
    found = comparison.report("hand", arms(5, steps=89))
    assert [row["verdict"] for row in found["comparisons"]] == [UNEQUAL] * len(SUITES)
    assert all(row[key] is None for row in found["comparisons"] for key in ("probability_of_improvement", "low", "difference"))
    assert {row["reason"] for row in found["comparisons"]} == {"89 to 100 steps, more than 10% apart"}
    assert found["budgets"] == {"good": [100] * 5, "bad": [89] * 5} and found["tolerance"] == 0.1
    assert {row["verdict"] for row in rows(arms(5, steps=90)).values()} == {"a"}


def test_other_tasks_are_not_compared():
    found = rows(arms(5, describe="another "))
    assert {row["verdict"] for row in found.values()} == {OTHER_TASKS}
    assert found["hand/right"]["reason"] == "of the tasks of right, 2 are only in one arm"


def test_runs_of_one_arm_on_different_tasks_are_no_report():
    made = arms(3)
    made["bad"][2] = result(2, 0.1, describe="another ")
    with pytest.raises(CommandError, match=r"runs of 'bad' with seeds 0 and 2 were evaluated on different tasks: remove"):
        comparison.report("hand", made)


def test_runs_of_other_versions_are_not_compared():
    made = arms(5, jax="0.12")
    found = comparison.report("hand", made)
    assert {row["verdict"] for row in found["comparisons"]} == {OTHER_VERSIONS}
    assert {row["reason"] for row in found["comparisons"]} == {"packages.jax is 0.11 in good-0 and 0.12 in bad-0"}
    assert all(row["probability_of_improvement"] is None for row in found["comparisons"])
    assert "\nbad: different versions: packages.jax is 0.11 in good-0 and 0.12 in bad-0.\n" in "\n".join(
        comparing_words.markdown(told(made))
    )
    made["bad"] = [*arms(4)["bad"], result(4, 0.1, jax="0.12")]
    (row,) = {row["reason"] for row in comparison.report("hand", made)["comparisons"]}
    assert row == "packages.jax is 0.11 in good-0 and 0.12 in bad-4"


def test_only_seeds_of_both_arms_are_compared():
    made = arms(6)
    part = {"good": made["good"], "bad": made["bad"][1:5], "later": []}
    found = comparison.report("hand", part)
    assert {row["seeds"] for row in found["comparisons"]} == {4} and list(found["arms"]) == ["good", "bad"]
    assert found["arms"]["good"]["hand/all"]["seeds"] == 6
    apart = {"good": made["good"][:2], "bad": made["bad"][3:]}
    assert {row["verdict"] for row in rows(apart).values()} == {UNDECIDED}


def test_what_else_the_runs_tell():
    found = comparison.report("hand", arms(3))["details"]["good"]
    assert found["seeds"] == [0, 1, 2] and found["accepted"] == [0, 1, 2] and found["seconds"] == [3.5] * 3
    assert found["steps"] == {"learn": [90] * 3, "screen": [10] * 3}
    assert found["success"]["hand/hidden_goal"] == pytest.approx([0.6, 0.61, 0.62])
    within = found["within"]["hand/hidden_goal"]
    assert within["last_minus_first"]["mean"] == pytest.approx(0.11)
    assert within["last_minus_wiped"]["mean"] == pytest.approx(0.51)


def test_skills_and_transfer_of_every_seed():
    made = {"one": [result(0, 0.5, transfer=0.1), result(1, 0.5, transfer=None), result(2, 0.5, transfer=0.3)]}
    found = comparison.report("hand", made)["details"]["one"]
    assert (found["annecs"], found["retained_annecs"]) == ([0, 1, 2], [0, 0, 0])
    assert found["transfer"]["seeds"] == [0.1, None, 0.3] and found["transfer"]["mean"] == pytest.approx(0.2)
    nothing = comparison.report("hand", {"one": [result(0, 0.5, transfer=None)]})["details"]["one"]
    assert nothing["transfer"] == {"seeds": [None], "mean": None, "low": None, "high": None}


def test_success_in_every_episode_over_seeds():
    arm = [result(s, 0.6 + 0.1 * s, first=0.2) for s in range(3)]
    found = comparison.report("hand", {"one": arm})["details"]["one"]["episodes"]["hand/left"]
    assert [level["mean"] for level in found] == pytest.approx([0.2, 0.5, 0.7])
    assert found[2] == pytest.approx({"mean": 0.7, "low": 0.7 - 0.248414, "high": 0.7 + 0.248414}, abs=1e-6)


def test_the_worst_tasks_are_ranked_on_one_half_and_scored_on_the_other():
    """Ranked on the first half the first task is worst, which has 0.9 in the second; there the last is, 1.0 in the first."""
    halves = [[0.0, 0.9], [0.5, 0.5], [0.6, 0.6], [1.0, 0.4]]
    found = comparison.report("hand", {"one": [result(0, 0.5, halves=halves)]})["details"]["one"]["worst"]["hand/all"]
    assert list(found) == ["0.01", "0.05", "0.1", "0.2"]
    assert all(level == {"mean": pytest.approx((0.9 + 1.0) / 2), "low": None, "high": None} for level in found.values())


def test_profile_and_optimality_gap():
    found = comparison.report("hand", {"one": [result(s, [0.0, 0.5, 1.0, 1.0]) for s in range(3)]})
    spread = found["details"]["one"]["spread"]["hand/all"]
    assert dict(zip(found["taus"], spread["profile"]["share"], strict=True)) == {
        tau: 0.75 if tau < 0.5 else 0.5 if tau < 1 else 0.0 for tau in found["taus"]
    }
    assert spread["profile"]["low"] == spread["profile"]["share"] == spread["profile"]["high"]  # seeds alike: no band
    assert spread["optimality_gap"] == {"estimate": 0.375, "low": 0.375, "high": 0.375}


def test_the_order_of_runs_does_not_matter():
    made = arms(5)
    turned = {arm: list(reversed(results)) for arm, results in made.items()}
    assert comparison.report("hand", made) == comparison.report("hand", turned)


def told(made):
    about = {"name": "x", "suite": "hand", "lifetimes": 8, "seeds": [0], "arms": {"good": [], "bad": ["generator=off"]}}
    return {**comparison.report("hand", made), "about": {**about, "overrides": ["run.steps=100"]}}


def test_tables_for_people(tmp_path):
    report = told(arms(5))
    assert json.loads(to_json(report))["arms"]["good"]["hand/all"]["seeds"] == 5
    lines = comparing_words.text(report)
    assert any(line.split()[:2] == ["bad,", "hidden_goal"] and line.endswith("5    good") for line in lines)
    page = "\n".join(comparing_words.markdown(report))
    assert "- `good`: no change\n- `bad`: `generator=off`" in page and "differ by more than 10% of the largest" in page
    assert all(f"\n| {arm} | " in page for arm in ("good", "bad"))
    assert (
        "| | 1% | 5% | 10% | 20% | optimality gap |" in page and "| | accepted | retained | ANNECS | retained ANNECS |" in page
    )
    assert "| | episode 1 | episode 2 | episode 3 | last - first | last - wiped |" in page
    comparing_words.plot(tmp_path, report)
    for name in comparing_words.PLOTS:
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG" and f"({name})" in page


def test_a_report_without_results(tmp_path):
    report = told({"good": [], "bad": []})
    assert report["arms"] == {} and report["comparisons"] == [] and comparing_words.text(report) == []
    comparing_words.plot(tmp_path, report)
    assert ".png" not in "\n".join(comparing_words.markdown(report)) and not list(tmp_path.iterdir())
