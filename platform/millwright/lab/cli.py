"""`millwright lab`: several real libvirt hosts on this machine."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from millwright.settings import get_settings

from .agent import answer
from .errors import LabError
from .lab import Lab
from .plan import MAX_HOSTS


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


_shape = click.option(
    "--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True
)


@click.group(cls=_Friendly)
def lab() -> None:
    """Real libvirt hosts on this machine, each in namespaces of its own.

    \b
    millwright lab up --hosts 3
    millwright lab status --format json
    millwright lab kill h1                  power loss, guests too
    millwright lab kill h1 --only libvirtd  the daemon alone; guests live on
    millwright lab freeze h2
    millwright lab cut h2
    millwright lab restore h2               whatever befell it
    millwright lab down

    A HOST is named mw0-h1, h1 or 1.
    """


@lab.command()
@click.option(
    "--hosts", default=2, show_default=True, help="How many.", type=click.IntRange(1, MAX_HOSTS)
)
@_shape
def up(hosts: int, shape: str) -> None:
    """Start the lab; running again mends what is broken and changes nothing else.

    \b
    millwright lab up --hosts 3
    """
    the_lab().up(hosts, lambda line: click.echo(line, err=shape == "json"))
    if shape == "json":
        click.echo(json.dumps(the_lab().status(), indent=1))


@lab.command()
def down() -> None:
    """Take everything of the lab away: guests, daemons, networks, files.

    \b
    millwright lab down
    """
    the_lab().down(click.echo)


@lab.command()
@_shape
def status(shape: str) -> None:
    """What runs.

    \b
    millwright lab status --format json
    """
    found = the_lab().status()
    if shape == "json":
        click.echo(json.dumps(found, indent=1))
        return
    for host in found["hosts"]:
        if host["frozen"]:
            state = "frozen"
        elif host["cut"]:
            state = "cut"
        else:
            state = "up" if host["libvirtd"] else "down"
        cpus = ",".join(map(str, host["cpus"]))
        click.echo(
            f"{host['name']:10} {state:7} {host['address']:14} CPUs {cpus:8} {host['processes']} processes"
        )
    if not found["hosts"]:
        click.echo("there is no lab; start one with: millwright lab up")


def _verb(name: str, text: str) -> None:
    @lab.command(name, help=f"{text}\n\n\b\nmillwright lab {name} h1")
    @click.argument("host")
    def command(host: str) -> None:
        click.echo(getattr(the_lab(), name)(host))


for _name, _text in (
    ("freeze", "Stop a host with its guests where they stand."),
    ("restore", "Undo whatever befell a host."),
):
    _verb(_name, _text)


@lab.command()
@click.argument("host")
@click.option(
    "--only", type=click.Choice(["management", "cell"]), help="This cable alone; the other holds."
)
def cut(host: str, only: str | None) -> None:
    """Pull a host's cables.

    \b
    millwright lab cut h1
    millwright lab cut h1 --only cell
    """
    click.echo(the_lab().cut(host, only))


@lab.command()
def agent() -> None:
    """Speak as the fence agent of the lab's hosts: action=on|off|status and plug=HOST on standard input.

    \b
    printf 'action=status\\nplug=h1\\n' | millwright lab agent
    """
    code, text = answer(the_lab(), sys.stdin)
    click.echo(text)
    raise SystemExit(code)


@lab.command()
@click.argument("host")
@click.option("--only", type=click.Choice(["libvirtd"]), help="Kill this alone; guests live on.")
def kill(host: str, only: str | None) -> None:
    """Power loss of a host, its guests too.

    \b
    millwright lab kill h1
    millwright lab kill h1 --only libvirtd
    """
    click.echo(the_lab().kill(host, only))
