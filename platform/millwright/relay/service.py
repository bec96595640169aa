"""A host's relay: a door with TLS, ports of the loopback for the two QEMUs, and what joins them."""

from __future__ import annotations

import hmac
import logging
import random
import secrets
import select
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .owner import user_of
from .protocol import ANSWER_S, MAX_COUNT, PASSAGES, Order, RelayError, parse
from .wire import LOCAL_BYTES, Wire

LOOPBACK = "127.0.0.1"
#: Connections at the same time, whatever they are for; a move takes two at each end, one more for each disk.
MAX_CONNECTIONS = 128
#: How often a connection that was made ahead looks whether its passage is still kept.
AHEAD_S = 5.0
log = logging.getLogger("millwright.relay")


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of a host's own pair; read anew when they have changed, so that a renewal stops nothing."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def changed(self) -> tuple[int, ...]:
        """Another value after a renewal."""
        return tuple(
            file.stat().st_mtime_ns for file in (self.authority, self.certificate, self.key)
        )

    def context(self, *, server: bool) -> ssl.SSLContext:
        """TLS 1.3 (1.2 at least), with the peer's certificate verified on both sides."""
        protocol = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cafile=str(self.authority))
        context.load_cert_chain(str(self.certificate), str(self.key))
        if server:
            # Nobody comes back to a session.
            context.num_tickets = 0
        return context


