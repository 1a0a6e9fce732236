"""Write docs/configuration.md from configs/: every group, option, key and default, with the comments of the files.

``python -m openended.docs [FOLDER]``, as `make docs` does, writes docs/families.md as well. Comments are the documentation:
the first lines of a file say what the option is, the end of a line says what its key means.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from openended import task_space
from openended.configuration import folder

PLACE = "docs/configuration.md"
_PACKAGE = "# @package "
_HEAD = """# Configuration

Written by `make docs` from the files in `configs/`; do not edit.

A run is described by one configuration: `configs/config.yaml` and one option of each group (of `family`, any number).
Everything can be overridden on the command line, and the whole of it is stored in the run's `config.yaml`:

    openended train run.name=first run.rounds=200                                           keys, by the names in the tables
    openended train run.name=second run.steps=20000000 learner=memoryless objective=off     another option of a group
    openended train run.name=third run.steps=20000000 "family=[navigator]"                  which families
    openended train run.name=fourth run.rounds=4 experiment=demo learner.memory=gru         an experiment: many values at once
    openended train run.name=fifth run.steps=20000000 families.reacher.hidden_goals=false   a family's own keys

Single values win over an experiment's. Without `run.name` a run is called `run`; without a budget it has that of the table
below.

An unknown key, option or value is refused in one sentence that says what is allowed (exit code 3). Training the name of
an existing run resumes it: then only `run.rounds`, `run.steps` and `run.root` may differ from what is stored.
`${a.b}` stands for the value of the key `a.b`. `_target_` is the class that an option makes; it is left out below.
"""


class Key(NamedTuple):
    """One line of a table."""

    name: str
    value: str
    comment: str


class File(NamedTuple):
    """One YAML file."""

    text: str  # what its first comment lines say
    package: str  # where its keys go: a dotted prefix, '' for the top
    defaults: list[tuple[str, str]]  # group and option
    target: str
    keys: list[Key]


def main(arguments: list[str] | None = None) -> int:
    """Write both pages into docs/ of the given folder, or of the checkout."""
    given = sys.argv[1:] if arguments is None else arguments
    root = Path(given[0]) if given else folder().parent
    for place, write in ((PLACE, reference), (task_space.PLACE, task_space.page)):
        path = root / place
        path.write_text(write(folder()), encoding="utf-8")
        print(f"wrote {path}")
    return 0


def reference(configs: Path) -> str:
    """The whole page."""
    top = read(configs / "config.yaml", "")
    chosen = dict(top.defaults)
    parts = [_HEAD, "## The run\n", f"{top.text}\n", _table(top.keys)]
    parts += ["## Groups\n", _overview(configs, chosen)]
    for group in sorted(path.name for path in configs.iterdir() if path.is_dir()):
        parts.append(f"## `{group}`\n")
        for path in sorted((configs / group).glob("*.yaml")):
            parts += _option(group, path, chosen.get(group, ""))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def read(path: Path, group: str) -> File:
    """The parts of one configuration file; its keys as they are overridden."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line)
    package = next((line.removeprefix(_PACKAGE).strip() for line in head if line.startswith(_PACKAGE)), group)
    package = "" if package == "_global_" else package
    text = " ".join(line.lstrip("# ").strip() for line in head if not line.startswith(_PACKAGE))
    root = yaml.compose("\n".join(lines))
    if not isinstance(root, yaml.MappingNode):
        return File(text, package, [], "", [])
    nodes = {key.value: value for key, value in root.value}
    defaults = list(_defaults(nodes["defaults"])) if "defaults" in nodes else []
    inner = [value for value in nodes.values() if isinstance(value, yaml.MappingNode)]
    place = inner[0] if len(nodes) == len(inner) == 1 else root  # a family's keys are under its name
    target = next((value.value for key, value in place.value if key.value == "_target_"), "")
    return File(text, package, defaults, target, list(_keys(root, package, lines)))


def _keys(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Key]:
    for key, value in node.value:
        if key.value == "defaults" or key.value.startswith("_"):
            continue
        name = f"{prefix}.{key.value}".lstrip(".")
        comment = _comment(lines[key.start_mark.line], value, key.start_mark.line)
        if not isinstance(value, yaml.MappingNode):
            yield Key(name, _value(value), comment)
            continue
        if comment:
            yield Key(f"{name}.*", "", comment)
        yield from _keys(value, name, lines)


def _comment(line: str, value: yaml.Node, number: int) -> str:
    """What stands behind ``#`` at the end of a key's line; a value on the line may itself hold a #."""
    start = value.end_mark.column if value.start_mark.line == value.end_mark.line == number else line.find(":")
    return line[start:].partition("#")[2].strip()


def _value(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_value(entry) for entry in node.value)}]"
    return str(node.value)


def _defaults(node: yaml.Node) -> Iterator[tuple[str, str]]:
    """Groups and their options; `_self_` is none."""
    for entry in node.value:
        for key, value in entry.value if isinstance(entry, yaml.MappingNode) else []:
            yield key.value.removeprefix("optional ").removeprefix("override ").lstrip("/"), _value(value)


def _option(group: str, path: Path, chosen: str) -> list[str]:
    file = read(path, group)
    default = " (default)" if path.stem in chosen.strip("[]").split(", ") else ""
    parts = [f"### `{group}={f'[{path.stem}]' if chosen.startswith('[') else path.stem}`{default}\n"]
    made = f" Makes `{file.target}`." if file.target else ""
    if file.text or made:
        parts.append(f"{file.text}{made}".strip() + "\n")
    if file.defaults:
        parts.append(f"Chooses {', '.join(f'`{name}={option}`' for name, option in file.defaults)}.\n")
    return [*parts, _table(file.keys)] if file.keys else [*parts, "It has no keys.\n"]


def _overview(configs: Path, chosen: dict[str, str]) -> str:
    rows = ["| group | options | default |", "|---|---|---|"]
    for group in sorted(path.name for path in configs.iterdir() if path.is_dir()):
        options = ", ".join(f"`{path.stem}`" for path in sorted((configs / group).glob("*.yaml")))
        default = chosen.get(group, "null")
        rows.append(f"| [`{group}`](#{group}) | {options} | {'none' if default == 'null' else f'`{default}`'} |")
    return "\n".join(rows) + "\n"


def _table(keys: list[Key]) -> str:
    rows = [f"| `{key.name}` | {f'`{key.value}`' if key.value else ''} | {_cell(key.comment)} |" for key in keys]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
