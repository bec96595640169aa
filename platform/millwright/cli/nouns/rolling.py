"""`millwright rolling-drain …`."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_one, show_rows


@click.group("rolling-drain")
def rolling_drain() -> None:
    """Drain hosts one after another, for upgrades: each is worked on and taken back before the next."""


@rolling_drain.command()
@click.argument("hosts", nargs=-1, required=True)
@click.option("--minutes", type=int, help="Work on each; without: until `done` is said.")
@click.option(
    "--dry-run", is_flag=True, help="Say what would happen; ends with 1 if it would wait."
)
@click.option("--approve", is_flag=True, help="Also what moves only by a person's word.")
@click.option("--reason", default="")
@format_option
def start(
    hosts: tuple[str, ...],
    minutes: int | None,
    dry_run: bool,
    approve: bool,
    reason: str,
    form: str,
) -> None:
    """Drain hosts in this order.

    Example: millwright rolling-drain start press-1 press-2 press-3 --minutes 20 --reason "new kernel"
    """
    api = Api.from_settings()
    body: dict[str, Any] = {"hosts": list(hosts), "work_minutes": minutes}
    if not dry_run:
        row = api.post("rolling-drains/", body | {"approve": approve, "reason": reason})
        show_one(row, form, hide=("progress",))
        return
    plan = api.post("rolling-drains/preview/", body)
    if form == "json":
        show_one(plan, form)
    else:
        show_rows(plan["hosts"], ("host", "moves", "seconds", "approval", "blockers"), form)
        click.echo(f"in all about {plan['seconds'] / 60:.0f} minutes")
    if any(row["blockers"] for row in plan["hosts"]):
        raise SystemExit(1)


@rolling_drain.command()
@format_option
def show(form: str) -> None:
    """How far the newest one is, host by host."""
    row = Api.from_settings().first("rolling-drains/")
    if row is None:
        raise CliError("no rolling drain was begun yet")
    if form == "json":
        show_one(row, form)
        return
    click.echo(f"{row['id']}: {row['state']}{': ' + row['note'] if row['note'] else ''}")
    show_rows(row["progress"], ("host", "state", "since"), form)


def _act(verb: str, reason: str) -> None:
    api = Api.from_settings()
    row = api.first("rolling-drains/")
    if row is None:
        raise CliError("no rolling drain was begun yet")
    made = api.post(f"rolling-drains/{row['id']}/{verb}/", {"reason": reason})
    click.echo(f"{made['id']}: {made['state']}")


@rolling_drain.command()
@click.option("--reason", default="")
def pause(reason: str) -> None:
    """Start nothing more; what moves arrives."""
    _act("pause", reason)


@rolling_drain.command()
@click.option("--reason", default="")
def resume(reason: str) -> None:
    """Go on where it was paused."""
    _act("resume", reason)


@rolling_drain.command()
@click.option("--reason", default="")
def done(reason: str) -> None:
    """The work on the host in maintenance is done: it takes machines again, the next one follows."""
    _act("done", reason)


@rolling_drain.command()
@click.option("--reason", default="")
def skip(reason: str) -> None:
    """Leave out the host that it is at."""
    _act("skip", reason)


@rolling_drain.command()
@click.option("--reason", default="")
def stop(reason: str) -> None:
    """End it here; a host in maintenance stays in it."""
    _act("stop", reason)
