"""The monthly report of an environment: as a page that prints well, as PDF, as CSV; and a sealed month's file."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from millwright.core.sla import month_period
from millwright.core.sla.seal import write_file

from .contracts import plant_zone
from .models import MonthSum, Seal
from .monthly import Month
from .seals import APPENDED, Verdict, input_rows, service_rows, window_rows

STYLE = Path(__file__).parent / "static/service_levels/report.css"
#: Of the drawing of the budget, in its own units.
WIDTH, HEIGHT = 700, 140


class PdfUnavailableError(RuntimeError):
    """PDF cannot be made here; says what is missing."""


def budget_drawing(month: Month) -> dict[str, Any]:
    """The budget over the month as an SVG: a line of points, and the even line."""
    points = month.burn_down()
    begin, length = month.span.begin, month.span.length
    most = max([left for _at, left in points] + [1.0])
    least = min([left for _at, left in points] + [0.0])
    reach = most - least

    def place(at: dt.datetime, left: float) -> str:
        return f"{(at - begin) / length * WIDTH:.1f},{(most - left) / reach * HEIGHT:.1f}"

    return {
        "width": WIDTH,
        "height": HEIGHT,
        "line": " ".join(place(at, left) for at, left in points),
        "even": f"{place(begin, points[0][1])} {place(month.span.end, 0.0)}",
        "zero": f"{most / reach * HEIGHT:.1f}",
        "most": most,
        "least": least,
    }


def render_report(
    month: Month, verdicts: Sequence[Verdict], request: HttpRequest | None = None, **more: Any
) -> str:
    """The report as HTML in the reader's language; `pdf=True`: without what only a browser has."""
    bars = [
        {**bar, "width": round(bar["share"] * 300, 1), "at": 26 * number}
        for number, bar in enumerate(month.pareto())
    ]
    context = {
        "found": month,
        "measured": month.measured,
        "environment": month.environment,
        "drawing": budget_drawing(month),
        "bars": bars,
        "bars_height": 26 * len(bars),
        "zone": plant_zone().key,
        "verdicts": verdicts,
        **more,
    }
    return render_to_string("service_levels/report.html", context, request)


def render_pdf(month: Month, verdicts: Sequence[Verdict]) -> bytes:
    """The report as PDF. Nothing is fetched while it is drawn: neither addresses nor files.

    Raises:
        PdfUnavailableError: WeasyPrint or the libraries below it are not installed.
    """
    try:
        # Costs a second and needs Pango: only who asks for PDF pays for it.
        from weasyprint import CSS, HTML
    except (ImportError, OSError) as error:
        raise PdfUnavailableError(
            _("PDF cannot be made here (%(why)s): install Pango, or print the page")
            % {"why": error}
        ) from None

    def refuse(url: str, *_args: Any, **_kwargs: Any) -> Any:
        raise ValueError(f"a report fetches nothing: {url}")

    style = CSS(string=STYLE.read_text(encoding="utf-8"), url_fetcher=refuse)
    document = HTML(string=render_report(month, verdicts, pdf=True), url_fetcher=refuse)
    return bytes(document.write_pdf(stylesheets=[style]))


# --- tables --------------------------------------------------------------------------------------------

_COLUMNS = ("section", "what", "begin", "end", "seconds", "value", "why", "who")


def _cell(value: Any) -> str:
    """Text that a spreadsheet does not take for a formula."""
    text = "" if value is None else str(value)
    return (
        f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _number(text) else text
    )


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _stamp(at: dt.datetime | None) -> str:
    return "" if at is None else at.astimezone(plant_zone()).isoformat(timespec="seconds")


def _seconds(length: dt.timedelta | None) -> str:
    return "" if length is None else f"{length.total_seconds():.3f}".rstrip("0").rstrip(".")


