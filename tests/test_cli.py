"""The command line: help, exit codes, and endings without a traceback."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openended import cli, train

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = ("train", "eval", "archive", "task", "replay", "browse", "family", "ablate", "bench", "doctor")


def leaves(parser):
    """Every parser that ends in work to do, with the words that lead to it."""
    groups = [action.choices for action in parser._actions if hasattr(action.choices, "items")]
    if not groups:
        return [([], parser)]
    return [([name, *words], leaf) for name, inner in groups[0].items() for words, leaf in leaves(inner)]


def test_every_command_is_offered_and_its_work_exists():
    found = leaves(cli.parser())
    assert {words[0] for words, _ in found} == set(COMMANDS)
    for words, leaf in found:
        module, function = leaf.get_default("work").split(":")
        assert callable(getattr(importlib.import_module(module), function)), words


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), ["archive", "list"], ["archive", "export"]])
def test_help_tells_the_exit_codes(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert "usage: openended" in text and "75 interrupted and" in text


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("openended 0.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["archive", "list", "run", "--limit", "0"], "a whole number of at least 1"),
        (["archive", "list", "run", "--status", "lost"], "frontier"),
        (["task", "run", "task"], "--as"),
        (["task", "run", "task", "--as", "urdf"], "mjcf"),
        (["replay", "run", "task", "--seed", "-1"], "a whole number from 0 to 4294967295"),
        (["eval", "run", "--seed", "9223372036854775808"], "a whole number from 0 to 4294967295"),
        (["browse", "--replays", "-1"], "a whole number of at least 0"),
        (["browse", "--port", "65536"], "a whole number from 0 to 65535"),
    ],
)
def test_wrong_usage_is_code_2(words, told, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == cli.USAGE and told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["archive", "check", "nowhere"], cli.FAILED, "There is no run 'nowhere'"),
        (["replay", "nowhere", "task"], cli.FAILED, "There is no run 'nowhere'"),
        (["family", "dragon"], cli.BAD_CONFIGURATION, "family is 'dragon'; allowed: "),
        (["train", "learner=magic"], cli.BAD_CONFIGURATION, "magic"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(words, code, told, capsys):
    assert cli.main(words) == code
    output = capsys.readouterr()
    assert told in output.err and output.out == ""
    assert output.err.startswith("openended: ") and output.err.count("\n") == 1


def test_the_runs_that_are_there_are_named(tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "three").mkdir()
    assert cli.main(["archive", "list", "four", "--root", str(tmp_path)]) == cli.FAILED
    assert "runs there: one, two." in capsys.readouterr().err


def raising(error):
    def work(options):
        print("half", end="")
        raise error

    return work


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 141)])
def test_an_interruption_ends_silently(error, code, monkeypatch, capsys):
    monkeypatch.setattr("openended.inspection.family", raising(error))
    assert cli.main(["family"]) == code
    assert capsys.readouterr().err == ""


def test_the_exit_codes_are_told_where_users_look():
    codes = {0, cli.FAILED, cli.USAGE, cli.BAD_CONFIGURATION, train.INTERRUPTED, cli.BY_CTRL_C, cli.PIPE_CLOSED}
    readme, concepts = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/concepts.md"))
    told = readme[readme.index("Exit codes: ") :].split("\n\n")[0]
    table = concepts[concepts.index("| exit code |") :].split("\n\n")[0]
    for text in (cli.CODES, told, table):
        assert {int(number) for number in re.findall(r"\b\d+\b", text)} >= codes


def test_who_ends_training_waits_for_no_compilation_that_has_not_begun(monkeypatch):
    cancelled = []
    monkeypatch.setattr("openended.ahead.cancel", lambda: cancelled.append(True))
    monkeypatch.setattr("openended.train.train", lambda config: train.INTERRUPTED)
    assert cli.main(["train", "experiment=probe"]) == train.INTERRUPTED and cancelled == [True]
    monkeypatch.setattr("openended.train.train", raising(RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(["train", "experiment=probe"])
    assert cancelled == [True, True]


def test_our_own_faults_keep_their_traceback(monkeypatch):
    monkeypatch.setattr("openended.inspection.family", raising(RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(["family"])


def test_a_closed_pipe_leaves_no_complaint():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "openended.cli", "family"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # as on a user's machine
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, env=buffered)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_overrides_may_stand_before_and_after_options(monkeypatch):
    seen = []
    monkeypatch.setattr("openended.bench.run", lambda options: seen.append(options.overrides) or 0)
    assert cli.main(["bench", "experiment=probe", "--quick", "loop.rows=8", "run.seed=1"]) == 0
    assert cli.main(["bench", "--quick", "loop.rows=8"]) == 0
    assert seen == [["experiment=probe", "loop.rows=8", "run.seed=1"], ["loop.rows=8"]]


def test_family_tells_every_number(capsys):
    assert cli.main(["family", "probe"]) == 0
    text = capsys.readouterr().out
    assert "drift_x" in text and "units/step" in text and "limit" in text
