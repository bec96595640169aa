"""Specifications that several tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from millwright.hypervisor import (
    Accel,
    DirectBoot,
    DiskSpec,
    DomainSpec,
    Metadata,
    NicSpec,
    ProbeKind,
    ServiceClass,
    VcpuRole,
    VcpuSpec,
    VgpuSpec,
    screen_socket,
    tune,
)

MIB = 2**20
BASE = DomainSpec(
    uuid=UUID("6d1c2b9e-0b1f-4a57-9d39-0f5a1f6a2c01"),
    name="mw-filling-line-1-plc",
    title="Filling line 1: PLC",
    metadata=Metadata(
        site="mw0",
        environment="filling-line-1",
        machine="6d1c2b9e-0b1f-4a57-9d39-0f5a1f6a2c01",
        operation="0c7a6f1e-52a4-4d53-a1f9-6f2b8f8a9f10",
        generation=3,
    ),
    service_class=ServiceClass.REALTIME,
    accel=Accel.KVM,
    memory_bytes=512 * MIB,
    vcpus=(
        VcpuSpec(cpus=frozenset({0, 1})),
        VcpuSpec(role=VcpuRole.CONTROL, cpus=frozenset({4})),
        VcpuSpec(role=VcpuRole.CONTROL, cpus=frozenset({5})),
    ),
    emulator_cpus=frozenset({0, 1}),
    iothreads=1,
    boot=DirectBoot(
        kernel="/var/lib/libvirt/images/vplc-1-vmlinuz",
        initrd="/var/lib/libvirt/images/vplc-1-initrd",
        cmdline="root=/dev/vda ro console=ttyS0 net.ifnames=0 "
        "ip=10.90.1.100::10.90.1.1:255.255.255.0:plc:eth0:off",
    ),
    disks=(DiskSpec(path="/var/lib/libvirt/images/filling-line-1-plc.qcow2", serial="root"),),
    nics=(
        NicSpec(
            network="mw-cell-line1",
            mac="52:54:00:5a:01:64",
            address="10.90.1.100",
            filter="mw-filling-line-1-plc",
        ),
    ),
    oem_strings=('io.systemd.credential:vplc.identity={"hostname": "plc", "n": "<&>"}',),
    console_log="/var/log/libvirt/qemu/mw-filling-line-1-plc.console.log",
    autostart=True,
)

#: What each golden file shows.
CASES: dict[str, tuple[ServiceClass, frozenset[ProbeKind], dict[str, Any]]] = {
    "realtime_full_host": (ServiceClass.REALTIME, frozenset(ProbeKind), {}),
    "realtime_in_a_node": (
        ServiceClass.REALTIME,
        frozenset(ProbeKind),
        {"hugepage_bytes": 2 * MIB, "memory_nodes": frozenset({1})},
    ),
    "realtime_emulated_fifo": (
        ServiceClass.REALTIME,
        frozenset({ProbeKind.FIFO, ProbeKind.NWFILTER}),
        {"vcpus": BASE.vcpus[:2]},
    ),
    "realtime_nothing_granted": (ServiceClass.REALTIME, frozenset(), {"oem_strings": ()}),
    "guaranteed_kvm": (
        ServiceClass.GUARANTEED,
        frozenset({ProbeKind.KVM, ProbeKind.CGROUP_CPU}),
        {"vcpus": (VcpuSpec(), VcpuSpec()), "iothreads": 0, "autostart": False},
    ),
    "guaranteed_with_a_card": (
        ServiceClass.GUARANTEED,
        frozenset({ProbeKind.KVM, ProbeKind.CGROUP_CPU}),
        {
            "vcpus": (VcpuSpec(), VcpuSpec()),
            "iothreads": 0,
            "cpu_features": ("avx2", "sse4.2"),
            "pci_devices": ("0000:65:00.0",),
            "hugepage_bytes": 2 * MIB,
        },
    ),
    "shared_with_vgpus": (
        ServiceClass.SHARED,
        frozenset({ProbeKind.KVM}),
        {
            "vcpus": (VcpuSpec(), VcpuSpec()),
            "iothreads": 0,
            "vgpus": (VgpuSpec(card="0000:65:00.0", profile="nvidia-35"),) * 2,
        },
    ),
    "shared_emulated_bare": (
        ServiceClass.SHARED,
        frozenset(),
        {
            "vcpus": (VcpuSpec(),),
            "iothreads": 0,
            "emulator_cpus": frozenset(),
            "disks": (),
            "nics": (),
            "oem_strings": (),
            "console_log": None,
            "agent": False,
            "title": "",
        },
    ),
    "shared_emulated_screen": (
        ServiceClass.SHARED,
        frozenset(),
        {
            "vcpus": (VcpuSpec(),),
            "iothreads": 0,
            "oem_strings": (),
            "console_log": None,
            "screen": screen_socket(BASE.uuid),
        },
    ),
}


def case(name: str) -> DomainSpec:
    """The specification behind a golden file."""
    service_class, abilities, changes = CASES[name]
    plan = tune(service_class, abilities, hugepage_bytes=2 * MIB)
    asked = changes.get("hugepage_bytes")
    tuning = replace(plan.tuning, hugepage_bytes=asked) if asked else plan.tuning
    others = {key: value for key, value in changes.items() if key != "hugepage_bytes"}
    return replace(BASE, service_class=service_class, accel=plan.accel, tuning=tuning, **others)
