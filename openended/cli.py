"""The `openended` command. Everything heavy is imported inside the commands, after the devices are set up."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

USAGE, BAD_CONFIGURATION, FAILED = 2, 3, 1


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code (0 done, 1 failed, 2 usage, 3 bad configuration, 75 interrupted and saved)."""
    options = _parser().parse_args(arguments)
    _set_up_devices()
    try:
        return options.command(options)
    except Exception as error:
        code = _expected(error)
        if code is None:
            raise
        print(f"openended: {error}", file=sys.stderr)
        return code


def _expected(error: Exception) -> int | None:
    """The exit code of an error that is the user's to mend, None for one that is ours."""
    from openended.archive import ArchiveError
    from openended.checkpoint import CheckpointError
    from openended.configuration import ConfigurationError
    from openended.runfolder import RunFolderError

    if isinstance(error, ConfigurationError):
        return BAD_CONFIGURATION
    return FAILED if isinstance(error, (ArchiveError, CheckpointError, RunFolderError, BrokenPipeError)) else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="openended", description="Auditable open-ended training.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="start a run, or resume the one that run.name names")
    train.add_argument("overrides", nargs="*", metavar="group=option|key=value")
    train.set_defaults(command=_train)
    archive = commands.add_parser("archive", help="check or list the tasks of a run")
    archive.add_argument("action", choices=("check", "list"))
    archive.add_argument("run")
    archive.add_argument("--json", action="store_true")
    archive.set_defaults(command=_archive)
    family = commands.add_parser("family", help="the families, or every number of one family's tasks")
    family.add_argument("name", nargs="?")
    family.add_argument("--json", action="store_true")
    family.set_defaults(command=_family)
    return parser


def _train(options: argparse.Namespace) -> int:
    from openended import configuration
    from openended.train import train

    return train(configuration.read(options.overrides))


def _archive(options: argparse.Namespace) -> int:
    from openended.archive import Archive

    with Archive(_run_folder(options.run) / "archive.db", readonly=True) as archive:
        if options.action == "check":
            problems = archive.check()
            _print({"ok": not problems, "problems": problems}, options.json, problems or ["ok"])
            return FAILED if problems else 0
        tasks = archive.tasks()
    rows = [{"id": t.id, "status": t.status, "kind": t.kind, "round": t.round, "description": t.description} for t in tasks]
    _print(rows, options.json, [f"{r['id']}  {r['status']:<11} round {r['round']:<4} {r['description']}" for r in rows])
    return 0


def _family(options: argparse.Namespace) -> int:
    from openended import configuration

    names = sorted(path.stem for path in (configuration.folder() / "family").glob("*.yaml"))
    if options.name is None:
        _print(names, options.json, names)
        return 0
    if options.name not in names:
        raise configuration.ConfigurationError(f"family is '{options.name}'; allowed: {', '.join(names)}")
    from envs.spec import table
    from openended.configuration import instantiate

    config = configuration.read([f"family=[{options.name}]"])
    rows = table(instantiate(config.families[options.name]).specs)
    text = [f"{r['name']:<22} {r['part']:<10} {r['low']:>8.4g} {r['high']:>8.4g} {r['unit']:<14} {r['meaning']}" for r in rows]
    _print(rows, options.json, text)
    return 0


def _run_folder(name: str) -> Path:
    """A run's folder, given its name or its path."""
    from openended.runfolder import RunFolderError

    for path in (Path(name), Path("runs") / name):
        if (path / "config.yaml").exists():
            return path
    raise RunFolderError(f"There is no run '{name}' here: give a run's name in ./runs or its folder.")


def _print(value: object, as_json: bool, lines: list[str]) -> None:
    print(json.dumps(value, allow_nan=False) if as_json else "\n".join(lines))


def _set_up_devices() -> None:
    """Two host devices use both cores (3x on small bodies), and compiled programs are kept between runs."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={min(2, os.cpu_count() or 1)}".strip()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    cache = os.environ.get("OPENENDED_CACHE", str(Path.home() / ".cache" / "openended" / "xla"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


if __name__ == "__main__":
    sys.exit(main())
