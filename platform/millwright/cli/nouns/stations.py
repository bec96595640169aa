"""`millwright station …`: engineering stations that a project's machines let in."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_one, show_rows

from .modbus import ranges_of


@click.group()
def station() -> None:
    """Engineering stations: computers of a cell that reach a project's machines."""


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    parts = [f"{each['area']} {each['first']}-{each['last']}" for each in row["write_ranges"]]
    return {**row, "write_ranges": ", ".join(parts)}


@station.command("list")
@click.option("--project", default="", help="Of this project alone.")
@format_option
def list_stations(project: str, form: str) -> None:
    """List stations and what each may write."""
    asked = {"project__slug": project} if project else {}
    rows = [_shown(row) for row in Api.from_settings().rows("stations/", **asked)]
    show_rows(rows, ("name", "project", "cell", "cidr", "write_ranges", "id"), form)


@station.command("set")
@click.argument("name")
@click.argument("cidr")
@click.option("--project", required=True)
@click.option("--cell", required=True)
@click.option("--write", default="", help="What it may write: AREA FIRST-LAST,…; nothing without.")
@format_option
def set_station(name: str, cidr: str, project: str, cell: str, write: str, form: str) -> None:
    """Register NAME at the address or network CIDR, or change it. The firewall follows.

    Example: millwright station set desk 10.90.1.8 --project line-1 --cell line1 --write "holding 3-9,coil 320"
    """
    body = {
        "name": name,
        "cidr": cidr,
        "project": project,
        "cell": cell,
        "write_ranges": ranges_of(write),
    }
    show_one(_shown(Api.from_settings().post("stations/", body)), form)


@station.command()
@click.argument("name")
@click.option("--project", required=True)
def remove(name: str, project: str) -> None:
    """Forget a station; machines are closed to it."""
    api = Api.from_settings()
    found = api.first("stations/", name=name, project__slug=project)
    if found is None:
        raise CliError(f"no station named {name!r} in {project}")
    api.delete(f"stations/{found['id']}/")
    click.echo(f"{name}: removed")
