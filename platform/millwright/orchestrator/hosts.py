"""Connections to the hosts of the inventory, one each, made and dropped as the inventory changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from millwright.hypervisor import EventCallback, Hypervisor, NotFound
from millwright.hypervisor.driver import HostAddress, LibvirtHypervisor


def connect(name: str, uri: str, site: str) -> Hypervisor:
    """A driver for the host; connects in the background."""
    return LibvirtHypervisor(HostAddress(name=name, uri=uri), site=site)


class Hosts:
    """Hypervisors by name. Thread-safe; never blocks on a host."""

    def __init__(
        self,
        site: str,
        *,
        on_event: EventCallback | None = None,
        factory: Callable[[str, str, str], Hypervisor] = connect,
    ) -> None:
        self.site = site
        self._factory = factory
        self._on_event = on_event
        self._known: dict[str, tuple[str, Hypervisor]] = {}
        self._resting: set[str] = set()
        self._lock = threading.Lock()

    def sync(self, wanted: dict[str, str], asleep: Collection[str] = ()) -> None:
        """Have a connection for each name → URI, and none beside; to those asleep only when they are asked."""
        with self._lock:
            for name in [name for name, (uri, _) in self._known.items() if wanted.get(name) != uri]:
                self._known.pop(name)[1].close()
                self._resting.discard(name)
            for name, uri in wanted.items():
                if name not in self._known:
                    host = self._factory(name, uri, self.site)
                    if self._on_event is not None:
                        host.subscribe(self._on_event)
                    self._known[name] = (uri, host)
                resting = name in asleep
                if resting != (name in self._resting):
                    self._known[name][1].rest(resting)
                    (self._resting.add if resting else self._resting.discard)(name)

    def get(self, host: str) -> Hypervisor:
        """The host of that name.

        Raises:
            NotFound: the inventory has none.
        """
        with self._lock:
            if host not in self._known:
                raise NotFound(f"host {host!r} is not in the inventory")
            return self._known[host][1]

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._known)

    def close(self) -> None:
        with self._lock:
            for _, host in self._known.values():
                host.close()
            self._known.clear()
            self._resting.clear()
