"""Which OPC UA certificate of a device is trusted: shown, compared and decided by a person, then pinned in the vPLC."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cryptography import x509
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.environments.models import Machine
from millwright.gateway.opcua import url_of

from .actions import request_config
from .live import gateway
from .models import Device

#: What a vPLC speaks to devices.
POLICY = "Basic256Sha256"


def offered(actor: Any, device: Device) -> list[dict[str, Any]]:
    """Certificates that the device shows now: `{"fingerprint", "subject", "ends_at", "policies", "pem", "usable"}`.

    `usable`: with an endpoint that a vPLC can use.

    Raises:
        ValidationError: it is no OPC UA device.
        GatewayError: nothing answers there.
    """
    require(actor, "engineer", device.project)
    _opcua(device)
    with gateway() as client:
        rows = client.opcua_endpoints(url_of(device.address, device.port))
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not row["fingerprint"]:
            continue
        entry = found.setdefault(row["fingerprint"], _described(row))
        words = f"{row['policy']} {row['mode']}"
        if words not in entry["policies"]:
            entry["policies"].append(words)
        entry["usable"] |= row["policy"] == POLICY
    return list(found.values())


def trust(actor: Any, device: Device, fingerprint: str, reason: str = "") -> Device:
    """Trust the certificate of this fingerprint, as the device shows it now; its vPLCs are told.

    Raises:
        ValidationError: the device does not show it, or no vPLC could use it.
        GatewayError: nothing answers there.
    """
    wanted = fingerprint.strip().lower().replace(":", "").replace(" ", "")
    rows = {row["fingerprint"]: row for row in offered(actor, device)}
    row = rows.get(wanted)
    if row is None:
        raise ValidationError(
            {
                "fingerprint": _("%(value)r is not what the device shows now (%(shown)s)")
                % {"value": fingerprint, "shown": ", ".join(rows) or _("no certificate")}
            }
        )
    if not row["usable"]:
        raise ValidationError(
            {"fingerprint": _("the device offers no endpoint with %(policy)s") % {"policy": POLICY}}
        )
    return _set(actor, device, "device.trust", reason, certificate=row["pem"], unencrypted="")


def distrust(actor: Any, device: Device, reason: str = "") -> Device:
    """No longer trust its certificate.

    Raises:
        ValidationError: points of it are mapped.
    """
    require(actor, "engineer", device.project)
    if device.mappings.exists():
        raise ValidationError(
            {"device": _("its points are mapped; take the mappings away, or trust another one")}
        )
    return _set(actor, device, "device.distrust", reason, certificate="", unencrypted="")


def without_encryption(actor: Any, device: Device, why: str) -> Device:
    """Let vPLCs talk to it without encryption, for a reason that its configuration then holds."""
    _opcua(device)
    if not 5 <= len(why.strip()) <= 200:
        raise ValidationError({"why": _("5 to 200 characters that say why it cannot be encrypted")})
    return _set(actor, device, "device.unencrypted", why, certificate="", unencrypted=why.strip())


@transaction.atomic
def _set(actor: Any, device: Device, action: str, reason: str, **fields: str) -> Device:
    require(actor, "engineer", device.project)
    if len(reason) > 500:
        raise ValidationError({"reason": _("at most 500 characters")})
    device = Device.objects.select_for_update(of=("self",)).get(pk=device.pk)
    before = device.fingerprint
    if all(getattr(device, name) == value for name, value in fields.items()):
        return device
    for name, value in fields.items():
        setattr(device, name, value)
    device.save(update_fields=tuple(fields))
    record(
        actor,
        action,
        device,
        project=device.project,
        reason=reason,
        before=before,
        fingerprint=device.fingerprint,
    )
    machines = Machine.objects.filter(mappings__device=device).distinct()
    for machine in machines.select_related("environment"):
        request_config(actor, machine, f"certificate of {device}")
    return device


def _opcua(device: Device) -> None:
    if device.protocol != "opcua":
        raise ValidationError({"device": _("%(device)s is no OPC UA device") % {"device": device}})


def _described(row: dict[str, Any]) -> dict[str, Any]:
    subject, ends_at = "", None
    try:
        made = x509.load_pem_x509_certificate(row["certificate"].encode())
        subject, ends_at = made.subject.rfc4514_string()[:200], made.not_valid_after_utc
    except ValueError:
        # It is shown by its fingerprint all the same; trusting it is refused by whoever would use it.
        subject = _("cannot be read")
    return {
        "fingerprint": row["fingerprint"],
        "subject": subject,
        "ends_at": ends_at,
        "ended": ends_at is not None and ends_at < dt.datetime.now(dt.UTC),
        "policies": [],
        "pem": row["certificate"],
        "usable": False,
    }
