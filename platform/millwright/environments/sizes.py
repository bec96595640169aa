"""Reading a template's sizes: what one machine of a size takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError

from millwright.core.lifecycle import ServiceClass

#: The storage pool of machines whose template names none.
DEFAULT_POOL = "default"
#: Page sizes by the names that templates use.
PAGES = {"2M": 2 * 2**20, "1G": 2**30}


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


def disruption_of(spec: dict[str, Any]) -> float:
    """What users of such a machine suffer from a move, in core-seconds; 0 where its template says nothing."""
    return float(spec.get("disruption") or 0.0)


def has_screen(spec: dict[str, Any]) -> bool:
    """Whether machines of this template have a graphics card; realtime ones never have."""
    devices = spec.get("devices")
    asked = isinstance(devices, dict) and devices.get("graphics") is True
    return asked and spec.get("class") != ServiceClass.REALTIME


@dataclass(frozen=True, slots=True)
class Requires:
    """What a machine of a template needs of its host beside CPUs, memory and a cell.

    `hugepage_bytes`: size of the pages behind its memory, 0: ordinary ones. `gpu_model`: "" for any card.
    `gpu_profile`: a vGPU profile of which `gpus` are instances; "": whole cards.
    `nic_bytes_s`: what it reserves of the host's NICs, over all its networks, bytes per second.
    """

    hugepage_bytes: int = 0
    cpu_features: frozenset[str] = frozenset()
    storage_pool: str = DEFAULT_POOL
    gpus: int = 0
    gpu_model: str = ""
    gpu_profile: str = ""
    nic_bytes_s: int = 0

    def __bool__(self) -> bool:
        """Whether it needs anything that not every host has."""
        return self != Requires()


def requires_of(spec: dict[str, Any]) -> Requires:
    """What a template's machines need; nothing where it says nothing, as those did that are older."""
    asked = spec.get("requires")
    if not isinstance(asked, dict):
        return Requires()
    gpu = asked.get("gpu") or {}
    return Requires(
        hugepage_bytes=PAGES.get(str(asked.get("hugepages") or ""), 0),
        cpu_features=frozenset(map(str, asked.get("cpu_features") or ())),
        storage_pool=str(asked.get("storage_pool") or DEFAULT_POOL),
        gpus=int(gpu.get("count", 1)) if gpu else 0,
        gpu_model=str(gpu.get("model") or "") if gpu else "",
        gpu_profile=str(gpu.get("profile") or "") if gpu else "",
        nic_bytes_s=sum(int(value) for value in (asked.get("bandwidth_bytes_s") or {}).values()),
    )


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
