"""What open pages of environments show, looked at once a second for all pages of a process together.

A page is a stream of server-sent events: `steps`, `tags` and `performance`, each a ready fragment. One
task reads the database, the gateway and Prometheus for whatever pages are open, with a constant number of
queries, and renders a fragment only when what it shows has changed, once for each language. So an idle page
costs next to nothing, and two hundred of them a small part of a processor.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime as dt
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.db.models import OuterRef, Subquery
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from millwright.accounts.models import User
from millwright.core.lifecycle import LIVE_OPERATION_STATES
from millwright.environments.models import Environment, Operation, OperationStep
from millwright.settings.connections import drop_dead, release_connections
from millwright.shopfloor.live_many import ManyReader, Target

from .figures import figures

#: Between two looks; a silent stream says every so often that it lives, and ends after a while: the browser comes back.
POLL_S, ALIVE_S, STREAM_S = 1.0, 15.0, 600.0
#: Every how many looks: tags, the machines they belong to, Prometheus' figures, the readers' rights.
TAGS, TARGETS, FIGURES, RIGHTS = 2, 6, 10, 15
#: An operation's steps may be written a moment after it ended.
SETTLES = dt.timedelta(minutes=1)
_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Page:
    """One open page: who looks at what, what he was sent last, what waits to be sent."""

    environment: UUID
    name: str
    user: UUID
    session: str
    language: str
    sent: dict[str, Hashable] = field(default_factory=dict)
    queue: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(maxsize=16))

    def send(self, kind: str, html: str) -> None:
        """Hand an event to the stream; one that takes none is no reason for the others to wait."""
        lines = "\n".join(f"data: {line}" for line in html.splitlines() if line.strip())
        with contextlib.suppress(asyncio.QueueFull):
            self.queue.put_nowait(f"event: {kind}\n{lines}\n\n")


def _and_release(look: Callable[[], T]) -> T:
    """Between two looks no connection is kept from others."""
    drop_dead()
    try:
        return look()
    finally:
        release_connections()


async def _in_thread(look: Callable[[], T]) -> T:
    return await sync_to_async(_and_release)(look)


def marks_of(environments: Collection[UUID]) -> dict[UUID, Hashable]:
    """Environment → what its steps show, to be compared: three queries."""
    newest = Operation.objects.filter(environment=OuterRef("pk")).order_by("-created_at")
    rows = list(
        Environment.objects.filter(pk__in=environments)
        .annotate(current=Subquery(newest.values("pk")[:1]))
        .values_list("pk", "state", "state_reason", "current")
    )
    columns = ("pk", "state", "progress", "error", "attempt", "ended_at")
    operations = {
        row[0]: row
        for row in Operation.objects.filter(pk__in=[row[3] for row in rows]).values_list(*columns)
    }
    lately = timezone.now() - SETTLES
    moving = [
        row[0]
        for row in operations.values()
        if row[1] in LIVE_OPERATION_STATES or (row[5] is not None and row[5] > lately)
    ]
    steps: dict[UUID, list[Hashable]] = defaultdict(list)
    for row in (
        OperationStep.objects.filter(operation__in=moving)
        .order_by("operation", "position")
        .values_list("operation_id", "name", "state", "attempt", "detail", "started_at", "ended_at")
    ):
        steps[row[0]].append(row)
    return {
        pk: (state, reason, operations.get(current), tuple(steps.get(current, ())))
        for pk, state, reason, current in rows
    }


def fragments(wanted: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], str]:
    """(Environment, language) → its state and steps as HTML: three queries."""
    keys = {environment for environment, _language in wanted}
    newest = Operation.objects.filter(environment=OuterRef("pk")).order_by("-created_at")
    environments = Environment.objects.filter(pk__in=keys).annotate(
        current=Subquery(newest.values("pk")[:1])
    )
    known = {row.pk: row for row in environments}
    chosen = [row.current for row in known.values()]
    operations = Operation.objects.prefetch_related("steps").in_bulk(chosen)
    made = {}
    for environment, language in wanted:
        if (row := known.get(environment)) is not None:
            context = {"environment": row, "current": operations.get(row.current)}
            made[environment, language] = render("portal/parts/steps.html", language, context)
    return made


def render(template: str, language: str, context: dict[str, Any]) -> str:
    """A fragment in the reader's language."""
    with translation.override(language):
        return render_to_string(template, context)


def allowed(pages: Collection[Page]) -> set[Page]:
    """Those whose reader is still signed in and may still see the environment: a query for each reader."""
    people = User.objects.filter(is_active=True).in_bulk({page.user for page in pages})
    keys = {page.session for page in pages}
    sessions = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    signed_in = set(sessions.values_list("session_key", flat=True))
    of: dict[UUID, list[Page]] = defaultdict(list)
    for page in pages:
        if page.user in people and page.session in signed_in:
            of[page.user].append(page)
    kept = set()
    for user, own in of.items():
        rows = Environment.objects.for_user(people[user])
        seen = set(
            rows.filter(pk__in=[page.environment for page in own]).values_list("pk", flat=True)
        )
        kept |= {page for page in own if page.environment in seen}
    return kept


