"""Searching a cell for devices: which of its addresses answer Modbus or OPC UA. Nothing is saved."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.gateway import GatewayClient
from millwright.inventory.models import AddressClaim
from millwright.settings import get_settings

from .actions import address_in_cell
from .models import Device

#: Addresses in one search, as the gateway allows.
MOST = 256
#: 256 addresses with two doors each at 50 a second, and time for the answers of what is found.
SEARCH_S = 90.0


@dataclass(frozen=True, slots=True)
class Found:
    """A server of the cell. `known`: what it is to the platform already, in words; "" is new."""

    address: str
    port: int
    protocol: str
    detail: str
    known: str = ""


def span(cell: Any, first: str = "", last: str = "") -> tuple[str, str]:
    """The range to search: as given, else from the cell's beginning as many as are allowed.

    Raises:
        ValidationError: not in the cell, in no order, or too many.
    """
    network = ipaddress.ip_network(cell.cidr)
    if network.version != 4:
        raise ValidationError({"cell": _("only cells with IPv4 addresses are searched")})
    # Neither the network's own address nor its broadcast is a device.
    low, high = int(network.network_address) + 1, int(network.broadcast_address) - 1
    if network.prefixlen >= 31:
        low, high = low - 1, high + 1
    for name, value in (("first", first), ("last", last)):
        if value:
            address_in_cell(cell, value, name)
    begin = int(ipaddress.IPv4Address(first)) if first else low
    end = int(ipaddress.IPv4Address(last)) if last else min(high, begin + MOST - 1)
    if not 0 <= end - begin < MOST:
        raise ValidationError(
            {
                "last": _("%(first)s to %(last)s: expected 1 to %(most)s addresses in order")
                % {
                    "first": ipaddress.IPv4Address(begin),
                    "last": ipaddress.IPv4Address(end),
                    "most": MOST,
                }
            }
        )
    return str(ipaddress.IPv4Address(begin)), str(ipaddress.IPv4Address(end))


def search(actor: Any, project: Any, cell: Any, first: str = "", last: str = "") -> list[Found]:
    """Ask the gateway to search; the trail has who searched what.

    Raises:
        ValidationError: the range breaks a rule.
        GatewayError: the gateway does not answer, or another search is under way.
    """
    require(actor, "engineer", project)
    first, last = span(cell, first, last)
    record(actor, "cell.search", cell, project=project, first=first, last=last)
    with GatewayClient(get_settings().gateway_socket, timeout_s=SEARCH_S) as client:
        rows = client.search(first, last)
    addresses = [row["address"] for row in rows]
    known: dict[tuple[str, int | None], str] = {}
    for address, name in AddressClaim.objects.filter(cell=cell, address__in=addresses).values_list(
        "address", "machine__name"
    ):
        known[address, None] = _("machine %(name)s") % {"name": name}
    # Other projects' devices are named to nobody; that an address is taken already is.
    for device in Device.objects.filter(cell=cell, address__in=addresses):
        known[device.address, device.port] = (
            _("device %(name)s") % {"name": device.name}
            if device.project_id == project.pk
            else _("a device of another project")
        )
    return [
        Found(
            row["address"],
            row["port"],
            row["protocol"],
            row["detail"],
            known.get((row["address"], row["port"])) or known.get((row["address"], None), ""),
        )
        for row in rows
    ]
