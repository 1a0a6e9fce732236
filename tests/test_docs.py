"""The configuration reference is that of the files, and it names every key that a run has."""

import pytest
from omegaconf import OmegaConf

from openended import configuration, docs, task_space

PAGE = configuration.folder().parent / docs.PLACE


def test_the_committed_page_is_up_to_date():
    fresh = docs.reference(configuration.folder())
    assert PAGE.read_text(encoding="utf-8") == fresh, f"{docs.PLACE} is stale: run make docs"


def test_the_page_of_families_is_up_to_date():
    fresh = task_space.page(configuration.folder())
    assert (PAGE.parent / "families.md").read_text(encoding="utf-8") == fresh, f"{task_space.PLACE} is stale: run make docs"


def keys(config, prefix=""):
    for name in config:
        key = f"{prefix}{name}"
        if OmegaConf.is_dict(config) and OmegaConf.is_dict(config._get_node(name)):
            yield from keys(config[name], f"{key}.")
        elif not str(name).startswith("_"):
            yield key


@pytest.mark.parametrize("overrides", [[], ["family=[probe]", "learner=evolution", "objective=off"]])
def test_every_key_of_a_run_is_in_it(overrides):
    page = docs.reference(configuration.folder())
    config = configuration.read(overrides)
    missing = [key for key in keys(config) if f"| `{key}` |" not in page and ".bounds." not in key]
    assert not missing


@pytest.mark.parametrize(
    "path", sorted(configuration.folder().rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_key_has_a_meaning(path):
    """An experiment only chooses values; what its keys mean stands where they are defined."""
    if path.parent.name != "experiment":
        assert not [key.name for key in docs.read(path, path.parent.name).keys if not key.comment]


def test_what_is_read_from_a_file(tmp_path):
    path = tmp_path / "fast.yaml"
    path.write_text(
        "# @package _global_\n# Quick,\n# for tests.\ndefaults:\n  - override /learner: rl2\n"
        'loop:\n  rows: 4  # per update | family\n  name: "a#b"  # a name\n'
        "inner:  # the inner part\n  list: [1, 2]\n  off: null\n"
    )
    file = docs.read(path, "experiment")
    assert (file.text, file.package, file.defaults) == ("Quick, for tests.", "", [("learner", "rl2")])
    assert file.keys == [
        ("loop.rows", "4", "per update | family"),
        ("loop.name", "a#b", "a name"),
        ("inner.*", "", "the inner part"),
        ("inner.list", "[1, 2]", ""),
        ("inner.off", "null", ""),
    ]


def test_the_default_option_is_marked_and_bars_are_escaped(tmp_path):
    (tmp_path / "config.yaml").write_text("defaults:\n  - _self_\n  - learner: one\nrun:\n  name: run\n")
    (tmp_path / "learner").mkdir()
    (tmp_path / "learner" / "one.yaml").write_text("# First.\n_target_: a.B\nrate: 1  # fast | slow\n")
    (tmp_path / "learner" / "two.yaml").write_text("_target_: a.C\n")
    page = docs.reference(tmp_path)
    assert "### `learner=one` (default)\n\nFirst. Makes `a.B`.\n" in page
    assert "| `learner.rate` | `1` | fast \\| slow |" in page
    assert "### `learner=two`\n\nMakes `a.C`.\n\nIt has no keys.\n" in page


def test_the_command_writes_both_pages(tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    assert docs.main([str(tmp_path)]) == 0
    assert (tmp_path / docs.PLACE).read_text() == docs.reference(configuration.folder())
    assert (tmp_path / task_space.PLACE).read_text() == task_space.page(configuration.folder())
    assert capsys.readouterr().out.count("wrote") == 2
