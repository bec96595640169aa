"""Values of variables between bytes and JSON.

JSON shows a variable's own value: BOOL as true or false, integers and bit strings as whole numbers, REAL and
LREAL as numbers ("NaN", "Infinity" and "-Infinity" as texts, for which JSON has no number), strings as texts.
Durations and points in time are the number that the variable holds: TIME and TOD milliseconds, DATE and DT
seconds since 1970, the L forms nanoseconds. All of them are taken as literals too: "T#1s500ms", "D#2026-11-23".
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

from industrial.st.literals import duration_ns, is_time_prefix, time_literal

_INTEGERS = {
    "BYTE": "<B", "USINT": "<B", "SINT": "<b", "WORD": "<H", "UINT": "<H", "INT": "<h", "DWORD": "<I", "UDINT": "<I", "DINT": "<i",
    "LWORD": "<Q", "ULINT": "<Q", "LINT": "<q", "TIME": "<I", "DATE": "<I", "TOD": "<I", "DT": "<I", "LTIME": "<q", "LDATE": "<q",
    "LTOD": "<q", "LDT": "<q",
}  # fmt: skip
_REALS = {"REAL": "<f", "LREAL": "<d"}
_CHARACTERS = {"CHAR": 1, "WCHAR": 2}
_BASED = re.compile(r"-?(2|8|10|16)#[0-9A-Fa-f_]+")


def width(kind: str, string_len: int | None) -> int:
    """Bytes of one value."""
    if kind == "STRING":
        return (string_len or 0) + 1
    if kind == "WSTRING":
        return ((string_len or 0) + 1) * 2
    if kind in _CHARACTERS:
        return _CHARACTERS[kind]
    if kind == "BOOL":
        return 1
    return struct.calcsize(_INTEGERS.get(kind) or _REALS[kind])


def decode(kind: str, data: bytes) -> Any:
    """Bytes to JSON."""
    if kind == "BOOL":
        return bool(data[0])
    if kind in ("STRING", "CHAR"):
        return data.split(b"\0", 1)[0].decode("latin-1")
    if kind in ("WSTRING", "WCHAR"):
        text = data.decode("utf-16-le", "replace")
        return text.split("\0", 1)[0]
    if kind in _REALS:
        value = struct.unpack(_REALS[kind], data)[0]
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    return struct.unpack(_INTEGERS[kind], data)[0]


def encode(
    kind: str, value: Any, *, string_len: int | None = None, names: dict[str, int] | None = None
) -> bytes:
    """JSON to bytes.

    Raises:
        ValueError: with the rule that the value breaks.
    """
    if kind == "BOOL":
        return bytes([_boolean(value)])
    if kind in ("STRING", "WSTRING", "CHAR", "WCHAR"):
        return _text(kind, value, string_len)
    if kind in _REALS:
        return struct.pack(_REALS[kind], _real(kind, value))
    return _integer(kind, value, names or {})


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.upper() in ("TRUE", "FALSE"):
        return value.upper() == "TRUE"
    raise ValueError("a BOOL is true or false")


def _text(kind: str, value: Any, string_len: int | None) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"a {kind} takes a text")
    wide = kind.startswith("W")
    most = 1 if kind.endswith("CHAR") else string_len or 0
    try:
        data = value.encode("utf-16-le" if wide else "latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"{kind} has no such character; WSTRING has") from None
    unit = 2 if wide else 1
    if len(data) // unit > most:
        raise ValueError(f"{len(data) // unit} characters, at most {most}")
    if b"\0" in data[::unit] and not wide:
        raise ValueError("a string cannot hold the character 0")
    return data.ljust(most * unit + (0 if kind.endswith("CHAR") else unit), b"\0")


def _real(kind: str, value: Any) -> float:
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value.lower().replace("infinity", "inf"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a {kind} takes a number")
    try:
        struct.pack(_REALS[kind], value)
    except OverflowError:
        raise ValueError(f"out of the range of {kind}") from None
    return float(value)


def _integer(kind: str, value: Any, names: dict[str, int]) -> bytes:
    number = _number(kind, value, names)
    layout = _INTEGERS[kind]
    try:
        return struct.pack(layout, number)
    except struct.error:
        bits = 8 * struct.calcsize(layout)
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if layout[1].islower() else (0, 2**bits - 1)  # fmt: skip
        raise ValueError(f"{kind} holds {low} to {high}") from None


def _number(kind: str, value: Any, names: dict[str, int]) -> int:
    if isinstance(value, bool):
        raise ValueError(f"a {kind} takes a number")
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        by_name = {name.upper(): number for name, number in names.items()}
        if value.upper().split("#")[-1].split(".")[-1] in by_name:
            return by_name[value.upper().split("#")[-1].split(".")[-1]]
        if names and "#" not in value:
            raise ValueError(f"one of {', '.join(names)}")
        if _BASED.fullmatch(value):
            base, digits = value.lstrip("-").split("#")
            return int(digits.replace("_", ""), int(base)) * (-1 if value.startswith("-") else 1)
        prefix, _, text = value.partition("#")
        if text and is_time_prefix(prefix):
            if kind == "LTIME" and prefix.upper() in ("T", "TIME"):
                return duration_ns(text)
            literal, raw = time_literal(prefix, text)
            short = {"TIME_OF_DAY": "TOD", "DATE_AND_TIME": "DT", "LTIME_OF_DAY": "LTOD", "LDATE_AND_TIME": "LDT"}  # fmt: skip
            found = short.get(literal.name, literal.name)
            if found != kind:
                raise ValueError(f"{value} is {found}, the variable {kind}")
            return raw
    raise ValueError(f"a {kind} takes a whole number")
