"""Where everything lies: sizes and offsets of types, blocks, programs and globals."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from . import tree as t
from .diagnostics import Diagnostic, Place, StopError
from .types import ELEMENTARY, Type

IMAGE = {"I": ("in", 4096), "Q": ("out", 4096), "M": ("mem", 65536)}
_WIDTH = {"X": 0, "": 0, "B": 1, "W": 2, "D": 4, "L": 8}


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a variable lies. `base`: "self" (instance), "arena" (absolute), "in", "out", "mem", "local", "const"."""

    base: str
    offset: int
    type: Type
    variable: t.Variable
    bit: int | None = None
    value: int | float | bool | None = None


@dataclass(slots=True)
class Scope:
    """Names of a POU, lower-case; `up` is the globals."""

    spots: dict[str, Spot] = field(default_factory=dict)
    up: Scope | None = None

    def find(self, name: str) -> Spot | None:
        key = name.lower()
        return self.spots.get(key) or (self.up.find(name) if self.up else None)


def stop(place: Place, code: str, message: str, hint: str = "") -> StopError:
    return StopError(Diagnostic(place, code, message, hint))


def aligned(offset: int, align: int) -> int:
    return (offset + align - 1) // align * align


class Types:
    """Resolves type references; lays blocks out when they are first asked for."""

    def __init__(self, unit: t.Unit, constant: Callable[[t.Expr, Scope | None], int]) -> None:
        self._defs = {row.name.lower(): row for row in unit.types}
        self.blocks = {row.name.lower(): row for row in unit.pous if row.kind == "FUNCTION_BLOCK"}
        self._known: dict[str, Type] = {}
        self._under_way: set[str] = set()
        self._constant = constant
        self.constants: Scope | None = None
        self.scopes: dict[str, Scope] = {}

    def resolve(self, ref: t.TypeRef) -> Type:
        """The type of a reference.

        Raises:
            StopError: unknown, recursive, or bounds that are not constant.
        """
        base = self.named(ref.name, ref.place)
        if not ref.dims:
            return base
        dims = []
        count = 1
        for low, high in ref.dims:
            first, last = self._constant(low, self.constants), self._constant(high, self.constants)
            if last < first:
                raise stop(ref.place, "E021", f"array bounds {first}..{last} run backwards")
            dims.append((first, last))
            count *= last - first + 1
        if count * base.size > 1 << 20:
            raise stop(
                ref.place,
                "E022",
                f"the array takes {count * base.size} bytes; the whole program has 1048576",
            )
        return Type(
            f"ARRAY OF {base.name}",
            count * base.size,
            base.align,
            "array",
            element=base,
            dims=tuple(dims),
        )

    def named(self, name: str, place: Place) -> Type:
        key = name.lower()
        if name.upper() in ELEMENTARY:
            return ELEMENTARY[name.upper()]
        if key in self._known:
            return self._known[key]
        if key in self._under_way:
            raise stop(place, "E023", f"{name} contains itself")
        self._under_way.add(key)
        try:
            if key in self._defs:
                made = self._defined(self._defs[key])
            elif key in self.blocks:
                made = self._block(self.blocks[key])
            else:
                raise stop(place, "E020", f"the type {name!r} is not known")
        finally:
            self._under_way.discard(key)
        self._known[key] = made
        return made

    def _defined(self, row: t.TypeDef) -> Type:
        if row.values:
            values: dict[str, int] = {}
            number = 0
            for name, given in row.values:
                number = self._constant(given, None) if given is not None else number
                values[name.lower()] = number
                number += 1
            return Type(row.name, 4, 4, "enum", "int32_t", True, values=values)
        members: dict[str, tuple[int, Type]] = {}
        offset = 0
        for variable in row.members:
            kind = self.resolve(variable.type)
            offset = aligned(offset, kind.align)
            members[variable.name.lower()] = (offset, kind)
            offset += kind.size
        return Type(row.name, aligned(max(offset, 1), 8), 8, "struct", members=members)

    def _block(self, row: t.Pou) -> Type:
        scope = self.scope_of(row)
        members = {
            name: (spot.offset, spot.type)
            for name, spot in scope.spots.items()
            if spot.base == "self"
        }
        size = max((offset + kind.size for offset, kind in members.values()), default=1)
        return Type(row.name, aligned(size, 8), 8, "fb", members=members)

    def scope_of(self, row: t.Pou) -> Scope:
        """Spots of an instance's variables, relative to its begin."""
        key = row.name.lower()
        if key not in self.scopes:
            scope = Scope(up=self.constants)
            offset = 0
            for variable in row.variables:
                if variable.name.lower() in scope.spots:
                    raise stop(variable.place, "E024", f"{variable.name} is declared twice")
                if variable.section == "VAR_EXTERNAL":
                    continue
                if variable.section == "VAR_IN_OUT":
                    raise stop(variable.place, "E090", "VAR_IN_OUT is not supported yet")
                if variable.located:
                    scope.spots[variable.name.lower()] = self.located(variable)
                    continue
                kind = self.resolve(variable.type)
                offset = aligned(offset, kind.align)
                scope.spots[variable.name.lower()] = Spot("self", offset, kind, variable)
                offset += kind.size
            self.scopes[key] = scope
        return self.scopes[key]

    def located(self, variable: t.Variable) -> Spot:
        """The spot of a located variable in the process image."""
        kind = self.resolve(variable.type)
        match = re.fullmatch(r"%([IQM])([XBWDL]?)(\d+)(?:\.(\d+))?", variable.located)
        if match is None:
            raise stop(variable.place, "E025", f"{variable.located}: not an address")
        area, width, first, second = match.groups()
        base, limit = IMAGE[area]
        if width in ("X", ""):
            if kind.kind != "bool" or second is None or int(second) > 7:
                raise stop(
                    variable.place,
                    "E025",
                    f"{variable.located}: a bit address is %{area}X<byte>.<bit> and holds a BOOL",
                )
            spot = Spot(base, int(first), kind, variable, bit=int(second))
        else:
            size = _WIDTH[width]
            if not kind.elementary or kind.size != size or kind.kind == "bool":
                raise stop(
                    variable.place,
                    "E025",
                    f"{variable.located} has {size} bytes, {kind.name} has {kind.size}",
                )
            spot = Spot(base, int(first) * size, kind, variable)
        if spot.offset + kind.size > limit:
            raise stop(
                variable.place, "E025", f"{variable.located}: the image ends at byte {limit}"
            )
        return spot
