"""Where a machine would be placed, or was, in lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

#: Hosts that are told of one by one; `--format json` has all that the portal tells.
SHOWN = 50
#: Above so many hosts their number for each reason comes first.
_MANY = 12
_WAKES = {
    "waking": "is waking and takes it then",
    "falling_asleep": "is falling asleep and is woken for it",
}


def show_placement(report: Mapping[str, Any]) -> None:
    """Print the chosen host and how it comes to be awake, counts by reason, then the hosts."""
    click.echo(f"chosen: {report.get('chosen') or 'none'}{_power(report)}")
    for note in report.get("notes", []):
        click.echo(f"  note: {note}")
    rows = report.get("hosts", [])
    asked = report.get("asked", len(rows))
    if asked > _MANY:
        for row in report.get("counts", []):
            click.echo(f"  {row['count']} × {row['text'] or 'would take it'}")
    for row in rows[:SHOWN]:
        words = "; ".join(reason["message"] for reason in row["reasons"])
        fits = f"fits{_power(row)} (score {row['score']})"
        click.echo(f"  {row['host']}: {words or fits}")
    if asked > len(rows[:SHOWN]):
        click.echo(f"  these are the first {len(rows[:SHOWN])} of {asked} hosts")


def _power(row: Mapping[str, Any]) -> str:
    """What is done with a host that is not awake, or is being emptied, so that it takes the machine."""
    if seconds := row.get("wake_s"):
        how = _WAKES.get(row.get("power", ""), "is asleep and is woken for it")
        return f", {how}: in about {seconds:.0f} s"
    if row.get("emptied"):
        return ", is being emptied to sleep: that is called off"
    return ""
