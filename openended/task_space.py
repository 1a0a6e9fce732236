"""Write docs/families.md: what every family is, what its goals are about, and every number of its tasks. By `make docs`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from envs.base import AbstractFamily
from envs.goals import FeatureSpec
from envs.spec import ParamSpec
from openended import configuration

PLACE = "docs/families.md"
_HEAD = """# The families

Written by `make docs` from `envs/`; do not edit. `openended family NAME` prints one family's numbers with its interface's.

A family is one body plan and one compiled program. A task is a vector in the unit box: its numbers are those of world and body
below, of the hidden interface (reversed motors, their strength and order, delay, noise) and of the goal (a feature, its
target, tolerance, hold time, time limit, and whether it is hidden). Targets are taken from what a trajectory reached and held.
With `families.NAME.combined_goals=true` a quarter of the goals have a second condition, at the same time or after the first.
The equations of Brax's spring pipeline move every body, in the plane where a body never leaves one (`envs/planar.py`);
`families.NAME.pipeline=mjx` or `generalized` choose another where the body allows it, for the same tasks
(docs/notes/2026-11-26-pipelines.md). Suites, witnesses and figures are those of spring.

![Bodies of all families as they begin: eight random tasks in each row](pictures/families.png)

The picture is made by `python -m envs.portraits docs/pictures/families.png`.
"""


def page(configs: Path) -> str:
    """The whole page."""
    names = sorted(path.stem for path in (configs / "family").glob("*.yaml"))
    chosen = configuration.read([f"family=[{','.join(names)}]"])
    return "\n".join([_HEAD, *(_family(configuration.instantiate(chosen.families[name])) for name in names)])


def _family(family: AbstractFamily) -> str:
    about = re.sub(r"``?", "`", inspect.getdoc(type(family)) or "")
    features = [_feature(feature) for feature in family.features]
    numbers = [_number(spec) for spec in family.own_specs]
    return "\n".join(
        [
            f"## {family.name}\n",
            f"{about}\n",
            *([f"Pipelines: {', '.join(f'`{name}`' for name in family.pipelines)}.\n"] if family.pipelines else []),
            "| goal: feature | unit | targets | base tolerance | meaning |",
            "|---|---|---|---|---|",
            *features,
            "",
            "| number | part | bounds | unit | meaning |",
            "|---|---|---|---|---|",
            *numbers,
            "",
        ]
    )


def _feature(feature: FeatureSpec) -> str:
    both = "each of two " if feature.size == 2 else ""
    span = f"{both}{feature.low:g} to {feature.high:g}"
    return f"| `{feature.name}` | {feature.unit} | {span} | {feature.tolerance:g} | {feature.meaning} |"


def _number(spec: ParamSpec) -> str:
    bounds = "yes or no" if spec.switch else f"{spec.low:g} to {spec.high:g}"
    return f"| `{spec.name}` | {spec.part} | {bounds} | {spec.unit} | {spec.meaning} |"
