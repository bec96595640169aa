"""Names of what an operation makes on a host."""

from __future__ import annotations

from .ports import ImageFiles, MachineRecord

#: The storage pool on every host.
POOL = "default"


def kernel_volume(image: ImageFiles) -> str:
    return f"{image.name}-kernel"


def initrd_volume(image: ImageFiles) -> str:
    return f"{image.name}-initrd"


def disk_volume(image: ImageFiles) -> str:
    return f"{image.name}-disk.qcow2"


def overlay_volume(machine: MachineRecord) -> str:
    return f"{machine.domain_name}-{machine.id.hex[:8]}.qcow2"


def filter_name(machine: MachineRecord) -> str:
    return f"mw-{machine.id.hex}"
