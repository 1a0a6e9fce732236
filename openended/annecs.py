"""What a run invented and learned, counted from its archive alike for every acceptance rule.

ANNECS, the accumulated number of novel environments created and solved, is from Wang et al., "Enhanced POET" (2020, arXiv
2003.08536). The run's own count of accepted skills is that by test with `acceptance=powerplay`, and no more than a count of
kept candidates with `acceptance=off`. So arms are not compared by it, but by the same evidence about each task, from the
lifetimes in the archive:

- novel: accepted as a skill, which every rule does only at least `generator.novelty` apart (a speed-up is none);
- created unsolved: the last `old` evaluation has an e-value of at least 20 against "the learner of its proposal solves it with
  p >= fail";
- solved: the mean of two e-values against "p <= solve", of the last `new` evaluation (at acceptance) and of the last `audit`
  (the final learner), is at least 20. A mean of e-values is one for "neither of the two learners solves it".

20 is a level of 5 % for each statement about each task, uncorrected. `powerplay` tests until it knows, mostly at a stricter
level. `off` measures 16 lifetimes each and must show at most 2 successes before, and 16 of 16 at acceptance or in the final
audit: few lifetimes prove little, so that its count is rather too low.

Retained ANNECS: of these, those whose last audit has likelihood for p = solve at least as high as for p = forget.

Transfer: change of success on all accepted skills from acceptance to the final audit, in the mean over skills (backward
transfer: Lopez-Paz and Ranzato, 2017). What is accepted for many successes had some luck in them, which the audit does not
repeat: with `powerplay` 0 is a little more than nothing lost; with `off` what is learned only later counts as a gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from openended import statistics
from openended.archive_reading import Reading

ENOUGH = 20.0  # e-value of a statement about one task


def skills(archive: Reading, rule: Mapping[str, Any]) -> dict[str, Any]:
    """{annecs, retained_annecs, transfer} as above; rule: {solve, fail, forget}, success probabilities of the run's acceptance.

    transfer is None without a skill that was audited. A skill without a row of some purpose has no evidence of its kind.
    """
    names = [task.id for task in archive.tasks(status="accepted", kind="skill")]
    rows = {purpose: {row.task: (row.k, row.n) for row in archive.evaluations(purpose)} for purpose in ("old", "new", "audit")}
    counts = {purpose: np.array([last.get(name, (0, 0)) for name in names]).reshape(-1, 2) for purpose, last in rows.items()}
    (k_old, n_old), (k_new, n_new), (k_end, n_end) = (counts[purpose].T for purpose in ("old", "new", "audit"))
    created = statistics.log_e_below(k_old, n_old, rule["fail"]) >= np.log(ENOUGH)
    evidence = [statistics.log_e_above(k, n, rule["solve"]) for k, n in ((k_new, n_new), (k_end, n_end))]
    solved = np.logaddexp(*evidence) >= np.log(2.0 * ENOUGH)
    won, lost = np.log(rule["solve"] / rule["forget"]), np.log((1.0 - rule["solve"]) / (1.0 - rule["forget"]))
    kept = (n_end > 0) & (k_end * won + (n_end - k_end) * lost >= 0.0)
    known = (n_new > 0) & (n_end > 0)
    change = k_end[known] / n_end[known] - k_new[known] / n_new[known]
    return {
        "annecs": int(np.count_nonzero(created & solved)),
        "retained_annecs": int(np.count_nonzero(created & solved & kept)),
        "transfer": float(change.mean()) if change.size else None,
    }
