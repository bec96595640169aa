"""`millwright pki …`: the certificates that this installation made."""

from __future__ import annotations

import click

from millwright.cli.output import format_option, show_rows
from millwright.settings import get_settings
from millwright.settings.describe import certificates


@click.group()
def pki() -> None:
    """Certificates of libvirt hosts and of the orchestrator."""


@pki.command("list")
@format_option
def list_certificates(form: str) -> None:
    """List certificates with the days they have left."""
    show_rows(
        certificates(get_settings().pki_dir),
        ("subject", "names", "days_left", "serial", "file"),
        form,
    )
