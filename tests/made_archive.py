"""Archives of any size for the browser's tests and measurements: random tasks of real families, with their rows."""

from __future__ import annotations

import json
import random
from pathlib import Path

import yaml

from openended import configuration
from openended.archive import Archive, EvaluationRow, EventRow, RoundRecord, TaskRow

FAMILIES = {"navigator": 32, "reacher": 27}  # numbers of a task
REASONS = {
    "accepted": "accepted: solved in {k} of 48 lifetimes, log evidence 9.1 of 7.1 needed",
    "rejected": "the old learner may solve it: solved in {k} of 16 lifetimes",
    "frontier": "the old learner fails it by test",
    "quarantined": "physics left its bounds at the screen",
}
GOAL = {"feature": "tip", "unit": "m", "target": [0.2, 0.4], "tolerance": 0.1, "hold_s": 0.2, "limit_s": 1.5, "visible": True}
VERSIONS = 60


def make_run(folder: Path, tasks: int, events: int, seed: int = 0) -> Path:
    """A run folder with a configuration and an archive of so many tasks and events; about 5 evaluations a task."""
    folder.mkdir(parents=True)
    config = configuration.read(["family=[navigator,reacher]", f"run.name={folder.name}", f"run.seed={seed}"])
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration.plain(config)))
    rng, rounds = random.Random(seed), max(1, min(2000, tasks // 20))
    with Archive(folder / "archive.db") as archive:
        db = archive._db
        db.execute("BEGIN")
        ids: list[str] = []
        for i in range(tasks):
            name = rng.choice(list(FAMILIES))
            status = rng.choices(["accepted", "rejected", "frontier", "quarantined"], [40, 40, 15, 5])[0]
            vector = json.dumps([round(rng.random(), 6) for _ in range(FAMILIES[name])])
            ids.append(f"{name}-{i:08x}")
            words = f"a task number {i} with <script>alert({i})</script> in {rng.choice(['red', 'green', 'blue'])} air"
            row = (
                ids[-1],
                name,
                vector,
                json.dumps(GOAL),
                words,
                status,
                "skill",
                1 + i * rounds // tasks,
                3,
                50.0 + i % 70,
                None,
            )
            db.execute("INSERT INTO task VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
            if i > 20 and rng.random() < 0.7:
                parent = ids[max(0, i - rng.randint(1, 400))]
                if parent.split("-")[0] == name and parent != ids[-1]:
                    db.execute("INSERT INTO parentage VALUES (?,?,'mutate','{}',?)", (ids[-1], parent, row[7]))
            db.execute("INSERT INTO event VALUES (?,?,?,?,?)", (i + 1, row[7], ids[-1], status, REASONS[status].format(k=40)))
            _evaluations(db, rng, ids[-1], status, row[7])
        for seq in range(tasks + 1, events + 1):
            kind = "forgotten" if seq % 40 == 0 else "restored" if seq % 40 == 1 else "screened"
            task, at = ids[(seq * 7919) % tasks], 1 + seq * rounds // events
            db.execute("INSERT INTO event VALUES (?,?,?,?,?)", (seq, at, task, kind, f"solved in {seq % 17} of 16 lifetimes"))
        for at in range(1, rounds + 1):
            values = {"steps_total": at * 1e6, "steps_learn": at * 6e5, "accepted": at * 8.0, "retained": at * 7.7}
            db.executemany("INSERT INTO metric VALUES (?,?,?)", [(at, key, value) for key, value in values.items()])
        db.execute("INSERT INTO run VALUES ('round', ?)", (str(rounds),))
        db.execute("COMMIT")
    return folder


def grow(folder: Path, ids: list[str]) -> None:
    """One more round: a new task, and a test of each of these tasks, of which every other one is found forgotten."""
    with Archive(folder / "archive.db") as archive:
        round = archive.last_round() + 1
        tests = [EvaluationRow(id, VERSIONS + round, "retention", 16, 2, 0.0, 0.4) for id in ids]
        verdicts = [EventRow(id, "forgotten", "solved in 2 of 16 lifetimes") for id in ids[::2]]
        row = TaskRow(f"navigator-n{round}", "navigator", [0.5] * 32, GOAL, "a new one", "frontier", "skill", round, 0, 9.0)
        events = [EventRow(row.id, "frontier", REASONS["frontier"]), *verdicts]
        archive.commit_round(RoundRecord(round, [row], events=events, evaluations=tests, metrics={"steps_total": round * 1e6}))


def _evaluations(db, rng: random.Random, task: str, status: str, at: int) -> None:
    rows = [(task, at % VERSIONS, "old", 16, rng.randint(0, 8), 0.0, 0.6, at)]
    if status == "accepted":
        rows.append((task, at % VERSIONS, "new", 48, rng.randint(36, 48), 0.6, 1.0, at))
        for version in range(at % VERSIONS + 1, VERSIONS, 7):
            rows.append((task, version, "retention", 16, rng.randint(6, 16), 0.3, 1.0, at + version))
    db.executemany("INSERT INTO evaluation VALUES (?,?,?,?,?,?,?,?)", rows)
