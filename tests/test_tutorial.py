"""The tutorial notebook runs from top to bottom on a run that a test trained."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from openended import cli

NOTEBOOK = Path("docs/tutorial.ipynb").resolve()


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.slow
def test_the_tutorial_runs(notebook, tmp_path, monkeypatch):
    """Every cell runs on a run that accepted something, and the curves and both replays are drawn."""
    asked = [f"run.root={tmp_path}", "run.name=probe", "run.rounds=8", "heldout.every=4", "heldout.lifetimes=4"]
    assert cli.main(["train", "experiment=probe", *asked]) == 0
    monkeypatch.setenv("OPENENDED_RUN", str(tmp_path / "probe"))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    ran = client.execute()
    shown = [kind for cell in ran.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())]
    assert shown.count("image/png") == 4
    assert not [output for cell in ran.cells for output in cell.get("outputs", ()) if output.output_type == "error"]


def test_the_stored_notebook_names_no_machine(notebook):
    """Outputs that are stored hold no path of the machine that made them."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert nbformat.validate(notebook) is None
    assert str(Path.home()) not in text and "site-packages" not in text
