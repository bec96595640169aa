"""What a viewer of a machine's screen says: the client's side of the RFB protocol, cut into messages.

A viewer asks for pictures all the time, so bytes alone do not tell whether a person is there; keys and
the pointer do. Layouts: RFC 6143 section 7, and the registered extensions that viewers use with QEMU.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum

#: Texts of the clipboard beyond this are nobody's paste.
MOST_TEXT_BYTES = 2**20
VERSION_BYTES = 12
NO_SECURITY = 1


class RfbError(ValueError):
    """The bytes are not of a viewer that speaks RFB 3.7 or later."""


class Said(StrEnum):
    """Kinds of messages; the first three are the handshake's."""

    VERSION = "version"
    SECURITY = "security"
    INIT = "init"
    FORMAT = "format"
    ENCODINGS = "encodings"
    UPDATE = "update"
    KEY = "key"
    POINTER = "pointer"
    TEXT = "text"
    OTHER = "other"


#: What only a person does.
BY_HAND = frozenset({Said.KEY, Said.POINTER, Said.TEXT})
#: first byte → kind and length of those that always have the same
FIXED = {
    0: (Said.FORMAT, 20),
    3: (Said.UPDATE, 10),
    4: (Said.KEY, 8),
    5: (Said.POINTER, 6),
    150: (Said.OTHER, 10),  # continuous updates
    250: (Said.OTHER, 4),  # xvp: power of the machine
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message with all its bytes."""

    kind: Said
    data: bytes


class ViewerStream:
    """Cuts a viewer's bytes into messages, however they arrive."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._greeting = [Said.VERSION, Said.SECURITY, Said.INIT]

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now.

        Raises:
            RfbError: the bytes follow no layout that is known here.
        """
        self._kept += data
        found = []
        while self._kept and (shape := self._shape()) is not None:
            kind, size = shape
            found.append(Message(kind, bytes(self._kept[:size])))
            del self._kept[:size]
            if self._greeting:
                self._greeting.pop(0)
        return found

    def _shape(self) -> tuple[Said, int] | None:
        """Kind and length of the message in front; None while it is not whole."""
        kind, size = self._of_greeting() if self._greeting else self._of_session()
        return (kind, size) if size and len(self._kept) >= size else None

    def _of_greeting(self) -> tuple[Said, int]:
        kind = self._greeting[0]
        if kind is Said.VERSION:
            whole = len(self._kept) >= VERSION_BYTES
            if whole and bytes(self._kept[:12]) not in (b"RFB 003.007\n", b"RFB 003.008\n"):
                raise RfbError("the viewer speaks no RFB 3.7 or 3.8")
            return kind, VERSION_BYTES
        if kind is Said.SECURITY and self._kept[0] != NO_SECURITY:
            raise RfbError("the viewer wants a sign-in of its own; the ticket was it")
        return kind, 1

    def _of_session(self) -> tuple[Said, int]:
        first, length = self._kept[0], len(self._kept)
        if first in FIXED:
            return FIXED[first]
        if first == 2:
            return Said.ENCODINGS, 4 + 4 * self._number(">H", 2) if length >= 4 else 0
        if first == 6:
            # A negative length marks the clipboard's extension.
            size = abs(self._number(">i", 4)) if length >= 8 else 0
            if size > MOST_TEXT_BYTES:
                raise RfbError(f"a text of {size} bytes; at most {MOST_TEXT_BYTES} are taken")
            return Said.TEXT, 8 + size if length >= 8 else 0
        if first == 248:  # fence
            return Said.OTHER, 9 + self._kept[8] if length >= 9 else 0
        if first == 251:  # another size of the screen
            return Said.OTHER, 8 + 16 * self._kept[6] if length >= 8 else 0
        if first == 255:
            return self._of_qemu(length)
        raise RfbError(f"message {first} is not one of a viewer")

    def _of_qemu(self, length: int) -> tuple[Said, int]:
        if length < 4:
            return Said.OTHER, 0
        if self._kept[1] == 0:
            return Said.KEY, 12
        if self._kept[1] == 1:
            return Said.OTHER, 10 if self._number(">H", 2) == 2 else 4
        raise RfbError(f"message 255/{self._kept[1]} is not one of a viewer")

    def _number(self, layout: str, offset: int) -> int:
        return int(struct.unpack_from(layout, self._kept, offset)[0])
