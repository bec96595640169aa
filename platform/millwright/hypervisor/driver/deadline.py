"""A point in time by which a call has to be over."""

from __future__ import annotations

import time

from millwright.hypervisor.errors import DeadlineExceeded

#: Default deadlines by verb, in seconds. A verb that is not named gets `DEFAULT_S`.
DEFAULT_S = 10.0
DEFAULTS_S = {
    "upload_volume": 900.0,
    "ensure_overlay": 30.0,
    "ensure_pool": 30.0,
    "refresh_pool": 60.0,
    "equipment": 30.0,
    "dirty_rate": 15.0,
    "define": 20.0,
    "start": 60.0,
    "destroy": 30.0,
    "probe": 180.0,
    "agent_write_file": 120.0,
    "agent_exec": 60.0,
    "agent_read_file": 30.0,
    "migrate": 300.0,
}


class Deadline:
    """A deadline of one call. Thread-safe: it never changes."""

    def __init__(self, verb: str, host: str, seconds: float | None) -> None:
        self.verb = verb
        self.host = host
        self.seconds = DEFAULTS_S.get(verb, DEFAULT_S) if seconds is None else seconds
        self._end = time.monotonic() + self.seconds

    @property
    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Stop a long piece of work (an upload) whose caller is gone.

        Raises:
            DeadlineExceeded: the deadline is past.
        """
        if self.left_s <= 0:
            raise self.exceeded()

    def exceeded(self) -> DeadlineExceeded:
        """The error for this deadline."""
        return DeadlineExceeded(
            f"{self.verb}: no answer within {self.seconds:g} s",
            host=self.host,
            details={"verb": self.verb, "deadline_s": self.seconds},
        )
