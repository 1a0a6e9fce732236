"""How many XLA programs this process compiles: in a warm loop none, whatever tasks it meets."""

from __future__ import annotations

from typing import Any, Self

import jax

EVENT = "/jax/core/compile/backend_compile_duration"  # told once per program, also when the persistent cache has it


class Compilations:
    """Counts from entering to leaving: ``with Compilations() as made``. Several may be open at once."""

    def __init__(self) -> None:
        self._seen: list[float] = []  # programs are compiled by several threads: appending is one step

    def __enter__(self) -> Self:
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._listen)

    @property
    def count(self) -> int:
        """Programs so far."""
        return len(self._seen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == EVENT:
            self._seen.append(duration_secs)
