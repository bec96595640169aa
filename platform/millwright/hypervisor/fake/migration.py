"""Migration between fake hosts: at once, or in flight over virtual time when a test asks for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import UUID

from millwright.hypervisor.domain.spec import DomainSpec
from millwright.hypervisor.equipment import GuestCpu
from millwright.hypervisor.errors import (
    Conflict,
    DeadlineExceeded,
    HostUnreachable,
    HypervisorError,
    Unsupported,
)
from millwright.hypervisor.rules import ACTIVE, check_define
from millwright.hypervisor.types import (
    DomainState,
    EventKind,
    JobInfo,
    MigrationResult,
    MigrationSpec,
    Way,
)

from .clock import VirtualClock
from .faults import Faults, verb
from .state import FakeDomain

#: What the link carries when nobody bounds it.
LINK_BYTES_S = 100 * 2**20
#: Real seconds after which a test's forgotten migration ends, so that no thread stays.
FORGOTTEN_S = 30.0


@dataclass(slots=True)
class FakeLoad:
    """How guests of a host resist: `dirty_bytes_s` of memory written again while it is copied."""

    dirty_bytes_s: int = 0


@dataclass(slots=True)
class Flight:
    """One migration under way. Each look at its job lets a virtual second pass."""

    domain: FakeDomain
    destination: FakeMigration
    target: DomainSpec
    load: FakeLoad
    bandwidth_bytes_s: int
    max_downtime_ms: int
    auto_converge: bool
    live: bool
    remaining_bytes: float
    processed_bytes: float = 0.0
    elapsed_s: float = 0.0
    error: HypervisorError | None = None
    result: MigrationResult | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def second(self) -> None:
        """One second of pre-copy; it switches over when the rest fits in the downtime."""
        self.elapsed_s += 1.0
        sent = min(self.remaining_bytes, float(self.bandwidth_bytes_s))
        dirty = float(self.load.dirty_bytes_s) if self.live else 0.0
        if self.auto_converge:
            # Throttled a tenth more every second, as QEMU does round by round.
            dirty *= max(0.01, 1.0 - 0.1 * self.elapsed_s)
        self.processed_bytes += sent
        self.remaining_bytes = min(
            float(self.target.memory_bytes), self.remaining_bytes - sent + dirty
        )


class FakeMigration:
    """`migrate`, `job`, `abort_job`, `tune_migration`, `migrated`, `resume`; mixed into the host."""

    name: str
    site: str
    clock: VirtualClock
    faults: Faults
    unreachable: bool
    frozen: bool
    _lock: threading.RLock
    _domains: dict[UUID, FakeDomain]
    _names: dict[str, UUID]
    _flights: dict[UUID, Flight]

    if TYPE_CHECKING:  # what the host itself has

        def pass_time(self, seconds: float) -> None: ...
        def _known(self, uuid: UUID) -> FakeDomain: ...
        def _owned(self, uuid: UUID) -> FakeDomain: ...
        def _check_references(self, spec: DomainSpec) -> None: ...
        def _check_startable(self, spec: DomainSpec) -> None: ...
        def _check_arriving(self, cpu: GuestCpu | None) -> None: ...
        def _emit(
            self, kind: EventKind, domain: FakeDomain | None = None, detail: str = ""
        ) -> None: ...

    #: a test sets it: whether the host has a relay
    relay: bool = False
    #: a test sets it: migrations then stay in flight until their job is looked at often enough
    load: FakeLoad | None = None

    @verb
    def migrate(
        self,
        uuid: UUID,
        destination: object,
        target: DomainSpec,
        spec: MigrationSpec,
        *,
        deadline_s: float | None = None,
    ) -> MigrationResult:
        """See the port. Takes ten virtual seconds, or as long as `load` makes it."""
        if not isinstance(destination, FakeMigration):
            raise Unsupported("a fake host migrates to fake hosts only", host=self.name)
        with self._lock:
            domain = self._owned(uuid)
            if domain.live is not None and domain.live.pci_devices:
                raise Unsupported(
                    "cannot migrate a domain with devices of its host", host=self.name
                )
            if domain.state is not DomainState.RUNNING or uuid in self._flights:
                state = "migrating" if uuid in self._flights else domain.state.value
                raise Conflict(f"domain {domain.name!r} is {state}", host=self.name)
            try:
                destination.receive(target, domain)
            except BaseException:
                destination._forget_half(uuid)
                raise
            if self.load is None:
                self.pass_time(10.0)
                result = self._switch(domain, destination, 10_000, 100, target.memory_bytes)
                return replace(result, way=self._way(destination, spec))
            flight = Flight(
                domain,
                destination,
                target,
                self.load,
                spec.bandwidth_bytes_s or LINK_BYTES_S,
                spec.max_downtime_ms or 300,
                spec.auto_converge,
                spec.live,
                float(target.memory_bytes),
            )
            self._flights[uuid] = flight
        if not flight.over.wait(FORGOTTEN_S):
            raise DeadlineExceeded("migrate: nobody looked at the job", host=self.name)
        if flight.error is not None:
            raise flight.error
        if flight.result is None:
            raise HostUnreachable("migrate: the connection was lost", host=self.name)
        return replace(flight.result, way=self._way(destination, spec))

    def _way(self, destination: FakeMigration, spec: MigrationSpec) -> Way:
        if not spec.tls:
            return Way.OPEN
        return Way.RELAYS if self.relay and destination.relay else Way.QEMU

    def _switch(
        self,
        domain: FakeDomain,
        destination: FakeMigration,
        elapsed_ms: int,
        downtime_ms: int,
        transferred: int,
    ) -> MigrationResult:
        arrived = destination._domains[domain.uuid]
        arrived.state, arrived.live = DomainState.RUNNING, arrived.spec
        arrived.arrival = result = MigrationResult(
            elapsed_ms=elapsed_ms, downtime_ms=downtime_ms, transferred_bytes=transferred
        )
        del self._domains[domain.uuid]
        self._names.pop(domain.name, None)
        self._emit(EventKind.DOMAIN, domain, "migrated away")
        destination._emit(EventKind.DOMAIN, arrived, "migrated here")
        return result

    def _end_flight(self, uuid: UUID, error: HypervisorError | None) -> None:
        """The guest stays here; the other half is thrown away."""
        flight = self._flights.pop(uuid, None)
        if flight is None:
            return
        if error is not None:
            flight.destination._forget_half(uuid)
            flight.error = error
        flight.over.set()

    def _forget_half(self, uuid: UUID) -> None:
        half = self._domains.get(uuid)
        if half is not None and half.state is DomainState.MIGRATING:
            del self._domains[uuid]
            self._names.pop(half.name, None)

    def end_flights(self, why: str) -> None:
        """A daemon at either end died: libvirt takes migrations back to their source."""
        with self._lock:
            for uuid in list(self._flights):
                self._end_flight(uuid, HostUnreachable(why, host=self.name))

    @verb
    def receive(self, target: DomainSpec, source: FakeDomain) -> FakeDomain:
        """The destination's half of a migration."""
        with self._lock:
            present = self._domains.get(target.uuid)
            stored = None if present is None or present.spec is None else present.spec.metadata
            if present is not None and present.state in ACTIVE:
                raise Conflict(f"domain {target.name!r} runs here already", host=self.name)
            check_define(
                target,
                site=self.site,
                host=self.name,
                same_uuid=None if present is None else (present.name, stored),
                same_name=self._names.get(target.name),
            )
            self._check_references(target)
            self._check_startable(target)
            self._check_arriving(source.cpu)
            domain = FakeDomain(
                uuid=target.uuid,
                name=target.name,
                spec=target,
                state=DomainState.MIGRATING,
                autostart=target.autostart,
                started_at_s=source.started_at_s,
                boots=source.boots,
                guest=source.guest,
                cpu=source.cpu,
            )
            self._domains[target.uuid] = domain
            self._names[target.name] = target.uuid
        return domain

    @verb
    def job(self, uuid: UUID, *, deadline_s: float | None = None) -> JobInfo | None:
        """See the port. Each look lets a second of the migration pass."""
        with self._lock:
            self._known(uuid)
            flight = self._flights.get(uuid)
            if flight is None:
                return None
            if flight.domain.state is not DomainState.RUNNING:
                self._end_flight(uuid, Conflict("the guest stopped", host=self.name))
                return None
            self.pass_time(1.0)
            flight.second()
            info = JobInfo(
                operation="migration out",
                elapsed_ms=int(flight.elapsed_s * 1000),
                remaining_bytes=int(flight.remaining_bytes),
                processed_bytes=int(flight.processed_bytes),
                total_bytes=flight.target.memory_bytes,
                dirty_rate_bytes_s=flight.load.dirty_bytes_s,
            )
            rest_ms = flight.remaining_bytes / flight.bandwidth_bytes_s * 1000
            if rest_ms <= flight.max_downtime_ms:
                elapsed_ms = int(flight.elapsed_s * 1000)
                flight.result = self._switch(
                    flight.domain,
                    flight.destination,
                    elapsed_ms,
                    int(rest_ms),
                    int(flight.processed_bytes),
                )
                self._end_flight(uuid, None)
            return info

    @verb
    def abort_job(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port."""
        with self._lock:
            self._owned(uuid)
            if uuid not in self._flights:
                return False
            self._end_flight(uuid, Conflict("operation aborted", host=self.name))
        return True

    @verb
    def tune_migration(
        self,
        uuid: UUID,
        *,
        max_downtime_ms: int | None = None,
        bandwidth_bytes_s: int | None = None,
        deadline_s: float | None = None,
    ) -> bool:
        """See the port."""
        with self._lock:
            flight = self._flights.get(uuid)
            if flight is None:
                return False
            flight.max_downtime_ms = max_downtime_ms or flight.max_downtime_ms
            flight.bandwidth_bytes_s = bandwidth_bytes_s or flight.bandwidth_bytes_s
        return True

    @verb
    def migrated(self, uuid: UUID, *, deadline_s: float | None = None) -> MigrationResult | None:
        """See the port."""
        return self._known(uuid).arrival

    @verb
    def resume(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port."""
        with self._lock:
            domain = self._owned(uuid)
            if domain.state is DomainState.RUNNING:
                return False
            if domain.state not in ACTIVE:
                raise Conflict(f"domain {domain.name!r} is {domain.state.value}", host=self.name)
            domain.state, domain.live = DomainState.RUNNING, domain.spec
        return True
