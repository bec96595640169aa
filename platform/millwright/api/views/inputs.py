"""Bodies of requests, validated."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request


def valid(kind: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    """The body as the serializer reads it; raises with field and rule."""
    data = kind(data=request.data, context={"request": request})
    data.is_valid(raise_exception=True)
    return dict(data.validated_data)
