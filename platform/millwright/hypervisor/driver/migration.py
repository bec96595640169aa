"""Live migration."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from millwright.hypervisor.domain.spec import DomainSpec
from millwright.hypervisor.domain.xml import render_domain
from millwright.hypervisor.errors import Conflict, DeadlineExceeded, HypervisorError, Unsupported
from millwright.hypervisor.port import Hypervisor
from millwright.hypervisor.rules import check_define
from millwright.hypervisor.types import DomainState, JobInfo, MigrationResult, MigrationSpec

from .base import state_of
from .deadline import Deadline
from .domains import DomainVerbs
from .passages import leave, passage_between, way_of, ways

MIB = 2**20
#: How long an aborted migration may take to give the guest back.
ABORT_S = 30.0
OPERATIONS = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: "migration out",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: "migration in",
    libvirt.VIR_DOMAIN_JOB_OPERATION_START: "start",
}


class MigrationVerbs(DomainVerbs):
    """`migrate`, `job`, `abort_job`, `tune_migration`, `migrated`, `resume`."""

    def migrate(
        self,
        uuid: UUID,
        destination: Hypervisor,
        target: DomainSpec,
        spec: MigrationSpec,
        *,
        deadline_s: float | None = None,
    ) -> MigrationResult:
        """See the port."""
        if not isinstance(destination, MigrationVerbs):
            raise Unsupported("the destination is no libvirt host", host=self.name)
        timeout_s = spec.timeout_s if deadline_s is None else deadline_s
        deadline = Deadline("migrate", self.name, timeout_s)
        destination._call("define", 30.0, lambda conn, _: destination._check_target(conn, target))

        def work(conn: libvirt.virConnect, there: libvirt.virConnect) -> None:
            domain = self._owned(conn, uuid)
            self._require_running(domain)
            xml = target_xml(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE), target)
            flags, parameters = _arguments(spec, xml, target.name)
            passage = asked.result()
            flags |= ways(passage, parameters, destination.address.data_uri, tls=spec.tls)
            domain.migrate3(there, parameters, flags)

        started = time.monotonic()
        lane = self._lanes.special(deadline)
        far = destination._lanes.special(deadline)
        asked = passage_between(self.address, destination.address, spec)
        try:
            # Both shake hands at the same time: each takes tens of milliseconds of what is waited for.
            lane.prepare()
            # Held by a call that waits: nobody else speaks on it, and closing it waits for the end.
            future = far.submit(
                deadline,
                lambda there: lane.submit(deadline, lambda conn: work(conn, there)).result(),
            )
            if spec.max_downtime_ms is not None:
                self._set_downtime(uuid, spec.max_downtime_ms, future)
            self._await(future, deadline, uuid)
        finally:
            self._lanes.release(lane)
            destination._lanes.release(far)
            asked.add_done_callback(leave)
        elapsed_ms = int((time.monotonic() - started) * 1000)
        destination._forget_mark_of(uuid)
        with contextlib.suppress(HypervisorError):
            destination.set_autostart(uuid, target.autostart)
        return replace(
            destination._completed(uuid, elapsed_ms), way=way_of(asked.result(), tls=spec.tls)
        )

    def _await(self, future: Future[None], deadline: Deadline, uuid: UUID) -> None:
        try:
            future.result(timeout=deadline.left_s)
        except TimeoutError:
            with contextlib.suppress(HypervisorError):
                self.abort_job(uuid)
            # It may have ended just before the abort, and then counts as done.
            try:
                future.result(timeout=ABORT_S)
            except (TimeoutError, HypervisorError):
                raise DeadlineExceeded(
                    f"the migration did not converge within {deadline.seconds:g} s",
                    host=self.name,
                ) from None

    def _forget_mark_of(self, uuid: UUID) -> None:
        forget = getattr(self, "_forget_mark", None)
        if forget is not None:
            forget(uuid)

    def _check_target(self, conn: libvirt.virConnect, target: DomainSpec) -> None:
        present = self._find(conn, target.uuid)
        if present is not None and present.isActive():
            raise Conflict(f"domain {target.name!r} runs here already", host=self.name)
        same_uuid = None
        if present is not None:
            stored = self._mark(present, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
            same_uuid = (present.name(), stored)
        same_name: UUID | None = None
        with contextlib.suppress(libvirt.libvirtError):
            same_name = UUID(bytes=conn.lookupByName(target.name).UUID())
        check_define(
            target, site=self.site, host=self.name, same_uuid=same_uuid, same_name=same_name
        )

    def _completed(self, uuid: UUID, elapsed_ms: int) -> MigrationResult:
        """What the destination remembers of the migration that just ended."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> dict[str, Any]:
            domain = self._known(conn, uuid)
            with contextlib.suppress(libvirt.libvirtError):
                stats: dict[str, Any] = domain.jobStats(
                    libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED
                    | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
                )
                return stats
            return {}

        try:
            stats = self._call("job", 10.0, ask)
        except HypervisorError:
            stats = {}
        return _result(stats, elapsed_ms)

    def _set_downtime(self, uuid: UUID, milliseconds: int, future: Future[None]) -> None:
        """Best effort: the job has to exist, which takes a moment."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> None:
            self._known(conn, uuid).migrateSetMaxDowntime(milliseconds, 0)

        for _ in range(20):
            if future.done():
                return
            try:
                self._call("set_downtime", 5.0, ask)
                return
            except HypervisorError:
                time.sleep(0.05)

    def job(self, uuid: UUID, *, deadline_s: float | None = None) -> JobInfo | None:
        """See the port."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> JobInfo | None:
            domain = self._known(conn, uuid)
            try:
                stats: dict[str, Any] = domain.jobStats()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
                    return None
                raise
            if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
                return None
            operation = stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION, 0)
            rate = stats.get(libvirt.VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE)
            page = stats.get(libvirt.VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE, 4096)
            return JobInfo(
                operation=OPERATIONS.get(operation, f"operation {operation}"),
                elapsed_ms=stats.get(libvirt.VIR_DOMAIN_JOB_TIME_ELAPSED, 0),
                remaining_bytes=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_REMAINING, 0),
                processed_bytes=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED, 0),
                total_bytes=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_TOTAL, 0),
                dirty_rate_bytes_s=None if rate is None else rate * page,
                downtime_ms=stats.get(libvirt.VIR_DOMAIN_JOB_DOWNTIME),
            )

        return self._call("job", deadline_s, ask)

    def abort_job(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, _: Deadline) -> bool:
            domain = self._owned(conn, uuid)
            try:
                domain.abortJob()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
                    return False
                raise
            return True

        return self._call("abort_job", deadline_s, work)

    def tune_migration(
        self,
        uuid: UUID,
        *,
        max_downtime_ms: int | None = None,
        bandwidth_bytes_s: int | None = None,
        deadline_s: float | None = None,
    ) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, _: Deadline) -> bool:
            domain = self._owned(conn, uuid)
            try:
                if max_downtime_ms is not None:
                    domain.migrateSetMaxDowntime(max_downtime_ms, 0)
                if bandwidth_bytes_s is not None:
                    domain.migrateSetMaxSpeed(max(1, bandwidth_bytes_s // MIB), 0)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
                    return False
                raise
            return True

        return self._call("set_downtime", deadline_s, work)

    def migrated(self, uuid: UUID, *, deadline_s: float | None = None) -> MigrationResult | None:
        """See the port."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> dict[str, Any]:
            try:
                stats: dict[str, Any] = self._known(conn, uuid).jobStats(
                    libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED
                    | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
                )
            except libvirt.libvirtError:
                return {}
            return stats

        stats = self._call("job", deadline_s, ask)
        if stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION) != (
            libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN
        ):
            return None
        return _result(stats, stats.get(libvirt.VIR_DOMAIN_JOB_TIME_ELAPSED, 0))

    def resume(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, _: Deadline) -> bool:
            domain = self._owned(conn, uuid)
            state, _reason = state_of(*domain.state())
            if state is DomainState.RUNNING:
                return False
            if state not in (DomainState.PAUSED, DomainState.MIGRATING):
                raise Conflict(f"domain {domain.name()!r} is {state.value}", host=self.name)
            domain.resume()
            return True

        return self._call("start", deadline_s, work)


def _result(stats: dict[str, Any], elapsed_ms: int) -> MigrationResult:
    return MigrationResult(
        elapsed_ms=elapsed_ms,
        downtime_ms=stats.get(libvirt.VIR_DOMAIN_JOB_DOWNTIME),
        transferred_bytes=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED),
    )


# Driven by this process, which both hosts admit: hosts do not admit each other. Should it die midway,
# the destination throws its half away, and the guest goes on at the source.
def _arguments(spec: MigrationSpec, xml: str, name: str) -> tuple[int, dict[str, Any]]:
    flags = (
        libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    )
    if spec.live:
        flags |= libvirt.VIR_MIGRATE_LIVE
    if spec.auto_converge:
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    if spec.copy_storage:
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC
    else:
        # The pool's owner declared it shared; libvirt cannot see that of every file system.
        flags |= libvirt.VIR_MIGRATE_UNSAFE
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_DEST_NAME: name,
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: xml,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: xml,
    }
    if spec.bandwidth_bytes_s is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = max(1, spec.bandwidth_bytes_s // MIB)
    return flags, parameters


def target_xml(live_xml: str, target: DomainSpec) -> str:
    """The running guest's XML with what may differ at the destination.

    The guest's hardware has to stay as it is (device addresses included), so the live XML is
    the base; pins, scheduling, mark and title come from `target`. Forgetting the pins is the
    classic mistake: the guest would arrive on the source's CPU numbers.
    """
    live = ET.fromstring(live_xml)  # noqa: S314 - libvirt's own answer
    wanted = ET.fromstring(render_domain(target))  # noqa: S314 - our own text
    for tag in ("metadata", "cputune", "title"):
        old, new = live.find(tag), wanted.find(tag)
        position = list(live).index(old) if old is not None else _position(live, tag)
        if old is not None:
            live.remove(old)
        if new is not None:
            live.insert(position, new)
    return ET.tostring(live, encoding="unicode")


def _position(root: ET.Element, tag: str) -> int:
    """Where an element that is missing goes: libvirt reads any order, people like this one."""
    after = {"metadata": "uuid", "title": "uuid", "cputune": "vcpu"}[tag]
    names = [child.tag for child in root]
    return names.index(after) + 1 if after in names else len(names)
