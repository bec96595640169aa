"""ETag on what is read, If-None-Match to read it cheaply, If-Match to change only what was seen (RFC 9110)."""

from __future__ import annotations

import hashlib
from typing import Any

from django.db import transaction
from rest_framework import exceptions, status
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

_json = JSONRenderer()
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class PreconditionFailed(exceptions.APIException):
    """The thing changed since the caller read it."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = "If-Match: this has changed since you read it; read it again."
    default_code = "precondition_failed"


def etag_of(data: Any) -> str:
    """A strong entity tag of serialised data: the same data gives the same tag in every process."""
    return _tag(_json.render(data))


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _names(header: str, tag: str, *, weak: bool) -> bool:
    """Whether the header lists the tag; `*` is any. If-Match compares strongly, so weak tags never match."""
    listed = [part.strip() for part in header.split(",")]
    if weak:
        listed = [part.removeprefix("W/") for part in listed]
    return "*" in listed or tag in listed


class ETagMixin:
    """For views with `get_object`: tags every answer to GET and honours both conditions."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.method in _SAFE or "If-Match" not in request.headers:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        # The row stays locked from the comparison to the end of the change.
        with transaction.atomic():
            response = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
            if response.status_code >= 400:
                transaction.set_rollback(True)
        return response

    def get_object(self) -> Any:
        """The row; with If-Match on a change, only if it is still the one that the caller read.

        Raises:
            PreconditionFailed: it is not.
        """
        row = super().get_object()  # type: ignore[misc]
        request: Request = self.request  # type: ignore[attr-defined]
        wanted = request.headers.get("If-Match")
        if wanted is None or request.method in _SAFE:
            return row
        list(type(row).objects.select_for_update(no_key=True).order_by().filter(pk=row.pk))
        row = super().get_object()  # type: ignore[misc]
        current = etag_of(self.get_serializer(row).data)  # type: ignore[attr-defined]
        if not _names(wanted, current, weak=False):
            raise PreconditionFailed
        return row

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]
        if request.method not in ("GET", "HEAD") or response.status_code != status.HTTP_200_OK:
            return response
        if not hasattr(response, "data"):
            # A file, measured when it is asked for: nothing to compare it with.
            response["Cache-Control"] = "private, no-store"
            return response
        body = _json.render(response.data)
        tag = _tag(body)
        response["ETag"] = tag
        # What a person may see depends on who asks: caches in between must not keep it.
        response["Cache-Control"] = "private, no-cache"
        known = request.headers.get("If-None-Match")
        if known is not None and _names(known, tag, weak=True):
            response.status_code = status.HTTP_304_NOT_MODIFIED
            response.data = None
        elif response.accepted_media_type == "application/json":
            # Written already: not once more.
            response.content = body
            response["Content-Type"] = response.accepted_media_type
        return response
