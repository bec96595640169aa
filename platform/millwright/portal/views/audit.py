"""The audit trail: one search, filters, and the same rows as a table for spreadsheets."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_date

from millwright.accounts.permissions import projects_with
from millwright.audit.actions import record
from millwright.audit.models import AuditEntry

from .base import Bounded, Rows

#: More rows than this are no table for people; the API pages through all of them.
MOST_ROWS = 100_000
_COLUMNS = (
    "at",
    "actor_name",
    "action",
    "object_type",
    "object_id",
    "object_name",
    "project",
    "reason",
    "address",
    "request_id",
)


def filtered(request: HttpRequest) -> Any:
    """Entries that the person may read and asked for: words, kind of object, first and last day."""
    rows = AuditEntry.objects.select_related("project").for_user(request.user)
    if text := request.GET.get("q", "").strip():
        rows = rows.search(text)
    if kind := request.GET.get("type", ""):
        rows = rows.filter(object_type=kind)
    zone = timezone.get_current_timezone()
    first, last = (_day(request.GET.get(name, "")) for name in ("from", "to"))
    if first:
        rows = rows.filter(at__gte=dt.datetime.combine(first, dt.time(), zone))
    if last:
        rows = rows.filter(at__lt=dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), zone))
    return rows


def _day(text: str) -> dt.date | None:
    try:
        return parse_date(text)
    except ValueError:  # well formed, and no day of the calendar
        return None


#: Kinds of objects that actions write; fixed, so that no query has to look for them.
KINDS = (
    "environment",
    "request",
    "machine",
    "operation",
    "host",
    "program",
    "programversion",
    "device",
    "project",
    "user",
    "apitoken",
)


class AuditList(Rows):
    """Who did what, when, from where and why."""

    template_name = "portal/audit.html"
    paginator_class = Bounded

    def get_queryset(self) -> Any:
        return filtered(self.request)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        asked = self.request.GET
        return {
            **super().get_context_data(**kwargs),
            "text": asked.get("q", ""),
            "kinds": KINDS,
            "kind": asked.get("type", ""),
            "first": asked.get("from", ""),
            "last": asked.get("to", ""),
            # Whoever does not see everything is told so where nothing is found.
            "partly": projects_with(self.request.user, "audit") is not None,
        }


class _Echo:
    """A file that hands each line back."""

    def write(self, line: str) -> str:
        return line


def _cell(value: Any) -> str:
    """Text that a spreadsheet does not take for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


@login_required
def export(request: HttpRequest) -> StreamingHttpResponse:
    """The filtered entries as CSV; that somebody took them is an entry too."""
    record(request.user, "audit.export", request.user, query=request.META.get("QUERY_STRING", ""))
    rows = filtered(request)[:MOST_ROWS]
    writer = csv.writer(_Echo())

    def lines() -> Iterator[str]:
        yield writer.writerow(_COLUMNS)
        for row in rows.iterator(chunk_size=1000):
            values = [row.at.isoformat(), *(getattr(row, name) for name in _COLUMNS[1:])]
            yield writer.writerow([_cell(value) for value in values])

    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="audit.csv"'
    return response
