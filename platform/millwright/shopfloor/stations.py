"""Engineering stations: named clients in a cell that reach a project's machines, and what they may write.

A saved station opens the firewall of the project's machines in that cell; a removed one closes it again.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.environments.models import Machine

from .actions import request_config
from .models import EngineeringStation

MOST_RANGES = 64


@transaction.atomic
def set_station(
    actor: Any, *, project: Any, cell: Any, name: str, cidr: str, write_ranges: list[dict[str, Any]]
) -> EngineeringStation:
    """Have a named engineering station with these write ranges.

    Args:
        cidr: an IPv4 address or network within the cell.
        write_ranges: `{"area": "holding" | "coil", "first", "last"}`, numbers below 65536.

    Raises:
        ValidationError: names field, value and rule.
    """
    require(actor, "administer", project)
    cidr = network_in(cell, cidr)
    ranges = _ranges(write_ranges)
    one_at_a_time(project)
    station = EngineeringStation.objects.filter(project=project, name=name).first()
    if station is not None and (station.cidr, station.write_ranges, station.cell_id) == (
        cidr,
        ranges,
        cell.pk,
    ):
        return station
    before = station.cell_id if station is not None else cell.pk
    station = station or EngineeringStation(project=project, name=name)
    station.cell, station.cidr, station.write_ranges = cell, cidr, ranges
    station.full_clean(exclude=("project", "cell", "write_ranges"))
    station.save()
    record(actor, "station.set", station, project=project, cidr=cidr, write_ranges=ranges)
    # In the cell that it left, the firewall closes.
    _deliver(actor, station, {before, cell.pk})
    return station


@transaction.atomic
def remove_station(actor: Any, station: EngineeringStation) -> None:
    """Forget a station: machines are closed to it and it writes nothing any more."""
    require(actor, "administer", station.project)
    record(actor, "station.remove", station, project=station.project, cidr=station.cidr)
    _deliver(actor, station, {station.cell_id})
    station.delete()


def one_at_a_time(project: Any) -> None:
    """Wait for whoever else registers something for this project, so that two first ones at once become one."""
    list(type(project).objects.select_for_update(no_key=True).filter(pk=project.pk).values("pk"))


def network_in(cell: Any, cidr: str) -> str:
    """A station's address or network as it is stored.

    Raises:
        ValidationError: none, or not of the cell.
    """
    try:
        network = ipaddress.ip_network(cidr.strip())
    except ValueError as error:
        raise ValidationError({"cidr": f"{cidr!r}: {error}"}) from None
    whole = ipaddress.ip_network(cell.cidr)
    if network.version != whole.version or not network.subnet_of(whole):  # type: ignore[arg-type]  # both are of one version here
        raise ValidationError(
            {
                "cidr": _("%(value)s is not in cell %(cell)s (%(cidr)s)")
                % {"value": cidr, "cell": cell.slug, "cidr": cell.cidr}
            }
        )
    return str(network)


def _ranges(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(given) > MOST_RANGES:
        raise ValidationError(
            {
                "write_ranges": _("%(n)s ranges; at most %(most)s")
                % {"n": len(given), "most": MOST_RANGES}
            }
        )
    for entry in given:
        first, last = entry.get("first", -1), entry.get("last", -1)
        if entry.get("area") not in ("holding", "coil") or not 0 <= first <= last < 65536:
            raise ValidationError(
                {
                    "write_ranges": _(
                        "%(entry)s: expected area holding or coil, and first <= last below 65536"
                    )
                    % {"entry": entry}
                }
            )
    return [{name: entry[name] for name in ("area", "first", "last")} for entry in given]


def _deliver(actor: Any, station: EngineeringStation, cells: set[int]) -> None:
    machines = Machine.objects.present().filter(
        environment__project=station.project_id, cell__in=cells
    )
    for machine in machines.select_related("environment").order_by("pk"):
        request_config(actor, machine, f"station {station.name}")
