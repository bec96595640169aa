"""Types, their sizes, and what may be assigned to what."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Type:
    """A type. `size` in bytes; `c` is the C type of an elementary one."""

    name: str
    size: int
    align: int
    kind: str  # bool, int, bits, real, time, enum, array, struct, fb
    c: str = ""
    signed: bool = False
    element: Type | None = None
    dims: tuple[tuple[int, int], ...] = ()
    #: struct and fb: member → (offset, type), lower-case names
    members: dict[str, tuple[int, Type]] = field(default_factory=dict, hash=False, compare=False)
    #: enum: value names in lower case
    values: dict[str, int] = field(default_factory=dict, hash=False, compare=False)

    @property
    def elementary(self) -> bool:
        return bool(self.c)

    @property
    def numeric(self) -> bool:
        return self.kind in ("int", "real", "bits", "time", "enum")


def _elementary() -> dict[str, Type]:
    rows = [
        ("BOOL", 1, "bool", "uint8_t", False),
        ("SINT", 1, "int", "int8_t", True),
        ("INT", 2, "int", "int16_t", True),
        ("DINT", 4, "int", "int32_t", True),
        ("LINT", 8, "int", "int64_t", True),
        ("USINT", 1, "int", "uint8_t", False),
        ("UINT", 2, "int", "uint16_t", False),
        ("UDINT", 4, "int", "uint32_t", False),
        ("ULINT", 8, "int", "uint64_t", False),
        ("BYTE", 1, "bits", "uint8_t", False),
        ("WORD", 2, "bits", "uint16_t", False),
        ("DWORD", 4, "bits", "uint32_t", False),
        ("LWORD", 8, "bits", "uint64_t", False),
        ("REAL", 4, "real", "float", True),
        ("LREAL", 8, "real", "double", True),
        ("TIME", 4, "time", "uint32_t", False),
    ]
    return {name: Type(name, size, size, kind, c, signed) for name, size, kind, c, signed in rows}


ELEMENTARY = _elementary()
BOOL, INT, DINT, LINT, REAL, LREAL, TIME = (
    ELEMENTARY[name] for name in ("BOOL", "INT", "DINT", "LINT", "REAL", "LREAL", "TIME")
)
#: The type of untyped literals, before they meet another operand.
ANY_INT = Type("integer", 8, 8, "int", "int64_t", True)
ANY_REAL = Type("real number", 8, 8, "real", "double", True)


def range_of(kind: Type) -> tuple[int, int]:
    """Least and greatest value of an integer or bit type."""
    bits = kind.size * 8
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if kind.signed else (0, (1 << bits) - 1)


def assignable(target: Type, value: Type) -> bool:
    """Whether a value of this type goes into the target without a conversion that could lose something."""
    if target == value:
        return True
    if value is ANY_INT:
        return target.kind in ("int", "bits", "real", "time")
    if value is ANY_REAL:
        return target.kind == "real"
    if target.kind == "real" and value.kind == "real":
        return target.size >= value.size
    if target.kind == "real" and value.kind == "int":
        return target.size > value.size or (target.size == 8 and value.size == 8)
    if target.kind == value.kind == "int":
        if target.signed == value.signed:
            return target.size >= value.size
        return target.signed and target.size > value.size
    return target.kind == value.kind == "bits" and target.size >= value.size


def common(left: Type, right: Type) -> Type | None:
    """The type in which two operands meet; None if there is none."""
    for one, other in ((left, right), (right, left)):
        if assignable(one, other):
            return one
    if left.kind == right.kind == "int":
        size = max(left.size, right.size) * 2
        return next(
            (t for t in ELEMENTARY.values() if t.kind == "int" and t.signed and t.size == size),
            None,
        )
    return None
