"""Where the time of a round goes."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds by stage since the last `read`; a stage lasts until the next one is named."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._stage, self._since = "", time.monotonic()

    def stage(self, name: str) -> None:
        """That stage begins now."""
        now = time.monotonic()
        self._spent[self._stage] = self._spent.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = name, now

    def read(self) -> dict[str, float]:
        """Seconds by stage, the one that runs included; all are zero afterwards."""
        self.stage(self._stage)
        spent, self._spent = self._spent, {}
        return {name: seconds for name, seconds in spent.items() if name}
