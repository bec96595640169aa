"""Reading a template's sizes: what one machine of a size takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError

from millwright.core.lifecycle import ServiceClass


@dataclass(frozen=True, slots=True)
class Size:
    """What a machine takes. `realtime_cores`: control vCPUs that want a core of their own."""

    name: str
    vcpus: int
    realtime_cores: int
    memory_bytes: int
    disk_bytes: int


def takes_programs(spec: dict[str, Any]) -> bool:
    """Whether machines of this template are controllers: they take programs, devices and set-points."""
    outputs = spec.get("outputs")
    return isinstance(outputs, dict) and "modbus" in outputs


def has_screen(spec: dict[str, Any]) -> bool:
    """Whether machines of this template have a graphics card; realtime ones never have."""
    devices = spec.get("devices")
    asked = isinstance(devices, dict) and devices.get("graphics") is True
    return asked and spec.get("class") != ServiceClass.REALTIME


def sizes_of(spec: dict[str, Any]) -> list[Size]:
    """The sizes of a template, in its own order. vCPUs may be a count or a list of roles."""
    found = []
    raw = spec.get("sizes", {})
    items = raw.items() if isinstance(raw, dict) else ((entry["name"], entry) for entry in raw)
    for name, entry in items:
        vcpus = entry["vcpus"]
        roles = list(vcpus) if isinstance(vcpus, list) else ["shared"] * int(vcpus)
        found.append(
            Size(
                name=name,
                vcpus=len(roles),
                realtime_cores=sum(1 for role in roles if _role(role) == "control"),
                memory_bytes=int(entry["memory_bytes"]),
                disk_bytes=int(entry["disk_bytes"]),
            )
        )
    return found


def _role(entry: Any) -> str:
    return str(entry.get("role", "")) if isinstance(entry, dict) else str(entry)


def control_vcpus(spec: dict[str, Any], name: str) -> tuple[int, ...]:
    """Indexes of the vCPUs that want a core of their own."""
    raw = spec.get("sizes", {})
    entry = (
        raw[name] if isinstance(raw, dict) else next(item for item in raw if item["name"] == name)
    )
    vcpus = entry["vcpus"]
    if not isinstance(vcpus, list):
        return ()
    return tuple(index for index, role in enumerate(vcpus) if _role(role) == "control")


def size_of(spec: dict[str, Any], name: str) -> Size:
    """The size of that name.

    Raises:
        ValidationError: names the sizes there are.
    """
    for size in (sizes := sizes_of(spec)):
        if size.name == name:
            return size
    there = ", ".join(size.name for size in sizes)
    raise ValidationError(
        {"size": f"{name!r} is not a size of {spec.get('name')}; there are: {there}"}
    )
