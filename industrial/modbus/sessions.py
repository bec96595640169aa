"""Connections of the Modbus server: bytes in, answers out.

Sockets without TLS are read and written straight from the loop's readiness events: asyncio's streams and transports
take longer than the answer itself.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .access import Peer
from .functions import WRITES, Functions
from .hotloop import HotLoop

if TYPE_CHECKING:
    from industrial.runtime.shm import SharedMemory

#: Requests answered in one go before others have their turn.
IN_A_ROW = 16
_RECEIVE = 4096
#: Answers that a client does not fetch: beyond this its connection ends.
_MOST_UNSENT = 65536
_HEAD = struct.Struct(">HHHB")


class Host(Protocol):
    """What a connection needs of its server."""

    functions: Functions

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def memory(self) -> SharedMemory: ...

    def wait_for_scan(self, session: Session, answers: bytes) -> None: ...

    def forget(self, session: Session) -> None: ...


class Bucket:
    """Requests that an address may still send in this tenth of a second."""

    __slots__ = ("left", "sessions")

    def __init__(self, left: float) -> None:
        self.left, self.sessions = left, 0


class Session:
    """One connection: bytes in, answers out."""

    __slots__ = (
        "bucket", "buffer", "closed", "deadline", "known", "mark", "peer", "server", "silent_s", "stopped",
    )  # fmt: skip

    def __init__(self, server: Host, peer: Peer, bucket: Bucket, known: bool) -> None:
        self.server, self.peer, self.bucket, self.known = server, peer, bucket, known
        self.buffer = b""
        self.silent_s = 0.0
        self.closed = False
        #: Why nothing is read: "" | "write" (waits for a scan) | "rate" | "turn"
        self.stopped = ""
        self.mark: tuple[SharedMemory, int] | None = None
        self.deadline = 0.0

    def received(self, data: bytes) -> None:
        """Answer the whole requests in it."""
        self.silent_s = 0.0
        if self.buffer:
            data = self.buffer + data
        if self.stopped:
            self.buffer = data
            return
        self.work(data)

    def work(self, data: bytes) -> None:
        """Answer whole requests, in their order, until one has to wait."""
        at, size, turns = 0, len(data), IN_A_ROW
        functions, bucket, answers = self.server.functions, self.bucket, b""
        why = ""
        while size - at >= 8:
            transaction, protocol, length, unit = _HEAD.unpack_from(data, at)
            if protocol or not 2 <= length <= 254:
                # Where the next request begins is not known any more.
                if answers:
                    self.send(answers)
                self.close()
                return
            end = at + 6 + length
            if end > size:
                break
            if bucket.left < 1:
                why = "rate"
                break
            bucket.left -= 1
            request = data[at + 7 : end]
            answer = functions.answer(request, self.peer)
            answers += _HEAD.pack(transaction, 0, len(answer) + 1, unit) + answer
            at = end
            if request[0] in WRITES and answer[0] < 0x80 and not self._is_applied():
                why = "write"
                break
            turns -= 1
            if not turns and size - at >= 8:
                why = "turn"
                break
        self.buffer = data[at:]
        if why:
            self.stopped = why
            self.pause()
            if why == "write":
                self.server.wait_for_scan(self, answers)
                return
            if why == "turn":
                self.server.loop.call_soon(self.resume)
        if answers:
            self.send(answers)

    def _is_applied(self) -> bool:
        shm = self.server.memory()
        self.mark = (shm, shm.written)
        return shm.applied(shm.written)

    def resume(self) -> None:
        """Go on where it stopped."""
        if self.closed or not self.stopped:
            return
        self.stopped = ""
        data, self.buffer = self.buffer, b""
        self.work(data)
        if not self.stopped and not self.closed:
            self.read_on()

    # What the kind of connection does.

    def send(self, data: bytes) -> None:
        raise NotImplementedError

    def pause(self) -> None:
        raise NotImplementedError

    def read_on(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class PlainSession(Session):
    """A socket without TLS."""

    __slots__ = ("_fd", "_loop", "_receive", "_socket", "_unsent")

    def __init__(
        self, server: Host, peer: Peer, bucket: Bucket, known: bool, connected: socket.socket
    ) -> None:  # fmt: skip
        super().__init__(server, peer, bucket, known)
        self._socket, self._fd, self._loop = connected, connected.fileno(), server.loop
        self._unsent = b""
        self._receive = connected.recv
        self.read_on()

    def _readable(self) -> bool:
        """Answer what has come. True where the loop has to look at its own things: nearly always."""
        try:
            data = self._receive(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            data = b""
        if not data:
            self.close()
            return True
        if len(data) == 12 and not self.buffer and self.bucket.left >= 1:
            # One whole request to read registers, asked before: the hot path.
            answer = self.server.functions.again(data)
            if answer is not None:
                self.bucket.left -= 1
                self.silent_s = 0.0
                self.send(answer)
                return False
        self.received(data)
        return True

    def send(self, data: bytes) -> None:
        if self.closed:
            return
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.close()
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self._fd, self._writable)
            self.pause()
        self._unsent += data
        if len(self._unsent) > _MOST_UNSENT:
            self.close()

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._loop.remove_writer(self._fd)
            if not self.stopped:
                self.read_on()

    def pause(self) -> None:
        if isinstance(self._loop, HotLoop):
            self._loop.hot.unwatch(self._fd)
        else:
            self._loop.remove_reader(self._fd)

    def read_on(self) -> None:
        if self.closed or self._unsent:
            return
        if isinstance(self._loop, HotLoop):
            self._loop.hot.watch(self._fd, self._readable)
        else:
            self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.pause()
            self._loop.remove_writer(self._fd)
            self._socket.close()
            self.server.forget(self)


class SecureSession(Session):
    """A connection with TLS, over asyncio's transport."""

    __slots__ = ("transport",)

    def __init__(self, server: Host, peer: Peer, bucket: Bucket, known: bool) -> None:
        super().__init__(server, peer, bucket, known)
        self.transport: asyncio.Transport | None = None

    def send(self, data: bytes) -> None:
        transport = self.transport
        if transport is None or self.closed:
            return
        transport.write(data)
        if transport.get_write_buffer_size() > _MOST_UNSENT:
            self.close()

    def pause(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def read_on(self) -> None:
        if self.transport is not None and not self.closed:
            self.transport.resume_reading()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self.transport is not None:
                self.transport.abort()
            self.server.forget(self)


class TlsProtocol(asyncio.Protocol):
    """Hands what asyncio decrypts to the session; the role comes from the certificate."""

    def __init__(self, session: SecureSession, role_of: Callable[[bytes], str]) -> None:
        self._session, self._role_of = session, role_of

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("asyncio gives streams a transport")
        if self._session.closed:  # while they shook hands
            transport.abort()
            return
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
        self._session.peer = Peer(self._session.peer.address, self._role_of(der))
        self._session.transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._session.closed:
            self._session.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.close()
