"""The doctor: fit here, and every check can find its illness."""

import collections
import importlib.metadata
import json
import sqlite3
import sys

import pytest

from openended import cli, configuration, doctor

Usage = collections.namedtuple("Usage", "total used free")
ROOM = Usage(10**12, 0, 10**12)


def test_this_machine_is_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: ROOM)
    assert cli.main(["doctor", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] and [check["name"] for check in answer["checks"]] == list(doctor.CHECKS)
    assert all(check["message"] and check["status"] in ("ok", "warn") for check in answer["checks"])


def test_a_failed_check_fails_the_command(monkeypatch, capsys):
    def ill():
        raise OSError("no such\nthing")

    monkeypatch.setattr(doctor, "CHECKS", {"one": lambda: (doctor.OK, "Good."), "two": ill})
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ok    one  Good.", "fail  two  OSError: no such thing", "Not fit for a run: two."]


def test_python_of_another_version(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    assert doctor.python()[0] == doctor.FAIL
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    assert doctor.python()[0] == doctor.OK


def test_packages_out_of_range_and_missing(monkeypatch):
    true = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1.0" if name == "brax" else true(name))
    status, message = doctor.packages()
    assert status == doctor.FAIL and "brax is 0.1.0, allowed ==0.14.2" in message and "make install" in message

    def missing(name):
        if name == "evosax":
            raise importlib.metadata.PackageNotFoundError(name)
        return true(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert "evosax is missing" in doctor.packages()[1]


@pytest.mark.parametrize(("free", "status"), [(0.5e9, doctor.FAIL), (3e9, doctor.WARN), (50e9, doctor.OK)])
def test_disk(free, status, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(10**12, 0, free))
    assert doctor.disk()[0] == status


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    import jax

    before = jax.config.values["jax_compilation_cache_dir"]
    (tmp_path / "file").touch()
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "file"))
        status, message = doctor.cache()
        assert status == doctor.WARN and "set OPENENDED_CACHE" in message
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "new"))
        assert doctor.cache()[0] == doctor.OK
        (tmp_path / "new" / "program").write_bytes(b"x" * 1000)
        monkeypatch.setattr(doctor, "LARGE_CACHE", 1e-7)
        assert doctor.cache()[0] == doctor.WARN
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [((3, 20, 0), doctor.FAIL, "3.24"), ((3, 40, 1), doctor.OK, "two writers"), ((3, 52, 0), doctor.OK, "")],
)
def test_sqlite(version, status, words, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    found, message = doctor.sqlite()
    assert found == status and words in message


def test_configs_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "folder", lambda: tmp_path)
    assert doctor._guarded("configs", doctor.configs).status == doctor.FAIL


def test_physics_that_is_not_finite(monkeypatch):
    from envs.navigator import Navigator

    measure = Navigator.measure
    monkeypatch.setattr(Navigator, "measure", lambda *arguments: measure(*arguments) * float("nan"))
    assert doctor.physics()[0] == doctor.FAIL
