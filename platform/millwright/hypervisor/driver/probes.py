"""What a host can do, found out by doing it with a guest that vanishes with its maker.

Probe guests are transient and bound to the connection (auto-destroy): whatever happens to us,
nothing of them stays. Most are started paused; only KVM and isolation let them run.
"""

from __future__ import annotations

import contextlib
import time
from uuid import uuid4
from xml.etree import ElementTree as ET

import libvirt

from millwright.hypervisor.domain.spec import DirectBoot, DomainSpec, Tuning, VcpuSpec
from millwright.hypervisor.domain.xml import render_domain
from millwright.hypervisor.errors import HypervisorError, InvalidSpec
from millwright.hypervisor.filters import render_filter
from millwright.hypervisor.rules import object_uuid
from millwright.hypervisor.types import (
    Accel,
    Direction,
    FilterSpec,
    Flow,
    Metadata,
    ProbeGuest,
    ProbeKind,
    ProbeResult,
    ServiceClass,
    VcpuRole,
)

from .console import Console
from .deadline import Deadline
from .domains import DomainVerbs

MIB = 2**20
HUGEPAGE_BYTES = 2 * MIB
#: A pinned guest that waited longer for its CPU than this part of the time shares it.
ISOLATION_MAX_WAIT_RATIO = 0.01
PROBE_ADDRESS = "192.0.2.1"  # RFC 5737: for documentation, never routed


