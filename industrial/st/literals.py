"""Written values to numbers and bytes. Errors are ValueErrors whose text says the rule."""

from __future__ import annotations

import datetime as dt
import math
import re
from decimal import Decimal

from . import types as t

_UNITS = {
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_PART = re.compile(r"([0-9][0-9_.]*)(ms|us|ns|d|h|m|s)_?", re.IGNORECASE)
_PREFIXES = {
    "T": t.TIME,
    "TIME": t.TIME,
    "LT": t.LTIME,
    "LTIME": t.LTIME,
    "D": t.DATE,
    "DATE": t.DATE,
    "LD": t.LDATE,
    "LDATE": t.LDATE,
    "TOD": t.TOD,
    "TIME_OF_DAY": t.TOD,
    "LTOD": t.LTOD,
    "LTIME_OF_DAY": t.LTOD,
    "DT": t.DT,
    "DATE_AND_TIME": t.DT,
    "LDT": t.LDT,
    "LDATE_AND_TIME": t.LDT,
}
_ESCAPES = {"$": "$", "'": "'", '"': '"', "L": "\n", "N": "\n", "P": "\f", "R": "\r", "T": "\t"}
EPOCH = dt.datetime(1970, 1, 1)


def integer(text: str) -> int:
    """123, 1_000, 16#FF, -2#1010.

    Raises:
        ValueError: not a whole number of its base.
    """
    negative, text = text.startswith("-"), text.lstrip("+-")
    if text.endswith("_") or "__" in text:
        raise ValueError("an underscore stands between two digits")
    if "#" in text:
        base_text, digits = text.split("#", 1)
        base = int(base_text)
        if base not in (2, 8, 10, 16):
            raise ValueError(f"base {base}: one of 2, 8, 10, 16")
        try:
            value = int(digits.replace("_", ""), base)
        except ValueError:
            raise ValueError(f"{digits} is not a number to the base {base}") from None
    else:
        value = int(text.replace("_", ""))
    if len(text) > 200:
        raise ValueError("a number this long")
    return -value if negative else value


def real(text: str) -> float:
    """1.5, 2.0e-3.

    Raises:
        ValueError: out of the range of LREAL.
    """
    value = float(text.replace("_", ""))
    if math.isinf(value):
        raise ValueError("out of the range of LREAL")
    return value


def duration_ns(text: str) -> int:
    """1d2h3.5s to nanoseconds.

    Raises:
        ValueError: units repeated or out of order, or a fraction elsewhere than last.
    """
    negative, body = text.startswith("-"), text.lstrip("-")
    parts = _PART.findall(body)
    if (
        "".join(number + unit for number, unit in parts).lower() != body.replace("_", "").lower()
        and not parts
    ):
        raise ValueError("a duration is written like T#1h30m or T#1.5s")
    order = list(_UNITS)
    total, last = Decimal(0), -1
    for position, (number, unit) in enumerate(parts):
        rank = order.index(unit.lower())
        if rank <= last:
            raise ValueError(
                "units go from the largest to the smallest, each once: d h m s ms us ns"
            )
        last = rank
        number = number.replace("_", "")
        if "." in number and position != len(parts) - 1:
            raise ValueError("only the smallest unit may have a fraction")
        if number.count(".") > 1:
            raise ValueError(f"{number} is not a number")
        total += Decimal(number) * _UNITS[unit.lower()]
    return int(-total if negative else total)


def _day_ns(text: str) -> int:
    hours, minutes, *rest = text.replace("_", "").split(":")
    seconds = Decimal(rest[0]) if rest else Decimal(0)
    if int(hours) > 23 or int(minutes) > 59 or seconds >= 60:
        raise ValueError("a time of day lies between 00:00:00 and 23:59:59.999")
    return int((int(hours) * 3600 + int(minutes) * 60 + seconds) * 1_000_000_000)


def _date_ns(text: str) -> int:
    year, month, day = (int(part) for part in text.split("-"))
    try:
        return (dt.datetime(year, month, day) - EPOCH).days * _UNITS["d"]
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is not a date") from None


def is_time_prefix(prefix: str) -> bool:
    """Whether what stands before # names a duration or a point in time."""
    return prefix.upper() in _PREFIXES


def time_literal(prefix: str, text: str) -> tuple[t.Elementary, int]:
    """The type and the raw value of T#…, D#…, TOD#…, DT#….

    Raises:
        ValueError: malformed, or out of the type's range.
    """
    kind = _PREFIXES[prefix.upper()]
    family = kind.family.removeprefix("l")
    try:
        if family == "time":
            value = duration_ns(text)
        elif family == "tod":
            value = _day_ns(text)
        elif family == "date":
            value = _date_ns(text)
        else:
            pieces = text.split("-")
            if len(pieces) != 4:
                raise ValueError("a date and time is written DT#2024-01-31-12:30:00")
            value = _date_ns("-".join(pieces[:3])) + _day_ns(pieces[3])
    except ArithmeticError:
        raise ValueError(f"{text} is not a number") from None
    if kind.bits == 32:
        value = value // 1_000_000 if family in ("time", "tod") else value // 1_000_000_000
    if kind is t.TIME and value < 0:
        raise ValueError("TIME holds no negative durations, LTIME does: LT#-14ms")
    if not kind.low <= value <= kind.high:
        raise ValueError(f"out of the range of {kind.name}")
    return kind, value


def characters(text: str, *, wide: bool) -> list[int]:
    """A quoted text, escapes resolved, as character codes.

    Raises:
        ValueError: an unknown escape, or a character that the type cannot hold.
    """
    codes: list[int] = []
    digits = 4 if wide else 2
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "$":
            mark = text[at : at + 1].upper()
            if mark in _ESCAPES:
                codes.append(ord(_ESCAPES[mark]))
                at += 1
                continue
            try:
                codes.append(int(text[at : at + digits], 16))
            except ValueError:
                raise ValueError(
                    f"${text[at : at + digits]}: after $ stands $ ' L N P R T or {digits} hexadecimal digits"
                ) from None
            if len(text[at : at + digits]) != digits:
                raise ValueError(f"${text[at:]}: {digits} hexadecimal digits")
            at += digits
            continue
        code = ord(char)
        if wide:
            codes.extend(part for part in (code,) if part < 0x10000)
            if code >= 0x10000:
                raise ValueError(f"{char!r} does not fit one 16-bit character")
        elif code < 0x100:
            codes.append(code)
        else:
            codes.extend(char.encode())
    if 0 in codes:
        raise ValueError("a NUL ends a text in memory; it cannot stand inside")
    return codes
