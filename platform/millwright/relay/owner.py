"""Whose connection it is: the kernel is asked for the user at the other end of a connection of the loopback."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

#: `sock_diag(7)`: one connection looked up by its addresses. The whole table of a host takes milliseconds to read,
#: while a machine waits to be moved.
_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ANY = 4, 20, 1, 0xFFFFFFFF
_HEADER, _ASKED, _ID = "=IHHII", "=BBBBI", "=III"
#: In the answer: the header, family and its like, the addresses, then `expires`, `rqueue` and `wqueue`.
_ADDRESSES_AT, _ADDRESSES_BYTES = 16 + 4, 36
_USER_AT = 16 + 4 + 48 + 12


def user_of(plain: socket.socket) -> int | None:
    """The user whose process holds the other end of a connection of the loopback; None: nobody does, or none is seen.

    An end that its process has closed is root's by the kernel's account, and has no inode: it is nobody's here.
    """
    try:
        return _looked_up(plain)
    except OSError:
        # A kernel without the module, or a unit of an earlier release that does not let it be asked.
        return _in_table(plain)


def _looked_up(plain: socket.socket) -> int | None:
    (host, port), (own_host, own_port) = plain.getpeername(), plain.getsockname()
    rest = bytes(12)
    asked = struct.pack(_ASKED, socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ANY)
    addresses = struct.pack("!HH", port, own_port)
    addresses += socket.inet_aton(host) + rest + socket.inet_aton(own_host) + rest
    asked += addresses + struct.pack(_ID, 0, _ANY, _ANY)
    length = struct.calcsize(_HEADER) + len(asked)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.send(struct.pack(_HEADER, length, _BY_FAMILY, _REQUEST, 1, 0) + asked)
        answer = kernel.recv(4096)
    if struct.unpack_from(_HEADER, answer)[1] != _BY_FAMILY:
        raise OSError("the kernel looks up no connections")
    # Where there is no such connection any more, the kernel names who listens at its port.
    same = answer[_ADDRESSES_AT:][:_ADDRESSES_BYTES] == addresses
    user, inode = struct.unpack_from("=II", answer, _USER_AT)
    return int(user) if same and inode else None


def _in_table(plain: socket.socket) -> int | None:
    wanted = (_kernel(*plain.getpeername()), _kernel(*plain.getsockname()))
    for line in Path("/proc/self/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        if (words[1], words[2]) == wanted and words[9] != "0":
            return int(words[7])
    return None


def _kernel(host: str, port: int) -> str:
    """An address as /proc/net/tcp writes it: the number as this machine's memory has it."""
    (number,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{number:08X}:{port:04X}"
