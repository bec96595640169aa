"""Rate limits, per worker process: reading is generous, changing less so, a flood without a name least."""

from __future__ import annotations

from typing import Any

from rest_framework import throttling
from rest_framework.request import Request


class Reads(throttling.UserRateThrottle):
    """Everything that a person or a token asks."""

    scope = "user"


class Changes(throttling.UserRateThrottle):
    """What a person or a token changes."""

    scope = "changes"
    rate = "1200/min"

    def allow_request(self, request: Request, view: Any) -> bool:
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return True
        return bool(super().allow_request(request, view))
