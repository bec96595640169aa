"""What a request's PDU is answered with: function codes 1 to 6, 15, 16, 22, 23 and 43/14. No sockets here.

Sources: Modbus Application Protocol Specification V1.1b3, section 6; authorisation by role after Modbus/TCP Security V2.1
(exception 01 for what a role may not do).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from industrial.runtime.shm import ScanSilent, ShmError, Write

from .access import AccessList, Peer
from .image import ModbusImage, OutOfMap

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE, DEVICE_BUSY = 1, 2, 3, 4, 6
WRITES = frozenset([5, 6, 15, 16, 22, 23])
#: Bytes of objects in one answer to 43/14, so that the PDU keeps below 253.
_IDENTITY_ROOM = 240
_TWO, _THREE = struct.Struct(">HH"), struct.Struct(">HHH")
_FRAME = struct.Struct(">HHBBHH")
#: Requests whose place in the memory is remembered.
_PLANS = 1024
#: Object numbers up to which the categories of 43/14 go: basic, regular, extended.
_LAST_OBJECT = {1: 2, 2: 6, 3: 255}


class Refused(Exception):
    """An exception response, by its code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Functions:
    """Answers from the image; writes pass the allow-list and never touch what the program drives."""

    def __init__(
        self,
        image: Callable[[], ModbusImage],
        access: Callable[[], AccessList],
        identity: Callable[[], Mapping[int, str]],
    ) -> None:
        self._image, self._access, self._identity = image, access, identity
        self.requests = 0
        #: writes and functions that were not allowed
        self.denied = 0
        self.exceptions = 0

    def answer(self, request: bytes, peer: Peer) -> bytes:
        """The answer's PDU to a request's PDU."""
        self.requests += 1
        function = request[0]
        try:
            if (function == 3 or function == 4) and peer.role is None:
                return self._registers(function, request)
            return self._other(function, request, peer)
        except Refused as refusal:
            code = refusal.code
        except OutOfMap:
            code = ILLEGAL_ADDRESS
        except (struct.error, IndexError):
            code = ILLEGAL_VALUE
        except ScanSilent:
            code = DEVICE_FAILURE
        except ShmError:
            code = DEVICE_BUSY
        self.exceptions += 1
        return bytes((function | 0x80, code))

    def again(self, frame: bytes) -> bytes | None:
        """The answer to a whole frame that reads registers, if one like it was asked before; else None."""
        try:
            image = self._image()
            plan = image.plans.get(frame[2:])
            if plan is None:
                self._plan(frame, image)
                return None
            words = image.words(plan[0])
        except (ShmError, OutOfMap):
            return None  # the long way says why
        self.requests += 1
        return frame[:2] + plan[1] + words

    @staticmethod
    def _plan(frame: bytes, image: ModbusImage) -> None:
        """Remember where a request's registers lie, and how its answer begins."""
        protocol, length, unit, function, first, count = _FRAME.unpack_from(frame, 2)
        if protocol or length != 6 or function not in (3, 4) or not 1 <= count <= 125:
            return
        span = image.plain_span("holding" if function == 3 else "input", first, count)
        if span is not None and len(image.plans) < _PLANS:
            head = struct.pack(">HHBBB", 0, 3 + 2 * count, unit, function, 2 * count)
            image.plans[frame[2:]] = ((span,), head)

    def _registers(self, function: int, request: bytes) -> bytes:
        if len(request) != 5:
            raise Refused(ILLEGAL_VALUE)
        first, count = _TWO.unpack_from(request, 1)
        _check_count(count, 125)
        area = "holding" if function == 3 else "input"
        return bytes((function, 2 * count)) + self._image().registers(area, first, count)

    def _other(self, function: int, request: bytes, peer: Peer) -> bytes:
        if function in WRITES:
            data = request[1:]
            if peer.role is not None and not self._access().writes_at_all(peer, function):
                self.denied += 1
                raise Refused(ILLEGAL_FUNCTION)
            return bytes((function,)) + _WRITERS[function](self, data, peer)
        if function not in (1, 2, 3, 4, 43):
            raise Refused(ILLEGAL_FUNCTION)
        if not self._access().may_read(peer, function):
            self.denied += 1
            raise Refused(ILLEGAL_FUNCTION)
        if function in (3, 4):
            return self._registers(function, request)
        if function == 43:
            return self._identify(request)
        first, count = _TWO.unpack(request[1:])
        _check_count(count, 2000)
        packed = self._image().bits("coil" if function == 1 else "discrete", first, count)
        return bytes((function, len(packed))) + packed

    # --- writing: each gets the data behind the function code, and returns the answer's ------------------

    def _may(self, peer: Peer, function: int, area: str, first: int, count: int) -> ModbusImage:
        """The image, if this may be written.

        Raises:
            OutOfMap: there is no such place.
            Refused: 01 for who may not use the function at all, 02 for a range that is not his.
        """
        image, access = self._image(), self._access()
        driven = image.is_driven(area, first, count)
        if not access.may_write(peer, function, area, first, count):
            self.denied += 1
            everywhere = access.writes_at_all(peer, function)
            raise Refused(ILLEGAL_ADDRESS if everywhere else ILLEGAL_FUNCTION)
        if driven:
            self.denied += 1
            raise Refused(ILLEGAL_ADDRESS)
        return image

    def _write_coil(self, data: bytes, peer: Peer) -> bytes:
        first, raw = _TWO.unpack(data)
        if raw not in (0, 0xFF00):
            raise Refused(ILLEGAL_VALUE)
        self._may(peer, 5, "coil", first, 1).write_bits(first, 1, bytes((raw >> 15,)))
        return data

    def _write_register(self, data: bytes, peer: Peer) -> bytes:
        first, _ = _TWO.unpack(data)
        self._may(peer, 6, "holding", first, 1).write_registers(first, data[2:])
        return data

    def _write_coils(self, data: bytes, peer: Peer) -> bytes:
        first, count = _TWO.unpack_from(data)
        _check_count(count, 1968)
        _check_size(data, 4, (count + 7) // 8)
        self._may(peer, 15, "coil", first, count).write_bits(first, count, data[5:])
        return data[:4]

    def _write_registers(self, data: bytes, peer: Peer) -> bytes:
        first, count = _TWO.unpack_from(data)
        _check_count(count, 123)
        _check_size(data, 4, 2 * count)
        self._may(peer, 16, "holding", first, count).write_registers(first, data[5:])
        return data[:4]

    def _mask(self, data: bytes, peer: Peer) -> bytes:
        first, keep, change = _THREE.unpack(data)
        image = self._may(peer, 22, "holding", first, 1)
        area, offset = image.place(first)
        # As bits, so that whatever else is written to the register before the boundary is kept.
        image.shm.write(
            Write(area, offset + n // 8, 0, change >> n & 1, n % 8)
            for n in range(16)
            if not keep >> n & 1
        )
        return data

    def _read_write(self, data: bytes, peer: Peer) -> bytes:
        read, count, first, write = struct.unpack_from(">HHHH", data)
        _check_count(count, 125)
        _check_count(write, 121)
        _check_size(data, 8, 2 * write)
        if not self._access().may_read(peer, 3):
            self.denied += 1
            raise Refused(ILLEGAL_FUNCTION)
        image = self._may(peer, 23, "holding", first, write)
        found = bytearray(image.registers("holding", read, count))
        image.write_registers(first, data[9:])
        # The standard writes before it reads; the write enters with the next scan, the answer shows it now.
        begin, end = max(read, first), min(read + count, first + write)
        if begin < end:
            found[2 * (begin - read) : 2 * (end - read)] = data[9 + 2 * (begin - first) : 9 + 2 * (end - first)]  # fmt: skip
        return bytes((2 * count,)) + found

    # --- 43/14 ----------------------------------------------------------------------------------------------

    def _identify(self, request: bytes) -> bytes:
        if request[1] != 14:
            raise Refused(ILLEGAL_FUNCTION)
        _, _, kind, start = struct.unpack(">BBBB", request)
        objects = {number: text.encode()[:64] for number, text in self._identity().items() if text}
        if kind == 4:
            if start not in objects:
                raise Refused(ILLEGAL_ADDRESS)
            return _identity_answer(kind, [(start, objects[start])], 0)
        if kind not in _LAST_OBJECT:
            raise Refused(ILLEGAL_VALUE)
        if start not in objects:
            start = 0  # as the standard wants it of a stream
        wanted = [(n, objects[n]) for n in sorted(objects) if start <= n <= _LAST_OBJECT[kind]]
        sent: list[tuple[int, bytes]] = []
        room = _IDENTITY_ROOM
        for number, text in wanted:
            room -= 2 + len(text)
            if room < 0:
                return _identity_answer(kind, sent, number)
            sent.append((number, text))
        return _identity_answer(kind, sent, 0)


def _identity_answer(kind: int, objects: list[tuple[int, bytes]], following: int) -> bytes:
    """0x82: regular objects, as a stream and one by one."""
    head = bytes((43, 14, kind, 0x82, 0xFF if following else 0, following, len(objects)))
    return head + b"".join(bytes((number, len(text))) + text for number, text in objects)


_WRITERS: Mapping[int, Callable[[Functions, bytes, Peer], bytes]] = {
    5: Functions._write_coil,
    6: Functions._write_register,
    15: Functions._write_coils,
    16: Functions._write_registers,
    22: Functions._mask,
    23: Functions._read_write,
}


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise Refused(ILLEGAL_VALUE)


def _check_size(data: bytes, at: int, size: int) -> None:
    """The byte count and the data behind it are what the quantity wants."""
    if data[at] != size or len(data) != at + 1 + size:
        raise Refused(ILLEGAL_VALUE)
