"""Registers of devices in every order of words and bytes."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from industrial.devices import load_devices
from industrial.devices.modbus import ModbusLink

VALUES = {"INT": ("h", -2), "UDINT": ("I", 0x01020304), "REAL": ("f", 1.5), "LREAL": ("d", -0.1), "LINT": ("q", -(2**60))}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("words", ["low_first", "high_first"])
@pytest.mark.parametrize("octets", ["big", "little"])
def test_a_value_is_read_and_written_in_its_devices_order(
    kind: str, words: str, octets: str
) -> None:
    layout, value = VALUES[kind]
    symbol: dict[str, Any] = {"path": "Main.a", "type": kind, "area": "Q", "offset": 0, "bit": None}
    text = (
        f'protocol = "modbus_tcp"\naddress = "h:1"\nword_order = "{words}"\nbyte_order = "{octets}"\n'
        f'[[point]]\ntag = "Main.a"\narea = "holding"\naddress = 7\ntype = "{kind}"\ndirection = "out"\n'
    )
    (device,) = load_devices({"io/d.toml": text}, [symbol])
    (point,) = device.points
    # As it is in a device whose registers and bytes go from high to low, turned as it is said.
    data = struct.pack(f">{layout}", value)
    parts = [data[at : at + 2] for at in range(0, len(data), 2)]
    parts = parts if words == "high_first" else parts[::-1]
    wanted = [int.from_bytes(part, "big" if octets == "big" else "little") for part in parts]

    async def both() -> tuple[list[int], float | bool]:
        link = ModbusLink(device)
        return link.words(point, value), link._value(point, [0, *wanted], 6)

    assert asyncio.run(both()) == (wanted, value)
