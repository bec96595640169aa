"""The serial console and the screen over libvirt streams, fed by the event loop."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from uuid import UUID
from weakref import WeakValueDictionary

import libvirt

from millwright.hypervisor.domain.xml import SCREEN_CHANNEL
from millwright.hypervisor.errors import Conflict, DeadlineExceeded, HostUnreachable
from millwright.hypervisor.port import ConsoleStream

from .connection import Connection
from .deadline import Deadline
from .domains import DomainVerbs
from .lanes import Lanes
from .translate import translated

READ_BYTES = 16 * 1024
#: libvirt's "would block" for non-blocking streams.
WOULD_BLOCK = -2
WRITE_S = 10.0


#: The streams last opened by this process, which their successors end.
_held: WeakValueDictionary[tuple[str, UUID, type[Console]], LaneConsole] = WeakValueDictionary()
_HELD_BY = threading.Lock()


class ConsoleVerbs(DomainVerbs):
    """`console_stream` and `screen_stream`."""

    def console_stream(self, uuid: UUID, *, deadline_s: float | None = None) -> ConsoleStream:
        """See the port. It has a connection of its own, closed with it."""
        return self._opened(uuid, Console, Deadline("console_stream", self.name, deadline_s))

    def screen_stream(self, uuid: UUID, *, deadline_s: float | None = None) -> ConsoleStream:
        """See the port. It has a connection of its own, closed with it."""
        return self._opened(uuid, Screen, Deadline("screen_stream", self.name, deadline_s))

    def _opened(self, uuid: UUID, kind: type[Console], deadline: Deadline) -> ConsoleStream:
        lane = self._lanes.special(deadline)

        def work(conn: libvirt.virConnect) -> Console:
            domain = self._owned(conn, uuid)
            self._require_running(domain)
            return kind(conn, domain, self.name)

        try:
            console = lane.run(deadline, work)
        except BaseException:
            self._lanes.release(lane)
            raise
        made = LaneConsole(console, lane, self._lanes)
        with _HELD_BY:
            before = _held.pop((self.name, uuid, kind), None)
            _held[self.name, uuid, kind] = made
        if before is not None:
            # libvirt has aborted it, and tells so for consoles, but not for screens over TLS.
            before.taken_over()
        return made


class LaneConsole:
    """A console whose connection ends with it; see `ConsoleStream`."""

    def __init__(self, console: Console, lane: Connection, lanes: Lanes) -> None:
        self._console = console
        self._lane = lane
        self._lanes = lanes
        self._open = True

    def read(self, *, timeout_s: float) -> bytes:
        """See `ConsoleStream`."""
        return self._console.read(timeout_s=timeout_s)

    def write(self, data: bytes) -> None:
        """See `ConsoleStream`."""
        self._console.write(data)

    def taken_over(self) -> None:
        """Tell the reader that it has ended, after what has arrived before."""
        self._console.tell_end()
        self.close()

    def close(self) -> None:
        """See `ConsoleStream`. Aborting a stream asks the daemon, so it is not waited for."""
        if self._open:
            self._open = False
            self._lane.post(self._console.close)
            self._lanes.release(self._lane)


class Console:
    """An open console; see `ConsoleStream`."""

    what = "console"

    def __init__(self, conn: libvirt.virConnect, domain: libvirt.virDomain, host: str) -> None:
        self._host = host
        self._data: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._ended = False
        self._stream = conn.newStream(libvirt.VIR_STREAM_NONBLOCK)
        self._open(domain)
        self._stream.eventAddCallback(
            libvirt.VIR_STREAM_EVENT_READABLE
            | libvirt.VIR_STREAM_EVENT_HANGUP
            | libvirt.VIR_STREAM_EVENT_ERROR,
            self._readable,
            None,
        )

    def _open(self, domain: libvirt.virDomain) -> None:
        domain.openConsole(None, self._stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)

    def _readable(self, stream: libvirt.virStream, events: int, _: object) -> None:
        """In the event loop's thread."""
        try:
            while True:
                data = stream.recv(READ_BYTES)
                if data == WOULD_BLOCK:
                    break
                if not data:
                    self._finish()
                    return
                self._data.put(data)
        except libvirt.libvirtError:
            self._finish()
            return
        if events & (libvirt.VIR_STREAM_EVENT_HANGUP | libvirt.VIR_STREAM_EVENT_ERROR):
            self._finish()

    def _finish(self) -> None:
        self._ended = True
        self._data.put(None)
        with contextlib.suppress(libvirt.libvirtError):
            self._stream.eventRemoveCallback()

    def tell_end(self) -> None:
        """The reader is told the end; callable from any thread."""
        self._data.put(None)

    def read(self, *, timeout_s: float) -> bytes:
        """See `ConsoleStream`."""
        try:
            data = self._data.get(timeout=timeout_s)
        except queue.Empty:
            return b""
        if data is None:
            self._data.put(None)  # for the next reader
            raise HostUnreachable(f"the {self.what} ended", host=self._host)
        parts = [data]
        while not self._data.empty():
            more = self._data.get()
            if more is None:
                self._data.put(None)
                break
            parts.append(more)
        return b"".join(parts)

    def write(self, data: bytes) -> None:
        """See `ConsoleStream`."""
        end = time.monotonic() + WRITE_S
        while data:
            with translated(self._host, self.what):
                sent = self._stream.send(data)
            if sent == WOULD_BLOCK:
                if time.monotonic() > end:
                    raise DeadlineExceeded(f"the {self.what} takes no input", host=self._host)
                time.sleep(0.02)
                continue
            data = data[sent:]

    def close(self) -> None:
        """See `ConsoleStream`."""
        if not self._ended:
            self._ended = True
            with contextlib.suppress(libvirt.libvirtError):
                self._stream.eventRemoveCallback()
            self._data.put(None)
        with contextlib.suppress(libvirt.libvirtError):
            self._stream.abort()


class Screen(Console):
    """An open screen; the channel of the same path leads to it, see `domain.xml`."""

    what = "screen"

    def _open(self, domain: libvirt.virDomain) -> None:
        if SCREEN_CHANNEL not in domain.XMLDesc():
            raise Conflict(f"domain {domain.name()!r} has no screen", host=self._host)
        domain.openChannel(SCREEN_CHANNEL, self._stream, libvirt.VIR_DOMAIN_CHANNEL_FORCE)
