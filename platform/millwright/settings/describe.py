"""What the settings are and where each comes from, for people; the certificates with the days left."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from .settings import Settings


@dataclass(frozen=True, slots=True)
class Described:
    """A setting: its variable, its value with passwords taken out, whether the environment says it."""

    variable: str
    value: str
    given: bool
    text: str


def described(settings: Settings) -> list[Described]:
    """Every setting; the password of a database's address is never among the values."""
    return [
        Described(
            f"MILLWRIGHT_{name.upper()}",
            _without_password(str(getattr(settings, name))),
            name in settings.model_fields_set,
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _without_password(value: str) -> str:
    if "://" not in value:
        return value
    parts = urlsplit(value)
    if parts.password is None:
        return value
    return value.replace(f":{parts.password}@", ":…@")


def certificates(folder: Path) -> list[dict[str, Any]]:
    """Every PEM certificate below a folder: subject, names, end, days left. Keys are not opened."""
    rows = []
    for path in sorted(folder.rglob("*.pem")):
        if "key" in path.stem:
            continue
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError):
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
