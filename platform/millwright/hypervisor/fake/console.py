"""The fake's serial console: a getty that greets, echoes, and answers a few commands."""

from __future__ import annotations

import queue
from collections.abc import Callable

from millwright.hypervisor.errors import HostUnreachable

PROMPT = b"# "
ERASE = (b"\x7f", b"\x08")


class FakeConsole:
    """An open console; see `ConsoleStream`. It ends when it is closed, taken over, or the domain stops."""

    def __init__(self, domain: str, host: str, running: Callable[[], bool]) -> None:
        self._domain = domain
        self._running = running
        self._host = host
        self._data: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._line = b""
        self._data.put(f"\r\nsimulated console of {domain}\r\n".encode() + PROMPT)

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
            raise HostUnreachable("the console ended", host=self._host)
        return data

    def write(self, data: bytes) -> None:
        """See `ConsoleStream`."""
        for number in data:
            key = bytes((number,))
            if key == b"\r" or key == b"\n":
                line, self._line = self._line.decode(errors="replace").strip(), b""
                self._data.put(b"\r\n" + self._answer(line) + PROMPT)
            elif key in ERASE:
                if self._line:
                    self._line = self._line[:-1]
                    self._data.put(b"\x08 \x08")
            else:
                self._line += key
                self._data.put(key)

    def close(self) -> None:
        """See `ConsoleStream`."""
        self.end()

    def _answer(self, line: str) -> bytes:
        if not line:
            return b""
        if line == "hostname":
            return f"{self._domain}\r\n".encode()
        if line.startswith("echo "):
            return f"{line.removeprefix('echo ')}\r\n".encode()
        return f"{line.split()[0]}: not found\r\n".encode()
