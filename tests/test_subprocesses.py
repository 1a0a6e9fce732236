"""Processes of a sweep, and its lock."""

import fcntl
import threading
import time

import pytest

from openended import cli
from openended.runfolder import RunFolderError
from openended.subprocesses import Child, only_one


def test_a_child_ends_with_its_code_and_its_words_are_kept(tmp_path):
    with only_one(tmp_path, print) as lock:
        wrong = Child(["family", "dragon"], tmp_path / "log", lock)
        names = Child(["family"], tmp_path / "log", lock, keep=True)
        assert wrong.wait(lambda: False) == cli.BAD_CONFIGURATION
        assert names.wait(lambda: False) == 0
    assert wrong.last_line().startswith("openended: family is 'dragon'; allowed: ") and wrong.output() == ""
    assert "navigator" in wrong.last_line()
    assert "navigator" in names.output() and [path.name for path in tmp_path.glob("log*")] == ["log"]


def test_a_child_is_told_to_stop(tmp_path):
    began = time.monotonic()
    with only_one(tmp_path, print) as lock:
        assert Child(["train", "experiment=probe", f"run.root={tmp_path}"], tmp_path / "log", lock).wait(lambda: True)
    assert time.monotonic() - began < 60


def test_the_second_sweep_waits(tmp_path):
    said, order = [], []

    def second():
        with only_one(tmp_path, said.append):
            order.append("second")

    with only_one(tmp_path, said.append) as lock:
        assert lock >= 0 and said == []
        thread = threading.Thread(target=second)
        thread.start()
        while not said:
            time.sleep(0.01)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"] and said == [f"Waiting: another live process works in {tmp_path}."]


def test_a_child_holds_the_lock(tmp_path):
    """What an orphan still writes, nobody else may."""
    with only_one(tmp_path, print) as lock:
        child = Child(["family"], tmp_path / "log", lock)
    with (tmp_path / ".lock").open() as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert child.wait(lambda: False) == 0
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot be used: Not a directory"), only_one(tmp_path / "file" / "x", print):
        pass
