"""What a run says on the terminal: live progress with rich where there is one, plain lines elsewhere.

Every number is optional: what a round did not measure keeps its last value, what was never measured is left out. Keys
are those of the archive's `metric` table, plus `candidates frontier speedups difficulty steps_per_s steps_per_s_learn` and, per
family, `heldout_first_FAMILY heldout_last_FAMILY`. Output never stops a run: a closed pipe is ignored.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from openended.summary import clock, count, finite, hyphened, share, summary_lines

_WINDOW = 20  # rounds over which the remaining time is estimated
_COUNTS = ("candidates", "frontier", "accepted", "retained", "speedups")  # the last three are kept: skills, and speed-ups
_PACES = {"steps_per_s_learn": "learning", "steps_per_s": "in all"}
FIRST, LAST = "heldout_first_", "heldout_last_"  # before a family's name, or `hidden`


class Progress:
    """Progress of one run: `with Progress(...) as progress`, then `stage`, `round` and `note` as things happen.

    `plain`: lines instead of a live display; None decides by whether `stream` (default: stdout) is a terminal. The
    totals are the run's budgets, whichever ends first.
    """

    def __init__(
        self,
        plain: bool | None = None,
        total_rounds: int | None = None,
        total_steps: int | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="replace")  # a terminal without Unicode shows ? instead of failing
        terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self.plain = not terminal if plain is None else plain
        self._totals = {"round": total_rounds, "steps_total": total_steps}
        self._values: dict[str, float] = {}
        self._began, self._stage, self._finished = time.monotonic(), "starting", False
        self._spinner: Any = ""
        self._told: set[str] = set()
        self._marks: deque[tuple[float, float]] = deque(maxlen=_WINDOW)
        self._live: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stage(self, name: str, detail: str = "") -> None:
        """Say what happens now. In plain mode only until the first round is done, and each stage once."""
        self._stage = f"{name} {detail}".strip()
        if not self.plain:
            self._show()
        elif not self._finished and self._stage not in self._told:
            self._told.add(self._stage)
            self._print(f"[{clock(self.elapsed)}] {self._stage}")

    def round(self, metrics: Mapping[str, Any]) -> None:
        """A round is done; `metrics` are its numbers, with `round` among them or else one more than before."""
        number = metrics.get("round", self._values.get("round", 0) + 1)
        known = {key: float(x) for key, x in metrics.items() if finite(x)}
        # Replaced, never changed in place: rich's thread reads it at any moment.
        self._values = {**self._values, **known, "round": float(number)}
        self._marks.append((time.monotonic(), self.fraction))
        self._finished = True
        if self.plain:
            self._print("  ".join(self._line(known)))
        else:
            self._show()

    def note(self, text: str) -> None:
        """One sentence that stays on the screen."""
        if self._live is None:
            self._print(text)
        else:
            from rich.text import Text

            self._live.console.print(Text(text))  # markup=False would reach the live display too

    def summary(self, facts: Mapping[str, Any]) -> None:
        """End the display and print what came of the run and what to type next; see `openended.summary` for the keys."""
        self.close()
        for heading, text in summary_lines(facts):
            self._print(f"\033[1m{text}\033[0m" if heading and not self.plain else text)

    def close(self) -> None:
        """Leave the last state on the screen and give the terminal back."""
        live, self._live, self._spinner = self._live, None, ""
        if live is not None:
            live.stop()

    def restore(self) -> None:
        """Make the cursor visible again, without waiting for any lock: for a process that is about to abort."""
        if not self.plain:
            self._print("\033[?25h")

    @property
    def elapsed(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._began

    @property
    def fraction(self) -> float:
        """How much of the budget is used, 0 to 1; 0 when there is no budget."""
        parts = [self._values.get(key, 0.0) / total for key, total in self._totals.items() if total]
        return min(1.0, max(parts, default=0.0))

    @property
    def remaining(self) -> float | None:
        """Estimated seconds to the end, from the pace of the last rounds; None until two rounds are done."""
        if len(self._marks) < 2 or self._marks[-1][1] <= self._marks[0][1]:
            return None
        (start, before), (end, now) = self._marks[0], self._marks[-1]
        return max(0.0, (1.0 - now) * (end - start) / (now - before) - (time.monotonic() - end))

    def state(self) -> tuple[str, list[tuple[str, str]]]:
        """The current stage, and (name, text) of everything known, for the live display."""
        values = self._values
        tasks = [f"{key} {values[key]:.0f}" for key in ("candidates", "frontier") if key in values]
        kept = [f"accepted {values['accepted']:.0f}"] if "accepted" in values else []
        kept += [f"retained {values['retained']:.0f}{share(values)}"] if "retained" in values else []
        kept += [f"speed-ups {values['speedups']:.0f}"] if "speedups" in values else []
        kept += [f"difficulty {values['difficulty']:.2f}"] if "difficulty" in values else []
        steps = _of(values, self._totals, "steps_total", count)
        pace = [f"{count(values[key])}/s {what}" for key, what in _PACES.items() if key in values]
        remaining = "" if self.remaining is None else f", about {clock(self.remaining)} to go"
        rows = [
            ("round", _of(values, self._totals, "round", "{:.0f}".format)),
            ("tasks", ", ".join(tasks)),
            ("archive", ", ".join(kept)),
            ("held out", ", ".join(f"{family} {text}" for family, text in _heldout(values, " → "))),
            ("steps", ", ".join(([steps] if steps else []) + pace)),
            ("time", clock(self.elapsed) + remaining),
        ]
        return self._stage, [(name, text) for name, text in rows if text]

    def _line(self, known: Mapping[str, float]) -> Iterator[str]:
        """Of a round; known: its own numbers. Held-out success only where it was measured in this round."""
        values = self._values
        yield "round " + _of(values, self._totals, "round", "{:.0f}".format)
        yield from (f"{hyphened(key)} {values[key]:.0f}" for key in _COUNTS if key in values)
        yield from (f"{family} {text}" for family, text in _heldout(known, "->"))
        if steps := _of(values, self._totals, "steps_total", count):
            yield f"steps {steps}"
        yield from (f"{count(values[key])}/s {what}" for key, what in _PACES.items() if key in values)
        yield clock(self.elapsed) + ("" if self.remaining is None else f" (+{clock(self.remaining)})")

    def _show(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        if self._live is None:
            self._spinner = Spinner("dots")
            console = Console(file=self._stream, highlight=False, force_terminal=True)
            self._live = Live(self, console=console, refresh_per_second=4)
            self._live.start()
        self._live.refresh()

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        stage, rows = self.state()
        head, body = Table.grid(padding=(0, 1)), Table.grid(padding=(0, 2))
        head.add_row("[bold cyan]openended[/]", self._spinner, Text(stage))
        for name, text in rows:
            body.add_row(f"[dim]{name}[/]", Text(text))
        fraction = self.fraction
        return Group(head, *([ProgressBar(total=1.0, completed=fraction, width=60)] if fraction else []), body)

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a closed pipe or stream
            print(text, file=self._stream, flush=True)


def _heldout(values: Mapping[str, float], arrow: str) -> list[tuple[str, str]]:
    families = [key.removeprefix(LAST) for key in values if key.startswith(LAST)]
    keys = {family: (FIRST + family, LAST + family) for family in families}
    if not keys and "heldout_last" in values:
        keys = {"held out": ("heldout_first", "heldout_last")}
    return [
        (family, (f"{values[first]:.2f}{arrow}" if first in values else "") + f"{values[last]:.2f}")
        for family, (first, last) in keys.items()
    ]


def _of(values: Mapping[str, float], totals: Mapping[str, int | None], key: str, form: Callable[[float], str]) -> str:
    if key not in values:
        return ""
    return form(values[key]) + (f"/{form(total)}" if (total := totals.get(key)) else "")
