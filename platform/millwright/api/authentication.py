"""Bearer tokens: stored as SHA-256, with a scope and an end."""

from __future__ import annotations

import hashlib
from typing import Any

from django.utils import timezone
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from millwright.accounts.models import ApiToken

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: What a token for service discovery may read.
_DISCOVERY_PATHS = ("/api/v1/prometheus/",)


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer <token>`."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        header = authentication.get_authorization_header(request).split()
        if not header or header[0].lower() != b"bearer":
            return None
        if len(header) != 2:
            raise exceptions.AuthenticationFailed(
                "Authorization: expected exactly 'Bearer <token>'."
            )
        digest = hashlib.sha256(header[1]).hexdigest()
        token = ApiToken.objects.usable().select_related("user").filter(digest=digest).first()
        if token is None:
            raise exceptions.AuthenticationFailed(
                "Authorization: the token is unknown, ended or revoked."
            )
        if token.scope == "read" and request.method not in _SAFE:
            raise exceptions.PermissionDenied("This token may only read.")
        if token.scope == "discovery" and not request.path.startswith(_DISCOVERY_PATHS):
            raise exceptions.PermissionDenied("This token may only read service discovery.")
        now = timezone.now()
        # One write a minute is enough to know whether a token is in use.
        if token.last_used_at is None or (now - token.last_used_at).total_seconds() > 60:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="millwright"'
