"""One fake host: the port's verbs on dictionaries, and the handles that break it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import NAMESPACE_URL, UUID, uuid5

from millwright.hypervisor.domain.spec import DomainSpec
from millwright.hypervisor.domain.xml import render_domain
from millwright.hypervisor.errors import (
    Conflict,
    InvalidSpec,
    NoSpace,
    NotFound,
)
from millwright.hypervisor.port import EventCallback
from millwright.hypervisor.rules import ACTIVE, check_define, check_generation, check_owned
from millwright.hypervisor.types import (
    Capability,
    CpuFacts,
    DomainInfo,
    DomainState,
    DomainStats,
    Event,
    EventKind,
    HostFacts,
    LinkFacts,
    Metadata,
    NetworkFacts,
    NetworkSpec,
    NumaFacts,
    Pins,
    ProbeGuest,
    ProbeKind,
    ProbeResult,
    VcpuStats,
)

from .agent import FakeAgent
from .clock import VirtualClock
from .equipment import FakeEquipment, FakeParts
from .faults import Effect, Faults, verb
from .migration import FakeMigration, Flight
from .shares import FakeShares
from .state import FakeDomain, FakeStore
from .storage import FakeStorage

#: Memory that the host keeps for itself.
HOST_MEMORY_BYTES = 512 * 2**20


class FakeHypervisor(FakeMigration, FakeStorage, FakeAgent, FakeShares, FakeEquipment):
    """A host in memory that keeps the contract of `Hypervisor`. Thread-safe.

    Handles for tests: `fail_next`, `freeze`/`thaw`, `cut`/`restore`, `kill`, `kill_daemon`, `wake`, `sleepless`,
    `crash_domain`, `add_foreign_domain`, `parts`, `faults.calls`.
    """

    def __init__(
        self,
        name: str,
        *,
        site: str,
        clock: VirtualClock,
        cpus: int,
        threads_per_core: int,
        numa_nodes: int,
        memory_bytes: int,
        pool_bytes: int,
        boot_s: float,
        abilities: frozenset[ProbeKind],
    ) -> None:
        self.name = name
        self.site = site
        self.clock = clock
        self.boot_s = boot_s
        self.abilities = abilities
        self.faults = Faults()
        self.parts = FakeParts()
        self.unreachable = False
        self.frozen = False
        #: whether it sleeps, and after how long its alarm was to ring (nothing rings by itself)
        self.asleep = False
        self.wake_after_s: int | None = None
        #: takes the order and stays awake
        self.sleepless = False
        #: told not to be connected to but by calls
        self.resting = False
        self._cpus = _cpus(cpus, threads_per_core, numa_nodes)
        self._memory_bytes = memory_bytes
        self._lock = threading.RLock()
        self._domains: dict[UUID, FakeDomain] = {}
        self._names: dict[str, UUID] = {}
        self._callbacks: list[EventCallback] = []
        path = "/var/lib/libvirt/images"
        self._pools = {"default": FakeStore("default", path, pool_bytes)}
        self._pool_bytes = pool_bytes
        self._networks: dict[str, NetworkSpec] = {}
        self._filters: dict[str, object] = {}
        self._flights: dict[UUID, Flight] = {}

    def rest(self, resting: bool) -> None:
        """See the port."""
        self.resting = resting

    # --- handles for tests ------------------------------------------------------------------

    def fail_next(
        self, verb: str, error: BaseException, *, effect: Effect | str = "before", times: int = 1
    ) -> None:
        """See `Faults.fail_next`."""
        self.faults.fail_next(verb, error, effect=effect, times=times)

    def freeze(self) -> None:
        """The host stops answering; calls end at their deadline."""
        self.frozen = True

    def thaw(self) -> None:
        """The host goes on where it stood."""
        self.frozen = False

    def cut(self) -> None:
        """The management network to the host is gone; its guests run on."""
        self.unreachable = True
        self._emit(EventKind.DISCONNECTED, detail="cut")

    def restore(self) -> None:
        """The host is reachable again; after a power loss it starts its autostart domains."""
        self.unreachable = self.asleep = False
        with self._lock:
            for domain in self._domains.values():
                if domain.reason == "power lost" and domain.autostart:
                    self._boot(domain)
        self._emit(EventKind.CONNECTED, detail="resynchronise")

    def kill(self) -> None:
        """Power loss: guests die with the host."""
        with self._lock:
            for domain in self._domains.values():
                if domain.state in ACTIVE:
                    domain.state, domain.live, domain.reason = (
                        DomainState.STOPPED, None, "power lost",
                    )  # fmt: skip
        self.end_flights("the host lost its power")
        self.cut()

    def kill_daemon(self) -> None:
        """libvirtd dies; guests do not. Migrations of its guests fall back to where they came from."""
        self.end_flights("the daemon died")
        self.cut()

    def wake(self) -> None:
        """The host goes on where it fell asleep; one that does not sleep takes no notice."""
        if self.asleep:
            self.restore()

    def crash_domain(self, uuid: UUID) -> None:
        """The guest's QEMU dies by itself."""
        with self._lock:
            domain = self._domains[uuid]
            domain.state, domain.live, domain.reason = DomainState.CRASHED, None, "crashed"
            self._end_flight(uuid, Conflict("the guest is gone", host=self.name))
        self._emit(EventKind.DOMAIN, domain, "crashed")

    def add_foreign_domain(self, name: str, *, running: bool = True) -> UUID:
        """A domain that somebody else made."""
        uuid = uuid5(NAMESPACE_URL, f"foreign/{self.name}/{name}")
        state = DomainState.RUNNING if running else DomainState.STOPPED
        with self._lock:
            self._domains[uuid] = FakeDomain(uuid=uuid, name=name, spec=None, state=state)
            self._names[name] = uuid
        return uuid

    def pass_time(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.clock.advance(seconds)

    def _emit(self, kind: EventKind, domain: FakeDomain | None = None, detail: str = "") -> None:
        event = Event(
            kind=kind,
            host=self.name,
            uuid=None if domain is None else domain.uuid,
            name="" if domain is None else domain.name,
            detail=detail,
        )
        for callback in tuple(self._callbacks):
            callback(event)

    # --- the host ---------------------------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All but keepalive: nothing is between it and its caller."""
        return frozenset(Capability) - {Capability.KEEPALIVE}

    @property
    def connected(self) -> bool:
        """Whether the fake answers."""
        return not (self.unreachable or self.frozen)

    def close(self) -> None:
        """Nothing to drop."""
        self._callbacks.clear()

    @verb
    def facts(self, *, deadline_s: float | None = None) -> HostFacts:
        """See the port."""
        nodes = sorted({cpu.numa_node for cpu in self._cpus})
        return HostFacts(
            name=self.name,
            hostname=self.name,
            host_uuid=uuid5(NAMESPACE_URL, f"fake/{self.site}/{self.name}"),
            architecture="x86_64",
            cpu_model=self.parts.cpu_model,
            cpus=self._cpus,
            numa=tuple(
                NumaFacts(
                    id=node,
                    memory_bytes=self._memory_bytes // len(nodes),
                    cpus=frozenset(cpu.id for cpu in self._cpus if cpu.numa_node == node),
                    hugepages=dict(self.parts.hugepages) if node == 0 else {},
                )
                for node in nodes
            ),
            memory_bytes=self._memory_bytes,
            libvirt_version="9.0.0",
            hypervisor_version="7.2.0",
            machine_types=("pc", "q35"),
            kvm_declared=ProbeKind.KVM in self.abilities,
            networks=tuple(
                NetworkFacts(name=spec.name, bridge=spec.bridge, active=True)
                for _, spec in sorted(self._networks.items())
            ),
            links=tuple(
                LinkFacts(name=bridge, kind="bridge")
                for bridge in sorted({spec.bridge for spec in self._networks.values()})
            ),
        )

    @verb
    def suspend(self, *, wake_after_s: int, deadline_s: float | None = None) -> None:
        """See the port; at once, and nothing of it is left to the alarm."""
        if wake_after_s < 60:
            raise InvalidSpec(f"suspend: {wake_after_s} s; at least 60", host=self.name)
        self.wake_after_s = wake_after_s
        if not self.sleepless:
            self.asleep = True
            self.cut()

    @verb
    def probe(
        self, kind: ProbeKind, guest: ProbeGuest | None = None, *, deadline_s: float | None = None
    ) -> ProbeResult:
        """See the port."""
        if guest is None:
            raise InvalidSpec.of("guest", None, f"probe {kind.value} needs a guest", host=self.name)
        ok = kind in self.abilities
        detail = "simulated: works" if ok else "simulated: this host cannot"
        return ProbeResult(kind=kind, ok=ok, detail=detail, elapsed_s=0.0)

    @verb
    def bulk_state(self, *, deadline_s: float | None = None) -> tuple[DomainStats, ...]:
        """See the port."""
        with self._lock:
            return tuple(self._stats(domain) for domain in self._domains.values())

    def subscribe(self, callback: EventCallback) -> Callable[[], None]:
        """See the port."""
        self._callbacks.append(callback)

        def unsubscribe() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return unsubscribe

    def _stats(self, domain: FakeDomain) -> DomainStats:
        spec = domain.effective
        uptime_ns = int((self.clock.now() - domain.started_at_s) * 1e9)
        running = domain.state is DomainState.RUNNING
        vcpus = () if spec is None or not running else spec.vcpus
        return DomainStats(
            uuid=domain.uuid,
            name=domain.name,
            state=domain.state,
            metadata=domain.metadata,
            persistent=True,
            autostart=domain.autostart,
            memory_bytes=None if spec is None else spec.memory_bytes,
            rss_bytes=spec.memory_bytes if spec is not None and running else None,
            cpu_time_ns=uptime_ns // 10 if running else None,
            vcpus=tuple(
                VcpuStats(number=n, running=True, time_ns=uptime_ns // 10, delay_ns=0)
                for n in range(len(vcpus))
            ),
            reason=domain.reason,
        )

    # --- domains ----------------------------------------------------------------------------

    @verb
    def define(self, spec: DomainSpec, *, deadline_s: float | None = None) -> DomainInfo:
        """See the port."""
        with self._lock:
            present = self._domains.get(spec.uuid)
            check_define(
                spec,
                site=self.site,
                host=self.name,
                same_uuid=None if present is None else (present.name, _stored(present)),
                same_name=self._names.get(spec.name),
            )
            self._check_references(spec)
            self._check_vgpus(spec)
            if present is None:
                present = FakeDomain(uuid=spec.uuid, name=spec.name, spec=spec)
                self._domains[spec.uuid] = present
                self._names[spec.name] = spec.uuid
            present.spec, present.autostart = spec, spec.autostart
            info = self._info(present)
        self._emit(EventKind.DOMAIN, present, "defined")
        return info

    def _check_references(self, spec: DomainSpec) -> None:
        limit = len(self._cpus)
        for cpus in (*(vcpu.cpus for vcpu in spec.vcpus), spec.emulator_cpus):
            if any(cpu >= limit for cpu in cpus):
                raise InvalidSpec.of(
                    "cpus", sorted(cpus), f"the host has CPUs 0 to {limit - 1}", host=self.name
                )

    @verb
    def undefine(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port."""
        with self._lock:
            domain = self._domains.get(uuid)
            if domain is None:
                return False
            check_owned(domain.metadata, self.site, f"domain {domain.name!r}", self.name)
            if domain.state in ACTIVE:
                raise Conflict(f"domain {domain.name!r} is {domain.state.value}", host=self.name)
            del self._domains[uuid]
            self._names.pop(domain.name, None)
        self._emit(EventKind.DOMAIN, domain, "undefined")
        return True

    @verb
    def start(
        self, uuid: UUID, *, generation: int | None = None, deadline_s: float | None = None
    ) -> bool:
        """See the port."""
        with self._lock:
            domain = self._owned(uuid)
            mark = check_owned(domain.metadata, self.site, f"domain {domain.name!r}", self.name)
            check_generation(mark, generation, f"domain {domain.name!r}", self.name)
            if domain.state in ACTIVE:
                return False
            spec = domain.spec
            if spec is None:
                raise Conflict(f"domain {domain.name!r} has no description", host=self.name)
            self._check_startable(spec)
            self._boot(domain)
        self._emit(EventKind.DOMAIN, domain, "started")
        return True

    def _check_startable(self, spec: DomainSpec) -> None:
        used = sum(
            domain.live.memory_bytes for domain in self._domains.values() if domain.live is not None
        )
        free = self._memory_bytes - HOST_MEMORY_BYTES - used
        if spec.memory_bytes > free:
            raise NoSpace(
                f"{spec.memory_bytes} bytes of memory are needed, {free} are free",
                host=self.name,
                details={"needed_bytes": spec.memory_bytes, "available_bytes": free},
            )
        self._check_parts(spec)
        present = {
            volume.path
            for pool in self._pools.values()
            for volume in pool.volumes.values()
            if volume.present
        }
        for path in (*(disk.path for disk in spec.disks), spec.boot.kernel, spec.boot.initrd):
            if path not in present:
                raise NotFound(f"file {path!r} does not exist", host=self.name)
        for nic in spec.nics:
            if nic.network not in self._networks:
                raise NotFound(f"network {nic.network!r} does not exist", host=self.name)
            if nic.filter is not None and nic.filter not in self._filters:
                raise NotFound(f"filter {nic.filter!r} does not exist", host=self.name)

    def _boot(self, domain: FakeDomain) -> None:
        domain.live, domain.state, domain.reason = domain.spec, DomainState.RUNNING, ""
        domain.started_at_s = self.clock.now()
        domain.boots += 1
        domain.share = None
        domain.cpu = None if domain.spec is None else self._cpu_of(domain.spec)
        domain.guest.boot(str(uuid5(domain.uuid, f"boot/{domain.boots}")))

    @verb
    def shutdown(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port. The simulated guest obeys at once."""
        return self._stop(uuid, "shut down")

    @verb
    def destroy(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port."""
        with self._lock:
            if uuid not in self._domains:
                return False
        return self._stop(uuid, "destroyed")

    def _stop(self, uuid: UUID, reason: str) -> bool:
        with self._lock:
            domain = self._owned(uuid)
            if domain.state not in ACTIVE:
                return False
            domain.state, domain.live, domain.reason = DomainState.STOPPED, None, reason
        self._emit(EventKind.DOMAIN, domain, reason)
        return True

    @verb
    def domain(self, uuid: UUID, *, deadline_s: float | None = None) -> DomainInfo | None:
        """See the port."""
        with self._lock:
            domain = self._domains.get(uuid)
            return None if domain is None else self._info(domain)

    def _info(self, domain: FakeDomain) -> DomainInfo:
        spec = domain.effective
        return DomainInfo(
            uuid=domain.uuid,
            name=domain.name,
            state=domain.state,
            metadata=domain.metadata,
            autostart=domain.autostart,
            persistent=True,
            xml="" if spec is None else render_domain(spec),
            reason=domain.reason,
        )

    @verb
    def set_autostart(self, uuid: UUID, enabled: bool, *, deadline_s: float | None = None) -> None:
        """See the port."""
        with self._lock:
            self._owned(uuid).autostart = enabled

    @verb
    def pins(self, uuid: UUID, *, deadline_s: float | None = None) -> Pins:
        """See the port."""
        everything = frozenset(cpu.id for cpu in self._cpus)
        with self._lock:
            spec = self._known(uuid).effective
        if spec is None:
            return Pins(vcpus={0: everything}, emulator=everything)
        emulator = spec.emulator_cpus or everything
        return Pins(
            vcpus={n: vcpu.cpus or everything for n, vcpu in enumerate(spec.vcpus)},
            emulator=emulator,
            iothreads=dict.fromkeys(range(1, spec.iothreads + 1), emulator),
        )

    def _known(self, uuid: UUID) -> FakeDomain:
        domain = self._domains.get(uuid)
        if domain is None:
            raise NotFound(f"domain {uuid} does not exist", host=self.name)
        return domain

    def _owned(self, uuid: UUID) -> FakeDomain:
        domain = self._known(uuid)
        check_owned(domain.metadata, self.site, f"domain {domain.name!r}", self.name)
        return domain


def _stored(domain: FakeDomain) -> Metadata | None:
    """The mark in the stored description: what a redefinition is compared with."""
    return None if domain.spec is None else domain.spec.metadata


def _cpus(count: int, threads: int, nodes: int) -> tuple[CpuFacts, ...]:
    """Logical CPUs numbered core by core, nodes in equal parts."""
    cores = max(1, count // threads)
    return tuple(
        CpuFacts(
            id=cpu,
            socket=(cpu // threads) * nodes // cores,
            core=cpu // threads,
            numa_node=(cpu // threads) * nodes // cores,
            siblings=frozenset(
                range(cpu // threads * threads, min(count, (cpu // threads + 1) * threads))
            ),
        )
        for cpu in range(count)
    )