class ProbeVerbs(DomainVerbs):
    """`probe`."""

    def probe(
        self, kind: ProbeKind, guest: ProbeGuest | None = None, *, deadline_s: float | None = None
    ) -> ProbeResult:
        """See the port."""
        if guest is None:
            raise InvalidSpec.of("guest", None, f"probe {kind.value} needs a guest", host=self.name)
        given: ProbeGuest = guest

        def work(conn: libvirt.virConnect, deadline: Deadline) -> ProbeResult:
            started = time.monotonic()
            try:
                ok, detail = self._do(conn, kind, given, deadline)
            except libvirt.libvirtError as error:
                ok, detail = False, error.get_error_message() or str(error)
            elapsed_s = time.monotonic() - started
            return ProbeResult(kind=kind, ok=ok, detail=detail, elapsed_s=elapsed_s)

        return self._call("probe", deadline_s, work)

    def _do(
        self, conn: libvirt.virConnect, kind: ProbeKind, guest: ProbeGuest, deadline: Deadline
    ) -> tuple[bool, str]:
        if kind is ProbeKind.KVM:
            return self._kvm(conn, guest, deadline)
        if kind is ProbeKind.ISOLATION:
            return self._isolation(conn, guest, deadline)
        if kind is ProbeKind.FIFO:
            spec = self._spec(guest, Tuning(fifo_priority=1), pinned_to=self._cpu(conn, guest))
            return self._paused(conn, spec, "a control vCPU was given FIFO priority 1")
        if kind is ProbeKind.MEMORY_LOCK:
            spec = self._spec(guest, Tuning(locked_memory=True))
            return self._paused(conn, spec, f"{guest.memory_bytes // MIB} MiB were locked")
        if kind is ProbeKind.HUGEPAGES:
            spec = self._spec(guest, Tuning(hugepage_bytes=HUGEPAGE_BYTES), memory_bytes=64 * MIB)
            return self._paused(conn, spec, "64 MiB came from 2 MiB pages")
        if kind is ProbeKind.CGROUP_CPU:
            return self._shares(conn, guest)
        return self._nwfilter(conn, guest)

    @staticmethod
    def _cpu(conn: libvirt.virConnect, guest: ProbeGuest) -> int:
        if guest.cpu is not None:
            return guest.cpu
        _, online, _ = conn.getCPUMap()
        return max(number for number, there in enumerate(online) if there)

    def _spec(
        self,
        guest: ProbeGuest,
        tuning: Tuning,
        *,
        accel: Accel = Accel.EMULATION,
        pinned_to: int | None = None,
        memory_bytes: int | None = None,
    ) -> DomainSpec:
        uuid = uuid4()
        cpus = frozenset[int]() if pinned_to is None else frozenset({pinned_to})
        role = VcpuRole.HOUSEKEEPING if pinned_to is None else VcpuRole.CONTROL
        return DomainSpec(
            uuid=uuid,
            name=f"mw-probe-{uuid.hex[:12]}",
            metadata=Metadata(
                site=self.site, environment="probe", machine=str(uuid), operation="probe",
                generation=1,
            ),
            service_class=ServiceClass.REALTIME,
            accel=accel,
            memory_bytes=memory_bytes or guest.memory_bytes,
            vcpus=(VcpuSpec(role=role, cpus=cpus),),
            boot=DirectBoot(kernel=guest.kernel, initrd=guest.initrd, cmdline=guest.cmdline),
            tuning=Tuning(
                fifo_priority=tuning.fifo_priority,
                locked_memory=tuning.locked_memory,
                hugepage_bytes=tuning.hugepage_bytes,
                balloon=False,
            ),
            agent=False,
        )  # fmt: skip

    def _paused(self, conn: libvirt.virConnect, spec: DomainSpec, detail: str) -> tuple[bool, str]:
        domain = self._launch(conn, render_domain(spec), paused=True)
        self._discard(domain)
        return True, detail

    @staticmethod
    def _launch(conn: libvirt.virConnect, xml: str, *, paused: bool) -> libvirt.virDomain:
        flags = libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_VALIDATE
        if paused:
            flags |= libvirt.VIR_DOMAIN_START_PAUSED
        return conn.createXML(xml, flags)

    @staticmethod
    def _discard(domain: libvirt.virDomain) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            domain.destroy()

    def _boots(
        self, conn: libvirt.virConnect, domain: libvirt.virDomain, guest: ProbeGuest,
        deadline: Deadline,
    ) -> tuple[bool, str]:  # fmt: skip
        """Whether the guest, started paused, writes its marker to the console in time."""
        console = Console(conn, domain, self.name)
        started = time.monotonic()
        end = started + min(guest.boot_timeout_s, max(1.0, deadline.left_s - 5))
        seen = b""
        marker = guest.boot_marker.encode()
        try:
            domain.resume()
            while time.monotonic() < end:
                try:
                    seen = (seen + console.read(timeout_s=0.5))[-65536:]
                except HypervisorError:
                    return False, f"the guest died: {_last_line(seen)}"
                if marker in seen:
                    return True, f"booted in {time.monotonic() - started:.1f} s"
        finally:
            console.close()
        waited_s = end - started
        return False, f"did not boot within {waited_s:.0f} s; last said: {_last_line(seen)}"

    def _kvm(
        self, conn: libvirt.virConnect, guest: ProbeGuest, deadline: Deadline
    ) -> tuple[bool, str]:
        spec = self._spec(guest, Tuning(), accel=Accel.KVM)
        domain = self._launch(conn, render_domain(spec), paused=True)
        try:
            return self._boots(conn, domain, guest, deadline)
        finally:
            self._discard(domain)

    def _isolation(
        self, conn: libvirt.virConnect, guest: ProbeGuest, deadline: Deadline
    ) -> tuple[bool, str]:
        cpu = self._cpu(conn, guest)
        domain = self._launch(
            conn, render_domain(self._spec(guest, Tuning(), pinned_to=cpu)), paused=True
        )
        try:
            booted, detail = self._boots(conn, domain, guest, deadline)
            if not booted:
                return False, detail
            ((_, stats),) = conn.domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_VCPU)
        finally:
            self._discard(domain)
        if "vcpu.0.delay" not in stats:
            return False, "the host does not tell how long a vCPU waits"
        ran_ns, waited_ns = stats["vcpu.0.time"], stats["vcpu.0.delay"]
        ratio = waited_ns / max(1, ran_ns + waited_ns)
        detail = f"a vCPU alone on CPU {cpu} waited {ratio:.1%} of the time for it"
        return ratio <= ISOLATION_MAX_WAIT_RATIO, detail

    def _shares(self, conn: libvirt.virConnect, guest: ProbeGuest) -> tuple[bool, str]:
        domain = self._launch(conn, render_domain(self._spec(guest, Tuning())), paused=True)
        try:
            live = libvirt.VIR_DOMAIN_AFFECT_LIVE
            domain.setSchedulerParametersFlags({"cpu_shares": 2048}, live)
            got = domain.schedulerParametersFlags(live).get("cpu_shares")
        finally:
            self._discard(domain)
        return got == 2048, f"a CPU weight of 2048 was set and read back as {got}"

    def _nwfilter(self, conn: libvirt.virConnect, guest: ProbeGuest) -> tuple[bool, str]:
        name = f"mw-probe-{uuid4().hex[:12]}"
        flow = Flow(direction=Direction.INBOUND, peer="192.0.2.2", port=502)
        xml = render_filter(
            FilterSpec(name=name, flows=(flow,)), object_uuid(self.site, "filter", name)
        )
        filter_ = conn.nwfilterDefineXML(xml)
        try:
            root = ET.fromstring(render_domain(self._spec(guest, Tuning())))  # noqa: S314 - ours
            devices = root.find("devices")
            assert devices is not None  # noqa: S101 - our own text
            # A tap device without a bridge: the rules are made, nothing is connected.
            nic = ET.SubElement(devices, "interface", type="ethernet")
            ET.SubElement(nic, "mac", address="52:54:00:00:00:fe")
            ET.SubElement(nic, "model", type="virtio")
            reference = ET.SubElement(nic, "filterref", filter=name)
            ET.SubElement(reference, "parameter", name="IP", value=PROBE_ADDRESS)
            domain = self._launch(conn, ET.tostring(root, encoding="unicode"), paused=True)
            self._discard(domain)
        finally:
            with contextlib.suppress(libvirt.libvirtError):
                filter_.undefine()
        return True, "the rules of a filter were made for a nic and removed"


def _last_line(data: bytes) -> str:
    lines = [line.strip() for line in data.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:120] if lines else "nothing"
