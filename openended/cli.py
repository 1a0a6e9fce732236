"""The `openended` command: arguments, devices and exit codes. Each command's work is in the module that `_work` names,
imported when the command runs, after the devices are set up."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

from openended.archive_rows import KINDS, STATUSES

FAILED, USAGE, BAD_CONFIGURATION, BY_CTRL_C, PIPE_CLOSED = 1, 2, 3, 130, 141
TASK = "a task's id, or enough of its beginning"
CODES = "exit codes: 0 done, 1 failed, 2 usage, 3 bad configuration, 75 interrupted and saved, 130 Ctrl-C, 141 closed pipe"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code (0 done, 1 failed, 2 usage, 3 bad configuration, 75 interrupted and saved).

    A reader that closes the pipe (``| head``) or Ctrl-C ends a command silently, with the shell's codes 141 and 130.
    """
    options = _parse(arguments)
    try:
        _set_up_devices()
        module, function = options.work.split(":")
        code = getattr(importlib.import_module(module), function)(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return BY_CTRL_C
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):  # else Python complains when it flushes at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        expected = _expected(error)
        if expected is None:
            raise
        print(f"openended: {error}", file=sys.stderr)
        return expected


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    """Arguments of a command; overrides of the configuration may stand anywhere, which argparse alone does not allow."""
    command = parser()
    options, rest = command.parse_known_args(arguments)
    if rest and not (hasattr(options, "overrides") and all("=" in word and word[0] not in "-=" for word in rest)):
        command.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _expected(error: Exception) -> int | None:
    """The exit code of an error that is the user's to mend, None for one that is ours."""
    from openended.archive import ArchiveError
    from openended.checkpoint import CheckpointError
    from openended.configuration import ConfigurationError
    from openended.locate import CommandError, UsageError
    from openended.runfolder import RunFolderError

    if isinstance(error, ConfigurationError):
        return BAD_CONFIGURATION
    if isinstance(error, UsageError):
        return USAGE
    return FAILED if isinstance(error, (ArchiveError, CheckpointError, CommandError, RunFolderError)) else None


def parser() -> argparse.ArgumentParser:
    """Every command and argument."""
    top = argparse.ArgumentParser(prog="openended", description="Auditable open-ended training.", epilog=CODES)
    top.add_argument("--version", action="version", version=f"openended {importlib.metadata.version('openended')}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    train = _work(commands, "train", "openended.cli:_train", "start a run, or resume the one that run.name names")
    train.add_argument("overrides", nargs="*", metavar="group=option|key=value", help="see docs/configuration.md")
    _add_eval(commands)
    _add_archive(commands)
    _add_task(commands)
    _add_replay(commands)
    _add_browse(commands)
    _add_family(commands)
    _add_ablate(commands)
    _add_bench(commands)
    _add_json(_work(commands, "doctor", "openended.doctor:run", "whether this machine and installation are fit for a run"))
    return top


def _train(options: argparse.Namespace) -> int:
    from openended import ahead, configuration
    from openended.train import train

    try:
        return train(configuration.read(options.overrides))
    finally:
        ahead.cancel()  # else the process would not end before all of it is compiled


def _work(commands: Any, name: str, work: str, text: str) -> argparse.ArgumentParser:
    """A command whose work is ``module:function(options) -> int``."""
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=CODES)
    command.set_defaults(work=work)
    return command


