"""`millwright ledger …`, `millwright maintenance …` and `millwright contract …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.output import format_option, show_rows

_COLUMNS = ("id", "environment", "machine", "begin", "end", "kind", "cause", "why")
_reason = click.option("--reason", default="", help="Why; it stands in the report.")


def _say(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        click.echo(
            f"{row['id']}: {row['environment']} {row['begin']} to {row['end'] or 'now'}, {row['cause']}"
        )


@click.group()
def ledger() -> None:
    """Interruptions and their causes. Rows are never changed: a correction is a new row."""


@ledger.command("list")
@click.option("--cause", default="unknown", show_default=True, help="A cause, or all.")
@click.option("--environment", default="", help="Of one environment.")
@click.option("--open", "still_open", is_flag=True, help="Only what is not over.")
@click.option("--limit", default=50, show_default=True)
@format_option
def list_rows(cause: str, environment: str, still_open: bool, limit: int, form: str) -> None:
    """List rows, newest first; without --cause those that nobody has explained."""
    query: dict[str, Any] = {} if cause == "all" else {"cause": cause}
    if environment:
        query["environment"] = environment
    if still_open:
        query["open"] = "true"
    found = Api.from_settings().rows("intervals/", **query)
    show_rows([row for row, _ in zip(found, range(limit), strict=False)], _COLUMNS, form)


@ledger.command()
@click.argument("number", type=int)
@click.argument("cause")
@_reason
def classify(number: int, cause: str, reason: str) -> None:
    """Give a row its cause: unplanned, small_stop, planned, changeover, excluded, void, unknown."""
    body = {"cause": cause, "reason": reason}
    _say(Api.from_settings().post(f"intervals/{number}/classify/", body))


@ledger.command()
@click.argument("number", type=int)
@click.argument("at")
@_reason
def split(number: int, at: str, reason: str) -> None:
    """Make two rows of one, AT a moment as 2026-06-10T12:30:00Z."""
    _say(Api.from_settings().post(f"intervals/{number}/split/", {"at": at, "reason": reason}))


@ledger.command()
@click.argument("numbers", type=int, nargs=-1, required=True)
@_reason
def merge(numbers: tuple[int, ...], reason: str) -> None:
    """Make one row of several of one machine."""
    body = {"intervals": list(numbers), "reason": reason}
    _say(Api.from_settings().post("intervals/merge/", body))


@ledger.command()
@click.argument("number", type=int)
@click.argument("text")
def comment(number: int, text: str) -> None:
    """Say something of an incident."""
    Api.from_settings().post(f"intervals/{number}/comment/", {"text": text})
    click.echo("noted")


@ledger.command()
@click.argument("number", type=int)
def acknowledge(number: int) -> None:
    """Say that you have seen it."""
    Api.from_settings().post(f"intervals/{number}/acknowledge/")
    click.echo("noted")


# --- maintenance --------------------------------------------------------------------------------------


@click.group()
def maintenance() -> None:
    """Windows of maintenance that are agreed not to count."""


@maintenance.command("list")
@click.option("--state", default="", help="requested, approved, active, closed …")
@format_option
def list_windows(state: str, form: str) -> None:
    """List windows, newest first."""
    columns = ("id", "environment", "begins_at", "ends_at", "every_days", "state", "reason")
    rows = Api.from_settings().rows("maintenance-windows/", **({"state": state} if state else {}))
    show_rows(rows, columns, form)


@maintenance.command()
@click.argument("environment")
@click.argument("begins")
@click.argument("ends")
@click.option("--reason", required=True, help="Why; it stands in the report.")
@click.option("--every-days", default=0, help="Again every so many days.")
@click.option("--until", default=None, help="Last on this day, YYYY-MM-DD.")
def ask(
    environment: str, begins: str, ends: str, reason: str, every_days: int, until: str | None
) -> None:
    """Ask for a window, to come or past: BEGINS and ENDS as 2026-06-10T22:00:00Z."""
    body = {
        "environment": environment,
        "begins_at": begins,
        "ends_at": ends,
        "reason": reason,
        "every_days": every_days,
        "until": until,
    }
    row = Api.from_settings().post("maintenance-windows/", body)
    late = " (late: who approves has to say why)" if row["late"] else ""
    click.echo(f"{row['id']}: {row['state']}{late}")


def _decide(window: str, verb: str, reason: str = "") -> None:
    body = {"reason": reason} if reason else {}
    row = Api.from_settings().post(f"maintenance-windows/{window}/{verb}/", body)
    click.echo(f"{row['id']}: {row['state']}")


@maintenance.command()
@click.argument("window")
@_reason
def approve(window: str, reason: str) -> None:
    """Agree that a window does not count."""
    _decide(window, "approve", reason)


@maintenance.command()
@click.argument("window")
@_reason
def reject(window: str, reason: str) -> None:
    """Do not agree."""
    _decide(window, "reject", reason)


@maintenance.command()
@click.argument("window")
def withdraw(window: str) -> None:
    """Take back a window that has not begun."""
    _decide(window, "withdraw")


@maintenance.command()
@click.argument("window")
def close(window: str) -> None:
    """Say that it is done: nothing after this moment is excluded."""
    _decide(window, "close")


# --- contracts ----------------------------------------------------------------------------------------


@click.group()
def contract() -> None:
    """What is promised to classes and environments."""


@contract.command("list")
@click.option("--environment", default="", help="Of one environment.")
@format_option
def list_contracts(environment: str, form: str) -> None:
    """List contracts, the newest first."""
    query = {"environment__name": environment} if environment else {}
    columns = (
        "service_class", "environment", "availability_ratio", "cycle_ratio", "valid_from", "note",
    )  # fmt: skip
    show_rows(Api.from_settings().rows("contracts/", **query), columns, form)


def _promise(function: Any) -> Any:
    for option in (
        click.option("--note", default="", help="Why."),
        click.option(
            "--hours",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help='A JSON file: {"shifts": [{"days": ["mon"], "from": "06:00", "to": "22:00"}], "holidays": ["12-25"]}.',
        ),
        click.option(
            "--recovery",
            type=click.IntRange(1, 86400),
            help="Back after a host's loss within, in seconds.",
        ),
        click.option(
            "--provisioning", type=click.IntRange(1, 86400), help="Provisioned within, in seconds."
        ),
        click.option(
            "--core-wait",
            type=float,
            help="Share of minutes in which control cores hardly wait, as 0.999.",
        ),
        click.option(
            "--device-link", type=float, help="Share of minutes with good links to devices."
        ),
        click.option(
            "--streak",
            type=click.IntRange(0, 1_000_000),
            help="Late scans one after another, at most.",
        ),
        click.option("--cycles", type=float, help="Share of scans in time, as 0.9999."),
        click.option("--availability", type=float, required=True, help="As 0.999."),
        click.option(
            "--class",
            "service_class",
            default="",
            help="Of a class of machines; plant: of portal and API.",
        ),
        click.option("--environment", default="", help="Of one environment."),
    ):
        function = option(function)
    return function


def _body(
    environment: str,
    service_class: str,
    availability: float,
    cycles: float | None,
    streak: int | None,
    provisioning: int | None,
    recovery: int | None,
    device_link: float | None,
    core_wait: float | None,
    hours: Path | None,
    note: str,
) -> dict[str, Any]:
    return {
        "environment": environment,
        "service_class": service_class,
        "availability_ratio": availability,
        "cycle_ratio": cycles,
        "cycle_streak": streak,
        "provisioning_s": provisioning,
        "recovery_s": recovery,
        "device_link_ratio": device_link,
        "run_queue_ratio": core_wait,
        "hours": json.loads(hours.read_text(encoding="utf-8")) if hours else {},
        "note": note,
    }


@contract.command()
@_promise
@format_option
def preview(form: str, **given: Any) -> None:
    """What the last three months would have been; changes nothing."""
    rows = Api.from_settings().post("contracts/preview/", _body(**given))
    show_rows(rows, ("month", "was", "would", "kept", "would_keep", "environments"), form)


@contract.command()
@_promise
@click.option("--from", "valid_from", default=None, help="As 2026-07-01T00:00:00Z; else from now.")
def write(valid_from: str | None, **given: Any) -> None:
    """Promise something else from a time on."""
    row = Api.from_settings().post("contracts/", {**_body(**given), "valid_from": valid_from})
    click.echo(f"{row['availability_ratio']:.4%} from {row['valid_from']} on")
