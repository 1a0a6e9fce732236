"""The run folder: one process at a time, a heartbeat, stored configuration, signals that stop or abort."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from openended import runfolder
from openended.runfolder import (
    Interrupts,
    RunFolder,
    RunFolderError,
    RunFolderInUse,
    differences,
    environment,
    read_config,
    read_heartbeat,
)

ENVIRONMENT = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}


@contextlib.contextmanager
def started(code: str, *arguments: object):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def wait_for(condition, seconds: float = 5.0):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return result


def test_new_then_known(tmp_path):
    with RunFolder(tmp_path / "demo") as folder:
        assert folder.is_new
        folder.store_config({"run": {"name": "demo", "seed": 3}, "größe": [1, None]})
        assert not folder.is_new
        with pytest.raises(RunFolderError, match="has a configuration already"):
            folder.store_config({})
        folder.log("two\nlines")
        folder.log("more")
    assert read_config(tmp_path / "demo") == {"run": {"name": "demo", "seed": 3}, "größe": [1, None]}
    lines = (tmp_path / "demo" / "log.txt").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["two lines", "more"]
    with RunFolder(tmp_path / "demo") as folder:
        assert not folder.is_new


@pytest.mark.parametrize("text", ["a: [1", "just text", "\0"])
def test_a_damaged_configuration_is_one_sentence(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(RunFolderError, match="is damaged") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(RunFolderError, match="is not a run"):
        read_config(tmp_path / "absent")


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"run folder '.*file.demo' cannot be used: Not a directory"):
        RunFolder(tmp_path / "file" / "demo")


HOLDER = """
import sys, time
from openended.runfolder import RunFolder
folder = RunFolder(sys.argv[1])
folder.beat("learn", 7)
folder._write_heartbeat()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_live_process_keeps_others_out_and_a_killed_one_does_not(tmp_path):
    with started(HOLDER, tmp_path / "demo") as holder:
        expected = rf"'demo' is in use by the live process {holder.pid} \(last heartbeat 0 s ago, stage learn, round 7\)"
        with pytest.raises(RunFolderInUse, match=expected):
            RunFolder(tmp_path / "demo")
    with RunFolder(tmp_path / "demo"), pytest.raises(RunFolderInUse, match=f"process {os.getpid()} "):
        RunFolder(tmp_path / "demo")
    RunFolder(tmp_path / "demo").close()


def test_heartbeat_goes_on_by_itself_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(runfolder, "HEARTBEAT_SECONDS", 0.02)
    assert read_heartbeat(tmp_path) is None
    with RunFolder(tmp_path) as folder:
        first = read_heartbeat(tmp_path)
        assert first["stage"] == "starting" and first["round"] is None and first["pid"] == os.getpid()
        folder.beat("learn", 4)
        folder.beat("verify")
        beat = wait_for(lambda: (b := read_heartbeat(tmp_path))["stage"] == "verify" and b)
        assert beat["round"] == 4 and beat["time"] > first["time"] and beat["age"] < 2
        folder.close("done")
    assert read_heartbeat(tmp_path)["stage"] == "done"
    (tmp_path / "heartbeat.json").write_text('{"pid": 1')
    assert read_heartbeat(tmp_path) is None


def test_environment_is_recorded_once_and_compared(tmp_path, monkeypatch):
    with RunFolder(tmp_path) as folder:
        assert folder.record_environment() == [] and folder.record_environment() == []
        text = (tmp_path / "environment.json").read_text()
        now = environment()
        monkeypatch.setattr(runfolder, "environment", lambda: now | {"threads": now["threads"] | {"cores": 99, "NPROC": "3"}})
        cores = f"threads.cores was {os.cpu_count()} when the run began and is 99 now."
        assert cores in folder.record_environment()
        assert 'threads.NPROC was absent when the run began and is "3" now.' in folder.record_environment()
        (tmp_path / "environment.json").write_text("{")
        assert "cannot be read" in folder.record_environment()[0]
    facts = json.loads(text)
    assert facts["packages"]["jax"] and facts["devices"]["count"] >= 1 and facts["installed"]
    assert os.path.expanduser("~") not in text and os.uname().nodename not in text


def test_environment_names_no_path(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/secret/place --xla_force_host_platform_device_count=2")
    assert environment()["settings"]["xla_flags"] == ["--xla_force_host_platform_device_count=2"]


def test_differences():
    first, second = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": {"f": 1}}
    assert differences(first, second) == [("a.c", 2, 5), ("d", 3, None), ("e", None, {"f": 1})]


def test_the_first_signal_asks_and_handlers_come_back():
    before, notes = signal.getsignal(signal.SIGTERM), []
    with Interrupts(notes.append) as stop:
        assert stop.requested is None
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(lambda: stop.requested == "SIGTERM" and notes)
        assert "saved first" in notes[0]
    assert signal.getsignal(signal.SIGTERM) is before and signal.set_wakeup_fd(-1) == -1


BUSY = """
import hashlib
from openended.runfolder import Interrupts
with Interrupts(lambda text: print("asked", flush=True), lambda: print("restored", flush=True)):
    print("ready", flush=True)
    # One call into C that runs no bytecode and lets go of the interpreter's lock, like a long compilation.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 30_000_000)
    print("finished", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_abort_even_inside_one_long_call(number):
    with started(BUSY) as process:
        time.sleep(0.05)
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)
        assert process.wait(10) == 128 + number and process.stdout.read() == "restored\n"
