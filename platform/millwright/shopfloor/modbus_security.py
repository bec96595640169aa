"""Modbus/TCP Security of a project's controllers, or of one environment's: whose certificates count, and what each role may.

It goes out as [modbus.tls] and [[modbus.role]] of the delivered security.toml; controllers then serve port 802.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from cryptography import x509
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.environments.models import Environment, Machine

from .models import ModbusSecurity
from .stations import one_at_a_time

#: Functions that read; what a role may read with.
READING = (1, 2, 3, 4, 43)
MOST_BYTES, MOST_CERTIFICATES, MOST_ROLES, MOST_RANGES = 64 * 1024, 32, 32, 64
_RANGE = re.compile(r"(holding|coil)\s+(\d{1,5})(?:\s*-\s*(\d{1,5}))?")


def of_machine(machine: Machine) -> ModbusSecurity | None:
    """What holds for a machine: its environment's own, else its project's."""
    rows = ModbusSecurity.objects.filter(project=machine.environment.project_id)
    found = {row.environment_id: row for row in rows}
    return found.get(machine.environment_id) or found.get(None)


@transaction.atomic
def set_security(
    actor: Any, *, project: Any, environment: Environment | None = None, authorities: str,
    roles: list[dict[str, Any]], plain: bool = True,
) -> ModbusSecurity:  # fmt: skip
    """Have a project's controllers, or an environment's, ask for certificates at port 802.

    Args:
        authorities: certificates in PEM, of the clients' authorities or of the clients themselves.
        roles: `{"name", "functions": [1, 2, 3, 4, 43], "write": [{"area", "first", "last"}]}`.
        plain: whether engineering stations still reach the port without TLS.

    Raises:
        ValidationError: names field, value and rule.
    """
    require(actor, "administer", project)
    if environment is not None and environment.project_id != project.pk:
        raise ValidationError({"environment": _("%(name)s is of another project") % {"name": environment.name}})  # fmt: skip
    text = authorities.replace("\r\n", "\n").strip() + "\n"
    _certificates(text)
    wanted = {"authorities": text, "plain": plain, "roles": [_role(row, n) for n, row in enumerate(roles, 1)]}  # fmt: skip
    _distinct(wanted["roles"])
    one_at_a_time(project)
    row = ModbusSecurity.objects.filter(project=project, environment=environment).first()
    if row is not None and all(getattr(row, key) == value for key, value in wanted.items()):
        return row
    row = row or ModbusSecurity(project=project, environment=environment)
    for key, value in wanted.items():
        setattr(row, key, value)
    row.save()
    record(actor, "modbus_security.set", row, project=project, plain=plain, roles=[role["name"] for role in wanted["roles"]])  # fmt: skip
    _deliver(actor, row)
    return row


@transaction.atomic
def remove_security(actor: Any, row: ModbusSecurity) -> None:
    """Close port 802 again."""
    require(actor, "administer", row.project)
    record(actor, "modbus_security.remove", row, project=row.project)
    _deliver(actor, row)
    row.delete()


def _deliver(actor: Any, row: ModbusSecurity) -> None:
    from .actions import request_config

    machines = Machine.objects.present().filter(environment__project=row.project)
    if row.environment_id is not None:
        machines = machines.filter(environment=row.environment_id)
    for machine in machines.select_related("environment").order_by("pk"):
        request_config(actor, machine, "Modbus security")


def _certificates(text: str) -> list[x509.Certificate]:
    if len(text) > MOST_BYTES:
        raise ValidationError({"authorities": _("more than %(n)s bytes") % {"n": MOST_BYTES}})
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise ValidationError({"authorities": _("no certificates in PEM (%(why)s)") % {"why": error}}) from None  # fmt: skip
    if len(found) > MOST_CERTIFICATES:
        raise ValidationError({"authorities": _("%(n)s certificates; at most %(most)s") % {"n": len(found), "most": MOST_CERTIFICATES}})  # fmt: skip
    now = timezone.now().astimezone(dt.UTC)
    for certificate in found:
        if certificate.not_valid_after_utc < now:
            raise ValidationError(
                {
                    "authorities": _("%(name)s has expired on %(day)s")
                    % {
                        "name": certificate.subject.rfc4514_string(),
                        "day": certificate.not_valid_after_utc.date(),
                    }
                }
            )
    return found


def _role(row: dict[str, Any], number: int) -> dict[str, Any]:
    name = row.get("name")
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= 64:
        raise ValidationError({"roles": _("role %(n)s: name = %(value)r: 1 to 64 characters") % {"n": number, "value": name}})  # fmt: skip
    functions = row.get("functions", list(READING))
    if not functions or not isinstance(functions, list) or not set(functions) <= set(READING):
        raise ValidationError({"roles": _("role %(name)s: functions = %(value)s: of 1, 2, 3, 4, 43") % {"name": name, "value": functions}})  # fmt: skip
    write = row.get("write", [])
    if not isinstance(write, list) or len(write) > MOST_RANGES:
        raise ValidationError({"roles": _("role %(name)s: write: at most %(most)s ranges") % {"name": name, "most": MOST_RANGES}})  # fmt: skip
    ranges = []
    for entry in write:
        first, last = entry.get("first", -1), entry.get("last", -1)
        if entry.get("area") not in ("holding", "coil") or not 0 <= first <= last < 65536:
            raise ValidationError({"roles": _("%(entry)s: expected area holding or coil, and first <= last below 65536") % {"entry": entry}})  # fmt: skip
        ranges.append({"area": entry["area"], "first": first, "last": last})
    return {"name": name.strip(), "functions": sorted(set(functions)), "write": ranges}


def _distinct(roles: list[dict[str, Any]]) -> None:
    names = [role["name"] for role in roles]
    if not 1 <= len(roles) <= MOST_ROLES:
        raise ValidationError({"roles": _("%(n)s roles; 1 to %(most)s are wanted: without one nobody reads") % {"n": len(roles), "most": MOST_ROLES}})  # fmt: skip
    for name in names:
        if names.count(name) > 1:
            raise ValidationError({"roles": _("role %(name)s stands there twice") % {"name": name}})


def parse_ranges(text: str, field: str = "roles") -> list[dict[str, Any]]:
    """`holding 3-9, coil 320` as ranges.

    Raises:
        ValidationError: of `field`, names the part that cannot be read.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        place = _RANGE.fullmatch(part)
        if place is None:
            raise ValidationError({field: _("%(part)r: written like holding 3-9 or coil 320") % {"part": part}})  # fmt: skip
        found.append({"area": place[1], "first": int(place[2]), "last": int(place[3] or place[2])})
    return found


def parse_functions(text: str) -> list[int]:
    """`1, 2, 3` as numbers; all that read where nothing is said.

    Raises:
        ValidationError: names the part that is no number.
    """
    parts = text.replace(",", " ").split()
    for part in parts:
        if not (part.isascii() and part.isdigit()):
            raise ValidationError({"roles": _("functions: %(value)r is not a number") % {"value": part}})  # fmt: skip
    return [int(part) for part in parts] or list(READING)


def ranges_text(ranges: list[dict[str, Any]]) -> str:
    """Ranges as `parse_ranges` reads them."""
    return ", ".join(
        f"{row['area']} {row['first']}" + (f"-{row['last']}" if row["last"] != row["first"] else "")
        for row in ranges
    )
