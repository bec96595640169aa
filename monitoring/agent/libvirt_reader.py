"""One bulk statistics call per scrape, in a thread that may be abandoned: a hanging libvirtd is a metric."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Domain states of libvirt's API (virDomainState).
STATES = {
    0: "nostate",
    1: "running",
    2: "blocked",
    3: "paused",
    4: "shutdown",
    5: "shutoff",
    6: "crashed",
    7: "pmsuspended",
}


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain's name, uuid and raw statistics, keyed as libvirt names them. `handle`: libvirt's own object."""

    name: str
    uuid: str
    stats: dict[str, Any]
    handle: Any = field(default=None, compare=False)

    @property
    def state(self) -> str:
        return STATES.get(int(self.stats.get("state.state", 0)), "nostate")


@dataclass(frozen=True, slots=True)
class Pool:
    """A storage pool; sizes in bytes. One that is not active has none."""

    name: str
    active: bool
    capacity: int = 0
    available: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look gave. `hang_s`: how long a question has been stuck; `error`: why it failed."""

    up: bool
    call_s: float = 0.0
    hang_s: float = 0.0
    error: str = ""
    domains: tuple[Domain, ...] = ()
    pools: tuple[Pool, ...] = ()


def open_readonly(uri: str) -> Any:
    """A read-only connection: the agent cannot change anything even if it wanted to."""
    import libvirt

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt.openReadOnly(uri)


def bulk_stats(connection: Any) -> tuple[Domain, ...]:
    """All domains in one call that does not wait for a domain's running job (NOWAIT)."""
    import libvirt

    wanted = (
        libvirt.VIR_DOMAIN_STATS_STATE
        | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
        | libvirt.VIR_DOMAIN_STATS_VCPU
        | libvirt.VIR_DOMAIN_STATS_BALLOON
        | libvirt.VIR_DOMAIN_STATS_BLOCK
        | libvirt.VIR_DOMAIN_STATS_INTERFACE
    )
    rows = connection.getAllDomainStats(wanted, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    return tuple(Domain(dom.name(), dom.UUIDString(), stats, dom) for dom, stats in rows)


def storage_pools(connection: Any) -> tuple[Pool, ...]:
    """The host's storage pools, as libvirt last looked at them; none where it has no storage driver."""
    import libvirt

    try:
        found = connection.listAllStoragePools(0)
    except libvirt.libvirtError:
        return ()
    pools = []
    for pool in found:
        try:
            state, capacity, _allocated, available = pool.info()
        except libvirt.libvirtError:
            continue  # removed meanwhile
        active = state == libvirt.VIR_STORAGE_POOL_RUNNING
        pools.append(Pool(pool.name(), active, capacity, available))
    return tuple(pools)


@dataclass
class _Call:
    started: float
    done: threading.Event = field(default_factory=threading.Event)
    result: tuple[Domain, ...] = ()
    pools: tuple[Pool, ...] = ()
    error: str = ""
    ended: float = 0.0


class LibvirtReader:
    """Reads with a deadline. At most one question is out: a second would only hang beside the first."""

    def __init__(
        self,
        uri: str,
        *,
        opener: Callable[[str], Any] = open_readonly,
        ask: Callable[[Any], tuple[Domain, ...]] = bulk_stats,
        ask_pools: Callable[[Any], tuple[Pool, ...]] = storage_pools,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uri, self._opener, self._ask, self._clock = uri, opener, ask, clock
        self._ask_pools = ask_pools
        self._connection: Any = None
        self._call: _Call | None = None
        self._lock = threading.Lock()

    def read(self, deadline_s: float = 2.5) -> Reading:
        """Ask libvirt; always returns within the deadline."""
        with self._lock:
            call = self._call
            if call is None:
                call = self._call = _Call(self._clock())
                threading.Thread(
                    target=self._run, args=(call,), name="libvirt-read", daemon=True
                ).start()
            if not call.done.wait(deadline_s):
                hang = max(self._clock() - call.started, deadline_s)
                return Reading(
                    up=False, hang_s=hang, error=f"libvirt has not answered for {hang:.1f} s"
                )
            self._call = None
        if call.error:
            return Reading(up=False, error=call.error)
        call_s = call.ended - call.started
        return Reading(up=True, call_s=call_s, domains=call.result, pools=call.pools)

    def _run(self, call: _Call) -> None:
        try:
            if self._connection is None:
                self._connection = self._opener(self._uri)
            call.result = self._ask(self._connection)
            call.pools = self._ask_pools(self._connection)
        except Exception as error:
            # Whatever broke, the next scrape begins with a new connection.
            call.error = f"{type(error).__name__}: {error}"
            self._connection = None
        call.ended = self._clock()
        call.done.set()
