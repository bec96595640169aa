"""The pool's networks: which cell reaches which host, over which bridge and VLAN, and how full it is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Count
from django.utils.translation import gettext as _

from millwright.inventory.models import AddressClaim, Cell, Host

#: Cells on one page; a plant of more finds them by their machines.
MOST_CELLS = 200
#: So few hosts are all named beside a cell; of more at most so many that are not in order.
FEW_HOSTS, MOST_NAMED = 4, 6


def _links(host: Host) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in host.topology.get("links", [])}


def vlans_of(bridge: str, links: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """The VLANs that lie in a bridge, by what the host said of its interfaces."""
    inner = [links[name] for name in links.get(bridge, {}).get("ports", ()) if name in links]
    return sorted({int(row["vlan"]) for row in inner if row.get("vlan") is not None})


def standing(cell: Cell, host: Host) -> tuple[str, str]:
    """How a cell stands on a host: (state, words). The state is ready, down, waiting or absent."""
    if cell.slug not in host.policy.get("cells", [cell.slug]):
        return "absent", _("the host is kept out of this cell")
    networks = {row["name"]: row for row in host.topology.get("networks", [])}
    found = networks.get(cell.network_name)
    if found is None:
        return "waiting", _("made when the first machine of the cell comes here")
    if found["bridge"] != cell.bridge:
        words = _("its network leads to bridge %(there)s in place of %(wanted)s: end the other one")
        return "down", words % {"there": found["bridge"] or "–", "wanted": cell.bridge}
    if not found["active"]:
        return "down", _("its network is not started: virsh net-start %(name)s") % {
            "name": cell.network_name
        }
    return "ready", ""


def _on(cell: Cell, host: Host) -> dict[str, Any]:
    state, words = standing(cell, host)
    links = _links(host)
    return {
        "host": host.name,
        "state": state,
        "words": words,
        "bridge": cell.bridge,
        "ports": links.get(cell.bridge, {}).get("ports", []),
        "vlans": vlans_of(cell.bridge, links),
    }


def cells_on(hosts: Iterable[Host]) -> list[dict[str, Any]]:
    """Each cell with its addresses and how it stands on these hosts: two queries."""
    rows = list(hosts)
    taken = dict(AddressClaim.objects.order_by().values_list("cell").annotate(Count("pk")))
    found = []
    for cell in Cell.objects.all()[:MOST_CELLS]:
        first, last = (ipaddress.ip_address(at) for at in (cell.first_address, cell.last_address))
        on = [_on(cell, host) for host in rows]
        # Of many hosts those are named where something is to be said.
        named = on if len(on) <= FEW_HOSTS else [row for row in on if row["state"] != "ready"]
        found.append(
            {
                "cell": cell,
                "taken": taken.get(cell.pk, 0),
                "room": int(last) - int(first) + 1,
                "ready": sum(row["state"] == "ready" for row in on),
                "of": len(on),
                "hosts": named[:MOST_NAMED],
                "more": max(0, len(named) - MOST_NAMED),
                "vlans": sorted({tag for row in on for tag in row["vlans"]}),
            }
        )
    return found


def networks_of(host: Host) -> list[dict[str, Any]]:
    """A host's part of every cell, then the bridges and VLANs that it has besides: one query."""
    cells = list(Cell.objects.all()[:MOST_CELLS])
    found = [{"name": cell.slug, "cidr": cell.cidr, **_on(cell, host)} for cell in cells]
    links = _links(host)
    known = {cell.bridge for cell in cells}
    known |= {port for bridge in known for port in links.get(bridge, {}).get("ports", ())}
    for name, link in links.items():
        if name in known or link["kind"] == "ethernet":
            continue
        found.append(
            {
                "name": "",
                "cidr": "",
                "state": "",
                "words": "",
                "bridge": name,
                "ports": link["ports"],
                "vlans": [link["vlan"]] if link.get("vlan") is not None else vlans_of(name, links),
            }
        )
    return found
