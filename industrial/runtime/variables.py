"""Variables of a program by path: where they lie, and their values to and from bytes.

Paths are those of symbols.json, in any case: `Main.level`, `Main.a[1,2]` for an element, `Main.w.3` for a bit,
`%QW3` for an address of the image.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .values import decode, encode, width

_IMAGE = {"I": 4096, "Q": 4096, "M": 65536}
_ADDRESS = re.compile(r"%([IQM])([XBWDL]?)(\d+)(?:\.([0-7]))?", re.IGNORECASE)
_ADDRESS_TYPES = {"X": "BOOL", "B": "BYTE", "W": "WORD", "D": "DWORD", "L": "LWORD"}
_ADDRESS_SIZES = {"X": 1, "B": 1, "W": 2, "D": 4, "L": 8}
_INDEX = re.compile(r"\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\]$")
_BIT = re.compile(r"(.+)\.(\d{1,2})$")
_NO_BITS = frozenset(["REAL", "LREAL", "STRING", "WSTRING", "BOOL"])


class VariableError(LookupError):
    """No such variable, or a value that it cannot hold; the text is for people."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a variable lies: area (I, Q, M or arena), byte, and for a bit its number from there."""

    path: str
    area: str
    offset: int
    type: str
    string_len: int | None = None
    bit: int | None = None
    enum: Mapping[str, int] | None = None
    dims: tuple[tuple[int, int], ...] = ()
    constant: bool = False

    @property
    def width(self) -> int:
        """Bytes of one value; a bit counts as the byte that holds it."""
        return 1 if self.bit is not None else width(self.type, self.string_len)

    @property
    def count(self) -> int:
        """Values: 1, or those of the array."""
        count = 1
        for low, high in self.dims:
            count *= high - low + 1
        return count

    def decode(self, data: bytes) -> Any:
        """The value from the bytes at its place (`width * count` of them)."""
        if self.bit is not None:
            return bool(data[0] >> self.bit & 1)
        size = self.width
        values = [decode(self.type, data[n * size : (n + 1) * size]) for n in range(self.count)]
        return _nested(values, self.dims) if self.dims else values[0]

    def encode(self, value: Any) -> bytes:
        """The bytes of a value; of a bit, one byte of 0 or 1.

        Raises:
            VariableError: it cannot hold the value.
        """
        if self.constant:
            raise VariableError(f"{self.path} is a constant")
        values = list(_flat(value, self.dims, self.path)) if self.dims else [value]
        parts = []
        for one in values:
            try:
                parts.append(
                    encode(
                        "BOOL" if self.bit is not None else self.type,
                        one,
                        string_len=self.string_len,
                        names=dict(self.enum or {}),
                    )
                )
            except ValueError as error:
                raise VariableError(f"{self.path} = {one!r}: {error}") from None
        return b"".join(parts)


class Variables:
    """The variables of symbols.json."""

    def __init__(self, symbols: Iterable[Mapping[str, Any]]) -> None:
        self._rows = {str(row["path"]).upper(): row for row in symbols}

    @property
    def paths(self) -> list[str]:
        """All paths as declared."""
        return [str(row["path"]) for row in self._rows.values()]

    def find(self, path: str) -> Place:
        """A variable, an element, a bit or an address.

        Raises:
            VariableError: there is none; with names that are near.
        """
        place = self._find(path.strip())
        if place is None:
            raise VariableError(self._unknown(path))
        return place

    def members(self, path: str) -> list[str]:
        """Members of a block or structure, one level down; empty if the path is none."""
        prefix = path.strip().upper() + "."
        names: dict[str, str] = {}
        for key, row in self._rows.items():
            if key.startswith(prefix):
                name = str(row["path"])[len(prefix) :].split(".", 1)[0]
                names.setdefault(name.upper(), name)
        return list(names.values())

    def _find(self, path: str) -> Place | None:
        if path.startswith("%"):
            return _address(path)
        row = self._rows.get(path.upper())
        if row is not None:
            return _place(row)
        if found := _INDEX.search(path):
            row = self._rows.get(path[: found.start()].rstrip().upper())
            if row is not None and row["dims"]:
                return _element(path, _place(row), [int(part) for part in found[1].split(",")])
            # Written with spaces, or as a[1][2] for a[1,2].
            tidy = re.sub(r"\s+", "", path).replace("][", ",")
            if tidy != path:
                return self._find(tidy)
        if found := _BIT.fullmatch(path):
            inner = self._find(found[1])
            if inner is None or inner.dims or inner.bit is not None or inner.type in _NO_BITS:
                return None
            bit, bits = int(found[2]), 8 * inner.width
            if bit >= bits:
                raise VariableError(f"{path}: {inner.type} has bits 0 to {bits - 1}")
            return Place(path, inner.area, inner.offset + bit // 8, "BOOL", None, bit % 8)
        return None

    def _unknown(self, path: str) -> str:
        near = difflib.get_close_matches(path.upper(), list(self._rows), 3, 0.6)
        names = [str(self._rows[key]["path"]) for key in near]
        known = self.paths
        more = " …" if len(known) > 12 else ""
        hint = (
            f"did you mean {' or '.join(names)}?"
            if names
            else f"variables: {', '.join(known[:12]) or 'there are none'}{more}"
        )
        return f"{path!r} is not a variable of the program; {hint}"


def _place(row: Mapping[str, Any]) -> Place:
    return Place(
        str(row["path"]),
        str(row["area"]),
        int(row["offset"]),
        str(row["type"]),
        row.get("string_len"),
        row.get("bit"),
        row.get("enum"),
        tuple((low, high) for low, high in row.get("dims") or ()),
        bool(row.get("constant")),
    )


def _element(path: str, place: Place, indices: list[int]) -> Place:
    if len(indices) != len(place.dims):
        raise VariableError(f"{path}: {len(place.dims)} indices are wanted")
    position = 0
    for index, (low, high) in zip(indices, place.dims, strict=True):
        if not low <= index <= high:
            raise VariableError(f"{path}: index {index} is not in {low}..{high}")
        position = position * (high - low + 1) + index - low
    return replace(place, path=path, offset=place.offset + position * place.width, dims=())


def _address(path: str) -> Place:
    found = _ADDRESS.fullmatch(path)
    if found is None:
        raise VariableError(f"{path}: an address is written like %IX0.0, %QW3 or %MD8")
    area, kind = found[1].upper(), (found[2] or "X").upper()
    size = _ADDRESS_SIZES[kind]
    offset = int(found[3]) * size
    if (kind == "X") != (found[4] is not None) or offset + size > _IMAGE[area]:
        raise VariableError(f"{path}: bits have a .0 to .7, and {area} has {_IMAGE[area]} bytes")
    return Place(
        path, area, offset, _ADDRESS_TYPES[kind], None, int(found[4]) if found[4] else None
    )


def _flat(value: Any, dims: tuple[tuple[int, int], ...], path: str) -> Iterator[Any]:
    low, high = dims[0]
    if not isinstance(value, list) or len(value) != high - low + 1:
        raise VariableError(f"{path} = {value!r}: a list of {high - low + 1} values")
    for one in value:
        if len(dims) > 1:
            yield from _flat(one, dims[1:], path)
        else:
            yield one


def _nested(values: list[Any], dims: tuple[tuple[int, int], ...]) -> list[Any]:
    for low, high in reversed(dims[1:]):
        size = high - low + 1
        values = [values[n : n + size] for n in range(0, len(values), size)]
    return values
