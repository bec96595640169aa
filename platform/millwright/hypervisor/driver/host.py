"""Facts and bulk state of a host."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from millwright.hypervisor.cpusets import parse_cpuset
from millwright.hypervisor.errors import InvalidSpec
from millwright.hypervisor.types import (
    CpuFacts,
    DomainStats,
    HostFacts,
    Metadata,
    NumaFacts,
    VcpuStats,
)

from .base import Base, state_of
from .deadline import Deadline
from .links import links_of, networks_of

KIB = 1024
#: What libvirt takes for a time to sleep, at least.
LEAST_SLEEP_S = 60
#: Marks are told anew at least this often, should an event have been lost.
MARK_MAX_AGE_S = 60.0
BULK_STATS = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)


class HostVerbs(Base):
    """`facts` and `bulk_state`."""

    _marks: dict[UUID, tuple[float, Metadata | None, bool, bool]]
    _marks_lock: threading.Lock

    def _forget_marks(self) -> None:
        self._marks_lock = getattr(self, "_marks_lock", None) or threading.Lock()
        with self._marks_lock:
            self._marks = {}

    def _forget_mark(self, uuid: UUID) -> None:
        with self._marks_lock:
            self._marks.pop(uuid, None)

    def facts(self, *, deadline_s: float | None = None) -> HostFacts:
        """See the port."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> HostFacts:
            capabilities = ET.fromstring(conn.getCapabilities())  # noqa: S314 - libvirt's answer
            uuid = capabilities.findtext("host/uuid")
            cpus, numa = parse_topology(capabilities)
            guest = capabilities.find("guest/arch[@name='x86_64']")
            machines: set[str] = set()
            kvm = False
            if guest is not None:
                machines = {m.text or "" for m in guest.iter("machine")}
                machines |= {m.get("canonical") or "" for m in guest.iter("machine")}
                kvm = guest.find("domain[@type='kvm']") is not None
            model = capabilities.findtext("host/cpu/model") or ""
            return HostFacts(
                name=self.name,
                hostname=conn.getHostname(),
                host_uuid=UUID(uuid) if uuid else None,
                architecture=capabilities.findtext("host/cpu/arch") or "",
                cpu_model=model,
                cpus=cpus,
                numa=numa,
                memory_bytes=_memory_bytes(conn),
                libvirt_version=_version(conn.getLibVersion()),
                hypervisor_version=_version(conn.getVersion()),
                machine_types=tuple(sorted(machines - {""})),
                kvm_declared=kvm,
                networks=networks_of(conn),
                links=links_of(conn),
            )

        return self._call("facts", deadline_s, ask)

    def suspend(self, *, wake_after_s: int, deadline_s: float | None = None) -> None:
        """See the port."""
        if wake_after_s < LEAST_SLEEP_S:
            raise InvalidSpec(
                f"suspend: {wake_after_s} s; at least {LEAST_SLEEP_S}", host=self.name
            )

        def order(conn: libvirt.virConnect, _: Deadline) -> None:
            try:
                conn.suspendForDuration(libvirt.VIR_NODE_SUSPEND_TARGET_MEM, wake_after_s)
            except libvirt.libvirtError as error:
                # libvirt waits some seconds before it lets go: it has been told already.
                if "already in progress" not in str(error).lower():
                    raise

        self._call("suspend", deadline_s, order)

    def bulk_state(self, *, deadline_s: float | None = None) -> tuple[DomainStats, ...]:
        """See the port.

        One statistics call; marks (which libvirt does not give in bulk) are remembered and
        asked again only for domains that an event named, or after `MARK_MAX_AGE_S`.
        """

        def ask(conn: libvirt.virConnect, _: Deadline) -> tuple[DomainStats, ...]:
            try:
                answer = conn.getAllDomainStats(
                    BULK_STATS, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
                )
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                    raise
                answer = [
                    (
                        domain,
                        dict(zip(("state.state", "state.reason"), domain.state(), strict=True)),
                    )
                    for domain in conn.listAllDomains()
                ]
            return tuple(self._stats(domain, values) for domain, values in answer)

        return self._call("bulk_state", deadline_s, ask)

    def _stats(self, domain: libvirt.virDomain, values: Mapping[str, Any]) -> DomainStats:
        uuid = UUID(bytes=domain.UUID())
        metadata, persistent, autostart = self._identity(uuid, domain)
        state, reason = state_of(values.get("state.state", 0), values.get("state.reason", 0))
        balloon = values.get("balloon.current")
        available, unused = values.get("balloon.available"), values.get("balloon.unused")
        return DomainStats(
            uuid=uuid,
            name=domain.name(),
            state=state,
            metadata=metadata,
            persistent=persistent,
            autostart=autostart,
            memory_bytes=None if balloon is None else balloon * KIB,
            memory_used_bytes=None
            if available is None or unused is None
            else (available - unused) * KIB,
            rss_bytes=None if "balloon.rss" not in values else values["balloon.rss"] * KIB,
            cpu_time_ns=values.get("cpu.time"),
            vcpus=_vcpus(values),
            disk_read_bytes=_total(values, "block", "rd.bytes"),
            disk_written_bytes=_total(values, "block", "wr.bytes"),
            net_received_bytes=_total(values, "net", "rx.bytes"),
            net_sent_bytes=_total(values, "net", "tx.bytes"),
            reason=reason,
        )

    def _identity(
        self, uuid: UUID, domain: libvirt.virDomain
    ) -> tuple[Metadata | None, bool, bool]:
        now = time.monotonic()
        with self._marks_lock:
            known = self._marks.get(uuid)
        if known is not None and now - known[0] < MARK_MAX_AGE_S:
            return known[1:]
        try:
            mark = self._mark(domain)
            persistent = bool(domain.isPersistent())
            autostart = bool(persistent and domain.autostart())
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None, False, False  # it ended between the two questions
            raise
        with self._marks_lock:
            self._marks[uuid] = (now, mark, persistent, autostart)
        return mark, persistent, autostart


