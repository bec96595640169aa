"""One connection to one host: opened without hanging, watched, and opened again.

The steps: a TLS handshake of our own with a deadline (a frozen daemon accepts the TCP
connection and says nothing, and `libvirt.open` has no timeout), `open` in an expendable thread,
keepalive, close callback, events. After every (re)connection of the watching connection
`CONNECTED` is emitted, which means: what you knew is old, ask.

At most one call is under way on a connection. libvirt's client (9.0) hands its event loop from
one waiting thread to the next; when the keepalive closes a connection on which two calls wait,
the second runs on a socket that is gone, and the process ends with a segmentation fault. One
frozen host must not end the control plane, so calls that may wait for each other get
connections of their own (see `lanes.py`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import libvirt

from millwright.hypervisor.errors import HostUnreachable, HypervisorError

from .calls import Calls, expendable
from .deadline import Deadline
from .handshake import check_tls
from .loop import ensure_event_loop
from .translate import translate, translated

T = TypeVar("T")

#: One probe every 2 s, dead after 3 without an answer: a frozen daemon is noticed after 8 s.
KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 2, 3
NO_KEEPALIVE = "no answer to keepalives"
HANDSHAKE_S = 4.0
OPEN_S = 10.0
BACKOFF_S = (0.5, 1.0, 2.0, 4.0)
#: Attempts to open that hang at the same time, at most: their threads cannot be ended.
MAX_HANGING_OPENS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAddress:
    """Where a host's libvirt is.

    Attributes:
        uri: what the control plane connects to (`qemu+tls://name/system?pkipath=…`).
        data_host: where other hosts send a migration's data. Default: the URI's host.
    """

    name: str
    uri: str
    data_host: str | None = None

    @property
    def data_uri(self) -> str | None:
        """Where a source sends its guest's memory; None: what the host says of itself."""
        host = self.data_host or urlsplit(self.uri).hostname
        if not host:
            return None
        return f"tcp://[{host}]" if ":" in host else f"tcp://{host}"


#: Called with (connected, reason) from one of the driver's threads.
Listener = Callable[[bool, str], None]


