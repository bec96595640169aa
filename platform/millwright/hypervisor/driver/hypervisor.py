"""The driver of one host: all verbs of the port on one libvirt connection."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Callable
from uuid import UUID

import libvirt

from millwright.hypervisor.port import EventCallback
from millwright.hypervisor.types import Capability, Event, EventKind

from .agent import AgentVerbs
from .connection import KEEPALIVE_COUNT, KEEPALIVE_INTERVAL_S, NO_KEEPALIVE, HostAddress
from .console import ConsoleVerbs
from .equipment import EquipmentVerbs
from .host import HostVerbs
from .lanes import Lanes
from .migration import MigrationVerbs
from .networks import NetworkVerbs
from .probes import ProbeVerbs
from .shares import ShareVerbs
from .storage import StorageVerbs

LIFECYCLE = (
    "defined", "undefined", "started", "suspended", "resumed", "stopped", "shut down",
    "power management", "crashed",
)  # fmt: skip


class LibvirtHypervisor(
    HostVerbs,
    StorageVerbs,
    NetworkVerbs,
    AgentVerbs,
    ConsoleVerbs,
    MigrationVerbs,
    ProbeVerbs,
    ShareVerbs,
    EquipmentVerbs,
):
    """One host behind the port. Connects at the first call or `connect`; thread-safe.

    Args:
        address: the host's name in the inventory and its URI.
        site: the mark by which domains and volumes are known as ours.
    """

    def __init__(self, address: HostAddress, *, site: str) -> None:
        self.name = address.name
        self.site = site
        self.address = address
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._locks_guard = threading.Lock()
        self._callbacks: list[EventCallback] = []
        self._callbacks_lock = threading.Lock()
        self._forget_marks()
        self._lanes = Lanes(address, on_open=self._register_events, on_change=self._changed)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """By the URI's driver: the test driver lacks most of what QEMU has."""
        if self.address.uri.startswith("test:"):
            return frozenset({Capability.PINNING, Capability.EQUIPMENT})
        return frozenset(Capability)

    @property
    def abandoned(self) -> int:
        """Calls that hang and whose callers gave up; bounded."""
        return self._lanes.abandoned

    @property
    def connected(self) -> bool:
        """Whether a live connection is held now. Never blocks."""
        return self._lanes.connected

    def close(self) -> None:
        """Drop the connection; never blocks, hanging threads are left to end by themselves."""
        self._lanes.close()

    def reconnect(self, reason: str = "asked to") -> None:
        """Give up the present connection and make a new one in the background."""
        self._lanes.drop(reason)

    def rest(self, resting: bool) -> None:
        """See the port."""
        self._lanes.rest(resting)

    # --- events -----------------------------------------------------------------------------

    def subscribe(self, callback: EventCallback) -> Callable[[], None]:
        """See the port."""
        with self._callbacks_lock:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self._callbacks_lock, contextlib.suppress(ValueError):
                self._callbacks.remove(callback)

        return unsubscribe

    def _register_events(self, conn: libvirt.virConnect) -> None:
        handlers = {
            libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE: self._lifecycle,
            libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE: self._metadata_changed,
            libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: self._agent_lifecycle,
        }
        for event, handler in handlers.items():
            try:
                conn.domainEventRegisterAny(None, event, handler, None)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                    raise

    def _changed(self, connected: bool, reason: str) -> None:
        self._forget_marks()
        kind = EventKind.CONNECTED if connected else EventKind.DISCONNECTED
        at = dt.datetime.now(dt.UTC)
        if reason == NO_KEEPALIVE:
            at -= dt.timedelta(seconds=KEEPALIVE_INTERVAL_S * KEEPALIVE_COUNT)
        self._emit(Event(kind=kind, host=self.name, detail=reason, at=at))

    def _lifecycle(
        self, _: object, domain: libvirt.virDomain, event: int, detail: int, __: object
    ) -> None:
        uuid = UUID(bytes=domain.UUID())
        self._forget_mark(uuid)
        what = LIFECYCLE[event] if event < len(LIFECYCLE) else f"event {event}"
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            reasons = {
                libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
                libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: "migrated away",
                libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "destroyed",
            }
            what = reasons.get(detail, what)
        self._emit(
            Event(kind=EventKind.DOMAIN, host=self.name, uuid=uuid, name=domain.name(), detail=what)
        )

    def _metadata_changed(self, _: object, domain: libvirt.virDomain, *__: object) -> None:
        self._forget_mark(UUID(bytes=domain.UUID()))

    def _agent_lifecycle(
        self, _: object, domain: libvirt.virDomain, state: int, __: int, ___: object
    ) -> None:
        up = state == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
        self._emit(
            Event(
                kind=EventKind.AGENT,
                host=self.name,
                uuid=UUID(bytes=domain.UUID()),
                name=domain.name(),
                detail="connected" if up else "disconnected",
            )
        )

    def _emit(self, event: Event) -> None:
        with self._callbacks_lock:
            callbacks = tuple(self._callbacks)
        for callback in callbacks:
            # A subscriber's fault must not reach libvirt's loop nor the other subscribers.
            with contextlib.suppress(Exception):
                callback(event)
