"""`millwright disk …`."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.output import format_option, show_one, show_rows

FIELDS = (
    "id",
    "host",
    "pool",
    "machine",
    "name",
    "generation",
    "allocation_bytes",
    "first_seen",
    "removal_name",
    "refused",
)


@click.group()
def disk() -> None:
    """Disks of earlier placements that were set aside on hosts: nobody uses them."""


@disk.command("list")
@click.option("--host", default="", help="Only those on this host.")
@format_option
def list_disks(host: str, form: str) -> None:
    """List disks that were set aside, with host, pool, machine, size and since when."""
    query: dict[str, Any] = {"host__name": host} if host else {}
    show_rows(Api.from_settings().rows("old-disks/", **query), FIELDS, form)


@disk.command()
@click.argument("number", type=int)
@click.option("--word", default="", help="The disk's name: your word that it may go for good.")
@click.option("--reason", default="", help="Why; it stands in the audit trail.")
@format_option
def remove(number: int, word: str, reason: str, form: str) -> None:
    """Say what would be removed; with --word and --reason have it removed for good.

    NUMBER is the `id` of `millwright disk list`. A disk that a machine on its host has is not removed, and the list
    says so.

    Example: millwright disk remove 7 --word line-3f2a.qcow2 --reason "the values were given back"
    """
    row = Api.from_settings().post(f"old-disks/{number}/remove/", {"word": word, "reason": reason})
    show_one(row, form)
    if not word and form != "json":
        click.echo(
            f"nothing was removed; to remove it: millwright disk remove {number} --word {row['word']} --reason …",
            err=True,
        )
