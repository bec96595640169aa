"""The `millwright` command. Groups load their modules when they are used: help and status start at once."""

from __future__ import annotations

import importlib
import sys

import click

from millwright import __version__

#: command → where it lives, and what help says of it without importing it.
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "up": ("millwright.cli.up", "up", "Set everything up and run the main job."),
    "down": ("millwright.cli.down", "down", "Take everything away."),
    "status": ("millwright.cli.status", "status", "What runs, as a table or JSON."),
    "logs": ("millwright.cli.status", "logs", "Show a process's log."),
    "doctor": ("millwright.cli.doctor", "doctor", "Check this machine; say what to mend."),
    "host": ("millwright.cli.nouns.hosts", "host", "Hosts of the pool."),
    "notification": (
        "millwright.cli.nouns.notifications",
        "notification",
        "what one is told: list, read, choose",
    ),
    "webhook": (
        "millwright.cli.nouns.notifications",
        "webhook",
        "addresses that are told what happens; the log of deliveries",
    ),
    "rolling-drain": (
        "millwright.cli.nouns.rolling",
        "rolling_drain",
        "Drain hosts one after another.",
    ),
    "disk": ("millwright.cli.nouns.disks", "disk", "Disks that were set aside on hosts."),
    "pool": ("millwright.cli.nouns.pools", "pool", "Resource pools and their balancing."),
    "rule": ("millwright.cli.nouns.rules", "rule", "What machines stay together or apart."),
    "recommendation": (
        "millwright.cli.nouns.recommendations",
        "recommendation",
        "What the balancer recommends.",
    ),
    "request": ("millwright.cli.nouns.requests", "request", "Requests for environments."),
    "env": ("millwright.cli.nouns.environments", "env", "Environments and their machines."),
    "machine": ("millwright.cli.nouns.machines", "machine", "Virtual machines, and moving them."),
    "operation": ("millwright.cli.nouns.environments", "operation", "What is and was being done."),
    "sla": ("millwright.cli.nouns.service_levels", "sla", "What was promised and what is kept."),
    "ledger": ("millwright.cli.nouns.ledger", "ledger", "Interruptions and their causes."),
    "maintenance": ("millwright.cli.nouns.ledger", "maintenance", "Agreed maintenance."),
    "contract": ("millwright.cli.nouns.ledger", "contract", "What is promised."),
    "program": ("millwright.cli.nouns.shopfloor", "program", "Control programs."),
    "device": ("millwright.cli.nouns.shopfloor", "device", "Devices of the shop floor."),
    "station": ("millwright.cli.nouns.stations", "station", "Engineering stations of cells."),
    "modbus": ("millwright.cli.nouns.modbus", "modbus", "Modbus over TLS: certificates and roles."),
    "template": ("millwright.cli.nouns.templates", "template", "Templates and their images."),
    "user": (
        "millwright.cli.nouns.people",
        "user",
        "People of this installation: links and tokens.",
    ),
    "person": ("millwright.cli.nouns.administration", "person", "Accounts of the portal."),
    "project": (
        "millwright.cli.nouns.administration",
        "project",
        "Projects: quota, policy, members.",
    ),
    "login": ("millwright.cli.nouns.session", "login", "Work with a portal elsewhere."),
    "logout": ("millwright.cli.nouns.session", "logout", "Forget that portal."),
    "watch": ("millwright.cli.nouns.watching", "watch", "What happens, as it happens."),
    "completion": ("millwright.cli.nouns.session", "completion", "Completion for a shell."),
    "plant": ("millwright.cli.nouns.plant", "plant", "The plant as a file; its tables."),
    "pki": ("millwright.cli.nouns.pki", "pki", "Certificates that this installation made."),
    "plan": (
        "millwright.cli.nouns.requests",
        "plan",
        "Where a machine would be placed now, and why; or a plan of a snapshot.",
    ),
    "balance": (
        "millwright.cli.nouns.planning",
        "balance",
        "What a balancing round would move in a snapshot, and why.",
    ),
    "drain": (
        "millwright.cli.nouns.planning",
        "drain",
        "How hosts of a snapshot are emptied, and what cannot leave.",
    ),
    "capacity": (
        "millwright.cli.nouns.planning",
        "capacity",
        "How many more machines fit a snapshot.",
    ),
    "recover": (
        "millwright.cli.nouns.planning",
        "recover",
        "Where the machines of lost hosts of a snapshot start again.",
    ),
    "lab": ("millwright.lab.cli", "lab", "Several real libvirt hosts on this machine."),
}


class LazyGroup(click.Group):
    """Imports a command's module when it is called; lists commands without importing any."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, attribute, _help = _COMMANDS[name]
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a command")
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="millwright")
def cli() -> None:
    """A plant's virtual machines: requested, approved, placed, watched.

    \b
    millwright up              set everything up on this machine and run the main job
    millwright status          what runs
    millwright env show filling-line-1
    """


def main() -> None:
    """Entry point: errors that are for people end without a traceback."""
    from millwright.settings import SettingsError

    from .errors import CliError
    from .place import adopt_instance

    adopt_instance()
    try:
        cli()
    except (CliError, SettingsError) as error:
        click.echo(f"millwright: {error}", err=True)
        sys.exit(1)
