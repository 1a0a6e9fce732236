"""The layer rule, the size limits, and what no tracked file may say. Read from the source; nothing is imported.

Layers are those of the design: a module imports from its own layer or from one below, never upward, never in a circle.
A module that is in none of the tables below fails: put it where it belongs.
"""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# openended: top-level module or subpackage -> layer. `.` is the package's own __init__.
OPENENDED = {
    **dict.fromkeys([".", "types", "trees"], 0),
    **dict.fromkeys(
        ["tasks", "returns", "statistics", "profiles", "budget", "ahead", "maps", "fast_weights", "attention", "moments"], 1
    ),
    **dict.fromkeys(["rollouts", "repertoire", "networks", "vsml", "metagenrl", "ppo", "evidence", "world_model"], 2),
    **dict.fromkeys(["generators", "learners", "objectives", "acceptance"], 3),
    **dict.fromkeys(["loop", "programs", "journal", "ledger", "routes", "trials"], 4),
    **dict.fromkeys(
        [
            "archive",
            "archive_reading",
            "archive_rows",
            "checkpoint",
            "metrics",
            "runfolder",
            "terminal",
            "plots",
            "locate",
            "wording",
            "compilations",
            "traces",
            "stopwatch",
            "summary",
            "annecs",
        ],
        5,
    ),
    **dict.fromkeys(
        [
            "train",
            "evaluate",
            "battery",
            "calibrate",
            "bench",
            "timed",
            "growth",
            "hardware",
            "doctor",
            "replay",
            "exporting",
            "taskfile",
            "inspection",
            "docs",
        ],
        6,
    ),
    **dict.fromkeys(["ablate", "making", "launchers", "comparison", "comparing_words", "subprocesses"], 6),
    **dict.fromkeys(["configuration", "recording", "closing", "subjects", "suites", "task_space", "sampling"], 6),
    **dict.fromkeys(["cli", "__main__"], 6),
    **dict.fromkeys(["browser"], 7),
}
PARTS = 3  # the layer of interchangeable parts: each is one file, which knows its own base and no sibling

# envs: any module that is not named here is a family: it must define a class whose base is called `...Family`.
ENVS = {
    **dict.fromkeys(["spec", "drawing", "noise", "fusion"], 0),
    **dict.fromkeys(["base", "physics", "walking", "terrain", "goals", "interface", "validity"], 1),
    **dict.fromkeys(["pipelines", "reduced", "embodied", "planar", "planar_step", "touching", "rows"], 1),
    **dict.fromkeys(["holdout", "sampled", "render", "portraits", "adapters", "gymnasium_env", "compared", "."], 3),
}
FAMILY = 2

# Spring, what all pipelines share and loading; the two pipelines in the joints' coordinates; brax environments.
IMPORTS_BRAX = {"envs.physics", "envs.reduced", "envs.adapters"}

MAX_FUNCTION, P90_FUNCTION, MAX_PARAMETERS, MAX_FILE = 60, 45, 8, 300

# Written in pieces, since this file is tracked too.
FORBIDDEN = ["/" + "work/", "pypi" + ".org", "python" + "hosted.org", "registry" + ".npmjs.org"]
EXTRAS = ("joblib", "submitit")  # imported where they are used, and locked for the tests
# Names of packages that are not those of what they import as.
DISTRIBUTIONS = {"PIL": "pillow", "hydra": "hydra-core", "orbax": "orbax-checkpoint", "yaml": "pyyaml"}
IS_LOCK = re.compile(r"(^|/)(requirements/.*\.txt|package-lock\.json|uv\.lock)$")
ADDRESS = re.compile(r"[a-z+]+://|--(extra-)?index-url|--find-links|\b\d{1,3}(\.\d{1,3}){3}:\d+|\s@\s")


@cache
def modules() -> dict[str, Path]:
    """Dotted name of every module of the two packages -> its file. A package's name stands for its __init__."""
    found = {}
    for package in ("openended", "envs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


@cache
def imports(name: str) -> frozenset[str]:
    """Every module that `name` imports, at any depth of its code: our own by their full dotted name."""
    package = name if modules()[name].name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*up, *([node.module] if node.module else [])])
            members = {f"{source}.{alias.name}" for alias in node.names}
            submodules = {member for member in members if member in modules()}
            found |= submodules if len(submodules) == len(members) else submodules | {source}
    return frozenset(found)


def our_imports(name: str) -> frozenset[str]:
    return frozenset(other for other in imports(name) if other.split(".")[0] in ("openended", "envs"))


def is_family(name: str) -> bool:
    bases = [base for node in ast.walk(tree(name)) if isinstance(node, ast.ClassDef) for base in node.bases]
    return any(ast.unparse(base).split("[")[0].endswith("Family") for base in bases)


def layer(name: str) -> int | None:
    """The layer of one of our modules within its package; None if it has none."""
    package, _, rest = name.partition(".")
    part = rest.split(".")[0] or "."
    if package == "openended":
        return OPENENDED.get(part)
    if name in modules() and part not in ENVS and is_family(name):
        return FAMILY
    return ENVS.get(part)


def every_module() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", list(modules()))


def test_both_packages_are_found() -> None:
    assert {"openended", "envs"} <= {name.split(".")[0] for name in modules()}


