"""A sweep's report for people: the same tables as text and as Markdown, and plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from envs.render import quiet_fonts
from openended import plots
from openended.summary import clock, count
from openended.wording import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HIDDEN, WHOLE = "hidden_goal", "all"
PLOTS = ("report.png", "profiles.png")
HOW_TO_READ = (
    "Success: in the last episode of a lifetime on held-out tasks, interquartile mean over seeds and tasks; [low, high]: 95 % "
    "interval, seeds resampled within every task. All tasks of a seed share one learner, so other seeds may differ by more.",
    "P(better): probability that a run of the first arm beats one of the other on a task. Difference: mean of first - other, "
    "seed by seed, with Student's 95 % interval over seeds. An arm is named as better only if both intervals say so and there "
    "are at least 5 seeds. Nothing is corrected for the number of comparisons.",
    "Worst tasks: success on the worst share of the held-out tasks, ranked on one half of the lifetimes and scored on the "
    "other; less than one task is the worst alone. Optimality gap: what is missing to full success.",
    "ANNECS: skills that the learner of their proposal failed and a later one solved, by the same evidence for every arm, "
    "whatever its acceptance; retained: still solved in the final audit. Transfer: change of success on accepted skills from "
    "their acceptance to the final audit. Intervals of means over seeds are Student's.",
    "Budgets: environment steps of all purposes; where runs differ by more than {tolerance:.0%} of the largest, nothing is "
    "compared. Evaluations are outside of the budget. Seconds: in rounds, without compilation.",
)


class Table(NamedTuple):
    """Rows by name, all as wide as the head."""

    title: str
    head: list[str]
    rows: dict[str, list[str]]
    notes: Sequence[str] = ()


def text(report: Mapping[str, Any]) -> list[str]:
    """What the command prints in the end."""
    return [line for part in _tables(report) for line in ("", part.title, *table(part.head, part.rows), *part.notes)]


def markdown(report: Mapping[str, Any]) -> list[str]:
    """report.md."""
    about = report["about"]
    arms = [f"- `{arm}`: {' '.join(f'`{x}`' for x in changes) or 'no change'}" for arm, changes in about["arms"].items()]
    common = " ".join(f"`{x}`" for x in about["overrides"])
    lines = [f"# Ablation {about['name']}", "", f"All arms: {common}. Held-out suite `{about['suite']}`,"]
    lines += [f"{about['lifetimes']} lifetimes a task. Seeds wanted: {', '.join(map(str, about['seeds']))}.", "", *arms]
    for part in _tables(report):
        lines += ["", f"## {part.title}", "", f"| | {' | '.join(part.head)} |", f"|---|{'---:|' * len(part.head)}"]
        lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in part.rows.items()]
        lines += [line for note in part.notes for line in ("", note)]
    if report["arms"]:
        lines += ["", "![Success of every arm and group](report.png)", "", "![Performance profiles](profiles.png)"]
    return [*lines, "", *(sentence.format(**report) + "\n" for sentence in HOW_TO_READ)]


def plot(folder: Path, report: Mapping[str, Any]) -> None:
    """report.png: success of every arm and group with intervals, a faint dot per seed; profiles.png: performance profiles.

    No files while there are no results.
    """
    quiet_fonts()
    groups, arms = _groups(report), len(report["arms"])
    sizes = (max(5.6, 2.2 + 0.24 * len(groups) * (arms + 1)), 3.6), (6.4, 3.6)
    for name, draw, size in zip(PLOTS, (_draw, _draw_profiles), sizes, strict=True):
        plots.save(folder / name, draw, report, size)


def _tables(report: Mapping[str, Any]) -> Iterator[Table]:
    if not report["arms"]:
        return
    groups, details = _groups(report), report["details"]
    levels = {arm: [_iqm(found.get(key)) for key in groups.values()] for arm, found in report["arms"].items()}
    yield Table("Success in the last episode", list(groups), levels)
    for row in report["comparisons"][:1]:
        title = f"{row['a']} against every other arm: P(better), difference, and which is better"
        head = ["P(better)", "difference", "seeds", "better"]
        rows = {f"{r['b']}, {_short(r['suite'])}": _compared(r) for r in report["comparisons"]}
        reasons = dict.fromkeys(f"{r['b']}: {r['verdict']}: {r['reason']}." for r in report["comparisons"] if r["reason"])
        yield Table(title, head, rows, list(reasons))
    most = max(len(_of(HIDDEN, found["episodes"], [])) for found in details.values())
    head = [*(f"episode {i + 1}" for i in range(most)), "last - first", "last - wiped"]
    yield Table(f"Within the lifetime, {HIDDEN}", head, {arm: _within(found, most) for arm, found in details.items()})
    first = next(iter(details.values()))
    head = [*(f"{float(share):.0%}" for share in _of(WHOLE, first["worst"], {})), "optimality gap"]
    yield Table("Success on the worst tasks", head, {arm: _bad(found) for arm, found in details.items()})
    head = ["accepted", "retained", "ANNECS", "retained ANNECS", "transfer"]
    yield Table("Skills, means over seeds", head, {arm: _skills(found) for arm, found in details.items()})
    purposes = list(first["steps"])
    head = ["seeds", "steps", *purposes, "rounds", "seconds"]
    rows = {arm: _spent(found, report["budgets"][arm], purposes) for arm, found in details.items()}
    yield Table("Budgets, means over seeds (steps: smallest to largest)", head, rows)


def _groups(report: Mapping[str, Any]) -> dict[str, str]:
    """Group -> suite key, of all arms."""
    return {_short(key): key for found in report["arms"].values() for key in found}


def _short(suite: str) -> str:
    return suite.rpartition("/")[2]


def _iqm(level: Mapping[str, Any] | None) -> str:
    return "-" if level is None else f"{level['iqm']:.3f} [{level['low']:.3f}, {level['high']:.3f}]"


def _compared(row: Mapping[str, Any]) -> list[str]:
    better = row["probability_of_improvement"]
    level = "-" if better is None else f"{better:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    winner = {"a": row["a"], "b": row["b"]}.get(row["verdict"], row["verdict"])
    return [level, _gap(row["difference"]), str(row["seeds"]), winner]


def _gap(gap: Mapping[str, Any] | None, sign: str = "+") -> str:
    if gap is None:
        return "-"
    return f"{gap['mean']:{sign}.3f}" + ("" if gap["low"] is None else f" [{gap['low']:{sign}.3f}, {gap['high']:{sign}.3f}]")


def _of(group: str, found: Mapping[str, Any], default: Any) -> Any:
    """What is said of a group, whatever the suite."""
    return next((value for key, value in found.items() if _short(key) == group), default)


def _within(found: Mapping[str, Any], episodes: int) -> list[str]:
    gaps: Mapping[str, Any] = _of(HIDDEN, found["within"], {})
    cells = [f"{episode['mean']:.3f}" for episode in _of(HIDDEN, found["episodes"], [])]
    cells += ["-"] * (episodes - len(cells))  # of an arm whose lifetimes are shorter
    return cells + [_gap(gaps.get(name)) for name in ("last_minus_first", "last_minus_wiped")]


def _bad(found: Mapping[str, Any]) -> list[str]:
    gap = _of(WHOLE, found["spread"], {})["optimality_gap"]
    worst = [_gap(level, "") for level in _of(WHOLE, found["worst"], {}).values()]
    return [*worst, f"{gap['estimate']:.3f} [{gap['low']:.3f}, {gap['high']:.3f}]"]


def _skills(found: Mapping[str, Any]) -> list[str]:
    counts = [f"{np.mean(found[name]):.1f}" for name in ("accepted", "retained", "annecs", "retained_annecs")]
    return [*counts, _gap(found["transfer"] if found["transfer"]["mean"] is not None else None)]


def _spent(found: Mapping[str, Any], budgets: Sequence[int], purposes: Sequence[str]) -> list[str]:
    ends = list(dict.fromkeys([count(min(budgets)), count(max(budgets))]))
    steps = [count(np.mean(found["steps"][purpose])) for purpose in purposes]
    return [str(len(budgets)), " to ".join(ends), *steps, f"{np.mean(found['rounds']):.1f}", clock(np.mean(found["seconds"]))]


def _draw(axes: Axes, report: Mapping[str, Any]) -> bool:
    groups, arms = _groups(report), list(report["arms"])
    if not arms:
        return False
    for i, arm in enumerate(arms):
        colour, marker = plots.PALETTE[i % len(plots.PALETTE)], plots.MARKERS[i % len(plots.MARKERS)]
        levels, seeds = report["arms"][arm], report["details"][arm]["success"]
        at = {key: place + (i - (len(arms) - 1) / 2) / (len(arms) + 1) for place, key in enumerate(groups.values())}
        known = [key for key in at if key in levels]
        x, y = [at[key] for key in known], [levels[key]["iqm"] for key in known]
        ends = [[abs(levels[key][end] - levels[key]["iqm"]) for key in known] for end in ("low", "high")]
        axes.errorbar(x, y, ends, fmt=marker, color=colour, capsize=2, linewidth=1.2, label=arm)
        dots = [(at[key], value) for key in known for value in seeds[key]]
        axes.plot(*zip(*dots, strict=True), ".", color=colour, alpha=0.3, markersize=3)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set(title="Held-out tasks: IQM and 95 % interval; dots: means of seeds", ylabel="success in the last episode")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), fontsize=8)
    return True


def _draw_profiles(axes: Axes, report: Mapping[str, Any]) -> bool:
    arms = list(report["details"])
    if not arms:
        return False
    for i, arm in enumerate(arms):
        found = _of(WHOLE, report["details"][arm]["spread"], {})["profile"]
        colour, line = plots.PALETTE[i % len(plots.PALETTE)], plots.LINES[i % len(plots.LINES)]
        axes.step(report["taus"], found["share"], line, where="post", color=colour, label=arm)
        axes.fill_between(report["taus"], found["low"], found["high"], step="post", color=colour, alpha=0.15, linewidth=0)
    axes.set(title="Performance profiles: held-out scores above tau, 95 % bands", xlabel="tau", ylabel="share of scores")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), fontsize=8)
    return True
