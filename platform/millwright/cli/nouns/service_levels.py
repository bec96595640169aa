"""`millwright sla …`."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.output import format_option, show_one, show_rows


@click.group()
def sla() -> None:
    """What was promised and what is kept."""


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{int(value * 1e5 + 1e-6) / 1e3:.3f} %"


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds // 60:.0f} min"


def _month_option(function: Any) -> Any:
    return click.option("--month", default="", help="YYYY-MM; left out: the month that runs.")(
        function
    )


@sla.command()
@format_option
def status(form: str) -> None:
    """Lines in service, worst first, as the wall shows them."""
    found = Api.from_settings().get("service-levels/wall/")
    if form == "table" and found["silent_since"]:
        click.echo(f"nothing was measured since {found['silent_since']}", err=True)
    rows = [
        row
        if form == "json"
        else {
            **row,
            "since": row["since"][:19],
            "availability": _percent(row["availability"]),
            "budget_left": _minutes(row["budget_left_s"]),
            "burn": "-" if row["burn"] is None else f"{row['burn']:.2f}",
        }
        for row in found["lines"]
    ]
    columns = ("environment", "state", "since", "class", "availability", "budget_left", "burn")
    show_rows(rows, (*columns, "cause", "why"), form)


@sla.command("list")
@_month_option
@format_option
def list_months(month: str, form: str) -> None:
    """A month's figures of all environments."""
    rows = list(Api.from_settings().rows("service-levels/", **({"month": month} if month else {})))
    if form == "table":
        for row in rows:
            row |= {
                "availability": _percent(row["availability"]),
                "down": _minutes(row["down_s"]),
                "budget": _minutes(row["budget_s"]),
            }
    show_rows(rows, ("environment", "month", "availability", "down", "budget", "outages"), form)


@sla.command()
@click.argument("environment")
@_month_option
@format_option
def show(environment: str, month: str, form: str) -> None:
    """One environment's month: figures, causes, what changed."""
    query = {"month": month} if month else {}
    row = Api.from_settings().get(f"service-levels/{environment}/", **query)
    if form == "json":
        show_one(row, form)
        return
    for name in ("availability", "objective", "scans_in_time"):
        row[name] = _percent(row[name])
    lists = ("causes", "contracts", "windows", "changes", "budget", "seals")
    show_one(row, form, hide=lists)
    click.echo()
    for bar in row["causes"]:
        bar["share"] = _percent(bar["share"])
    show_rows(row["causes"], ("cause", "length_s", "share"), form)
    click.echo()
    show_rows(row["changes"], ("at", "kind", "what", "state", "why"), form)
