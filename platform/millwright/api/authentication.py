"""Bearer tokens: stored as SHA-256, with a scope and an end.

A program that reads on and on is not looked up for each read: who it is and what he may is remembered for
`REMEMBERED_S`. A change of people, roles and tokens empties that in the process that makes it, so that it counts there
at once and in another worker's process that much later; whoever changes something is always looked up.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.utils import timezone
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from millwright.accounts.models import ApiToken, Delegation, Membership, User
from millwright.accounts.querysets import rights_changed

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: What a token for service discovery may read.
_DISCOVERY_PATHS = ("/api/v1/prometheus/",)


#: For how long a reader is known without a look, and how many readers a process remembers.
REMEMBERED_S, READERS = 2.0, 4096


class _Readers:
    """Digest of a token → the token with its person, and until when that counts."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, ApiToken]] = {}
        #: How many changes there were: what was looked up before one is not kept after it.
        self.changes = 0

    def get(self, digest: str) -> ApiToken | None:
        """The token as it was read a moment ago; None: look it up."""
        until, token = self._known.get(digest, (0.0, None))
        if token is None or until < time.monotonic() or token.expires_at <= timezone.now():
            return None
        return token

    def keep(self, digest: str, token: ApiToken, changes: int) -> None:
        """Remember it, unless something was changed since `changes` were counted."""
        if changes != self.changes:
            return
        if len(self._known) >= READERS:
            self._known.clear()
        self._known[digest] = (time.monotonic() + REMEMBERED_S, token)

    def forget(self, **_signal: Any) -> None:
        """Somebody's rights may have changed: now, and for others when the transaction ends."""
        self._forget()
        transaction.on_commit(self._forget)

    def _forget(self) -> None:
        self.changes += 1
        self._known.clear()


readers = _Readers()
for _model in (User, ApiToken, Membership, Delegation):
    post_save.connect(readers.forget, _model, dispatch_uid="readers.forget")
    post_delete.connect(readers.forget, _model, dispatch_uid="readers.forget")
rights_changed.connect(readers.forget, dispatch_uid="readers.forget")


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
        changes = readers.changes
        known = readers.get(digest) if request.method in _SAFE else None
        token = known or self._look_up(digest)
        if token.scope == "read" and request.method not in _SAFE:
            raise exceptions.PermissionDenied("This token may only read.")
        if token.scope == "discovery" and not request.path.startswith(_DISCOVERY_PATHS):
            raise exceptions.PermissionDenied("This token may only read service discovery.")
        if known is None and request.method in _SAFE:
            readers.keep(digest, token, changes)
        return token.user, token

    @staticmethod
    def _look_up(digest: str) -> ApiToken:
        token = ApiToken.objects.usable().select_related("user").filter(digest=digest).first()
        if token is None:
            raise exceptions.AuthenticationFailed(
                "Authorization: the token is unknown, ended or revoked."
            )
        now = timezone.now()
        # One write a minute is enough to know whether a token is in use.
        if token.last_used_at is None or (now - token.last_used_at).total_seconds() > 60:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="millwright"'
