"""The fake's screen: a VNC server of one picture, whose colour changes with every key and button."""

from __future__ import annotations

import queue
import struct
from collections.abc import Callable

from millwright.core.rfb import BY_HAND, Message, RfbError, Said, ViewerStream
from millwright.hypervisor.errors import HostUnreachable

WIDTH, HEIGHT = 320, 200
#: red, green and blue of the picture, one after the other
COLOURS = ((32, 78, 138), (46, 125, 50), (191, 96, 0), (120, 60, 140))
#: bits per pixel, depth, big endian, true colour, largest of each colour, their shifts
FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class FakeScreen:
    """An open screen; see `ConsoleStream`. It ends when it is closed, taken over, or the domain stops."""

    def __init__(self, domain: str, host: str, running: Callable[[], bool]) -> None:
        self._domain = domain
        self._host = host
        self._running = running
        self._data: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._said = ViewerStream()
        self._shifts = (16, 8, 0)
        self._shown = -1
        self._asked = False
        #: keys and buttons that came, for tests
        self.by_hand: list[Message] = []
        self._data.put(b"RFB 003.008\n")

    def end(self) -> None:
        """The other side hangs up."""
        self._data.put(None)

    def read(self, *, timeout_s: float) -> bytes:
        """See `ConsoleStream`."""
        try:
            data = self._data.get(timeout=timeout_s)
        except queue.Empty:
            if self._running():
                return b""
            data = None
        if data is None:
            self._data.put(None)  # for the next reader
            raise HostUnreachable("the screen ended", host=self._host)
        return data

    def write(self, data: bytes) -> None:
        """See `ConsoleStream`."""
        try:
            said = self._said.feed(data)
        except RfbError:
            self.end()
            return
        for message in said:
            self._answer(message)

    def close(self) -> None:
        """See `ConsoleStream`."""
        self.end()

    def _answer(self, message: Message) -> None:
        if message.kind is Said.VERSION:
            self._data.put(b"\x01\x01")
        elif message.kind is Said.SECURITY:
            self._data.put(bytes(4))
        elif message.kind is Said.INIT:
            name = f"simulated screen of {self._domain}".encode()
            size = struct.pack(">HH", WIDTH, HEIGHT)
            self._data.put(size + FORMAT + struct.pack(">I", len(name)) + name)
        elif message.kind is Said.FORMAT:
            self._shifts = struct.unpack_from(">BBB", message.data, 14)
            self._shown = -1
        elif message.kind is Said.UPDATE:
            self._asked = True
            if not message.data[1]:  # not only what changed
                self._shown = -1
        elif message.kind in BY_HAND:
            self.by_hand.append(message)
        self._show()

    def _show(self) -> None:
        """The picture, once for each time that it is asked for, when it is another one."""
        if not self._asked or self._shown == len(self.by_hand):
            return
        self._asked, self._shown = False, len(self.by_hand)
        colour = COLOURS[self._shown % len(COLOURS)]
        value = sum(part << shift for part, shift in zip(colour, self._shifts, strict=True))
        head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0)
        self._data.put(head + struct.pack("<I", value) * (WIDTH * HEIGHT))
