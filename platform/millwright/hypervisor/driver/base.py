"""What all parts of the driver share: the connection, the threads, the ownership check."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

import libvirt

from millwright.hypervisor.domain.parse import parse_metadata
from millwright.hypervisor.errors import Busy, NotFound
from millwright.hypervisor.rules import check_owned
from millwright.hypervisor.types import METADATA_NAMESPACE, DomainState, Metadata

from .connection import HostAddress
from .deadline import Deadline
from .lanes import Lanes

T = TypeVar("T")

STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.PAUSED,
}
STOP_REASONS = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: "shut down",
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: "migrated away",
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: "saved",
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "failed to start",
    libvirt.VIR_DOMAIN_SHUTOFF_DAEMON: "daemon",
}


def state_of(state: int, reason: int) -> tuple[DomainState, str]:
    """Our state and reason for libvirt's pair."""
    if state == libvirt.VIR_DOMAIN_SHUTOFF:
        # "off because it crashed" is a crash to us: nobody asked for it.
        if reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED:
            return DomainState.CRASHED, "crashed"
        return DomainState.STOPPED, STOP_REASONS.get(reason, "")
    if state == libvirt.VIR_DOMAIN_PAUSED:
        if reason == libvirt.VIR_DOMAIN_PAUSED_MIGRATION:
            return DomainState.MIGRATING, "migration"
        if reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR:
            return DomainState.PAUSED, "i/o error"
    return STATES.get(state, DomainState.UNKNOWN), ""


class Base:
    """State of one host's driver; the verbs are in the classes mixed on top."""

    name: str
    site: str
    address: HostAddress
    _lanes: Lanes
    _locks: dict[tuple[str, str], threading.Lock]
    _locks_guard: threading.Lock

    def _call(
        self,
        verb: str,
        deadline_s: float | None,
        function: Callable[[libvirt.virConnect, Deadline], T],
    ) -> T:
        """Run `function(connection, deadline)` by its deadline, with errors of our tree."""
        deadline = Deadline(verb, self.name, deadline_s)
        return self._lanes.run(deadline, lambda conn: function(conn, deadline))

    @contextmanager
    def _exclusive(self, kind: str, name: str, deadline: Deadline) -> Iterator[None]:
        """One writer per object and process, so that two uploads of one image do not meet."""
        with self._locks_guard:
            lock = self._locks.setdefault((kind, name), threading.Lock())
        if not lock.acquire(timeout=deadline.left_s):
            raise Busy(f"{kind} {name!r} is being changed by another call", host=self.name)
        try:
            yield
        finally:
            lock.release()

    def _find(self, conn: libvirt.virConnect, uuid: UUID) -> libvirt.virDomain | None:
        try:
            return conn.lookupByUUID(uuid.bytes)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _known(self, conn: libvirt.virConnect, uuid: UUID) -> libvirt.virDomain:
        domain = self._find(conn, uuid)
        if domain is None:
            raise NotFound(f"domain {uuid} does not exist", host=self.name)
        return domain

    def _owned(self, conn: libvirt.virConnect, uuid: UUID) -> libvirt.virDomain:
        domain = self._known(conn, uuid)
        check_owned(self._mark(domain), self.site, f"domain {domain.name()!r}", self.name)
        return domain

    @staticmethod
    def _mark(
        domain: libvirt.virDomain, flags: int = libvirt.VIR_DOMAIN_AFFECT_CURRENT
    ) -> Metadata | None:
        """Our mark on a domain: of the running guest, or as the flags say."""
        try:
            text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_NAMESPACE, flags)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                return None
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise
        return parse_metadata(text)
