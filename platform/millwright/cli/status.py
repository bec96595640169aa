"""`millwright status` and `millwright logs`."""

from __future__ import annotations

import subprocess
from typing import Any

import click

from millwright.settings import get_settings

from .client import Api
from .errors import CliError
from .output import show_json
from .place import checkout


@click.command()
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def status(form: str) -> None:
    """What runs: portal, environments with their addresses, hosts.

    \b
    millwright status --format json | jq -r '.environments[].machines[].modbus'
    """
    data = read_status()
    if form == "json":
        show_json(data)
        return
    click.echo(f"portal      {data['portal']['url']}")
    click.echo(f"prometheus  {data['prometheus']['url']}")
    for row in data["hosts"]:
        click.echo(f"host        {row['name']}  {row['state']}  {row['accel']}  {row['uri']}")
    for row in data["environments"]:
        click.echo(f"environment {row['name']}  {row['state']}")
        for machine in row["machines"]:
            words = "  ".join(
                str(machine[key] or "-") for key in ("host", "state", "modbus", "opcua", "metrics")
            )
            click.echo(f"  {machine['name']}  {words}")
    for name, row in data["processes"].items():
        click.echo(f"process     {name}  {row['state']}  {row['detail']}")


def read_status() -> dict[str, Any]:
    """The portal's answer, and the processes here.

    Raises:
        CliError: the portal does not answer; says which process is at fault if one is.
    """
    from .supervision import Supervision

    supervision = Supervision(get_settings(), checkout())
    states = supervision.states()
    try:
        data = dict(Api.from_settings().get("status/"))
    except CliError as error:
        bad = [
            f"{name} is {row['state']}" for name, row in states.items() if row["state"] != "running"
        ]
        more = "; ".join(bad) or ("no process of this instance runs" if not states else "")
        raise CliError(f"{error} ({more})" if more else str(error)) from None
    return {**data, "processes": states}


@click.command()
@click.argument("name", required=False)
@click.option("-n", "--lines", default=40, show_default=True)
@click.option("-f", "--follow", is_flag=True)
def logs(name: str | None, lines: int, follow: bool) -> None:
    """Show a process's log; without a name, which logs there are."""
    folder = get_settings().log_dir
    there = sorted(path.stem for path in folder.glob("*.log"))
    if name is None:
        click.echo("\n".join(there) or "none")
        return
    if name not in there:
        raise CliError(f"no log of {name!r}; there are: {', '.join(there) or 'none'}")
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), str(folder / f"{name}.log")]
    subprocess.run(command, check=False)
