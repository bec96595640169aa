"""`millwright lab`: several real libvirt hosts on this machine."""

from __future__ import annotations

import json
from typing import Any

import click

from millwright.settings import get_settings

from .errors import LabError
from .lab import Lab


def the_lab() -> Lab:
    """The lab of this installation."""
    settings = get_settings()
    return Lab(settings.lab_dir, settings.pki_dir, settings.index)


class _Friendly(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Friendly)
def lab() -> None:
    """Real libvirt hosts on this machine, each in namespaces of its own.

    \b
    millwright lab up --hosts 3
    millwright lab kill h1                  power loss, guests too
    millwright lab kill h1 --only libvirtd  the daemon alone
    millwright lab freeze h2 ; millwright lab restore h2
    """


@lab.command()
@click.option("--hosts", default=2, show_default=True, help="How many.")
def up(hosts: int) -> None:
    """Start the lab; running again changes nothing."""
    the_lab().up(hosts, click.echo)


@lab.command()
def down() -> None:
    """Take everything of the lab away."""
    the_lab().down(click.echo)


@lab.command()
@click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table")
def status(shape: str) -> None:
    """What runs."""
    found = the_lab().status()
    if shape == "json":
        click.echo(json.dumps(found, indent=1, default=str))
        return
    for host in found["hosts"]:
        state = "frozen" if host["frozen"] else "up" if host["libvirtd"] else "down"
        click.echo(
            f"{host['name']:10} {state:7} {host['address']:14} CPUs {host['cpus']} {host['processes']} processes"
        )
    if not found["hosts"]:
        click.echo("there is no lab; start one with: millwright lab up")


def _verb(name: str, text: str) -> None:
    @lab.command(name, help=text)
    @click.argument("host")
    def command(host: str) -> None:
        click.echo(getattr(the_lab(), name)(host))


for _name, _text in (
    ("freeze", "Stop a host with its guests where they stand."),
    ("cut", "Pull a host's cables."),
    ("restore", "Undo whatever befell a host."),
):
    _verb(_name, _text)


@lab.command()
@click.argument("host")
@click.option("--only", type=click.Choice(["libvirtd"]), help="Kill this alone; guests live on.")
def kill(host: str, only: str | None) -> None:
    """Power loss of a host, its guests too."""
    click.echo(the_lab().kill(host, only))
