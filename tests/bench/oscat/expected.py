"""What formulas of the tables may use: Python's mathematics and calendar, and what the libraries document."""

from __future__ import annotations

import calendar
import cmath
import datetime as dt
import math
import statistics
import struct
from typing import Any


def gamma(x: float) -> float:
    """Euler's gamma."""
    return math.gamma(x)


def f32_bits(x: float) -> int:
    """The 32 bits of a binary32."""
    return int(struct.unpack("<I", struct.pack("<f", x))[0])


def bits_f32(x: int) -> float:
    """The binary32 of 32 bits."""
    return float(struct.unpack("<f", struct.pack("<I", x))[0])


def wrap16(x: int) -> int:
    """As INT."""
    return (x + 0x8000) % 0x10000 - 0x8000


def reflect(value: int, length: int) -> int:
    """The lowest bits in the other order, the others as they were."""
    low = value & ((1 << length) - 1)
    return value & ~((1 << length) - 1) | int(f"{low:0{length}b}"[::-1], 2)


def crc(data: bytes, width: int, poly: int, init: int, refin: bool, refout: bool, xor: int) -> int:
    """A checksum by its definition: division of polynomials over GF(2), bit by bit (Rocksoft's model)."""
    register, mask = init, (1 << width) - 1
    for byte in data:
        value = reflect(byte, 8) if refin else byte
        for bit in range(7, -1, -1):
            top = register >> (width - 1) & 1
            register = (register << 1) & mask
            if top ^ (value >> bit & 1):
                register ^= poly
    return (reflect(register, width) if refout else register) ^ xor


def month_end(day: dt.date) -> dt.date:
    """The last day of its month."""
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def yday(day: dt.date) -> int:
    """The day of the year, from 1."""
    return (day - dt.date(day.year, 1, 1)).days + 1


def easter(year: int) -> dt.date:
    """Gauss' rule, by way of the Gregorian epact (Lilius and Clavius)."""
    golden, century = year % 19 + 1, year // 100 + 1
    leap, moon = 3 * century // 4 - 12, (8 * century + 5) // 25 - 5
    sunday = 5 * year // 4 - leap - 10
    epact = (11 * golden + 20 + moon - leap) % 30
    if epact == 24 or (epact == 25 and golden > 11):
        epact += 1
    full = 44 - epact
    if full < 21:
        full += 30
    full += 7 - (sunday + full) % 7
    return dt.date(year, 3, 1) + dt.timedelta(days=full - 1)


def summer(utc: dt.datetime) -> bool:
    """Europe's summer time: from 01:00 UTC of March's last Sunday to that of October's."""

    def last(month: int) -> dt.datetime:
        day = month_end(dt.date(utc.year, month, 1))
        day -= dt.timedelta(days=day.isoweekday() % 7)
        return dt.datetime(day.year, day.month, day.day, 1)

    return last(3) <= utc < last(10)


NAMES: dict[str, Any] = {
    **{name: getattr(math, name) for name in dir(math) if not name.startswith("_")},
    **{f"c_{name}": getattr(cmath, name) for name in dir(cmath) if not name.startswith("_")},
    "cmath": cmath, "math": math, "calendar": calendar, "statistics": statistics,
    "date": dt.date, "datetime": dt.datetime, "timedelta": dt.timedelta,
    "f32_bits": f32_bits, "bits_f32": bits_f32, "wrap16": wrap16, "reflect": reflect, "crc": crc,
    "month_end": month_end, "yday": yday, "easter": easter, "summer": summer,
    **{f.__name__: f for f in (abs, bool, bytes, complex, float, int, len, list, max, min, ord, chr, pow, range, reversed,
                               round, sorted, str, sum, tuple, any, all, zip, dict, divmod, enumerate)},
}  # fmt: skip


def evaluate(formula: str, names: dict[str, Any]) -> Any:
    """The value of a formula of the tables, which are part of this repository."""
    # Inner scopes of a formula see its globals alone.
    return eval(formula, {"__builtins__": {}, **NAMES, **names})  # noqa: S307
