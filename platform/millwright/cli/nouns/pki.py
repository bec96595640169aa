"""`millwright pki …`: the certificates that this installation made."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from millwright.cli.output import format_option, show_rows
from millwright.settings import get_settings


@click.group()
def pki() -> None:
    """Certificates of libvirt hosts and of the orchestrator."""


def certificates(folder: Path) -> list[dict[str, Any]]:
    """Every PEM certificate below a folder: subject, names, end, days left. Keys are not opened."""
    rows = []
    for path in sorted(folder.rglob("*.pem")):
        if "key" in path.stem:
            continue
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes())
        except ValueError:
            continue
        for certificate in found:
            try:
                names = certificate.extensions.get_extension_for_class(
                    x509.SubjectAlternativeName
                ).value
                listed = [str(name.value) for name in names]
            except x509.ExtensionNotFound:
                listed = []
            end = certificate.not_valid_after_utc
            rows.append(
                {
                    "subject": certificate.subject.rfc4514_string(),
                    "names": listed,
                    "serial": f"{certificate.serial_number:x}",
                    "not_after": end.isoformat(),
                    "days_left": (end - dt.datetime.now(dt.UTC)).days,
                    "file": str(path.relative_to(folder)),
                }
            )
    return rows


@pki.command("list")
@format_option
def list_certificates(form: str) -> None:
    """List certificates with the days they have left."""
    show_rows(
        certificates(get_settings().pki_dir),
        ("subject", "names", "days_left", "serial", "file"),
        form,
    )
