"""What changes, as it changes: a stream of state transitions, each only for those who may see its subject.

The table of transitions is append-only, so its key is the event's id and a reader that lost its
connection goes on after `Last-Event-ID`. One look a second at the newest keys serves all readers of a
worker process; only a reader that has something new asks for rows.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, permissions, renderers, serializers
from rest_framework.request import Request as HttpRequest
from rest_framework.views import APIView

from millwright.accounts.models import ApiToken, User
from millwright.accounts.permissions import may
from millwright.environments.models import Environment, Machine, Request, StateTransition
from millwright.inventory.models import Host
from millwright.settings.connections import drop_dead, release_connections

from .throttles import Reads

#: Between two looks at the table; how long one stream lives; how often the reader's rights are read again.
POLL_S, STREAM_S, RECHECK_S = 1.0, 600, 15.0
#: Keys looked at each time. Transactions may commit in another order than their keys, never this far apart.
WINDOW = 200
#: Open streams of one person in one worker process: more is a loop that forgot to close them.
MAX_STREAMS = 20
#: Rows sent at most per look: a reader that resumes after a week is not given it in one piece.
BATCH = 500

T = TypeVar("T")
_MODELS: dict[str, Any] = {"request": Request, "environment": Environment, "machine": Machine}
SUBJECTS = (*_MODELS, "host")


class EventStream(renderers.BaseRenderer):
    """For content negotiation; the view itself writes the stream."""

    media_type = "text/event-stream"
    format = "event-stream"
    charset = None

    def render(self, data: Any, *_args: Any, **_options: Any) -> bytes:
        """Errors, before the stream began."""
        return json.dumps(data, default=str).encode()


class _Newest:
    """The newest keys, read at most once a poll however many readers there are."""

    def __init__(self) -> None:
        self._read_at = -POLL_S
        self._keys: list[int] = []

    def keys(self) -> list[int]:
        """Ascending. Runs in Django's thread, one caller at a time."""
        now = time.monotonic()
        if now - self._read_at >= POLL_S * 0.9:
            rows = StateTransition.objects.order_by("-pk").values_list("pk", flat=True)[:WINDOW]
            self._keys, self._read_at = sorted(rows), now
        return self._keys


_newest = _Newest()
_open: Counter[Any] = Counter()


def visible(user: Any, rows: Iterable[StateTransition]) -> list[StateTransition]:
    """Those of the rows whose subject the person may see: one query per kind of subject, none per row."""
    kept = list(rows)
    ids: dict[str, set[str]] = {}
    for row in kept:
        ids.setdefault(row.subject_type, set()).add(row.subject_id)
    seen: dict[str, set[str]] = {}
    for kind, wanted in ids.items():
        if kind in _MODELS:
            found = _MODELS[kind].objects.for_user(user).filter(pk__in=wanted)
            seen[kind] = {str(pk) for pk in found.values_list("pk", flat=True)}
        elif kind == "host" and may(user, "pool"):
            seen[kind] = {
                str(pk) for pk in Host.objects.filter(pk__in=wanted).values_list("pk", flat=True)
            }
    return [row for row in kept if row.subject_id in seen.get(row.subject_type, ())]


def as_event(row: StateTransition) -> str:
    """One server-sent event: the key as id, the data as one line of JSON."""
    data = {
        "at": row.at.isoformat(),
        "subject_type": row.subject_type,
        "subject_id": row.subject_id,
        "subject_name": row.subject_name,
        "aspect": row.aspect,
        "before": row.before,
        "after": row.after,
        "cause": row.cause,
        "operation": str(row.operation) if row.operation else None,
    }
    return f"id: {row.pk}\nevent: transition\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