class Connection:
    """Keeps one `virConnect` and runs calls on it, one at a time. Thread-safe.

    Args:
        address: where to connect.
        persistent: connect again by itself after a loss; otherwise with the next call.
        on_open: called with a fresh connection, to register events; may raise libvirt errors.
        on_change: told of every connection and loss.
    """

    def __init__(
        self,
        address: HostAddress,
        *,
        persistent: bool = False,
        on_open: Callable[[libvirt.virConnect], None] | None = None,
        on_change: Listener | None = None,
    ) -> None:
        self._address = address
        self._persistent = persistent
        self._on_open = on_open
        self._on_change = on_change
        self._calls = Calls(address.name)
        self._condition = threading.Condition()
        self._conn: libvirt.virConnect | None = None
        self._error: HypervisorError | None = None
        self._attempting = False
        self._closed = False
        self._resting = False
        self._generation = 0
        self._lost = threading.Event()
        self._thread: threading.Thread | None = None
        self._hanging: list[Future[libvirt.virConnect]] = []

    @property
    def connected(self) -> bool:
        """Whether a connection is held that is not known to be dead. Never blocks."""
        return self._conn is not None

    @property
    def last_error(self) -> HypervisorError | None:
        """Why the last attempt to connect failed; None when it did not."""
        return self._error

    @property
    def load(self) -> int:
        """Calls that run or wait on this connection."""
        return self._calls.load

    @property
    def abandoned(self) -> int:
        """1 while a call hangs whose caller gave up."""
        return self._calls.abandoned

    def run(self, deadline: Deadline, function: Callable[[libvirt.virConnect], T]) -> T:
        """Run a call by its deadline, with errors of our tree.

        Raises:
            HypervisorError: what the call raised, translated.
            DeadlineExceeded: it did not end in time.
            HostUnreachable: there is no connection, or an earlier call hangs.
        """
        conn = self._acquire(deadline)
        return self._calls.run(deadline, lambda: self._do(conn, deadline.verb, function))

    def submit(self, deadline: Deadline, function: Callable[[libvirt.virConnect], T]) -> Future[T]:
        """Begin a long call (a migration) and return; see `run` for the errors it may hold."""
        conn = self._acquire(deadline)
        return self._calls.submit(lambda: self._do(conn, deadline.verb, function))

    def prepare(self) -> None:
        """Begin to connect without waiting for it; where that fails the next call tries again and tells."""
        with self._condition:
            if self._conn is None and not self._closed:
                self._ensure_thread()

    def rest(self, resting: bool) -> None:
        """While it rests, connect with the next call only, and not by itself; afterwards begin at once."""
        with self._condition:
            ended, self._resting = self._resting and not resting, resting
        if ended and self._persistent:
            self.prepare()

    @property
    def _by_itself(self) -> bool:
        return self._persistent and not self._resting

    def post(self, function: Callable[[], object]) -> None:
        """Have something done after the calls before it; its errors are nobody's."""
        self._calls.submit(function)

    def _do(
        self, conn: libvirt.virConnect, verb: str, function: Callable[[libvirt.virConnect], T]
    ) -> T:
        # Lost (and closed, in this very thread) while the call waited for its turn.
        if self._conn is not conn:
            raise HostUnreachable(f"{verb}: the connection was lost", host=self._address.name)
        with translated(self._address.name, verb):
            return function(conn)

    def _acquire(self, deadline: Deadline) -> libvirt.virConnect:
        with self._condition:
            if self._closed:
                raise HostUnreachable("the connection was closed here", host=self._address.name)
            if self._conn is None:
                self._ensure_thread()
            while self._conn is None:
                if self._error is not None and not self._attempting:
                    error = self._error
                    raise type(error)(error.message, host=error.host, details=error.details)
                if self._is_closed() or not self._condition.wait(timeout=deadline.left_s):
                    raise deadline.exceeded()
            return self._conn

    def drop(self, reason: str) -> None:
        """Give up the present connection; a call that hangs on it ends when it ends."""
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
                    if not self._by_itself:
                        self._thread = None
                        return
                # Set by close() only, as there is no connection to lose.
                self._lost.wait(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1
                continue
            failures = 0
            with self._condition:
                self._attempting, self._error = False, None
                if self._is_closed():
                    self._dispose(conn)
                    return
                self._conn = conn
                if not self._persistent:
                    self._thread = None
                self._condition.notify_all()
            self._notify(True, "connected")
            if not self._persistent:
                return
            self._lost.wait()
            with self._condition:
                if not self._by_itself:
                    self._attempting, self._thread = False, None
                    self._condition.notify_all()
                    return

    def _open(self) -> libvirt.virConnect:
        ensure_event_loop()
        check_tls(self._address.name, self._address.uri, HANDSHAKE_S)
        self._hanging = [attempt for attempt in self._hanging if not attempt.done()]
        # Over the network each attempt had a handshake before it, so the old one hangs on a
        # dead connection; locally it waits for the same daemon as the next one would.
        remote = bool(urlsplit(self._address.uri).hostname)
        if len(self._hanging) >= (MAX_HANGING_OPENS if remote else 1):
            raise HostUnreachable(
                f"{len(self._hanging)} earlier attempts to connect hang", host=self._address.name
            )
        deadline = Deadline("open", self._address.name, OPEN_S)
        self._generation += 1
        generation = self._generation
        future = expendable(f"open-{self._address.name}", lambda: self._open_blocking(generation))
        try:
            return future.result(timeout=deadline.left_s)
        except FutureTimeout:
            self._hanging.append(future)
            # Should it come back some day, it is closed at once.
            future.add_done_callback(
                lambda late: None if late.exception() else self._dispose(late.result())
            )
            raise deadline.exceeded() from None

    def _open_blocking(self, generation: int) -> libvirt.virConnect:
        try:
            conn = libvirt.open(self._address.uri)
            with contextlib.suppress(libvirt.libvirtError):  # the test driver has none of both
                conn.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
                conn.registerCloseCallback(self._closed_by_libvirt, generation)
            if self._on_open is not None:
                self._on_open(conn)
        except libvirt.libvirtError as error:
            raise translate(error, host=self._address.name, verb="open") from error
        return conn

    def _closed_by_libvirt(self, _: object, reason: int, generation: int) -> None:
        reasons = {
            libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "connection error",
            libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "the daemon closed the connection",
            libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: NO_KEEPALIVE,
            libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT: "closed here",
        }
        self._mark_lost(generation, reasons.get(reason, f"reason {reason}"))

    def _mark_lost(self, generation: int, reason: str) -> None:
        with self._condition:
            # A late word about an older connection says nothing of the present one.
            if self._conn is None or self._closed or generation != self._generation:
                return
            lost, self._conn = self._conn, None
            self._attempting = self._by_itself
            self._error = HostUnreachable(reason, host=self._address.name)
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

        # In the calls' thread: closing under a running call would free what it works on.
        self._calls.submit(close)

    def _notify(self, connected: bool, reason: str) -> None:
        if self._on_change is not None:
            with contextlib.suppress(Exception):  # a listener's fault must not end this
                self._on_change(connected, reason)
