"""One encrypted connection: handshake, lines, and a stream in large records.

QEMU makes a TLS record and a system call of each page and of each page's header. Here up to a quarter of a MiB is taken from
it at once, encrypted in records of 16 KiB, and written with one call; the other end puts as much together again.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from typing import Any

from .protocol import LINE_BYTES, RelayError

PIECE_BYTES, RECORD_BYTES = 256 * 1024, 16 * 1024
#: What may wait in this connection beyond what is on its way: it lengthens the pause of a machine on a slow link.
UNSENT_BYTES = 256 * 1024
#: The same of the connection to a QEMU: it takes what waits there for sent, and stops the machine too early.
LOCAL_BYTES = 256 * 1024
#: A peer that is gone is noticed after so many seconds.
GONE_S = 30


class Wire:
    """TLS on a connected socket. Lines are for one thread, `carry` takes two of its own."""

    def __init__(
        self, raw: socket.socket, context: ssl.SSLContext, *, server: bool, name: str | None = None
    ) -> None:
        self.raw = raw
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name)
        # One session is not for two threads at a time; the sockets are. One of them alone writes, so that records
        # leave in the order in which they were made.
        self._lock = threading.Lock()
        _tune(raw)

    def shake(self, timeout_s: float) -> None:
        """Shake hands.

        Raises:
            RelayError: a certificate is not accepted, or the peer hung up or took too long.
        """
        end = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    done = True
                except ssl.SSLWantReadError:
                    done = False
                self._flush()
                if done:
                    return
                self._more(end)
        except ssl.SSLError as error:
            with suppress(OSError):
                self._flush()
            raise RelayError(f"TLS: {error.reason or error}") from error
        except OSError as error:
            raise RelayError(str(error) or "no handshake") from error

    @property
    def peer(self) -> str:
        """The common name of the peer's certificate, which the handshake has verified."""
        certificate: dict[str, Any] = dict(self._tls.getpeercert() or {})
        names = [dict(group).get("commonName") for group in certificate.get("subject", ())]
        return next((str(name) for name in names if name), "")

    def say(self, line: str) -> None:
        """Send a line.

        Raises:
            RelayError: the peer is gone.
        """
        try:
            self._tls.write(line.encode() + b"\n")
            self._flush()
        except OSError as error:
            raise RelayError(str(error)) from error

    def hear(self, timeout_s: float) -> str:
        """A line of the peer; nothing of what follows it is taken.

        Raises:
            RelayError: no line in time, a longer one than any of the protocol, or the peer hung up.
        """
        end, line = time.monotonic() + timeout_s, bytearray()
        try:
            while len(line) < LINE_BYTES:
                try:
                    letter = self._tls.read(1)
                except ssl.SSLWantReadError:
                    self._more(end)
                    continue
                if letter == b"\n":
                    return line.decode("ascii")
                if not letter:
                    raise ConnectionResetError("the peer has ended")
                line += letter
        except (OSError, UnicodeDecodeError) as error:
            raise RelayError(str(error) or "no line") from error
        raise RelayError("too long a line")

    def ask(self, line: str, timeout_s: float) -> str:
        """Say a line and hear the answer."""
        self.say(line)
        return self.hear(timeout_s)

    def carry(self, plain: socket.socket) -> tuple[int, int]:
        """Carry both ways until both ends have said all; returns the bytes that went out and came in.

        Whoever breaks off instead of closing is passed on as a broken connection, never as an orderly end.
        """
        self.raw.settimeout(None)
        plain.settimeout(None)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LOCAL_BYTES)
        # The last small piece would wait for an acknowledgement of the one before: 40 ms of a machine's pause.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = [0]
        sending = threading.Thread(target=self._send, args=(plain, sent), daemon=True)
        sending.start()
        came = self._receive(plain)
        sending.join()
        return sent[0], came

    def close(self) -> None:
        """Close at once; the peer sees a connection that was broken off."""
        with suppress(OSError):
            self.raw.close()

    # --- inside ------------------------------------------------------------------------------

    def _flush(self) -> None:
        if data := self._out.read():
            self.raw.sendall(data)

    def _more(self, end: float) -> None:
        self.raw.settimeout(max(0.01, end - time.monotonic()))
        data = self.raw.recv(RECORD_BYTES)
        if not data:
            raise ConnectionResetError("the peer hung up")
        self._in.write(data)

    def _send(self, plain: socket.socket, sent: list[int]) -> None:
        piece = memoryview(bytearray(PIECE_BYTES))
        try:
            while count := plain.recv_into(piece):
                with self._lock:
                    self._tls.write(piece[:count])
                    data = self._out.read()
                self.raw.sendall(data)
                sent[0] += count
            with self._lock:
                # Says that this was all; the peer's own word comes when it comes.
                with suppress(ssl.SSLError):
                    self._tls.unwrap()
                data = self._out.read()
            self.raw.sendall(data)
            self.raw.shutdown(socket.SHUT_WR)
        except OSError:
            self._break(plain)

    def _receive(self, plain: socket.socket) -> int:
        piece, came, said_all = memoryview(bytearray(PIECE_BYTES)), 0, False
        try:
            while True:
                full = True
                while full and not said_all:
                    count = 0
                    with self._lock:
                        try:
                            while count + RECORD_BYTES <= PIECE_BYTES:
                                count += self._read_into(piece[count:])
                        except ssl.SSLWantReadError:
                            full = False
                        except ssl.SSLZeroReturnError:
                            said_all = True
                    if count:
                        plain.sendall(piece[:count])
                        came += count
                if said_all:
                    plain.shutdown(socket.SHUT_WR)
                    return came
                more = self.raw.recv(PIECE_BYTES)
                if not more:
                    raise ConnectionResetError("broken off")
                with self._lock:
                    self._in.write(more)
        except OSError:
            self._break(plain)
            return came

    def _read_into(self, room: memoryview) -> int:
        # The stubs of some releases know only the form that returns bytes.
        read: Any = self._tls.read
        count = int(read(RECORD_BYTES, room))
        if not count:
            # So it says that the peer has said all, as long as we have not said so ourselves.
            raise ssl.SSLZeroReturnError
        return count

    def _break(self, plain: socket.socket) -> None:
        """End both, so that the other direction's thread ends too."""
        with suppress(OSError):
            self.raw.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            # A reset in place of an end once it is closed: QEMU must not take half for all.
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            plain.shutdown(socket.SHUT_RD)


def _tune(raw: socket.socket) -> None:
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, GONE_S // 3)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, GONE_S // 3)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_S * 1000)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