@every_module()
def test_module_is_in_a_layer(name: str) -> None:
    assert layer(name) is not None, f"{name} is in no layer: add it to the table in {Path(__file__).name}"


@every_module()
def test_imports_go_downward(name: str) -> None:
    package = name.split(".")[0]
    mine = layer(name)
    upward = {
        other
        for other in our_imports(name)
        if other.split(".")[0] == package and (layer(other) is None or mine is None or layer(other) > mine)
    }
    assert not upward, f"{name} (layer {mine}) imports upward: { {other: layer(other) for other in upward} }"


@every_module()
def test_envs_know_nothing_of_openended(name: str) -> None:
    if name.split(".")[0] == "envs":
        assert not {other for other in imports(name) if other.split(".")[0] == "openended"}


@every_module()
def test_brax_has_three_importers(name: str) -> None:
    if name not in IMPORTS_BRAX:
        assert not {other for other in imports(name) if other.split(".")[0] == "brax"}


@every_module()
def test_parts_do_not_import_each_other(name: str) -> None:
    """A generator, learner, objective or acceptance rule knows `base` of its own kind and no other part."""
    parts = [part for part, number in OPENENDED.items() if number == PARTS]
    if layer(name) == PARTS and name.startswith("openended."):
        own_base = ".".join([*name.split(".")[:2], "base"])
        others = {other for other in our_imports(name) if other.split(".")[1:2] and other.split(".")[1] in parts}
        assert others <= {own_base, name}, f"{name} imports its siblings {others - {own_base, name}}"


@every_module()
def test_families_do_not_import_each_other(name: str) -> None:
    if name.startswith("envs.") and layer(name) == FAMILY:
        assert not {other for other in our_imports(name) if layer(other) == FAMILY and other != name}


@every_module()
def test_nothing_imports_the_browser(name: str) -> None:
    if not name.startswith("openended.browser"):
        assert not {other for other in our_imports(name) if other.startswith("openended.browser")}


def test_no_import_circles() -> None:
    """Within a layer imports are free, but their graph has no circle."""
    graph = {name: {other for other in our_imports(name) if other in modules() and other != name} for name in modules()}
    while leaves := {name for name, targets in graph.items() if not targets}:
        graph = {name: targets - leaves for name, targets in graph.items() if name not in leaves}
    assert not graph, f"these import each other in a circle, or import one that does: {sorted(graph)}"


def functions(name: str) -> list[tuple[str, int, int]]:
    """Of every function in a module: where it is, its lines, and its parameters without self and cls."""
    found = []
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            named = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            starred = (arguments.vararg is not None) + (arguments.kwarg is not None)
            parameters = len([a for a in named if a not in ("self", "cls")]) + starred
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            found.append((f"{name}:{node.lineno} {node.name}", lines, parameters))
    return found


@every_module()
def test_sizes(name: str) -> None:
    length = len(modules()[name].read_text(encoding="utf-8").splitlines())
    assert length <= MAX_FILE, f"{modules()[name].relative_to(ROOT)} has {length} lines"
    for where, lines, parameters in functions(name):
        assert lines <= MAX_FUNCTION, f"{where} has {lines} lines"
        assert parameters <= MAX_PARAMETERS, f"{where} has {parameters} parameters"


def test_ninetieth_percentile_of_function_length() -> None:
    lengths = sorted(lines for name in modules() for _, lines, _ in functions(name))
    assert lengths[int(0.9 * (len(lengths) - 1))] <= P90_FUNCTION


@cache
def repository_files() -> tuple[str, ...]:
    """What git tracks, and what it would track: new files that are not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return tuple(name for name in listed.split("\0") if name and (ROOT / name).is_file())


def test_files_name_no_machine_and_no_registry() -> None:
    found = []
    for name in repository_files():
        content = (ROOT / name).read_bytes()
        found += [f"{name}: {text}" for text in FORBIDDEN if text.encode() in content]
    assert not found


def test_locks_hold_hashes_and_no_address() -> None:
    locks = [name for name in repository_files() if IS_LOCK.search(name)]
    assert {"requirements/build.txt", "requirements/py311.txt", "requirements/py312.txt"} <= set(locks)
    for name in locks:
        content = (ROOT / name).read_text(encoding="utf-8")
        assert not ADDRESS.search(content), f"{name}: {ADDRESS.search(content)}"
        if name.startswith("requirements/"):
            pinned = re.findall(r"^\S+==\S+(.*)\n(.*)", content, flags=re.MULTILINE)
            assert pinned and all("--hash=sha256:" in after for _, after in pinned), f"{name}: a pin without a hash"


def test_what_is_imported_is_a_dependency_and_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = [entry for extra in EXTRAS for entry in project["optional-dependencies"][extra]]
    named = {re.split(r"[<>=]", entry)[0].lower() for entry in [*project["dependencies"], *optional]}
    roots = {other.split(".")[0] for name in modules() for other in imports(name)}
    foreign = roots - set(sys.stdlib_module_names) - {"openended", "envs"}
    assert {DISTRIBUTIONS.get(root, root).lower() for root in foreign} <= named
    for lock in ("py311", "py312"):
        content = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
        assert named <= set(re.findall(r"^(\S+)==", content, flags=re.MULTILINE))


def test_runs_are_not_in_the_repository() -> None:
    assert {name for name in repository_files() if name.startswith("runs/")} <= {"runs/.gitkeep"}
