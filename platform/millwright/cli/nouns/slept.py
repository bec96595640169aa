"""`millwright recommendation savings`: what sleeping hosts save, and how good the forecast was."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.output import format_option, show_one, show_rows

_DAY = (
    "A day like 2026-05-04 or a time like 2026-05-04T06:00, in the plant's zone unless it names one"
)
_HOURS = ("at", "expected CPUs", "CPUs", "awake CPUs", "expected GiB", "GiB", "awake GiB", "note")
_HOSTS = ("host", "hours asleep", "sleeps", "watts", "kwh", "late", "failed")
_GIB = 2**30


@click.command()
@click.option("--hours", is_flag=True, help="Hour by hour what was expected and what was.")
@click.option("--from", "since", metavar="TIME", help=f"{_DAY}; without: seven days.")
@click.option("--to", "until", metavar="TIME", help="End of the period; a day counts whole.")
@format_option
def savings(hours: bool, since: str | None, until: str | None, form: str) -> None:
    """Hours asleep and energy saved by host; with --hours the forecast against what was.

    Example: millwright recommendation savings --from 2026-05-01 --to 2026-05-31
    """
    asked: dict[str, Any] = {
        name: value for name, value in (("from", since), ("to", until)) if value
    }
    api = Api.from_settings()
    if hours:
        rows = api.get("recommendations/consolidation/hours/", **asked)
        show_rows(rows if form == "json" else [_hour(row) for row in rows], _HOURS, form)
        return
    told = api.get("recommendations/consolidation/savings/", **asked)
    if form == "json":
        show_one(told, form)
        return
    show_rows([_host(row) for row in told["hosts"]], _HOSTS, form)
    known = "energy not known" if told["kwh"] is None else f"{told['kwh']:.1f} kWh saved"
    click.echo(
        f"{told['since']} to {told['until']}: {told['asleep_s'] / 3600:.1f} hours asleep, {known}, "
        f"{told['late']} late wakes, {told['failed']} failed"
    )
    if told["unknown_s"]:
        click.echo(f"of {told['unknown_s'] / 3600:.1f} hours the watts are not known")


def _host(row: dict[str, Any]) -> dict[str, Any]:
    """A host's line; what is not known is a dash."""
    return row | {
        "hours asleep": f"{row['asleep_s'] / 3600:.1f}",
        "kwh": None if row["kwh"] is None else f"{row['kwh']:.2f}",
    }


def _hour(row: dict[str, Any]) -> dict[str, Any]:
    """An hour's line; what is not known is a dash."""

    def cpus(name: str) -> str | None:
        return None if row[name] is None else f"{row[name]['cpus']:.1f}"

    def gib(name: str) -> str | None:
        return None if row[name] is None else f"{row[name]['memory_bytes'] / _GIB:.1f}"

    words = [word for word, is_so in (("short", row["short"]), ("lacked", row["lacked"])) if is_so]
    return {
        "at": row["at"],
        "expected CPUs": cpus("expected"),
        "CPUs": cpus("measured"),
        "awake CPUs": cpus("awake"),
        "expected GiB": gib("expected"),
        "GiB": gib("measured"),
        "awake GiB": gib("awake"),
        "note": ", ".join(words),
    }
