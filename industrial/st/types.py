"""The type system: what a variable may hold, how many bytes it takes, how it lies in memory.

Sizes and alignments are in bytes. TIME, DATE, TOD and DT are unsigned 32-bit (milliseconds, seconds since 1970,
milliseconds of the day, seconds since 1970) as in the older tools; the L-forms are signed 64-bit nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Pou, Var


@dataclass(eq=False, slots=True)
class Type:
    """Any type. `name` is as people write it."""

    name: str
    size: int
    align: int


@dataclass(eq=False, slots=True)
class Elementary(Type):
    """`family`: bool, bits, int, real, time, date, tod, dt, char, and the 64-bit forms ltime … ldt."""

    family: str
    bits: int
    signed: bool
    ctype: str
    suffix: str

    @property
    def low(self) -> int:
        """Smallest value of a type of whole numbers."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value of a type of whole numbers."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1


def _make(name: str, family: str, bits: int, *, signed: bool = False) -> Elementary:
    size = max(1, bits // 8)
    if family == "real":
        ctype = "float" if bits == 32 else "double"
        return Elementary(name, size, size, family, bits, True, ctype, f"f{bits}")
    width = max(8, bits)
    ctype = f"{'' if signed else 'u'}int{width}_t"
    suffix = f"{'i' if signed else 'u'}{width}"
    return Elementary(name, size, size, family, bits, signed, ctype, suffix)


BOOL = _make("BOOL", "bool", 1)
BYTE, WORD = _make("BYTE", "bits", 8), _make("WORD", "bits", 16)
DWORD, LWORD = _make("DWORD", "bits", 32), _make("LWORD", "bits", 64)
SINT, INT = _make("SINT", "int", 8, signed=True), _make("INT", "int", 16, signed=True)
DINT, LINT = _make("DINT", "int", 32, signed=True), _make("LINT", "int", 64, signed=True)
USINT, UINT = _make("USINT", "int", 8), _make("UINT", "int", 16)
UDINT, ULINT = _make("UDINT", "int", 32), _make("ULINT", "int", 64)
REAL, LREAL = _make("REAL", "real", 32), _make("LREAL", "real", 64)
TIME, DATE = _make("TIME", "time", 32), _make("DATE", "date", 32)
TOD, DT = _make("TIME_OF_DAY", "tod", 32), _make("DATE_AND_TIME", "dt", 32)
LTIME, LDATE = _make("LTIME", "ltime", 64, signed=True), _make("LDATE", "ldate", 64, signed=True)
LTOD = _make("LTIME_OF_DAY", "ltod", 64, signed=True)
LDT = _make("LDATE_AND_TIME", "ldt", 64, signed=True)
CHAR, WCHAR = _make("CHAR", "char", 8), _make("WCHAR", "char", 16)
#: A whole or real number written without a type: it takes the type of what it meets.
LIT_INT = Elementary("a whole number", 8, 8, "int", 64, True, "int64_t", "i64")
LIT_REAL = Elementary("a real number", 8, 8, "real", 64, True, "double", "f64")
NULL = Elementary("NULL", 4, 4, "null", 32, False, "uint32_t", "u32")
#: The type of what was wrong: nothing more is said of it.
ERROR = Elementary("(unknown)", 1, 1, "error", 8, False, "uint8_t", "u8")
VOID = Elementary("(no value)", 1, 1, "void", 8, False, "void", "u8")

_ALL = (
    BOOL, BYTE, WORD, DWORD, LWORD, SINT, INT, DINT, LINT, USINT, UINT, UDINT, ULINT, REAL, LREAL,
    TIME, DATE, TOD, DT, LTIME, LDATE, LTOD, LDT, CHAR, WCHAR,
)  # fmt: skip
ELEMENTARY: dict[str, Elementary] = {kind.name: kind for kind in _ALL}
ELEMENTARY |= {"TOD": TOD, "DT": DT, "LTOD": LTOD, "LDT": LDT}
SIGNED, UNSIGNED = (SINT, INT, DINT, LINT), (USINT, UINT, UDINT, ULINT)
#: Durations and points in time.
TIME_LIKE = frozenset(["time", "date", "tod", "dt", "ltime", "ldate", "ltod", "ldt"])


@dataclass(eq=False, slots=True)
class StringType(Type):
    """STRING[length] or WSTRING[length]: `length` characters and a NUL."""

    length: int = 80
    wide: bool = False


_STRINGS: dict[tuple[int, bool], StringType] = {}


def string_type(length: int, *, wide: bool = False) -> StringType:
    """The one type of that length."""
    found = _STRINGS.get((length, wide))
    if found is None:
        width = 2 if wide else 1
        name = f"{'W' if wide else ''}STRING[{length}]"
        found = StringType(name, (length + 1) * width, width, length, wide)
        _STRINGS[length, wide] = found
    return found


@dataclass(eq=False, slots=True)
class EnumType(Type):
    """Named values of a whole-number type, by upper-case name; `open` where that type is written: other values are, too."""

    base: Elementary
    values: dict[str, int]
    spelled: dict[str, str]
    initial: int = 0
    open: bool = False


@dataclass(eq=False, slots=True)
class SubrangeType(Type):
    """Part of a whole-number type; leaving it is a conversion fault."""

    base: Elementary
    low: int
    high: int


@dataclass(eq=False, slots=True)
class ArrayType(Type):
    """`ranges` from the outermost; `element_init` is what an element's type brings along as its initial value."""

    ranges: list[tuple[int, int]]
    element: Type
    element_init: object = None

    @property
    def count(self) -> int:
        """Number of elements in all."""
        total = 1
        for low, high in self.ranges:
            total *= high - low + 1
        return total


@dataclass(eq=False, slots=True)
class OpenArrayType(Type):
    """ARRAY[*]: a VAR_IN_OUT that stands for any array of these elements and so many dimensions.

    `bounds`: the hidden variables of the POU that hold the lower and the upper bound of each dimension.
    """

    element: Type
    bounds: list[tuple[Var, Var]]


@dataclass(eq=False, slots=True)
class Field:
    """A member of a structure."""

    name: str
    type: Type
    offset: int
    init: object = None


@dataclass(eq=False, slots=True)
class StructType(Type):
    """Members by upper-case name, in order."""

    fields: dict[str, Field] = field(default_factory=dict)
    union: bool = False
    complete: bool = False


@dataclass(eq=False, slots=True)
class PointerType(Type):
    """A 32-bit offset into the program's memory; `ref` is the standard's REF_TO."""

    target: Type
    ref: bool


@dataclass(eq=False, slots=True)
class BlockType(Type):
    """An instance of a function block or program; `pou` knows the members."""

    pou: Pou


@dataclass(eq=False, slots=True)
class InterfaceType(Type):
    """A reference to any function block that implements the interface."""

    pou: Pou


def base_of(kind: Type) -> Type:
    """What lies behind an enumeration or a subrange."""
    return kind.base if isinstance(kind, SubrangeType | EnumType) else kind


def is_int(kind: Type) -> bool:
    """A whole number, subranges included, enumerations not."""
    return (isinstance(kind, Elementary) and kind.family == "int") or isinstance(kind, SubrangeType)


def is_bits(kind: Type) -> bool:
    """BYTE to LWORD."""
    return isinstance(kind, Elementary) and kind.family == "bits"


def is_real(kind: Type) -> bool:
    """REAL or LREAL."""
    return isinstance(kind, Elementary) and kind.family == "real"


def is_number(kind: Type) -> bool:
    """ANY_NUM."""
    return is_int(kind) or is_real(kind)


def is_string(kind: Type) -> bool:
    """STRING or WSTRING of any length."""
    return isinstance(kind, StringType)


def is_scalar(kind: Type) -> bool:
    """Fits a C variable."""
    return isinstance(kind, Elementary | EnumType | SubrangeType | PointerType | InterfaceType)


def scalar(kind: Type) -> Elementary:
    """The elementary type that holds a scalar; references are offsets."""
    kind = base_of(kind)
    return kind if isinstance(kind, Elementary) else UDINT


def same(left: Type, right: Type) -> bool:
    """Whether two types are one."""
    if left is right:
        return True
    if isinstance(left, ArrayType) and isinstance(right, ArrayType):
        return left.ranges == right.ranges and same(left.element, right.element)
    if isinstance(left, OpenArrayType) and isinstance(right, OpenArrayType):
        return len(left.bounds) == len(right.bounds) and same(left.element, right.element)
    if isinstance(left, PointerType) and isinstance(right, PointerType):
        return same(left.target, right.target)
    return False
