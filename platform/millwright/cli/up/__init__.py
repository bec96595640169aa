"""`millwright up`: everything set up, the main job run through the public API, and proven.

Every step ensures: what is there is kept and said to be unchanged, so a second run changes nothing, and
one that was killed half-way goes on.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from millwright.cli.errors import CliError
from millwright.cli.place import adopt_instance, alone, checkout
from millwright.settings import get_settings

from .steps import Plan, Run

__all__ = ["Plan", "Run", "up"]


@click.command()
@click.option(
    "--pool", default="", help="Use a libvirt you have, e.g. qemu:///system, in place of a lab."
)
@click.option("--hosts", default=2, show_default=True, help="Hosts of the lab.")
@click.option("--bare", is_flag=True, help="The platform only: no example environment.")
def up(pool: str, hosts: int, bare: bool) -> None:
    """Set everything up on this machine and run the main job. Running it again changes nothing.

    \b
    millwright up
    millwright up --pool qemu:///system
    """
    from . import (
        database,
        device,
        environment,
        images,
        machine,
        people,
        processes,
        program,
        proof,
        registration,
    )
    from . import hosts as pool_step

    machine.take_instance()
    adopt_instance()
    get_settings.cache_clear()
    settings = get_settings()
    # Django reads its settings from the same environment, whoever starts it.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millwright.settings.django")
    plan = Plan(settings=settings, root=checkout(), pool=pool, host_count=hosts)
    run = Run(plan, click.echo)
    steps = [
        ("This machine", machine.check),
        ("Template images", images.build),
        ("Hosts and networks", pool_step.start),
        ("Database", database.prepare),
        ("People and project", people.prepare),
        ("Processes", processes.start),
        ("Registration of hosts", registration.register),
    ]
    if not bare:
        steps += [
            ("Control program", program.upload_example),
            ("Request and approval", environment.request),
            ("Provisioning", environment.provisioned),
            ("Shop-floor device", device.connect),
            ("Proof", proof.prove),
        ]
    with alone(settings.home):
        try:
            run.through(steps)
        except CliError:
            click.echo(run.split())
            raise
    click.echo(run.split())
    for line in people.invitations(plan, bare=bare):
        click.echo(line)


def example_folder(root: Path) -> Path:
    """The example's project."""
    return root / "examples" / "filling_line"