def report_rows(month: Month) -> Iterator[tuple[Any, ...]]:
    """Everything of the report, a row each: figures, causes, exclusions, interruptions, changes."""
    measured = month.measured
    for name, value in (
        ("availability", measured.availability),
        ("objective", measured.objective),
        ("outages", measured.outages),
        ("scans", month.scans.scans),
        ("scans_late", month.scans.missed),
        ("scans_in_time", month.scans.in_time),
        ("longest_streak_late", month.scans.longest_streak),
    ):
        yield "figure", name, "", "", "", "n/a" if value is None else value, "", ""
    for quality in month.quality:
        name = quality.indicator.replace("-", "_")
        yield "figure", f"{name}_minutes", "", "", "", round(quality.minutes, 3), "", ""
        yield "figure", f"{name}_good_minutes", "", "", "", round(quality.good, 3), "", ""
        objective = "n/a" if quality.objective is None else quality.objective
        yield "figure", f"{name}_objective", "", "", "", objective, "", ""
    for name, length in (
        ("eligible", measured.eligible),
        ("down", measured.down),
        ("missing", measured.missing),
        ("excluded", measured.excluded),
        ("ordered", measured.ordered),
        ("budget", month.budget),
        ("budget_left", month.budget_left),
        ("mttr", measured.mttr),
        ("mtbf", measured.mtbf),
    ):
        yield "figure", name, "", "", _seconds(length), "", "", ""
    for name, times in (("provisioned", month.provisioning), ("recovered", month.recovery)):
        yield "figure", name, "", "", "", times.count, "", ""
        yield "figure", f"{name}_promised", "", "", "", times.promised, "", ""
        yield "figure", f"{name}_in_time", "", "", "", times.within, "", ""
        yield "figure", f"{name}_longest", "", "", _seconds(times.longest), "", "", ""
    for bar in month.pareto():
        yield "cause", bar["cause"], "", "", _seconds(bar["length"]), round(bar["share"], 6), "", ""
    for window in month.windows:
        who = getattr(window.approved_by, "username", "")
        why = " · ".join(filter(None, (window.reason, window.decision_reason)))
        begin, end = _stamp(window.begins_at), _stamp(window.ends_at)
        yield "exclusion", "window", begin, end, "", window.every_days or "", why, who
    for row in reversed(month.rows):
        who = getattr(row.written_by, "username", "")
        why = " · ".join(filter(None, (row.why, row.reason)))
        begin, end = _stamp(row.begin), _stamp(row.end)
        yield "interruption", row.kind, begin, end, _seconds(row.length), row.cause, why, who
    for change in reversed(month.changes):
        yield "change", change.kind, _stamp(change.at), "", "", change.code, change.text, ""
    for seal in month.seals:
        who = getattr(seal.made_by, "username", "")
        yield "seal", seal.number, _stamp(seal.made_at), "", "", seal.digest, "", who


def _table(columns: tuple[str, ...], rows: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def render_csv(month: Month) -> str:
    """The report as one table; moments in the plant's zone."""
    return _table(_COLUMNS, report_rows(month))


def plant_csv(sums: Any) -> str:
    """A month's figures of many environments, as they were last measured."""
    columns = (
        "environment", "project", "month", "availability", "eligible_s", "down_s", "missing_s",
        "excluded_s", "ordered_s", "budget_s", "outages", "measured_at",
    )  # fmt: skip

    def rows() -> Iterator[tuple[Any, ...]]:
        row: MonthSum
        for row in sums.iterator(chunk_size=1000):
            yield (
                row.environment.name, row.environment.project.slug, f"{row.month:%Y-%m}",
                "n/a" if row.availability is None else f"{row.availability:.6f}",
                row.eligible_s, row.down_s, row.missing_s, row.excluded_s, row.ordered_s,
                row.budget_s, row.outages, _stamp(row.measured_at),
            )  # fmt: skip

    return _table(columns, rows())


# --- a sealed month -------------------------------------------------------------------------------------


def sealed_file(seal: Seal) -> Iterator[str]:
    """A sealed month as a file that `millwright sla verify` checks without a database: rows as they are now.

    What somebody changed past the ledger since is told by that check.
    """
    environment, span = seal.environment, month_period(plant_zone(), seal.month)
    at = dt.datetime.fromisoformat(seal.inputs["at"])
    parts: dict[str, Any] = {
        part: input_rows(environment, span, part, seal.inputs[part]["last"])
        for part in APPENDED
        if part in seal.inputs
    }
    parts["windows"] = window_rows(environment, span, at)
    parts["service"] = service_rows(environment, at)
    head = {
        "environment": environment.name,
        "id": str(environment.pk),
        "month": f"{seal.month:%Y-%m}",
        "number": seal.number,
        "made_at": seal.made_at.isoformat(),
        "made_by": getattr(seal.made_by, "username", ""),
    }
    body = {"inputs": seal.inputs, "previous": seal.previous, "digest": seal.digest}
    return write_file(head, parts, body)
