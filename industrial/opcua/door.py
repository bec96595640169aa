"""The port of OPC UA: what is no OPC UA ends its connection, frames have a size, and who does not sign in makes room.

asyncua waits for the rest of whatever a header announces and keeps what it cannot read; a controller cannot afford that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from asyncua import Server
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol

log = logging.getLogger(__name__)

#: Connections at once, and how long one may take until its session is activated.
MAX_CONNECTIONS, SIGN_IN_S = 100, 15.0
#: Bytes of a frame; what asyncua offers to take.
MAX_FRAME = 65_535
#: Kinds of frames, and of chunks for those that have them.
_KINDS, _CHUNKS = (b"HEL", b"OPN", b"MSG", b"CLO", b"RHE", b"ERR"), b"FCA"


def is_frame(head: bytes) -> bool:
    """Whether this begins a frame; fewer than eight bytes may still."""
    if len(head) >= 3 and head[:3] not in _KINDS:
        return False
    if len(head) >= 4 and head[3] not in _CHUNKS:
        return False
    if len(head) < 8:
        return True
    least = 12 if head[:3] in (b"OPN", b"MSG", b"CLO") else 9
    return least < int.from_bytes(head[4:8], "little") <= MAX_FRAME


class PlcProtocol(OPCUAProtocol):  # type: ignore[misc]  # asyncua's is untyped
    """A connection."""

    _buffer: bytes

    def connection_made(self, transport: Any) -> None:
        """Take it; when the house is full, the one that has been longest without a session goes."""
        self.since = time.monotonic()
        if len(self.clients) >= self.iserver.max_connections:
            waiting = [one for one in self.clients if not one.signed_in]
            if waiting:
                oldest = min(waiting, key=lambda one: one.since)
                oldest.transport.abort()
                self.clients.remove(oldest)
            self.iserver.turned_away += 1
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Frames one by one; the first that is none ends the connection."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        super().data_received(data)
        if self._buffer and not is_frame(self._buffer[:8]):
            self.iserver.turned_away += 1
            self._buffer = b""
            transport.abort()

    @property
    def signed_in(self) -> bool:
        """Whether its session is activated."""
        session = self.processor.session if self.processor is not None else None
        return session is not None and session.is_activated()

    def end_unless(self, welcome: Callable[[Any], bool]) -> None:
        """End the connection of a session that may not be there any more."""
        if self.signed_in and not welcome(self.processor.session):
            log.warning("OPC UA: ended the session of %s", self.processor.session.user.name)
            self.transport.abort()


class PlcBinaryServer(BinaryServer):  # type: ignore[misc]
    """Makes our connections."""

    def _make_protocol(self) -> PlcProtocol:
        return PlcProtocol(
            iserver=self.iserver, policies=self._policies, clients=self.clients,
            closing_tasks=self.closing_tasks, limits=self.limits,
        )  # fmt: skip


class PlcServer(Server):  # type: ignore[misc]
    """asyncua's server behind our port."""

    async def start(self) -> None:
        """Listen."""
        self.iserver.max_connections = MAX_CONNECTIONS
        self.iserver.max_pending_activation_seconds = SIGN_IN_S
        await self._setup_server_nodes()
        await self.iserver.start()
        try:
            host, port = self._get_bind_socket_info()
            self.bserver = PlcBinaryServer(self.iserver, host, port, self.limits)
            self.bserver.set_policies(self._policies)
            await self.bserver.start()
        except BaseException:
            await self.iserver.stop()
            raise
