"""Names of what an operation makes on a host, and which of a machine's disks there is its own."""

from __future__ import annotations

from millwright.hypervisor import Hypervisor, VolumeInfo

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
    """The name under which a host is asked for the machine's disk; what it has there is told by `disk_on`."""
    return f"{machine.domain_name}-{machine.id.hex[:8]}.qcow2"


def disk_on(
    host: Hypervisor, machine: MachineRecord, *, before: int | None = None, of: int | None = None
) -> VolumeInfo | None:
    """The machine's disk on a host: of its placement, or of the last one before it where storage is shared.

    What was set aside is nobody's disk.

    Args:
        before: only of earlier generations than this one.
        of: only of this generation.
    """
    for row in host.overlays(machine.pool, overlay_volume(machine)):
        if row.owner is None or row.aside:
            continue
        if (row.owner.site, row.owner.machine) != (machine.site, str(machine.id)):
            continue
        generation = row.owner.generation
        fits = generation <= machine.generation if of is None else generation == of
        if fits and (before is None or generation < before):
            return row
    return None


def remove_disk(
    host: Hypervisor, machine: MachineRecord, *, before: int | None = None, of: int | None = None
) -> bool:
    """Remove the machine's disk from a host (see `disk_on`); False when there was none."""
    found = disk_on(host, machine, before=before, of=of)
    return found is not None and host.remove_volume(machine.pool, found.name)


def made_disk(host: Hypervisor, machine: MachineRecord, made: VolumeInfo) -> str:
    """What a step says of a disk that it made: which one, and what of earlier placements was set aside for it."""
    rows = host.overlays(machine.pool, overlay_volume(machine))
    words = [
        f"set aside: {row.name} of generation {row.owner.generation}, {row.allocation_bytes // 2**20} MiB"
        for row in rows
        if row.aside and row.owner is not None
    ]
    return "; ".join([made.name, *words])


def filter_name(machine: MachineRecord) -> str:
    return f"mw-{machine.id.hex}"