class _Battery(argparse.Action):
    """An option that makes the command another one."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        namespace.work, namespace.battery = "openended.battery:run", values


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON value and nothing else")


def _add_run(command: argparse.ArgumentParser, task: str = "") -> None:
    command.add_argument("run", metavar="RUN", help="a run's name or its folder")
    if task:
        command.add_argument("task", metavar="TASK", help=task)
    command.add_argument("--root", default="runs", metavar="DIR", help="where runs live, as run.root (default: %(default)s)")


def _add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", metavar="FILE", help="write to FILE (default: standard output)")


def _add_eval(commands: Any) -> None:
    evaluate = _work(commands, "eval", "openended.evaluate:run", "success of a run's final learner on tasks it never saw")
    _add_run(evaluate)
    evaluate.add_argument(
        "--suite", default="handmade-v2", metavar="NAME", help="a held-out suite, or 'archive' (default: %(default)s)"
    )
    evaluate.add_argument(
        "--battery",
        choices=("invariance",),
        action=_Battery,
        help="those tasks again, with sensors or motors that have changed, or longer lives",
    )
    evaluate.add_argument(
        "--bodies", default="", metavar="A,B", help="for --battery: families that the run did not train on, too"
    )
    evaluate.add_argument("--lifetimes", type=_count, default=256, metavar="N", help="per task (default: %(default)s)")
    evaluate.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: %(default)s")
    _add_json(evaluate)


def _add_archive(commands: Any) -> None:
    archive = commands.add_parser("archive", help="check, list, show or export the tasks of a run", epilog=CODES)
    actions = archive.add_subparsers(required=True, metavar="check|list|show|export", title="actions")
    check = _work(
        actions, "check", "openended.inspection:check", "everything that is wrong with an archive; exit 1 if anything"
    )
    tasks = _work(actions, "list", "openended.inspection:tasks", "one line per task, in the order of proposal")
    show = _work(actions, "show", "openended.inspection:show", "all that is known about one task")
    export = _work(actions, "export", "openended.exporting:export_archive", "the whole archive as JSON, or its tasks as CSV")
    for command in (check, tasks, show, export):
        _add_run(command, TASK if command is show else "")
    for command in (check, tasks, show):
        _add_json(command)
    tasks.add_argument("--status", choices=STATUSES, help="only tasks of this status")
    tasks.add_argument("--family", metavar="NAME", help="only tasks of this family")
    tasks.add_argument("--kind", choices=KINDS, help="only tasks of this kind")
    tasks.add_argument("--limit", type=_count, metavar="N", help="at most the N oldest of them")
    export.add_argument("--format", choices=("json", "csv"), default="json", help="default: %(default)s")
    _add_out(export)


def _add_family(commands: Any) -> None:
    text = "the families, every number of one family's tasks, or what becomes of tasks drawn from it"
    family = _work(commands, "family", "openended.inspection:family", text)
    family.add_argument("name", nargs="?", metavar="NAME", help="a family; without it, their names")
    family.add_argument("overrides", nargs="*", metavar="key=value", help="its options, see docs/configuration.md")
    family.add_argument(
        "--sample", type=_count, metavar="N", help="draw N candidates: shares of valid, trivial, witnessed ones"
    )
    family.add_argument("--draw", choices=("uniform", "chain"), default="uniform", help="of --sample (default: %(default)s)")
    family.add_argument("--seed", type=_seed, default=0, metavar="N", help="of --sample (default: %(default)s)")
    _add_json(family)


def _add_task(commands: Any) -> None:
    text = "one task as a portable file (json), a MuJoCo model (mjcf) or a script that makes its environment (brax, gymnasium)"
    task = _work(commands, "task", "openended.exporting:run", text)
    _add_run(task, TASK)
    task.add_argument("--as", dest="form", choices=("json", "mjcf", "brax", "gymnasium"), required=True, help="what to write")
    _add_out(task)


def _add_replay(commands: Any) -> None:
    replay = _work(commands, "replay", "openended.replay:run", "replay a lifetime of a run's learner in one task")
    _add_run(replay, f"{TASK}, or a task file")
    replay.add_argument(
        "--learner", default="final", metavar="WHO", help="final, untrained or a stored version (default: %(default)s)"
    )
    replay.add_argument("--episode", type=_count, metavar="N", help="only episode N of the lifetime, from 1")
    replay.add_argument("--witness", action="store_true", help="replay the stored witness, which must solve the task")
    replay.add_argument("--seed", type=_seed, default=0, metavar="N", help="which lifetime (default: %(default)s)")
    replay.add_argument("--png", metavar="FILE", help="draw the first and the last episode")
    replay.add_argument("--gif", metavar="FILE", help="animate every episode")
    replay.add_argument("--out", metavar="FILE", help="write the frames to FILE as JSON")
    _add_json(replay)


def _add_browse(commands: Any) -> None:
    browse = _work(commands, "browse", "openended.browser.command:run", "look at one run, or at all, in a web browser")
    browse.add_argument("run", nargs="?", metavar="RUN", help="a run's name or its folder (default: all under --root)")
    browse.add_argument("--root", default="runs", metavar="DIR", help="where runs live, as run.root (default: %(default)s)")
    browse.add_argument("--port", type=_port, default=8642, metavar="N", help="0: a free one (default: %(default)s)")
    browse.add_argument("--host", default="127.0.0.1", metavar="NAME", help="address to serve on (default: %(default)s)")
    browse.add_argument("--token", metavar="TEXT", help="ask for it; off loopback one is made if none is given")
    browse.add_argument("--export", metavar="DIR", help="write a static site into DIR and serve nothing")
    browse.add_argument(
        "--replays", type=_natural, default=100, metavar="N", help="with --export: replays of the newest N accepted tasks"
    )


def _add_ablate(commands: Any) -> None:
    ablate = _work(commands, "ablate", "openended.ablate:run", "train arms on equal budgets, with the same seeds, and compare")
    ablate.add_argument("overrides", nargs="*", metavar="group=option|key=value", help="see docs/ablations.md")
    _add_json(ablate)


def _add_bench(commands: Any) -> None:
    bench = _work(commands, "bench", "openended.bench:run", "measure raw physics, the policy, a round and compilation")
    bench.add_argument("overrides", nargs="*", metavar="group=option|key=value", help="see docs/configuration.md")
    bench.add_argument("--quick", action="store_true", help="small sizes: a rough answer in a minute or two")
    bench.add_argument("--growth", action="store_true", help="a round with 100 and with 10,000 accepted tasks instead")
    _add_json(bench)
    _add_out(bench)


def _count(text: str) -> int:
    return _whole(text, 1)


def _natural(text: str) -> int:
    return _whole(text, 0)


def _seed(text: str) -> int:
    from openended.configuration import MOST_SEED

    return _whole(text, 0, MOST_SEED)


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _whole(text: str, least: int, most: int | None = None) -> int:
    if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"'{text}'; allowed: a whole number {bounds}")
    return int(text)


def _set_up_devices() -> None:
    """Two host devices use two cores (3x on small bodies), one has to do with a single core; compiled programs are kept."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={min(2, usable)}".strip()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    cache = os.environ.get("OPENENDED_CACHE", str(Path.home() / ".cache" / "openended" / "xla"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


if __name__ == "__main__":
    sys.exit(main())
