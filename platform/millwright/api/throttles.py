"""Rate limits, per worker process: reading is generous, changing less so, a flood without a name least."""

from __future__ import annotations

import math
from typing import Any

from rest_framework import throttling
from rest_framework.request import Request


class _Counted(throttling.UserRateThrottle):
    """Counts in two windows of the rate's length, where the base class keeps the time of each request.

    Of the window before counts the part that still lies within the last such length, taken as even: a
    reader at the limit costs no more than the first one.
    """

    def allow_request(self, request: Request, view: Any) -> bool:
        self.key = self.get_cache_key(request, view)
        if self.key is None:
            return True
        self.now = self.timer()
        window, passed = divmod(self.now, self.duration)
        known, count, before = self.cache.get(self.key, (window, 0, 0))
        if known != window:
            count, before = 0, count if known == window - 1 else 0
        share = 1 - passed / self.duration
        #: Until the share of the window before has fallen far enough, or this window is over.
        self._wait = self.duration - passed
        if before and count < self.num_requests:
            over = count + 1 + before * share - self.num_requests
            self._wait = min(self._wait, max(0.0, over / before * self.duration))
        if count + math.ceil(before * share) >= self.num_requests:
            return False
        self.cache.set(self.key, (window, count + 1, before), self.duration * 2)
        return True

    def wait(self) -> float:
        """Seconds until it is worth to ask again."""
        return float(self._wait)


class Reads(_Counted):
    """Everything that a person or a token asks."""

    scope = "user"


class Changes(_Counted):
    """What a person or a token changes."""

    scope = "changes"
    rate = "1200/min"

    def allow_request(self, request: Request, view: Any) -> bool:
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return True
        return bool(super().allow_request(request, view))
