"""`millwright host …`."""

from __future__ import annotations

import json

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_one, show_rows


@click.group()
def host() -> None:
    """Hosts of the pool: what they can give, who owns which CPU."""


@host.command("list")
@format_option
def list_hosts(form: str) -> None:
    """List hosts."""
    show_rows(
        Api.from_settings().rows("hosts/"),
        ("name", "state", "administration", "accel", "uri", "last_seen"),
        form,
    )


@host.command()
@click.argument("name")
@format_option
def show(name: str, form: str) -> None:
    """Show one host with its capabilities and CPU claims."""
    show_one(Api.from_settings().get(f"hosts/{name}/"), form, hide=("topology",))


@host.command()
@click.argument("name")
@click.argument("uri")
@click.option("--address", help="Management address.")
@click.option("--agent-url", default="", help="http://address:port of its agent.")
@click.option(
    "--policy", default="{}", help='JSON, e.g. {"realtime_cpus": "2-3", "housekeeping_cpus": "0-1"}'
)
@format_option
def add(name: str, uri: str, address: str | None, agent_url: str, policy: str, form: str) -> None:
    """Register a host, or change how it is registered.

    Example: millwright host add press-1 qemu+tls://press-1/system --policy '{"housekeeping_cpus": "0-1"}'
    """
    try:
        parsed = json.loads(policy)
    except ValueError as error:
        raise CliError(f"--policy {policy!r}: not JSON ({error})") from None
    body = {"name": name, "uri": uri, "address": address, "agent_url": agent_url, "policy": parsed}
    show_one(Api.from_settings().post("hosts/", body), form, hide=("topology", "capabilities"))


@host.command()
@click.argument("name")
@click.option("--reason", default="")
def cordon(name: str, reason: str) -> None:
    """Let a host take nothing new."""
    row = Api.from_settings().post(f"hosts/{name}/cordon/", {"reason": reason})
    click.echo(f"{row['name']}: {row['administration']}")


@host.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would move and what cannot; move nothing.")
@click.option("--approve", is_flag=True, help="Also what moves only by a person's word.")
@click.option("--reason", default="")
@format_option
def drain(name: str, dry_run: bool, approve: bool, reason: str, form: str) -> None:
    """Empty a host: its machines move to the others, then it is in maintenance.

    With --dry-run, ends with 1 when a machine cannot leave.
    """
    api = Api.from_settings()
    if not dry_run:
        row = api.post(f"hosts/{name}/drain/", {"approve": approve, "reason": reason})
        click.echo(f"{row['name']}: {row['administration']}")
        return
    plan = api.get(f"hosts/{name}/drain/")
    if form == "json":
        show_one(plan, form)
    else:
        columns = ("machine", "destination", "approval", "seconds", "text")
        show_rows(plan["moves"], columns, form)
        for row in plan["blockers"]:
            click.echo(f"cannot leave: {row['machine']}: {row['why']}")
    if not plan["possible"]:
        raise SystemExit(1)


@host.command()
@click.argument("name")
@click.option("--reason", default="")
def uncordon(name: str, reason: str) -> None:
    """Let a host take machines again."""
    row = Api.from_settings().post(f"hosts/{name}/uncordon/", {"reason": reason})
    click.echo(f"{row['name']}: {row['administration']}")


@host.command()
@format_option
def drift(form: str) -> None:
    """Differences between intent and what the hosts say."""
    show_rows(
        Api.from_settings().rows("drifts/"), ("host", "kind", "name", "detail", "first_seen"), form
    )
