"""The access word of a machine: what opens the services of a CAE node, a collaboration server, a CAD screen.

It is worked out from the site's secret and the machine's identity, so nothing of it lies in the database, and
a machine that is moved or rebuilt keeps it. A controller has none: it takes signed programs only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from typing import Any

from django.db import transaction

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.settings import get_settings

from .models import Environment
from .serializers import MachineSerializer

#: The account of each service that asks for one.
ACCOUNT = "plant"


def has_access(spec: dict[str, Any]) -> bool:
    """Whether machines of this template open with an access word."""
    outputs = spec.get("outputs")
    return isinstance(outputs, dict) and "http" in outputs


def access_word(machine: uuid.UUID) -> str:
    """Sixteen small letters and digits (80 bits)."""
    key = get_settings().secret("access.key").encode()
    digest = hmac.new(key, b"access:" + machine.bytes, hashlib.sha256).digest()
    return base64.b32encode(digest[:10]).decode().lower()


@transaction.atomic
def show_access(actor: Any, environment: Environment) -> list[dict[str, str | None]]:
    """Addresses, account and access word of the environment's machines that have one. Written to the audit trail.

    Raises:
        PermissionRefused: the person may not operate the environment.
    """
    require(actor, "operate", environment.project)
    rows: list[dict[str, str | None]] = []
    machines = environment.machines.select_related(
        "template_version__template", "host", "address_claim"
    )
    for machine in machines:
        if not has_access(machine.template_version.spec):
            continue
        data = MachineSerializer(machine).data
        rows.append(
            {
                "machine": machine.name,
                "account": ACCOUNT,
                "word": access_word(machine.pk),
                "web": data["web"],
                "mqtt": data["mqtt"],
            }
        )
    record(
        actor,
        "environment.access",
        environment,
        project=environment.project,
        machines=[row["machine"] for row in rows],
    )
    return rows
