"""Who is there in a cell: devices and what they offer, asked by the gateway. Nothing is saved."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.gateway.opcua import url_of

from .actions import address_in_cell
from .live import gateway
from .models import Device

#: Where a server's own nodes begin: its Objects folder.
ROOT = "i=85"


def units(
    actor: Any,
    project: Any,
    cell: Any,
    address: str,
    port: int,
    first: int,
    last: int,
    framing: str = "tcp",
) -> list[dict[str, Any]]:
    """Modbus unit ids that answer at an address: `{"unit", "identification", "note"}`; `framing`: "tcp" or "rtu".

    Raises:
        ValidationError: the address is in another cell, or too many units were asked for.
        GatewayError: nothing answers there.
    """
    require(actor, "engineer", project)
    address_in_cell(cell, address, "address")
    if not 0 <= first <= last <= 255 or last - first >= 32:
        raise ValidationError(
            {
                "last": _("%(first)s to %(last)s: at most 32 unit ids from 0 to 255")
                % {"first": first, "last": last}
            }
        )
    with gateway() as client:
        return client.modbus_units(address, port, first, last, framing)


def endpoints(actor: Any, project: Any, cell: Any, address: str, port: int) -> list[dict[str, Any]]:
    """What an OPC UA server offers: `{"url", "mode", "policy", "users", "fingerprint"}`. Raises as `units`."""
    require(actor, "engineer", project)
    address_in_cell(cell, address, "address")
    with gateway() as client:
        return client.opcua_endpoints(url_of(address, port))


def nodes(
    actor: Any,
    project: Any,
    cell: Any,
    address: str,
    port: int,
    node: str = ROOT,
    fingerprint: str = "",
) -> dict[str, Any]:
    """What hangs below a node: `{"nodes": [{"node", "name", "kind", "type", "value"}], "more"}`. Raises as `units`.

    `fingerprint`: SHA-256 of the certificate that the server must show where it only talks encrypted. Of a device
    that is registered there, the certificate that was trusted counts instead.
    """
    require(actor, "engineer", project)
    address_in_cell(cell, address, "address")
    known = Device.objects.filter(
        project=project, cell=cell, address=address, port=port, protocol="opcua"
    ).first()
    if known is not None and known.fingerprint:
        fingerprint = known.fingerprint
    with gateway() as client:
        return client.opcua_children(url_of(address, port), node, fingerprint)
