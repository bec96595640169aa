"""A machine's record turned into a domain specification for its host."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from uuid import UUID

from millwright.core.lifecycle import ServiceClass
from millwright.hypervisor import (
    DirectBoot,
    DiskSpec,
    DomainSpec,
    Metadata,
    NicSpec,
    ProbeKind,
    Shortfall,
    VcpuRole,
    VcpuSpec,
    screen_socket,
    tune,
)
from millwright.hypervisor import ServiceClass as DomainClass

from .errors import StepFailed
from .ports import MachineRecord
from .volumes import filter_name

#: What is missing, in words for the machine's page.
WORDS = {
    Shortfall.EMULATED: "emulated: timing is not promised",
    Shortfall.NO_FIFO: "no FIFO priority for the control vCPU",
    Shortfall.NO_MEMORY_LOCK: "memory is not locked",
    Shortfall.NO_HUGEPAGES: "no hugepages",
    Shortfall.NO_ISOLATION: "its CPU is not isolated in the host's kernel",
    Shortfall.NO_CPU_SHARES: "no CPU shares",
}


def domain_spec(
    machine: MachineRecord, operation: UUID, *, kernel: str, initrd: str, disk: str | None
) -> tuple[DomainSpec, tuple[str, ...]]:
    """The domain, and what of the class its host cannot give. Paths are those on the host.

    Raises:
        StepFailed: the machine has no claims.
    """
    assignment = machine.assignment
    if assignment is None:
        raise StepFailed(f"{machine.domain_name}: nothing was claimed for it")
    abilities = frozenset(kind for kind in ProbeKind if str(kind) in machine.abilities)
    plan = tune(DomainClass(machine.service_class), abilities)
    tuning = plan.tuning
    realtime = machine.service_class == ServiceClass.REALTIME
    pinned = frozenset(assignment.claims)
    vcpus = tuple(
        VcpuSpec(
            role=VcpuRole.CONTROL if realtime and index in pinned else VcpuRole.HOUSEKEEPING,
            cpus=assignment.vcpu_cpus.get(index, frozenset()),
        )
        for index in range(machine.vcpus)
    )
    missing = plan.shortfalls
    if machine.hugepage_bytes:
        # Asked for by its template: it was placed where so many are free.
        tuning = replace(tuning, hugepage_bytes=machine.hugepage_bytes)
        missing = tuple(code for code in missing if code is not Shortfall.NO_HUGEPAGES)
    words = [WORDS[shortfall] for shortfall in missing]
    if assignment.unmet:
        words.append(f"no core of its own for {len(assignment.unmet)} control vCPU")
    if tuning.fifo_priority is not None and not pinned:
        # FIFO on a shared CPU would starve what else runs there.
        tuning = replace(tuning, fifo_priority=None)
    nics: tuple[NicSpec, ...] = ()
    if machine.network is not None and machine.address is not None:
        nics = (
            NicSpec(
                network=machine.network,
                mac=machine.mac,
                address=machine.address,
                filter=filter_name(machine),
            ),
        )
    spec = DomainSpec(
        uuid=machine.id,
        name=machine.domain_name,
        metadata=Metadata(
            site=machine.site,
            environment=machine.environment,
            machine=machine.name,
            operation=str(operation),
            generation=machine.generation,
        ),
        service_class=DomainClass(machine.service_class),
        accel=plan.accel,
        memory_bytes=machine.memory_bytes,
        vcpus=vcpus,
        boot=DirectBoot(kernel=kernel, initrd=initrd, cmdline=_cmdline(machine)),
        disks=(DiskSpec(path=disk),) if disk else (),
        nics=nics,
        emulator_cpus=assignment.emulator_cpus,
        memory_nodes=assignment.memory_nodes if tuning.hugepage_bytes else frozenset(),
        tuning=tuning,
        oem_strings=tuple(
            f"io.systemd.credential:{name}={text}"
            for name, text in sorted(machine.credentials.items())
        ),
        screen=screen_socket(machine.id) if machine.screen else None,
        cpu_features=machine.cpu_features,
        pci_devices=machine.gpus,
        vgpus=machine.vgpus,
        autostart=machine.autostart,
        title=f"{machine.environment}/{machine.name}",
    )
    return spec, tuple(words)


def _cmdline(machine: MachineRecord) -> str:
    """The template's command line with identity and address: ip=client::gateway:netmask:host:device:off.

    The guest's system takes both from here before anything of it runs: copies of one image never
    share a machine-id, whatever was written to the image.
    """
    parts = [machine.image.cmdline] if machine.image.cmdline else []
    if machine.image.disk_virtual_bytes:
        host = machine.domain_name.removeprefix("mw-")[:63]
        parts.append(f"systemd.machine_id={machine.id.hex} systemd.hostname={host}")
    if machine.address:
        mask = ipaddress.ip_network(f"0.0.0.0/{machine.prefix_length}").netmask
        host = machine.domain_name.removeprefix("mw-")[:63]
        parts.append(f"ip={machine.address}::{machine.route or ''}:{mask}:{host}:eth0:off")
    return " ".join(parts)
