"""Errors as application/problem+json (RFC 9457), naming field and rule."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from millwright.accounts.permissions import PermissionRefused
from millwright.core.lifecycle import LifecycleError


def _errors(detail: Any, prefix: str = "") -> list[dict[str, str]]:
    """Flatten nested field errors into rows of field, message and code."""
    if isinstance(detail, dict):
        return [
            row
            for key, value in detail.items()
            for row in _errors(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(detail, list):
        return [
            row
            for index, value in enumerate(detail)
            for row in _errors(value, prefix if isinstance(value, str) else f"{prefix}[{index}]")
        ]
    return [
        {
            "field": prefix or "non_field_errors",
            "message": str(detail),
            "code": getattr(detail, "code", "invalid"),
        }
    ]


def problem(http_status: int, title: str, detail: str = "", **more: Any) -> Response:
    """A problem document as a response."""
    body = {"type": "about:blank", "title": title, "status": http_status, "detail": detail, **more}
    return Response(body, status=http_status, content_type="application/problem+json")


def handle(error: Exception, _context: dict[str, Any]) -> Response | None:
    """Turn what views and actions raise into problem documents; the rest is a real 500."""
    if isinstance(error, PermissionRefused | PermissionDenied):
        error = exceptions.PermissionDenied(str(error) or None)
    elif isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, LifecycleError):
        set_rollback()
        return problem(status.HTTP_409_CONFLICT, "Conflict", str(error), code="state")
    elif isinstance(error, ValidationError):
        detail = (
            error.message_dict
            if hasattr(error, "error_dict")
            else {"non_field_errors": error.messages}
        )
        error = exceptions.ValidationError(detail)
    if not isinstance(error, exceptions.APIException):
        return None
    set_rollback()
    extra: dict[str, Any] = {}
    if isinstance(error, exceptions.ValidationError):
        rows = _errors(error.detail)
        extra["errors"] = rows
        detail = "; ".join(f"{row['field']}: {row['message']}" for row in rows)
    else:
        detail = str(error.detail)
    response = problem(
        error.status_code,
        error.default_detail
        if isinstance(error.default_detail, str)
        else str(error.default_detail),
        detail,
        code=error.default_code,
        **extra,
    )
    if isinstance(error, exceptions.Throttled) and error.wait:
        response["Retry-After"] = str(int(error.wait) + 1)
    if header := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = header
    return response
