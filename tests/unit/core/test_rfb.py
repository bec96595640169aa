"""A viewer's messages, whole and in pieces, and bytes that are none."""

from __future__ import annotations

import struct

import pytest
from millwright.core.rfb import MOST_TEXT_BYTES, RfbError, Said, ViewerStream

GREETING = b"RFB 003.008\n\x01\x01"
SESSION = (
    (Said.FORMAT, bytes(20)),
    (Said.ENCODINGS, struct.pack(">BxH", 2, 3) + bytes(12)),
    (Said.UPDATE, struct.pack(">BBHHHH", 3, 1, 0, 0, 320, 200)),
    (Said.KEY, struct.pack(">BBxxI", 4, 1, 0xFF0D)),
    (Said.POINTER, struct.pack(">BBHH", 5, 1, 10, 20)),
    (Said.TEXT, struct.pack(">BxxxI", 6, 5) + b"hello"),
    (Said.TEXT, struct.pack(">Bxxxi", 6, -4) + bytes(4)),
    (Said.KEY, struct.pack(">BBHII", 255, 0, 1, 0xFF0D, 28)),
    (Said.OTHER, struct.pack(">BBH", 255, 1, 0)),
    (Said.OTHER, struct.pack(">BBH", 255, 1, 2) + bytes(6)),
    (Said.OTHER, struct.pack(">BxxxIB", 248, 0, 3) + b"abc"),
    (Said.OTHER, struct.pack(">BxHHBx", 251, 800, 600, 1) + bytes(16)),
    (Said.OTHER, bytes([150]) + bytes(9)),
    (Said.OTHER, bytes([250, 0, 1, 2])),
)


@pytest.mark.parametrize("piece", [1, 2, 7, 4096])
def test_messages_are_cut_however_they_arrive(piece: int) -> None:
    stream, found = ViewerStream(), []
    whole = GREETING + b"".join(data for _, data in SESSION)
    for at in range(0, len(whole), piece):
        found += stream.feed(whole[at : at + piece])
    assert [said.kind for said in found[:3]] == [Said.VERSION, Said.SECURITY, Said.INIT]
    assert [(said.kind, said.data) for said in found[3:]] == list(SESSION)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"RFB 003.003\n",
        b"RFB 003.008\n\x02",
        GREETING + b"\x63",
        GREETING + bytes([255, 9, 0, 0]),
        GREETING + struct.pack(">BxxxI", 6, MOST_TEXT_BYTES + 1),
    ],
)
def test_what_is_no_viewer_is_refused(data: bytes) -> None:
    with pytest.raises(RfbError):
        ViewerStream().feed(data)
