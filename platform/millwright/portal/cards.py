"""The catalogue's cards: a template's picture, what is inside, what a size costs, what is promised of time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from millwright.catalog.models import TemplateVersion
from millwright.environments.quota import QuotaRow, quota_after
from millwright.environments.sizes import Size, has_screen, sizes_of
from millwright.inventory.models import Host

#: Template → what its drawing shows, for whoever does not see it; the drawing is templates/portal/pictures/NAME.svg.
PICTURES = {
    "vplc": gettext_lazy("A controller with its scan's pulse, a tank and a motor on its bus"),
    "cae-node": gettext_lazy("A meshed part under load beside a machine that calculates"),
    "cad-workstation": gettext_lazy("A screen with a solid body and a pointer"),
    "collab-services": gettext_lazy(
        "A task list, a message broker and a folder that are connected"
    ),
}
OTHER = gettext_lazy("A machine with its disks")

#: Titles and summaries of the templates that come with a release, as their files have them.
TEXTS = (
    gettext_lazy("Virtual PLC"),
    gettext_lazy(
        "A soft-realtime IEC 61131-3 controller. Runs Structured Text, speaks Modbus TCP and OPC UA to SCADA and to the devices of its cell. Debian 12 with a realtime kernel; no login, no password."
    ),
    gettext_lazy("CAE node"),
    gettext_lazy(
        "A machine that calculates: CalculiX solves finite-element models. Jobs are handed in on its page or by HTTP, run one after the other, and their results are fetched there. Debian 12; no login."
    ),
    gettext_lazy("CAD workstation"),
    gettext_lazy(
        "FreeCAD on a light desktop, used in the browser: noVNC shows the screen, nothing is installed at the desk. Drawn in software, no graphics card needed. Debian 12; no login."
    ),
    gettext_lazy("Collaboration services"),
    gettext_lazy(
        "What a team around a line shares: Redmine for tasks and documents, WebDAV folders for files, and the Mosquitto MQTT broker for messages between machines and people. Debian 12; no login."
    ),
)

#: Package of an image → what people know it as; what is no name of a product is left out.
_PROGRAMS = {
    "freecad": "FreeCAD",
    "novnc": "noVNC",
    "calculix-ccx": "CalculiX",
    "redmine": "Redmine",
    "apache2": "WebDAV",
    "mosquitto": "Mosquitto",
}
#: What a template serves → its word, with its port.
_SERVES = {
    "modbus": gettext_lazy("Modbus TCP, port %(port)s"),
    "modbus_tls": gettext_lazy("Modbus over TLS, port %(port)s"),
    "opcua": gettext_lazy("OPC UA, port %(port)s"),
    "mqtt": gettext_lazy("MQTT, port %(port)s"),
    "http": gettext_lazy("web page, port %(port)s"),
    "metrics": gettext_lazy("figures for monitoring, port %(port)s"),
}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def inside(spec: dict[str, Any]) -> list[str]:
    """What a machine of the template has, in a few words each."""
    image, outputs = _dict(spec.get("image")), _dict(spec.get("outputs"))
    found = []
    if image.get("recipe") == "debian":
        realtime = "-rt-" in str(image.get("kernel_package", ""))
        found.append(_("Debian 12, realtime kernel") if realtime else "Debian 12")
    if "modbus" in outputs:
        found.append(_("IEC 61131-3 Structured Text"))
    packages = image.get("packages")
    found += [
        word
        for package, word in _PROGRAMS.items()
        if isinstance(packages, list) and package in packages
    ]
    found += [
        str(text) % {"port": outputs[name]} for name, text in _SERVES.items() if name in outputs
    ]
    if has_screen(spec):
        found.append(_("screen in the browser"))
    return found


def pool_words() -> dict[str, Any]:
    """What of the pool is promised in time; one query."""
    hosts = Host.objects.filter(Q(health="up"), administration="schedulable", power="awake").only(
        "accel", "policy", "capabilities", "topology"
    )
    found = {"kvm": 0, "hosts": 0}
    for row in hosts:
        if row.policy.get("realtime_cpus"):
            found["hosts"] += 1
            found["kvm"] += row.accel == "kvm"
    return found


def realtime_words(spec: dict[str, Any], pool: dict[str, Any]) -> list[str]:
    """What the template and this pool promise of time, as sentences."""
    if spec.get("class") != "realtime":
        return [_("Shares its CPUs with others; timing is not promised.")]
    found = [
        _(
            "A core of its own for control; a 10 ms cycle unless the program names another, 100 µs at the least."
        )
    ]
    if pool["kvm"]:
        found.append(
            ngettext(
                "On this pool: KVM, on %(n)s host with realtime cores.",
                "On this pool: KVM, on %(n)s hosts with realtime cores.",
                pool["kvm"],
            )
            % {"n": pool["kvm"]}
        )
    elif pool["hosts"]:
        found.append(_("On this pool: emulated, timing not promised."))
    else:
        found.append(
            _("On this pool: no host offers a core of its own; it runs as well as it can.")
        )
    return found


def fits(size: Size, quota: Iterable[QuotaRow]) -> int:
    """How many more machines of a size a project's quota has room for."""
    room = []
    for row in quota:
        cost = 1 if row.resource == "environments" else int(getattr(size, row.resource))
        if cost:
            room.append(max(0, row.limit - row.used) // cost)
    return min(room, default=0)


def cards(project: Any) -> list[dict[str, Any]]:
    """What is offered, each with its newest version; `project`: whose quota a size is weighed against."""
    quota = quota_after(project, None, environments=0) if project is not None else []
    pool = pool_words()
    found, seen = [], set()
    rows = TemplateVersion.objects.filter(template__offered=True).select_related("template")
    for version in rows:
        if version.template_id in seen:
            continue
        seen.add(version.template_id)
        name = version.template.name
        drawn = name if name in PICTURES else "other"
        found.append(
            {
                "name": name,
                "title": version.template.title,
                "summary": version.template.summary,
                "version": version.version,
                "image_ready": version.image_state == "ready",
                "picture": f"portal/pictures/{drawn}.svg",
                "alt": PICTURES.get(name, OTHER),
                "inside": inside(version.spec),
                "sizes": [(size, fits(size, quota)) for size in sizes_of(version.spec)],
                "realtime": version.spec.get("class") == "realtime",
                "promise": realtime_words(version.spec, pool),
            }
        )
    # Controllers are what people come for; the others follow by name.
    return sorted(found, key=lambda card: not card["realtime"])
