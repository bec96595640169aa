"""A wrong value is refused where it arises, with field, value and rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from millwright.hypervisor import (
    DirectBoot,
    DiskSpec,
    InvalidSpec,
    NicSpec,
    ServiceClass,
    Tuning,
    VcpuRole,
    VcpuSpec,
    domain_name,
)

from tests.unit.hypervisor.specs import BASE, MIB

CONTROL = VcpuSpec(role=VcpuRole.CONTROL, cpus=frozenset({1}))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"name": ""}, "name"),
        ({"metadata": replace(BASE.metadata, generation=0)}, "metadata.generation"),
        ({"metadata": replace(BASE.metadata, environment="<x>")}, "metadata.environment"),
        ({"memory_bytes": 512 * MIB + 1}, "memory_bytes"),
        ({"memory_bytes": 0}, "memory_bytes"),
        ({"vcpus": ()}, "vcpus"),
        ({"iothreads": 99}, "iothreads"),
        ({"screen": "/run/mw.screen"}, "screen"),  # the base is realtime
        ({"screen": "mw.screen"}, "screen"),
        ({"screen": "/" + "x" * 107}, "screen"),
        ({"title": "two\nlines"}, "title"),
        ({"oem_strings": ("a\0b",)}, "oem_strings[0]"),
        ({"oem_strings": ("ok", "")}, "oem_strings[1]"),
        ({"oem_strings": ("x" * 40_000,)}, "oem_strings[0]"),
        ({"console_log": "relative.log"}, "console_log"),
        ({"disks": BASE.disks * 2}, "disks"),
        ({"nics": BASE.nics * 2}, "nics"),
        ({"service_class": ServiceClass.SHARED}, "vcpus[1].role"),
        ({"vcpus": (CONTROL, CONTROL)}, "vcpus[1].cpus"),
        ({"vcpus": (VcpuSpec(),), "tuning": Tuning(fifo_priority=1)}, "tuning.fifo_priority"),
    ],
)
def test_a_machine_s_rules(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        replace(BASE, **changes)
    assert caught.value.details["field"] == field
    assert caught.value.details["rule"]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: DirectBoot(kernel="k", initrd="/i"), "boot.kernel"),
        (lambda: DirectBoot(kernel="/k", initrd="/a/../i"), "boot.initrd"),
        (lambda: DirectBoot(kernel="/k", initrd="/i", cmdline="x" * 2048), "boot.cmdline"),
        (lambda: DirectBoot(kernel="/k", initrd="/i", cmdline="a\x00b"), "boot.cmdline"),
        (lambda: DiskSpec(path="d.qcow2"), "disk.path"),
        (lambda: DiskSpec(path="/d", target="sda"), "disk.target"),
        (lambda: DiskSpec(path="/d", serial="a b"), "disk.serial"),
        (lambda: NicSpec(network="n", mac="52:54:00:00:00"), "nic.mac"),
        (lambda: NicSpec(network="n", mac="01:54:00:00:00:01"), "nic.mac"),
        (lambda: NicSpec(network="n n", mac="52:54:00:00:00:01"), "nic.network"),
        (lambda: NicSpec(network="n", mac="52:54:00:00:00:01", filter="f"), "nic.address"),
        (lambda: NicSpec(network="n", mac="52:54:00:00:00:01", address="10.0.0"), "nic.address"),
        (lambda: Tuning(fifo_priority=99), "tuning.fifo_priority"),
        (lambda: Tuning(cpu_shares=1), "tuning.cpu_shares"),
    ],
)
def test_the_parts_rules(make: Any, field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        make()
    assert caught.value.details["field"] == field


def test_a_refused_credential_is_not_shown() -> None:
    with pytest.raises(InvalidSpec) as caught:
        replace(BASE, oem_strings=("io.systemd.credential:key=s3cret\nmore",))
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value.details)


def test_domain_names_by_contract() -> None:
    assert domain_name("filling-line-1", "plc") == "mw-filling-line-1-plc"
    with pytest.raises(InvalidSpec, match="domain name"):
        domain_name("e" * 60, "m")