class Reader:
    """One connection: what it has had, and what it may still see."""

    def __init__(self, user: User, token: ApiToken | None, subject_type: str, last: int | None):
        self.user, self.token, self.subject_type = user, token, subject_type
        keys = _newest.keys()
        #: Everything up to here was sent or lies before the stream's begin.
        self.last = (keys[-1] if keys else 0) if last is None else last
        self._had: deque[int] = deque((key for key in keys if key <= self.last), maxlen=WINDOW * 2)

    def news(self) -> list[str]:
        """Events since the last call."""
        keys = _newest.keys()
        had = set(self._had)
        late = [key for key in keys if key < self.last and key not in had]
        rows = StateTransition.objects.order_by("pk")
        if not late and (not keys or keys[-1] <= self.last):
            return []
        fresh = list(rows.filter(pk__in=late)) + list(rows.filter(pk__gt=self.last)[:BATCH])
        self._had.extend(row.pk for row in fresh)
        self.last = max([self.last, *(row.pk for row in fresh)])
        if self.subject_type:
            fresh = [row for row in fresh if row.subject_type == self.subject_type]
        return [as_event(row) for row in visible(self.user, fresh)]

    def still_allowed(self) -> bool:
        """Reads the person and the token again: a revoked one ends the stream, a changed role its view."""
        user = User.objects.filter(pk=self.user.pk, is_active=True).first()
        if user is None:
            return False
        self.user = user
        return self.token is None or ApiToken.objects.usable().filter(pk=self.token.pk).exists()


def _and_release(look: Callable[[], T]) -> T:
    """A stream lives for minutes: between two looks it keeps no connection from others."""
    drop_dead()
    try:
        return look()
    finally:
        release_connections()


async def stream(reader: Reader, seconds: float) -> AsyncIterator[str]:
    """Events until the time is over, the person lost the right, or the connection closes."""
    _open[reader.user.pk] += 1
    started = checked = time.monotonic()
    try:
        yield "retry: 2000\n\n"
        while True:
            news = await sync_to_async(_and_release)(reader.news)
            yield "".join(news) or ": alive\n\n"
            now = time.monotonic()
            if now - started >= seconds:
                return
            if now - checked >= RECHECK_S:
                checked = now
                if not await sync_to_async(_and_release)(reader.still_allowed):
                    return
            await asyncio.sleep(min(POLL_S, max(0.0, seconds - (now - started))))
    finally:
        _open[reader.user.pk] -= 1
        if _open[reader.user.pk] <= 0:
            del _open[reader.user.pk]


class EventsQuery(serializers.Serializer):
    subject_type = serializers.ChoiceField(SUBJECTS, required=False, default="")
    seconds = serializers.IntegerField(
        required=False, min_value=0, max_value=STREAM_S, default=STREAM_S
    )
    last_event_id = serializers.IntegerField(required=False, min_value=0, max_value=2**63 - 1)


class EventsView(APIView):
    """State transitions of requests, environments, machines and hosts as server-sent events."""

    renderer_classes = (EventStream, renderers.JSONRenderer)
    permission_classes = (permissions.IsAuthenticated,)
    throttle_classes = (Reads,)

    @extend_schema(
        parameters=[
            EventsQuery,
            OpenApiParameter(
                "Last-Event-ID", OpenApiTypes.INT64, OpenApiParameter.HEADER, required=False
            ),
        ],
        responses={(200, "text/event-stream"): OpenApiTypes.STR},
    )
    def get(self, request: HttpRequest) -> StreamingHttpResponse:
        """Follow; after a lost connection go on with `Last-Event-ID` (header) or `last_event_id`."""
        given = {key: value for key, value in request.query_params.items() if value != ""}
        if "Last-Event-ID" in request.headers:
            given["last_event_id"] = request.headers["Last-Event-ID"]
        query = EventsQuery(data=given)
        query.is_valid(raise_exception=True)
        if _open[request.user.pk] >= MAX_STREAMS:
            raise exceptions.Throttled(
                wait=POLL_S, detail=f"{MAX_STREAMS} event streams are open for you; close one."
            )
        token = request.auth if isinstance(request.auth, ApiToken) else None
        reader = Reader(
            request.user,
            token,
            query.validated_data["subject_type"],
            query.validated_data.get("last_event_id"),
        )
        response = StreamingHttpResponse(
            stream(reader, query.validated_data["seconds"]), content_type="text/event-stream"
        )
        response["Cache-Control"] = "no-cache"
        response["X-Accel-Buffering"] = "no"
        return response
