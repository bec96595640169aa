"""`Idempotency-Key` on POST: a replay returns the first answer; the same key with another body is refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.db import IntegrityError, transaction
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from .models import IdempotentRequest


class KeyReused(exceptions.APIException):
    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_detail = "Idempotency-Key: this key was used with another request."
    default_code = "idempotency_key_reused"


class IdempotentMixin:
    """For views: wraps POST. The answer is kept in the same transaction as the change."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        key = request.headers.get("Idempotency-Key", "")
        if request.method != "POST" or not key:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        self._idempotency_key = key[:255]
        # One transaction: a process killed before its answer leaves neither the change nor the key, and
        # the same key sent again meanwhile waits at the key's constraint for the first answer.
        with transaction.atomic():
            response = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
            if response.status_code >= 400:
                # What failed may be tried again with the same key.
                transaction.set_rollback(True)
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        key = getattr(self, "_idempotency_key", None)
        if key is None or not request.user.is_authenticated:
            return
        body = json.dumps(request.data, sort_keys=True, default=str)
        digest = hashlib.sha256(f"{request.path}\n{body}".encode()).hexdigest()
        try:
            with transaction.atomic():
                self._idempotent = IdempotentRequest.objects.create(
                    user=request.user, key=key, digest=digest
                )
        except IntegrityError:
            earlier = IdempotentRequest.objects.get(user=request.user, key=key)
            if earlier.digest != digest:
                raise KeyReused from None
            raise Replay(earlier.status, earlier.body) from None

    def handle_exception(self, error: Exception) -> Response:
        if isinstance(error, Replay):
            response = Response(error.body, status=error.status)
            response["Idempotent-Replay"] = "true"
            return response
        return super().handle_exception(error)  # type: ignore[misc, no-any-return]

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]
        kept = getattr(self, "_idempotent", None)
        if kept is not None and response.status_code < 400:
            kept.status = response.status_code
            # With the same words for times and numbers as the answer that went out.
            kept.body = json.loads(json.dumps(response.data, cls=JSONEncoder))
            kept.save(update_fields=("status", "body"))
        return response


class Replay(Exception):
    def __init__(self, code: int, body: Any) -> None:
        super().__init__(code)
        self.status, self.body = code, body
