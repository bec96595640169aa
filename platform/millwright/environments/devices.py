"""Devices that a request is for: named by the engineer, seen by who decides, offered for mapping once it runs."""

from __future__ import annotations

from django.utils.translation import gettext as _

from millwright.shopfloor.models import Device

from .models import Request

#: Devices that a request may name.
MAX_DEVICES = 64


def odd_devices(request: Request) -> str:
    """What is wrong with the devices of a request; nothing, if nothing is."""
    names = request.devices
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return _("a list of names is expected")
    if len(names) > MAX_DEVICES:
        return _("%(n)s devices; at most %(most)s") % {"n": len(names), "most": MAX_DEVICES}
    if not names:
        return ""
    known = set(
        Device.objects.filter(
            project=request.project_id, cell=request.cell_id, name__in=names
        ).values_list("name", flat=True)
    )
    unknown = sorted(set(names) - known)
    return unknown and _("%(names)s: no such device of %(project)s in cell %(cell)s") % {
        "names": ", ".join(unknown),
        "project": request.project,
        "cell": request.cell or "–",
    }