def parse_topology(
    capabilities: ET.Element,
) -> tuple[tuple[CpuFacts, ...], tuple[NumaFacts, ...]]:
    """CPUs and NUMA nodes out of libvirt's capabilities XML."""
    cpus: list[CpuFacts] = []
    nodes: list[NumaFacts] = []
    for cell in capabilities.iterfind("host/topology/cells/cell"):
        node = int(cell.get("id", "0"))
        own: list[CpuFacts] = []
        for cpu in cell.iterfind("cpus/cpu"):
            number = int(cpu.attrib["id"])
            own.append(
                CpuFacts(
                    id=number,
                    socket=int(cpu.get("socket_id", "0")),
                    core=int(cpu.get("core_id", str(number))),
                    numa_node=node,
                    siblings=parse_cpuset(cpu.get("siblings", str(number))),
                )
            )
        memory = cell.find("memory")
        pages = {
            int(page.get("size", "0")) * KIB: int(page.text or 0)
            for page in cell.iterfind("pages")
            if page.get("unit") == "KiB" and int(page.get("size", "0")) > 4
        }
        nodes.append(
            NumaFacts(
                id=node,
                memory_bytes=int(memory.text or 0) * KIB if memory is not None else 0,
                cpus=frozenset(cpu.id for cpu in own),
                hugepages=pages,
            )
        )
        cpus += own
    return tuple(sorted(cpus, key=lambda cpu: cpu.id)), tuple(nodes)


def _memory_bytes(conn: libvirt.virConnect) -> int:
    """The memory the kernel counts. The nodes' own numbers miss what was plugged in later."""
    try:
        stats = conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        return int(stats["total"]) * KIB
    except (libvirt.libvirtError, KeyError):
        return int(conn.getInfo()[1]) * 2**20


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _vcpus(values: Mapping[str, Any]) -> tuple[VcpuStats, ...]:
    return tuple(
        VcpuStats(
            number=number,
            running=values.get(f"vcpu.{number}.state") == libvirt.VIR_VCPU_RUNNING,
            time_ns=values.get(f"vcpu.{number}.time", 0),
            delay_ns=values.get(f"vcpu.{number}.delay", 0),
        )
        for number in range(values.get("vcpu.maximum", 0))
        if f"vcpu.{number}.state" in values
    )


def _total(values: Mapping[str, Any], group: str, suffix: str) -> int | None:
    found = [
        values[key]
        for number in range(values.get(f"{group}.count", 0))
        if (key := f"{group}.{number}.{suffix}") in values
    ]
    return sum(found) if found else None
