"""What counts as created, solved and retained, from archives written by hand."""

import pytest

from openended import annecs
from openended.archive import Archive, EvaluationRow, EventRow, RoundRecord, TaskRow

RULE = {"solve": 0.7, "fail": 0.5, "forget": 0.5}
GOAL = {"feature": "position", "target": [0.5], "visible": True}


def count(tmp_path, tests, kind="skill", rule=RULE, status="accepted"):
    """One task with these evaluations: {purpose: (successes, lifetimes), or a list of such pairs, the last one newest}."""
    rows = [
        EvaluationRow("t", 0, purpose, n, k, 0.0, 1.0)
        for purpose, found in tests.items()
        for k, n in (found if isinstance(found, list) else [found])
    ]
    task = TaskRow("t", "probe", (0.5,), GOAL, "go", "frontier", kind, 1, 0, 1.0)
    events = [EventRow("t", "frontier", "fails"), EventRow("t", status, "evidence")]
    with Archive(tmp_path / "archive.db") as archive:
        archive.commit_round(RoundRecord(1, [task], statuses={"t": status}, events=events, evaluations=rows))
        return annecs.skills(archive, rule)


def test_a_skill_counts_when_it_was_failed_solved_and_kept(tmp_path):
    found = count(tmp_path, {"old": (1, 32), "new": (31, 32), "audit": (28, 32)})
    assert found == {"annecs": 1, "retained_annecs": 1, "transfer": pytest.approx(-3 / 32)}


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({"old": (2, 16)}, 1),  # e = 64
        ({"old": (3, 16)}, 0),  # e = 14
        ({"old": (0, 0)}, 0),
        ({"new": (16, 16)}, 1),  # e = 59
        ({"new": (15, 16), "audit": (15, 16)}, 0),  # e = 8.4 twice
        ({"new": (0, 16), "audit": (16, 16)}, 1),  # solved later
        ({"new": (14, 16), "audit": [(16, 16), (10, 16)]}, 0),  # the last audit is that of the final learner
    ],
)
def test_evidence(tmp_path, changed, counts):
    assert count(tmp_path, {"old": (0, 32), "new": (32, 32), "audit": (16, 16)} | changed)["annecs"] == counts


@pytest.mark.parametrize(("audit", "kept"), [((20, 32), 1), ((19, 32), 0), ((5, 16), 0)])
def test_retained_is_what_the_last_audit_makes_likelier(tmp_path, audit, kept):
    """Of 0.7 and 0.5 the likelier: 0.7 from a share of log(0.5/0.3) / (log(0.7/0.5) + log(0.5/0.3)) = 0.603 on."""
    found = count(tmp_path, {"old": (0, 32), "new": (32, 32), "audit": audit})
    assert (found["annecs"], found["retained_annecs"]) == (1, kept)


def test_the_rule_is_that_of_the_run(tmp_path):
    tests = {"old": (2, 16), "new": (32, 32), "audit": (16, 16)}
    assert count(tmp_path, tests, rule=RULE | {"fail": 0.3})["annecs"] == 0


@pytest.mark.parametrize("more", [{"kind": "speedup"}, {"status": "rejected"}])
def test_only_accepted_skills_are_looked_at(tmp_path, more):
    nothing = {"annecs": 0, "retained_annecs": 0, "transfer": None}
    assert count(tmp_path, {"old": (0, 32), "new": (32, 32), "audit": (32, 32)}, **more) == nothing
