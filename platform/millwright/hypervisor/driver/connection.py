"""One connection to one host: opened without hanging, watched, and opened again.

The steps: a TLS handshake of our own with a deadline (a frozen daemon accepts the TCP
connection and says nothing, and `libvirt.open` has no timeout), `open` in an expendable thread,
keepalive, close callback, events. After every (re)connection `CONNECTED` is emitted, which
means: what you knew is old, ask.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import libvirt

from millwright.hypervisor.errors import (
    AccessDenied,
    DeadlineExceeded,
    HostUnreachable,
    HypervisorError,
)

from .calls import expendable
from .deadline import Deadline
from .loop import ensure_event_loop
from .translate import translate

#: One probe every 2 s, dead after 3 without an answer: a frozen daemon is noticed after 8 s.
KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 2, 3
HANDSHAKE_S = 4.0
OPEN_S = 10.0
BACKOFF_S = (0.5, 1.0, 2.0, 4.0)
TLS_PORT = 16514


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAddress:
    """Where a host's libvirt is.

    Attributes:
        uri: what the control plane connects to (`qemu+tls://name/system?pkipath=…`).
        peer_uri: what another host connects to for a migration; it uses its own certificates.
            Default: `uri` without its query.
    """

    name: str
    uri: str
    peer_uri: str | None = None

    @property
    def migration_uri(self) -> str:
        """The URI that a source host opens."""
        return self.peer_uri or self.uri.partition("?")[0]


Listener = Callable[[bool, str], None]


class Connection:
    """Keeps one `virConnect` alive. Thread-safe.

    Args:
        address: where to connect.
        on_open: called with a fresh connection, to register events; may raise libvirt errors.
        on_change: called with (connected, reason) from the connector's thread.
    """

    def __init__(
        self,
        address: HostAddress,
        on_open: Callable[[libvirt.virConnect], None],
        on_change: Listener,
    ) -> None:
        self._address = address
        self._on_open = on_open
        self._on_change = on_change
        self._condition = threading.Condition()
        self._conn: libvirt.virConnect | None = None
        self._error: HypervisorError | None = None
        self._attempting = False
        self._closed = False
        self._generation = 0
        self._lost = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is held that is not known to be dead. Never blocks."""
        return self._conn is not None

    @property
    def is_remote(self) -> bool:
        """Whether the daemon is reached over the network (keepalive makes sense)."""
        return bool(urlsplit(self._address.uri).hostname)

    def acquire(self, deadline: Deadline) -> libvirt.virConnect:
        """The live connection; waits while an attempt to connect is under way.

        Raises:
            HostUnreachable: the last attempt failed (the next is made in the background).
            AccessDenied: the host refuses our certificate.
            DeadlineExceeded: connecting takes longer than the deadline.
        """
        with self._condition:
            if self._closed:
                raise HostUnreachable("the connection was closed here", host=self._address.name)
            self._ensure_thread()
            while self._conn is None:
                if self._error is not None and not self._attempting:
                    error = self._error
                    raise type(error)(error.message, host=error.host, details=error.details)
                if not self._condition.wait(timeout=deadline.left_s):
                    raise deadline.exceeded()
            return self._conn

    def drop(self, reason: str) -> None:
        """Give up the present connection (its calls hang) and connect anew."""
        self._mark_lost(self._generation, reason)

    def close(self) -> None:
        """End for good; never blocks."""
        with self._condition:
            self._closed = True
            conn, self._conn = self._conn, None
            self._condition.notify_all()
        self._lost.set()
        if conn is not None:
            self._dispose(conn)

    # --- the connector ----------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._attempting = True
            self._thread = threading.Thread(
                target=self._run, name=f"connect-{self._address.name}", daemon=True
            )
            self._thread.start()

    def _is_closed(self) -> bool:
        return self._closed

    def _run(self) -> None:
        failures = 0
        while not self._is_closed():
            self._lost.clear()
            with self._condition:
                self._attempting = True
            try:
                conn = self._open()
            except HypervisorError as error:
                with self._condition:
                    self._attempting, self._error = False, error
                    self._condition.notify_all()
                # Set by close() only, as there is no connection to lose.
                self._lost.wait(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1
                continue
            failures = 0
            with self._condition:
                if self._is_closed():
                    self._dispose(conn)
                    return
                self._conn, self._error, self._attempting = conn, None, False
                self._condition.notify_all()
            self._notify(True, "connected")
            self._lost.wait()

    def _open(self) -> libvirt.virConnect:
        ensure_event_loop()
        check_tls(self._address, HANDSHAKE_S)
        deadline = Deadline("open", self._address.name, OPEN_S)
        self._generation += 1
        generation = self._generation
        future = expendable(f"open-{self._address.name}", lambda: self._open_blocking(generation))
        try:
            return future.result(timeout=deadline.left_s)
        except FutureTimeout:
            # Should it come back some day, it is closed at once.
            future.add_done_callback(
                lambda late: None if late.exception() else self._dispose(late.result())
            )
            raise deadline.exceeded() from None

    def _open_blocking(self, generation: int) -> libvirt.virConnect:
        try:
            conn = libvirt.open(self._address.uri)
            if self.is_remote:
                conn.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
            with contextlib.suppress(libvirt.libvirtError):  # the test driver has none
                conn.registerCloseCallback(self._closed_by_libvirt, generation)
            self._on_open(conn)
        except libvirt.libvirtError as error:
            raise translate(error, host=self._address.name, verb="open") from error
        return conn

    def _closed_by_libvirt(self, _: object, reason: int, generation: int) -> None:
        reasons = {
            libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "connection error",
            libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "the daemon closed the connection",
            libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "no answer to keepalives",
            libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT: "closed here",
        }
        self._mark_lost(generation, reasons.get(reason, f"reason {reason}"))

    def _mark_lost(self, generation: int, reason: str) -> None:
        with self._condition:
            # A late word about an older connection says nothing of the present one.
            if self._conn is None or self._closed or generation != self._generation:
                return
            lost, self._conn = self._conn, None
            self._attempting = True
            self._condition.notify_all()
        self._lost.set()
        self._dispose(lost)
        self._notify(False, reason)

    def _dispose(self, conn: libvirt.virConnect) -> None:
        def close() -> None:
            with contextlib.suppress(libvirt.libvirtError):
                conn.unregisterCloseCallback()
            with contextlib.suppress(libvirt.libvirtError):
                conn.close()

        # Closing asks the daemon, which may be frozen.
        expendable(f"close-{self._address.name}", close)

    def _notify(self, connected: bool, reason: str) -> None:
        with contextlib.suppress(Exception):  # a listener's fault must not end the connector
            self._on_change(connected, reason)


def check_tls(address: HostAddress, timeout_s: float) -> None:
    """Shake hands with a TLS daemon as libvirt would, with a deadline; others pass unchecked.

    The daemon sends one byte once it has admitted the client's certificate.

    Raises:
        HostUnreachable: nothing listens, or its certificate is not the host's.
        DeadlineExceeded: the host accepts connections and says nothing (frozen).
        AccessDenied: our certificate is refused.
    """
    parts = urlsplit(address.uri)
    if not parts.scheme.endswith("+tls") or parts.hostname is None:
        return
    try:
        context = _context(parse_qs(parts.query))
    except (OSError, ssl.SSLError) as error:
        raise AccessDenied(f"certificate files: {error}", host=address.name) from error
    end = time.monotonic() + timeout_s
    try:
        with socket.create_connection(
            (parts.hostname, parts.port or TLS_PORT), timeout=timeout_s
        ) as plain:
            plain.settimeout(max(0.1, end - time.monotonic()))
            with context.wrap_socket(plain, server_hostname=parts.hostname) as secure:
                secure.settimeout(max(0.1, end - time.monotonic()))
                if secure.recv(1) != b"\x01":
                    raise AccessDenied("the host refuses our certificate", host=address.name)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"no TLS handshake within {timeout_s:g} s", host=address.name
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise HostUnreachable(
            f"the host's certificate is not valid: {error.verify_message}", host=address.name
        ) from error
    except ssl.SSLError as error:
        raise AccessDenied(f"TLS: {error.reason or error}", host=address.name) from error
    except ConnectionResetError as error:
        raise AccessDenied("the host closed the TLS connection", host=address.name) from error
    except OSError as error:
        raise HostUnreachable(f"{error.strerror or error}", host=address.name) from error


def _context(query: dict[str, list[str]]) -> ssl.SSLContext:
    folder = query.get("pkipath", [None])[0]
    if folder is not None:
        base = Path(folder)
        ca, cert, key = base / "cacert.pem", base / "clientcert.pem", base / "clientkey.pem"
    else:  # libvirt's own places
        ca = Path("/etc/pki/CA/cacert.pem")
        cert = Path("/etc/pki/libvirt/clientcert.pem")
        key = Path("/etc/pki/libvirt/private/clientkey.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(ca))
    context.load_cert_chain(certfile=str(cert), keyfile=str(key))
    return context
