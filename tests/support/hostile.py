"""Clients that mean no good to Modbus and OPC UA: `python -m tests.support.hostile MODBUS OPCUA SECONDS CONNECTIONS SEED`.

So many connections of loopback at once, each of one kind, opened anew when it ends: silent, half a frame, byte by
byte, noise, frames with fields bent, length fields that lie, resets. Prints JSON: how many of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import time

MODBUS_FRAMES = (
    b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x0a",
    b"\x00\x02\x00\x00\x00\x0b\x01\x10\x00\x00\x00\x02\x04\x00\x01\x00\x02",
    b"\x00\x03\x00\x00\x00\x05\x01\x2b\x0e\x01\x00",
    b"\x00\x04\x00\x00\x00\x0f\x01\x17\x00\x00\x00\x01\x00\x00\x00\x02\x04\x00\x01\x00\x02",
)
_URL = b"opc.tcp://127.0.0.1:4840/"
_HELLO = struct.pack("<IIIIII", 0, 65535, 65535, 0, 0, len(_URL)) + _URL
_POLICY = b"http://opcfoundation.org/UA/SecurityPolicy#None"
_OPEN = struct.pack("<II", 0, len(_POLICY)) + _POLICY + struct.pack("<iiII", -1, -1, 1, 1) + bytes(range(64))  # fmt: skip
OPCUA_FRAMES = (
    b"HELF" + struct.pack("<I", len(_HELLO) + 8) + _HELLO,
    b"OPNF" + struct.pack("<I", len(_OPEN) + 8) + _OPEN,
    b"MSGF" + struct.pack("<IIIII", 40, 6, 1, 2, 2) + bytes(16),
)
KINDS = ("silent", "half", "dribble", "noise", "bent", "lying", "reset")


def frame(kind: str, opcua: bool, chance: random.Random) -> bytes:
    """What a client of this kind sends."""
    whole = chance.choice(OPCUA_FRAMES if opcua else MODBUS_FRAMES)
    if kind in ("half", "dribble"):
        return whole[: chance.randrange(1, len(whole))]
    if kind == "noise":
        return chance.randbytes(chance.randrange(1, 2000))
    if kind == "lying":
        if opcua:
            return whole[:4] + struct.pack("<I", chance.choice((0, 1, 8, 65_535, 2**31, 2**32 - 1))) + whole[8:]  # fmt: skip
        return whole[:4] + struct.pack(">H", chance.choice((0, 1, 300, 65_535))) + whole[6:]
    if kind == "bent":
        bent = bytearray(whole * chance.randrange(1, 4))
        for _ in range(chance.randrange(1, 6)):
            bent[chance.randrange(len(bent))] = chance.randrange(256)
        # A hello that is right gets the bent frame into the secure channel.
        return (OPCUA_FRAMES[0] if opcua and chance.random() < 0.5 else b"") + bytes(bent)
    return whole


async def one(port: int, opcua: bool, kind: str, chance: random.Random, end: float) -> None:
    """One connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        data = frame(kind, opcua, chance)
        left = max(0.05, min(end - time.monotonic(), chance.uniform(0.2, 8.0)))
        if kind == "silent":
            data = b""
        if kind == "dribble":
            for byte in data:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.2)
        else:
            writer.write(data)
        await writer.drain()
        if kind == "reset":
            found = writer.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), left)
    finally:
        writer.transport.abort()


async def flood(modbus: int, opcua: int, seconds: float, connections: int, seed: int) -> dict[str, int]:  # fmt: skip
    """So many at once, until the time is over."""
    end = time.monotonic() + seconds
    counts: dict[str, int] = dict.fromkeys([*KINDS, "refused"], 0)

    async def again(number: int) -> None:
        chance = random.Random(seed * 10_000 + number)  # noqa: S311 - a test
        while time.monotonic() < end:
            kind = chance.choice(KINDS)
            counts[kind] += 1
            try:
                await one(opcua if number % 2 else modbus, bool(number % 2), kind, chance, end)
            except OSError:
                counts["refused"] += 1
            await asyncio.sleep(chance.uniform(0.01, 0.2))

    await asyncio.gather(*(again(number) for number in range(connections)))
    return counts


def main() -> None:
    """Flood and tell."""
    modbus, opcua, seconds, connections, seed = sys.argv[1:]
    counts = asyncio.run(flood(int(modbus), int(opcua), float(seconds), int(connections), int(seed)))  # fmt: skip
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
