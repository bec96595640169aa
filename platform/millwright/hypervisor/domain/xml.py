"""`DomainSpec` to libvirt domain XML. The golden files hold what it makes.

Only elements of libvirt's schema: no passthrough of emulator arguments, so that libvirt can
reason about (and migrate) everything a machine has.
"""

from __future__ import annotations

from uuid import UUID
from xml.etree import ElementTree as ET

from millwright.hypervisor.cpusets import format_cpuset
from millwright.hypervisor.equipment import vgpu_uuid
from millwright.hypervisor.types import (
    METADATA_NAMESPACE,
    Accel,
    Metadata,
    ServiceClass,
    VcpuRole,
)

from .spec import DiskSpec, DomainSpec, NicSpec

#: Path of the guest agent's port in the guest is fixed by this name.
AGENT_CHANNEL = "org.qemu.guest_agent.0"
#: By this channel the screen is opened; see `_screen`.
SCREEN_CHANNEL = "millwright.screen.0"
KIB = 1024
MIB = 2**20

ET.register_namespace("mw", METADATA_NAMESPACE)


def render_domain(spec: DomainSpec) -> str:
    """The domain's XML, indented, the same text for the same specification."""
    root = ET.Element("domain", type="kvm" if spec.accel is Accel.KVM else "qemu")
    _text(root, "name", spec.name)
    _text(root, "uuid", str(spec.uuid))
    if spec.title:
        _text(root, "title", spec.title)
    ET.SubElement(root, "metadata").append(metadata_element(spec.metadata))
    _text(root, "memory", str(spec.memory_bytes // KIB), unit="KiB")
    _memory_backing(root, spec)
    _text(root, "vcpu", str(len(spec.vcpus)), placement="static")
    if spec.iothreads:
        _text(root, "iothreads", str(spec.iothreads))
    _cputune(root, spec)
    if spec.memory_nodes:
        numa = ET.SubElement(root, "numatune")
        # Strict: pages of another node would be reached over the link between the sockets, for ever.
        ET.SubElement(numa, "memory", mode="strict", nodeset=format_cpuset(spec.memory_nodes))
    if spec.oem_strings:
        sysinfo = ET.SubElement(root, "sysinfo", type="smbios")
        strings = ET.SubElement(sysinfo, "oemStrings")
        for text in spec.oem_strings:
            _text(strings, "entry", text)
    _os(root, spec)
    _features(root, spec)
    _cpu(root, spec)
    clock = ET.SubElement(root, "clock", offset="utc")
    ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    ET.SubElement(clock, "timer", name="pit", tickpolicy="delay")
    ET.SubElement(clock, "timer", name="hpet", present="no")
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    # A crashed controller stays down and says so: restarting it is a decision, not a reflex.
    _text(root, "on_crash", "destroy")
    _devices(root, spec)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def metadata_element(metadata: Metadata) -> ET.Element:
    """Our mark, as the child of `<metadata>`."""
    return ET.Element(
        f"{{{METADATA_NAMESPACE}}}placement",
        site=metadata.site,
        environment=metadata.environment,
        machine=metadata.machine,
        operation=metadata.operation,
        generation=str(metadata.generation),
    )


def _text(parent: ET.Element, tag: str, value: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = value
    return element


def _memory_backing(root: ET.Element, spec: DomainSpec) -> None:
    tuning = spec.tuning
    if not (tuning.hugepage_bytes or tuning.no_shared_pages or tuning.locked_memory):
        return
    backing = ET.SubElement(root, "memoryBacking")
    if tuning.hugepage_bytes:
        pages = ET.SubElement(backing, "hugepages")
        ET.SubElement(pages, "page", size=str(tuning.hugepage_bytes // KIB), unit="KiB")
    if tuning.no_shared_pages:
        ET.SubElement(backing, "nosharepages")
    if tuning.locked_memory:
        ET.SubElement(backing, "locked")


def _cputune(root: ET.Element, spec: DomainSpec) -> None:
    tune = ET.Element("cputune")
    if spec.tuning.cpu_shares is not None:
        _text(tune, "shares", str(spec.tuning.cpu_shares))
    for number, vcpu in enumerate(spec.vcpus):
        if vcpu.cpus:
            ET.SubElement(tune, "vcpupin", vcpu=str(number), cpuset=format_cpuset(vcpu.cpus))
    if spec.emulator_cpus:
        cpuset = format_cpuset(spec.emulator_cpus)
        ET.SubElement(tune, "emulatorpin", cpuset=cpuset)
        for number in range(1, spec.iothreads + 1):
            ET.SubElement(tune, "iothreadpin", iothread=str(number), cpuset=cpuset)
    if spec.tuning.fifo_priority is not None:
        control = [n for n, vcpu in enumerate(spec.vcpus) if vcpu.role is VcpuRole.CONTROL]
        ET.SubElement(
            tune,
            "vcpusched",
            vcpus=format_cpuset(control),
            scheduler="fifo",
            priority=str(spec.tuning.fifo_priority),
        )
    if len(tune):
        root.append(tune)


def _os(root: ET.Element, spec: DomainSpec) -> None:
    os = ET.SubElement(root, "os")
    _text(os, "type", "hvm", arch="x86_64", machine=spec.machine_type)
    _text(os, "kernel", spec.boot.kernel)
    _text(os, "initrd", spec.boot.initrd)
    if spec.boot.cmdline:
        _text(os, "cmdline", spec.boot.cmdline)
    if spec.oem_strings:
        ET.SubElement(os, "smbios", mode="sysinfo")


def _features(root: ET.Element, spec: DomainSpec) -> None:
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if spec.accel is Accel.KVM:
        # Counters trapped by the hypervisor cost exits on a core that promised none.
        ET.SubElement(features, "pmu", state="off")
    ET.SubElement(features, "vmport", state="off")
    if spec.accel is Accel.EMULATION:
        tcg = ET.SubElement(features, "tcg")
        # Unbounded, the translation cache grew a 512 MB guest to 1.75 GB.
        _text(tcg, "tb-cache", str(max(1, spec.tb_cache_bytes // MIB)), unit="MiB")


def _cpu(root: ET.Element, spec: DomainSpec) -> None:
    if spec.accel is Accel.EMULATION:
        cpu = ET.SubElement(root, "cpu", mode="maximum", check="none", migratable="on")
    elif spec.service_class is ServiceClass.REALTIME:
        cpu = ET.SubElement(root, "cpu", mode="host-passthrough", check="none", migratable="on")
        ET.SubElement(cpu, "feature", policy="require", name="tsc-deadline")
    else:
        cpu = ET.SubElement(root, "cpu", mode="host-model", check="partial")
    for name in spec.cpu_features:
        ET.SubElement(cpu, "feature", policy="require", name=name)


def _devices(root: ET.Element, spec: DomainSpec) -> None:
    devices = ET.SubElement(root, "devices")
    for disk in spec.disks:
        _disk(devices, disk, iothread=spec.iothreads > 0)
    ET.SubElement(devices, "controller", type="usb", model="none")
    for nic in spec.nics:
        _nic(devices, nic)
    for address in spec.pci_devices:
        _pci(devices, address)
    for number in range(len(spec.vgpus)):
        _vgpu(devices, vgpu_uuid(spec.uuid, number))
    _serial(devices, spec)
    if spec.agent:
        channel = ET.SubElement(devices, "channel", type="unix")
        ET.SubElement(channel, "target", type="virtio", name=AGENT_CHANNEL)
    if spec.screen is not None:
        _screen(devices, spec.screen)
    if spec.tuning.balloon:
        balloon = ET.SubElement(devices, "memballoon", model="virtio")
        ET.SubElement(balloon, "stats", period="10")
    else:
        ET.SubElement(devices, "memballoon", model="none")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")


def _disk(devices: ET.Element, spec: DiskSpec, *, iothread: bool) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    # Without the host's page cache a guest's fsync means what it says.
    driver = ET.SubElement(disk, "driver", name="qemu", type=spec.format.value, cache="none")
    driver.set("discard", "unmap")
    if iothread:
        driver.set("iothread", "1")
    ET.SubElement(disk, "source", file=spec.path)
    ET.SubElement(disk, "target", dev=spec.target, bus="virtio")
    if spec.read_only:
        ET.SubElement(disk, "readonly")
    if spec.serial:
        _text(disk, "serial", spec.serial)


def _nic(devices: ET.Element, spec: NicSpec) -> None:
    nic = ET.SubElement(devices, "interface", type="network")
    ET.SubElement(nic, "mac", address=spec.mac)
    ET.SubElement(nic, "source", network=spec.network)
    ET.SubElement(nic, "model", type="virtio")
    if spec.filter is not None and spec.address is not None:
        reference = ET.SubElement(nic, "filterref", filter=spec.filter)
        ET.SubElement(reference, "parameter", name="IP", value=spec.address)
        ET.SubElement(reference, "parameter", name="MAC", value=spec.mac)


def _pci(devices: ET.Element, address: str) -> None:
    """A device of the host given whole; libvirt unbinds it from its driver and gives it back."""
    domain, bus, place = address.split(":")
    slot, function = place.split(".")
    host = ET.SubElement(devices, "hostdev", mode="subsystem", type="pci", managed="yes")
    ET.SubElement(
        ET.SubElement(host, "source"),
        "address",
        domain=f"0x{domain}",
        bus=f"0x{bus}",
        slot=f"0x{slot}",
        function=f"0x{function}",
    )


def _vgpu(devices: ET.Element, uuid: UUID) -> None:
    """An instance of a shared card: a mediated device, which is there before the domain starts."""
    host = ET.SubElement(
        devices, "hostdev", mode="subsystem", type="mdev", managed="no", model="vfio-pci"
    )
    ET.SubElement(ET.SubElement(host, "source"), "address", uuid=str(uuid))


def _serial(devices: ET.Element, spec: DomainSpec) -> None:
    serial = ET.SubElement(devices, "serial", type="pty")
    if spec.console_log is not None:
        ET.SubElement(serial, "log", file=spec.console_log, append="on")
    ET.SubElement(serial, "target", type="isa-serial", port="0")
    console = ET.SubElement(devices, "console", type="pty")
    ET.SubElement(console, "target", type="serial", port="0")


def _screen(devices: ET.Element, socket: str) -> None:
    """A graphics card whose screen nobody reaches but through libvirt.

    libvirt carries a channel's socket in a stream over its own TLS connection, but no VNC server's.
    So both have one path: libvirt opens the channel's socket before QEMU begins, QEMU's VNC server
    then takes the path for its own, and whoever opens the channel arrives at the screen. The port in
    the guest has no other end. No TCP port is opened anywhere.
    """
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "source", mode="bind", path=socket)
    ET.SubElement(channel, "target", type="virtio", name=SCREEN_CHANNEL)
    graphics = ET.SubElement(devices, "graphics", type="vnc")
    ET.SubElement(graphics, "listen", type="socket", socket=socket)
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="vga", vram=str(16 * MIB // KIB), heads="1")