class Board:
    """The open pages of this process, and the one task that looks for them."""

    def __init__(self) -> None:
        self._pages: set[Page] = set()
        self._task: asyncio.Task[None] | None = None
        self._reader = ManyReader()
        self._targets: list[Target] = []
        self._tags: dict[tuple[UUID, str], tuple[Hashable, str]] = {}
        #: Looks that were taken, for those who measure.
        self.looks = 0

    async def stream(self, page: Page, seconds: float = STREAM_S) -> AsyncIterator[str]:
        """Events until the time is over, the right is gone, or the connection closes."""
        # The view's own, which would stay with this request's thread for as long as the page is open.
        await sync_to_async(release_connections)()
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        self._pages.add(page)
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            # In no request's context: it outlives the one that happens to begin it.
            self._task = loop.create_task(self._run(), context=contextvars.Context())
        try:
            yield "retry: 2000\n\n"
            while (left := end - loop.time()) > 0:
                try:
                    event = await asyncio.wait_for(page.queue.get(), min(ALIVE_S, left))
                except TimeoutError:
                    yield ": alive\n\n"
                    continue
                if event is None:
                    return
                yield event
        finally:
            self._pages.discard(page)
            if not self._pages and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _run(self) -> None:
        for number in range(2**62):
            try:
                await self._look(number)
            except Exception:
                # A database that is away for a moment must not end what people look at.
                _log.exception("a look for the open pages failed")
            self.looks += 1
            await asyncio.sleep(POLL_S)

    async def _look(self, number: int) -> None:
        if number % RIGHTS == RIGHTS - 1:
            pages = set(self._pages)
            for page in pages - await _in_thread(lambda: allowed(pages)):
                self._pages.discard(page)
                while not page.queue.empty():
                    page.queue.get_nowait()
                page.queue.put_nowait(None)
        await self._steps()
        if number % TAGS == 0:
            await self._live(number)
        if number % FIGURES == 1:
            await self._figures()

    async def _steps(self) -> None:
        pages = list(self._pages)
        marks = await _in_thread(lambda: marks_of({page.environment for page in pages}))
        changed = [page for page in pages if page.sent.get("steps") != marks.get(page.environment)]
        if not changed:
            return
        wanted = {(page.environment, page.language) for page in changed}
        made = await _in_thread(lambda: fragments(wanted))
        for page in changed:
            page.sent["steps"] = marks.get(page.environment)
            if html := made.get((page.environment, page.language)):
                page.send("steps", html)

    async def _live(self, number: int) -> None:
        pages = list(self._pages)
        environments = {page.environment for page in pages}
        known = {row.environment for row in self._targets}
        if number % TARGETS == 0 or not environments <= known:
            self._targets = await _in_thread(lambda: self._reader.targets(environments))
        # Asks no database, and may wait for the gateway: not in the thread that the others need.
        targets = self._targets
        readings = await asyncio.to_thread(self._reader.read, targets)
        groups: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
        for row in targets:
            if (reading := readings.get(row.machine)) is not None:
                groups[row.environment].append(
                    {"machine": {"pk": row.machine, "name": row.name}, "reading": reading}
                )
        made: dict[tuple[UUID, str], tuple[Hashable, str]] = {}
        for page in pages:
            key = page.environment, page.language
            shown = groups.get(page.environment)
            if not shown:
                continue
            if key not in made:
                mark = tuple(
                    (
                        group["machine"]["pk"],
                        str(group["reading"].error),
                        tuple((row["path"], row["value"]) for row in group["reading"].rows),
                    )
                    for group in shown
                )
                kept = self._tags.get(key)
                if kept is None or kept[0] != mark:
                    kept = mark, render("portal/parts/tags.html", page.language, {"groups": shown})
                    # Others have their turn between two pages' fragments.
                    await asyncio.sleep(0)
                made[key] = kept
            # Sent again when nothing moved: a trend goes on with it.
            page.send("tags", made[key][1])
        self._tags = made

    async def _figures(self) -> None:
        pages = list(self._pages)
        found, problem = await asyncio.to_thread(figures, {page.name for page in pages})
        for page in pages:
            row: dict[str, Any] = found.get(page.name, {})
            mark = (problem, *sorted(row.items()))
            if page.sent.get("performance") == mark:
                continue
            page.sent["performance"] = mark
            with translation.override(page.language):
                words = _("Prometheus does not answer (%(why)s)") % {"why": problem}
                context = {**row, "error": words if problem else ""}
                page.send("performance", render_to_string("portal/parts/performance.html", context))


#: Of this process.
board = Board()
