"""`millwright modbus …`: Modbus over TLS of a project's controllers, or of one environment's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_one, show_rows


@click.group()
def modbus() -> None:
    """Modbus over TLS at port 802: whose certificates count, and what each role may."""


@modbus.command("list")
@format_option
def list_rules(form: str) -> None:
    """List the projects and environments whose controllers ask for certificates."""
    rows = [
        {**row, "roles": ", ".join(role["name"] for role in row["roles"])}
        for row in Api.from_settings().rows("modbus-security/")
    ]
    show_rows(rows, ("project", "environment", "plain", "roles", "id"), form)


@modbus.command("set")
@click.argument("project")
@click.option("--environment", default="", help="Of this environment alone.")
@click.option(
    "--authorities",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates in PEM: of the clients' authorities, or of the clients.",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    help="NAME, or NAME=AREA FIRST-LAST,… for what it may write; several times.",
)
@click.option("--plain/--no-plain", default=True, help="Whether stations reach port 502 too.")
@format_option
def set_rules(
    project: str,
    environment: str,
    authorities: Path,
    roles: tuple[str, ...],
    plain: bool,
    form: str,
) -> None:
    """Have PROJECT's controllers serve port 802 to clients with these certificates.

    Example: millwright modbus set line-1 --authorities ca.pem --role viewer --role "operator=holding 3-9,coil 320"
    """
    body: dict[str, Any] = {
        "project": project,
        "environment": environment,
        "authorities": authorities.read_text(encoding="utf-8"),
        "plain": plain,
        "roles": [_role(text) for text in roles],
    }
    row = Api.from_settings().post("modbus-security/", body)
    show_one({**row, "roles": ", ".join(role["name"] for role in row["roles"])}, form)


@modbus.command()
@click.argument("project")
@click.option("--environment", default="", help="Of this environment alone.")
def remove(project: str, environment: str) -> None:
    """Close port 802 again."""
    api = Api.from_settings()
    for row in api.rows("modbus-security/"):
        if row["project"] == project and (row["environment"] or "") == environment:
            api.delete(f"modbus-security/{row['id']}/")
            click.echo(f"{environment or project}: removed")
            return
    raise CliError(f"{environment or project} has no Modbus security")


def _role(text: str) -> dict[str, Any]:
    name, _sign, ranges = text.partition("=")
    return {"name": name.strip(), "write": ranges_of(ranges, f"--role {text!r}")}


def ranges_of(text: str, option: str = "--write") -> list[dict[str, Any]]:
    """`holding 3-9,coil 320` as the API takes it.

    Raises:
        CliError: names option and part.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        area, _space, place = part.partition(" ")
        first, _dash, last = place.strip().partition("-")
        if not (first.isascii() and first.isdigit() and (not last or last.isdigit())):
            raise CliError(f"{option}: {part!r} is written like holding 3-9 or coil 320")
        found.append({"area": area, "first": int(first), "last": int(last or first)})
    return found
