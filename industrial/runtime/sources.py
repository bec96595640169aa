"""Where a variable's value comes from: of those that a device feeds, how good it is and when the device answered."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from industrial.devices import Device
from industrial.devices.config import Point
from industrial.devices.values import FORMATS

from .shm import Quality, SharedMemory


class Worth(Enum):
    """What a value that a device feeds is worth."""

    GOOD = "good"
    #: The device is silent, or says that the value is bad: the last one is held.
    HELD = "held"
    #: The same, and zero or the substitute stands in its place.
    SUBSTITUTED = "substituted"
    #: The device has not answered yet.
    AWAITED = "awaited"


class Fed(NamedTuple):
    """A value's worth, and seconds since its device answered; None: it never did."""

    worth: Worth
    age_s: float | None


class Sources:
    """The inputs of all devices, by tag in any case."""

    def __init__(self, shm: Callable[[], SharedMemory], devices: Iterable[Device] = ()) -> None:
        self._shm = shm
        self._rows: dict[str, tuple[Device, Point]] = {
            point.tag.lower(): (device, point)
            for device in devices
            for point in device.points
            if not point.output
        }

    def __call__(self, path: str) -> Fed | None:
        """Of a variable by path; None where no device feeds it."""
        row = self._rows.get(path.lower())
        if row is None:
            return None
        device, point = row
        symbol = point.symbol
        if symbol["area"] == "I":
            kind = symbol["type"]
            size = 1 if kind == "BOOL" else struct.calcsize(FORMATS[kind])
            word, age_s = self._shm().quality(symbol["offset"], size)
        else:
            # Values for other areas go through the journal: what is known of them is the device's.
            age_s = time.monotonic() - device.last_good if device.last_good else None
            word = Quality.GOOD if device.good else Quality.BAD
        if not device.good:
            # Latched by scans: while none runs, the device itself is asked.
            word = Quality.BAD
        if age_s is None:
            return Fed(Worth.AWAITED, None)
        if word is Quality.GOOD:
            return Fed(Worth.GOOD, age_s)
        return Fed(Worth.HELD if point.fail == "hold" else Worth.SUBSTITUTED, age_s)
