"""The connections of one host: one that watches, a few that work, one more for what lasts.

A call holds its connection until it returns, and only one call may be under way on each (see
`connection.py`), so what must be quick never waits behind what is slow: the watcher's questions
have a connection of their own; changes, agent commands and uploads share a few, opened as they
are needed; a migration or a console takes one for itself and closes it at its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import libvirt

from millwright.hypervisor.errors import HostUnreachable

from .connection import Connection, HostAddress, Listener
from .deadline import Deadline

T = TypeVar("T")

#: Questions that a host answers at once; asked on the watching connection.
QUICK = frozenset({"facts", "bulk_state", "domain", "pins", "job"})
WORKERS = 3


class Lanes:
    """All connections to one host. Thread-safe."""

    def __init__(
        self,
        address: HostAddress,
        *,
        on_open: Callable[[libvirt.virConnect], None],
        on_change: Listener,
    ) -> None:
        self._address = address
        self._closed = False
        self._watch = Connection(address, persistent=True, on_open=on_open, on_change=on_change)
        # The test driver's hosts are private to a connection: all has to go over one.
        shared = address.uri.startswith("test:")
        self._workers = [self._watch] if shared else [Connection(address) for _ in range(WORKERS)]
        self._special: set[Connection] = set()
        self._lock = threading.Lock()

    @property
    def connected(self) -> bool:
        """Whether the watching connection lives. Never blocks."""
        return self._watch.connected

    @property
    def abandoned(self) -> int:
        """Calls that hang and whose callers gave up."""
        lanes = {self._watch, *self._workers, *self._special}
        return sum(lane.abandoned for lane in lanes)

    def run(self, deadline: Deadline, function: Callable[[libvirt.virConnect], T]) -> T:
        """Run a call on a fitting connection; see `Connection.run`."""
        if deadline.verb in QUICK:
            return self._watch.run(deadline, function)
        self._check_reachable(deadline)
        with self._lock:
            free = [lane for lane in self._workers if not lane.abandoned]
        if not free:
            raise HostUnreachable(
                f"{deadline.verb}: {len(self._workers)} earlier calls hang",
                host=self._address.name,
            )
        return min(free, key=lambda lane: lane.load).run(deadline, function)

    def special(self, deadline: Deadline) -> Connection:
        """A connection for one long piece of work; give it back with `release`."""
        self._check_reachable(deadline)
        lane = Connection(self._address)
        with self._lock:
            self._special.add(lane)
        return lane

    def release(self, lane: Connection) -> None:
        """Close what `special` gave."""
        with self._lock:
            self._special.discard(lane)
        lane.close()

    def rest(self, resting: bool) -> None:
        """See the port; the other connections are made as they are needed anyway."""
        self._watch.rest(resting)

    def drop(self, reason: str) -> None:
        """Give up all connections and connect anew."""
        for lane in {self._watch, *self._workers}:
            lane.drop(reason)

    def close(self) -> None:
        """End for good; never blocks."""
        with self._lock:
            self._closed = True
            special = tuple(self._special)
        for lane in {self._watch, *self._workers, *special}:
            lane.close()

    def _check_reachable(self, deadline: Deadline) -> None:
        """Fail at once while the host is known to be away; connect the watcher first of all."""
        if not self._watch.connected:
            self._watch.run(deadline, lambda _: None)
