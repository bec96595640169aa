"""Time that moves only when told."""

from __future__ import annotations

import threading


class VirtualClock:
    """Seconds since an arbitrary start. Thread-safe; `sleep` moves time and returns at once."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s
        self._lock = threading.Lock()

    def now(self) -> float:
        """The time in seconds."""
        with self._lock:
            return self._now_s

    def advance(self, seconds: float) -> None:
        """Move time forward.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"seconds = {seconds}: time does not run backwards")
        with self._lock:
            self._now_s += seconds

    def sleep(self, seconds: float) -> None:
        """What a caller under virtual time uses to wait."""
        self.advance(max(0.0, seconds))
