"""The Modbus TCP server of a vPLC: connections, limits and TLS around `functions`.

A write is answered when a scan has taken it, so that who reads next reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from industrial.runtime.shm import ShmError

from .access import AccessList, Peer
from .functions import Functions
from .image import ModbusImage
from .sessions import IN_A_ROW, Bucket, PlainSession, SecureSession, Session, TlsProtocol
from .settings import ModbusSettings

if TYPE_CHECKING:
    from industrial.runtime.shm import SharedMemory

log = logging.getLogger(__name__)

#: A request that is not whole after this long ends its connection.
REQUEST_S = 5.0
#: A connection idle for this long makes room for a new one when there are too many.
YIELDS_S = 5.0
#: How long the answer to a write waits for the scan.
APPLIED_S = 0.25
HANDSHAKE_S = 10.0
SWEEP_S = 0.1
IDENTITY: Mapping[int, str] = {0: "Millwright", 1: "vPLC", 2: "1"}


class ModbusServer:
    """Listens, admits, and ends what is idle, hostile or too much.

    `context` and `role_of` serve Modbus/TCP Security: the TLS context that wants a certificate of the client, and the
    role in one.
    """

    def __init__(
        self,
        image: Callable[[], ModbusImage],
        access: Callable[[], AccessList],
        settings: Callable[[], ModbusSettings] = ModbusSettings,
        identity: Callable[[], Mapping[int, str]] = lambda: IDENTITY,
    ) -> None:
        self._image, self._access, self._settings = image, access, settings
        self.functions = Functions(image, access, identity)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._plain: socket.socket | None = None
        self._tls: socket.socket | None = None
        self._context: ssl.SSLContext | None = None
        self._role_of: Callable[[bytes], str] = lambda _der: ""
        self._sessions: set[Session] = set()
        self._buckets: dict[str, Bucket] = {}
        self._waiting: list[tuple[Session, bytes]] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self._turned_away = 0
        self.failed_handshakes = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it serves in: that of the first `start`."""
        if self._loop is None:
            raise RuntimeError("the server has not been started")
        return self._loop

    # --- figures ------------------------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Open connections, with and without TLS."""
        return len(self._sessions)

    @property
    def secure_connections(self) -> int:
        """Open connections with TLS."""
        return sum(isinstance(session, SecureSession) for session in self._sessions)

    @property
    def requests(self) -> int:
        """Requests so far."""
        return self.functions.requests

    @property
    def refused(self) -> int:
        """Writes that were not allowed, and connections turned away."""
        return self.functions.denied + self._turned_away

    def memory(self) -> SharedMemory:
        """The memory that writes go to."""
        return self._image().shm

    # --- listening ------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> int:
        """Listen without TLS; returns the port.

        Raises:
            OSError: the port is not to be had.
        """
        self._plain = self._listen(host, port, self._plain)
        return int(self._plain.getsockname()[1])

    async def start_tls(
        self, host: str, port: int, context: ssl.SSLContext, role_of: Callable[[bytes], str]
    ) -> int:
        """Listen with TLS, or go on with a new context; returns the port.

        Raises:
            OSError: the port is not to be had.
        """
        self._context, self._role_of = context, role_of
        if self._tls is None:
            self._tls = self._listen(host, port, None)
        return int(self._tls.getsockname()[1])

    def stop_tls(self) -> None:
        """End the port with TLS and its connections."""
        if self._tls is not None:
            self.loop.remove_reader(self._tls)
            self._tls.close()
            self._tls = None
        self.end_secure_sessions()

    def end_secure_sessions(self) -> None:
        """End the connections with TLS; the port stays."""
        for session in [one for one in self._sessions if isinstance(one, SecureSession)]:
            session.close()

    def stop_plain(self) -> None:
        """End the port without TLS and its connections."""
        if self._plain is not None:
            self.loop.remove_reader(self._plain)
            self._plain.close()
            self._plain = None
        for session in [one for one in self._sessions if isinstance(one, PlainSession)]:
            session.close()

    async def stop(self) -> None:
        """End everything."""
        for task in self._handshakes:
            task.cancel()
        self.stop_tls()
        self.stop_plain()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _listen(self, host: str, port: int, before: socket.socket | None) -> socket.socket:
        self._loop = asyncio.get_running_loop()
        if before is not None:
            return before
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=128)
        listening.setblocking(False)
        self.loop.add_reader(listening, self._accept, listening)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        return listening

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(IN_A_ROW):
            try:
                connected, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors left: breathe
                log.warning("Modbus: %s", error)
                self.loop.remove_reader(listening)
                self.loop.call_later(0.5, self._listen_on, listening)
                return
            connected.setblocking(False)
            peer = Peer(str(address[0]))
            known = self._access().knows(peer.address)
            if not self._admit(peer, known):
                self._turned_away += 1
                connected.close()
                continue
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            bucket = self._buckets.setdefault(peer.address, Bucket(self._per_sweep()))
            bucket.sessions += 1
            if listening is self._tls:
                secure = SecureSession(self, peer, bucket, known)
                self._sessions.add(secure)
                task = self.loop.create_task(self._handshake(secure, connected))
                self._handshakes.add(task)
                task.add_done_callback(self._handshakes.discard)
            else:
                self._sessions.add(PlainSession(self, peer, bucket, known, connected))

    def _listen_on(self, listening: socket.socket) -> None:
        if listening in (self._plain, self._tls):
            self.loop.add_reader(listening, self._accept, listening)

    async def _handshake(self, session: SecureSession, connected: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(
                lambda: TlsProtocol(session, self._role_of), connected,
                ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S,
            )  # fmt: skip
        except (OSError, TimeoutError, asyncio.CancelledError):
            self.failed_handshakes += 1
            connected.close()
            session.close()

    # --- limits ---------------------------------------------------------------------------------------------

    def _admit(self, peer: Peer, known: bool) -> bool:
        """Whether one more connection of this address is taken; an idle one may have to go for it."""
        settings = self._settings()
        bucket = self._buckets.get(peer.address)
        if bucket is not None and bucket.sessions >= settings.connections_per_client:
            return self._make_room(lambda one: one.bucket is bucket and one.silent_s >= YIELDS_S)
        if len(self._sessions) < settings.connections:
            return True
        # Clients of the allow-list push others out; those push nobody.
        return self._make_room(
            lambda one: not one.known and (known or one.silent_s >= YIELDS_S)
        ) or (known and self._make_room(lambda one: one.silent_s >= YIELDS_S))

    def _make_room(self, may_go: Callable[[Session], bool]) -> bool:
        idle = max(filter(may_go, self._sessions), key=lambda one: one.silent_s, default=None)
        if idle is None:
            return False
        idle.close()
        return True

    def _per_sweep(self) -> float:
        rate = self._settings().requests_per_s
        return rate * SWEEP_S if rate else float("inf")

    def _sweep(self) -> None:
        """Ten times a second: rates begin anew, what is idle ends."""
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        rate, idle_s = self._per_sweep(), self._settings().idle_s
        for address, bucket in list(self._buckets.items()):
            # What was not used is kept for half a second.
            bucket.left = min(bucket.left + rate, 5 * rate)
            if not bucket.sessions:
                del self._buckets[address]
        for session in list(self._sessions):
            if session.stopped == "rate":
                session.resume()
                continue
            if session.stopped:
                continue
            session.silent_s += SWEEP_S
            if session.silent_s > (REQUEST_S if session.buffer else idle_s):
                session.close()

    def forget(self, session: Session) -> None:
        """A connection has ended."""
        if session in self._sessions:
            self._sessions.discard(session)
            session.bucket.sessions -= 1

    # --- answers to writes ----------------------------------------------------------------------------------

    def wait_for_scan(self, session: Session, answers: bytes) -> None:
        """Send the answers when the scan has taken what was written, or after a while."""
        session.deadline = self.loop.time() + APPLIED_S
        self._waiting.append((session, answers))
        if len(self._waiting) == 1:
            self.loop.call_later(0.001, self._settle)

    def _settle(self) -> None:
        now = self.loop.time()
        left: list[tuple[Session, bytes]] = []
        ready: list[tuple[Session, bytes]] = []
        for entry in self._waiting:
            session = entry[0]
            applied = True
            if session.mark is not None and now < session.deadline:
                with contextlib.suppress(ShmError):
                    applied = session.mark[0].applied(session.mark[1])
            (ready if applied or session.closed else left).append(entry)
        self._waiting = left
        if left:
            self.loop.call_later(0.001, self._settle)
        for session, answers in ready:
            session.send(answers)
            session.resume()
