"""What we read back from domain XML: our mark, the pins, the files in use."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from millwright.hypervisor.cpusets import parse_cpuset
from millwright.hypervisor.types import METADATA_NAMESPACE, Metadata, Pins

TAG = f"{{{METADATA_NAMESPACE}}}placement"


def parse_metadata(xml: str) -> Metadata | None:
    """Our mark in a domain's XML or in a metadata fragment; None when absent or damaged.

    A damaged mark counts as none: what we cannot read we do not own.
    """
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own answer, over an authenticated channel
    # libvirt hands a fragment back without its namespace prefix when asked for one.
    element = root if root.tag in (TAG, "placement") else root.find(f"./metadata/{TAG}")
    if element is None:
        return None
    try:
        return Metadata(
            site=element.attrib["site"],
            environment=element.attrib["environment"],
            machine=element.attrib["machine"],
            operation=element.attrib["operation"],
            generation=int(element.attrib["generation"]),
        )
    except (KeyError, ValueError):
        return None


def parse_pins(xml: str, *, all_cpus: frozenset[int]) -> Pins:
    """The pins written in a domain's XML; threads without one may run on `all_cpus`."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own answer
    vcpu = root.find("vcpu")
    count = int((vcpu.text if vcpu is not None else None) or 1)
    default = parse_cpuset(vcpu.get("cpuset") or "") if vcpu is not None else frozenset[int]()
    default = default or all_cpus
    vcpus = dict.fromkeys(range(count), default)
    for pin in root.iterfind("cputune/vcpupin"):
        vcpus[int(pin.attrib["vcpu"])] = parse_cpuset(pin.attrib["cpuset"])
    emulator = root.find("cputune/emulatorpin")
    iothreads_text = root.findtext("iothreads")
    iothreads = dict.fromkeys(range(1, int(iothreads_text or 0) + 1), default)
    for pin in root.iterfind("cputune/iothreadpin"):
        iothreads[int(pin.attrib["iothread"])] = parse_cpuset(pin.attrib["cpuset"])
    return Pins(
        vcpus=vcpus,
        emulator=default if emulator is None else parse_cpuset(emulator.attrib["cpuset"]),
        iothreads=iothreads,
    )


def parse_files(xml: str) -> frozenset[str]:
    """Every file of the host that the domain uses: disks, their backing files, kernel, initrd."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own answer
    found = {source.get("file", "") for source in root.iterfind("devices/disk//source")}
    found |= {root.findtext("os/kernel") or "", root.findtext("os/initrd") or ""}
    return frozenset(found - {""})
