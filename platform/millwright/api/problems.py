"""Errors as application/problem+json (RFC 9457), naming field and rule."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.defaults import page_not_found
from django.views.defaults import server_error as plain_server_error
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from millwright.accounts.permissions import PermissionRefused
from millwright.core.lifecycle import LifecycleError
from millwright.desk import DeskError
from millwright.gateway.errors import GatewayError


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


def _plain(http_status: int, title: str, detail: str) -> HttpResponse:
    body = {"type": "about:blank", "title": title, "status": http_status, "detail": detail}
    return JsonResponse(body, status=http_status, content_type="application/problem+json")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """No such address: a problem document below /api/, a page elsewhere."""
    if request.path.startswith("/api/"):
        return _plain(404, "Not Found", f"{request.path}: there is no such address")
    return page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Our own fault: the log has it, with the request's id."""
    if request.path.startswith("/api/"):
        return _plain(500, "Internal Server Error", "the server's log has the details")
    return plain_server_error(request)


def handle(error: Exception, _context: dict[str, Any]) -> Response | None:
    """Turn what views and actions raise into problem documents; the rest is a real 500."""
    if isinstance(error, PermissionRefused | PermissionDenied):
        error = exceptions.PermissionDenied(str(error) or None)
    elif isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, LifecycleError):
        set_rollback()
        return problem(status.HTTP_409_CONFLICT, "Conflict", str(error), code="state")
    elif isinstance(error, DeskError | GatewayError):
        set_rollback()
        return problem(status.HTTP_409_CONFLICT, "Conflict", str(error), code="not_now")
    elif isinstance(error, DataError):
        # What a field's own rules let through and the database cannot hold: a character 0, a huge number.
        set_rollback()
        reason = str(error).split("\n", 1)[0]
        error = exceptions.ValidationError({"non_field_errors": [f"cannot be stored: {reason}"]})
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
    title = str(error.default_detail)
    if "{" in title:  # a pattern of the library's, filled in the detail only
        title = HTTPStatus(error.status_code).phrase
    response = problem(
        error.status_code,
        title,
        detail,
        code=error.default_code,
        **extra,
    )
    if isinstance(error, exceptions.Throttled) and error.wait:
        response["Retry-After"] = str(int(error.wait) + 1)
    if header := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = header
    return response