@dataclass
class Relay:
    """The relay of one host. `serve` until `stop`.

    Args:
        address, port: the door.
        orchestrators: common names of certificates that may keep and open passages; no other may.
        passages, loopback: what a passage takes of the host.
        users: who of this host may speak into a passage at its source (0: libvirt); by number.
    """

    address: str
    port: int
    certificates: Certificates
    orchestrators: frozenset[str]
    users: frozenset[int] = frozenset({0})
    passages: Sequence[int] = PASSAGES
    loopback: str = LOOPBACK
    _kept: dict[int, str] = field(default_factory=dict)
    #: by its word, how many connections of a passage were made ahead and wait
    _ahead: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _contexts: dict[bool, tuple[tuple[int, ...], ssl.SSLContext]] = field(default_factory=dict)
    _places: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(MAX_CONNECTIONS)
    )
    _door: socket.socket | None = None

    def listen(self) -> None:
        """Open the door.

        Raises:
            OSError: the address is not this host's, or the port is taken.
            ssl.SSLError: the certificates are none.
        """
        self._context(server=True)
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._door = socket.create_server((self.address, self.port), family=family, backlog=64)
        self.port = self._door.getsockname()[1]

    def serve(self) -> None:
        """Answer until the door is closed."""
        if self._door is None:
            self.listen()
        door = self._door
        while door is not None and door.fileno() >= 0:
            try:
                raw, _peer = door.accept()
            except OSError:
                return
            self._spawn(raw, self._answer)

    def stop(self) -> None:
        """Close the door; what is under way goes on."""
        if self._door is not None:
            with suppress(OSError):
                self._door.shutdown(socket.SHUT_RDWR)
            self._door.close()

    # --- the door ----------------------------------------------------------------------------

    def _spawn(self, raw: socket.socket, work: Callable[[socket.socket], None]) -> None:
        if not self._places.acquire(blocking=False):
            raw.close()
            return

        def run() -> None:
            try:
                work(raw)
            except (RelayError, OSError) as error:
                log.info("%s", error)
            finally:
                with suppress(OSError):
                    raw.close()
                self._places.release()

        threading.Thread(target=run, daemon=True).start()

    def _context(self, *, server: bool) -> ssl.SSLContext:
        changed = self.certificates.changed
        with self._lock:
            known = self._contexts.get(server)
            if known is None or known[0] != changed:
                known = (changed, self.certificates.context(server=server))
                self._contexts[server] = known
            return known[1]

    def _answer(self, raw: socket.socket) -> None:
        wire = Wire(raw, self._context(server=True), server=True)
        wire.shake(ANSWER_S)
        order = parse(wire.hear(ANSWER_S))
        if order.verb in ("keep", "open") and wire.peer not in self.orchestrators:
            raise RelayError(f"{wire.peer!r} may not {order.verb} passages")
        {"keep": self._keep, "open": self._open, "join": self._join, "look": self._look}[
            order.verb
        ](wire, order)

    def _keep(self, wire: Wire, order: Order) -> None:
        """Ports that a QEMU of this host will listen at, and the word that leads to them."""
        token, ports = secrets.token_hex(16), self._take(order.count)
        try:
            with self._lock:
                self._kept.update(dict.fromkeys(ports, token))
            wire.say(f"ok {token} {' '.join(map(str, ports))}")
            _until_left(wire.raw)
        finally:
            with self._lock:
                for port in ports:
                    self._kept.pop(port, None)

    def _take(self, count: int) -> list[int]:
        found: list[int] = []
        with self._lock:
            # In another order each time: two hosts that begin at the same port would always find it taken.
            for port in random.sample(self.passages, len(self.passages)):
                if port not in self._kept and self._free(port):
                    found.append(port)
                if len(found) == count:
                    # Taken before anybody else looks.
                    self._kept.update(dict.fromkeys(found, secrets.token_hex(16)))
                    return found
        raise RelayError("all passages are taken")

    def _free(self, port: int) -> bool:
        try:
            socket.create_server((self.loopback, port)).close()
        except OSError:
            return False
        return True

    def _look(self, wire: Wire, order: Order) -> None:
        """Say whether it is kept. It may be joined by this connection then, as long as it is kept."""
        token = order.token
        with self._lock:
            known = self._knows(token) and self._ahead[token] < MAX_COUNT
            self._ahead[token] += known
        try:
            wire.say("ok" if known else "unknown")
            spoken = known and self._speaks(wire, token)
        finally:
            with self._lock:
                self._ahead[token] -= known
                if not self._ahead[token]:
                    del self._ahead[token]
        if spoken and (order := parse(wire.hear(ANSWER_S))).verb == "join":
            self._join(wire, order)

    def _knows(self, token: str) -> bool:
        """Whether it is the word of a passage. For who holds the lock."""
        return any(hmac.compare_digest(kept, token) for kept in self._kept.values())

    def _speaks(self, wire: Wire, token: str) -> bool:
        """Wait until something is said by this connection, or the passage is no longer kept."""
        while not select.select([wire.raw], [], [], AHEAD_S)[0]:
            with self._lock:
                if not self._knows(token):
                    return False
        return True

    def _join(self, wire: Wire, order: Order) -> None:
        (port,) = order.ports
        with self._lock:
            token = self._kept.get(port, "")
        if not token or not hmac.compare_digest(token, order.token):
            raise RelayError(f"{wire.peer!r} asked for a passage that is not kept for it")
        with closing(socket.create_connection((self.loopback, port), ANSWER_S)) as plain:
            wire.say("ok")
            self._carry(wire, plain, f"from {wire.peer}")

    # --- the source --------------------------------------------------------------------------

    def _open(self, wire: Wire, order: Order) -> None:
        """Ports that lead to the destination's, as long as the orchestrator stays."""
        with ExitStack() as stack:
            listeners: dict[socket.socket, int] = {}
            try:
                for port in order.ports:
                    listener = stack.enter_context(socket.create_server((self.loopback, port)))
                    # Those whom it admits have it from here.
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LOCAL_BYTES)
                    listeners[listener] = port
            except OSError:
                wire.say("taken")
                return
            # Whether one arrives over there is known before libvirt is told to go this way; and no handshake is left
            # for the time in which the machine moves.
            spares: dict[int, Wire] = {}
            stack.callback(_leave, spares)
            for port in order.ports:
                spares[port] = self._dial(order)
                if spares[port].ask(f"look {order.token}", ANSWER_S) != "ok":
                    raise RelayError(f"{order.address} keeps nothing for this move")
            wire.say("ok")
            while wire.raw not in (ready := select.select([wire.raw, *listeners], [], [])[0]):
                for listener in ready:
                    plain, _peer = listener.accept()
                    self._spawn(plain, self._bound(order, listeners[listener], spares))

    def _bound(
        self, order: Order, port: int, spares: dict[int, Wire]
    ) -> Callable[[socket.socket], None]:
        def lead(plain: socket.socket) -> None:
            if (user := user_of(plain)) not in self.users:
                raise RelayError(f"user {user} may not speak into a passage")
            with closing(self._joined(order, port, spares.pop(port, None))) as there:
                self._carry(there, plain, f"to {order.address}")

        return lead

    def _joined(self, order: Order, port: int, spare: Wire | None) -> Wire:
        """A connection that leads to the destination's QEMU: the one made ahead, or one more."""
        line = f"join {order.token} {port}"
        if spare is not None:
            try:
                if spare.ask(line, ANSWER_S) == "ok":
                    return spare
                raise RelayError(f"{order.address} refuses the passage")
            except RelayError as error:
                spare.close()
                # A relay of an earlier release has hung up after `look`. One that is late may have joined already: to
                # QEMU a second connection would be the move, and the first one empty.
                if not isinstance(error.__cause__, ConnectionError):
                    raise
        wire = self._dial(order)
        try:
            if wire.ask(line, ANSWER_S) != "ok":
                raise RelayError(f"{order.address} refuses the passage")
        except BaseException:
            wire.close()
            raise
        return wire

    def _dial(self, order: Order) -> Wire:
        raw = socket.create_connection((order.address, order.relay_port), ANSWER_S)
        try:
            wire = Wire(raw, self._context(server=False), server=False, name=order.address)
            wire.shake(ANSWER_S)
        except BaseException:
            raw.close()
            raise
        return wire

    def _carry(self, wire: Wire, plain: socket.socket, where: str) -> None:
        out, came = wire.carry(plain)
        log.info("%s: %d bytes out, %d in", where, out, came)


def _leave(spares: dict[int, Wire]) -> None:
    """Close what nobody has joined by."""
    while spares:
        with suppress(KeyError):
            spares.popitem()[1].close()


def _until_left(raw: socket.socket) -> None:
    """Until the orchestrator has gone; it says nothing more."""
    raw.settimeout(None)
    with suppress(OSError):
        raw.recv(1)
