"""The checked program: every name resolved, every expression typed, every conversion explicit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .types import Type

if TYPE_CHECKING:
    from .model import Pou, Var


@dataclass(slots=True)
class Expr:
    """A value of `type`."""

    type: Type


@dataclass(slots=True)
class Const(Expr):
    """int, float, or a tuple of character codes."""

    value: int | float | tuple[int, ...]


@dataclass(slots=True)
class Load(Expr):
    """What a place holds."""

    place: Place


@dataclass(slots=True)
class Unary(Expr):
    """`op`: neg or not; `plain` as of Binary."""

    op: str
    operand: Expr
    plain: Type | None = None


@dataclass(slots=True)
class Binary(Expr):
    """Both operands have one type; comparisons give BOOL. `plain`: the type by the operands, where a wider one computes."""

    op: str
    left: Expr
    right: Expr
    plain: Type | None = None


@dataclass(slots=True)
class Convert(Expr):
    """`mode`: cast (keep the bits that fit), round, trunc, check (subrange)."""

    operand: Expr
    mode: str = "cast"


@dataclass(slots=True)
class Builtin(Expr):
    """A helper of the support header; `name` is its stem."""

    name: str
    args: list[Expr]


@dataclass(slots=True)
class Select(Expr):
    """One of two values."""

    condition: Expr
    yes: Expr
    no: Expr


@dataclass(slots=True)
class AddressOf(Expr):
    """The 32-bit reference of a place."""

    place: Place


@dataclass(slots=True)
class Call(Expr):
    """A user function or method. Arguments: (parameter, value or place)."""

    pou: Pou
    args: list[tuple[Var, Expr | Place]]
    outputs: list[tuple[Var, Place]]
    instance: Expr | None = None
    virtual: bool = False
    enable: Expr | None = None
    eno: Place | None = None
    #: As in Guarded.
    otherwise: Expr | None = None


@dataclass(slots=True)
class Guarded(Expr):
    """A standard function with EN and ENO: nothing is computed when `enable` is FALSE."""

    operand: Expr
    enable: Expr
    eno: Place | None
    #: What the value is when EN is FALSE; zero when None.
    otherwise: Expr | None = None


# --- places -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Place:
    """Somewhere a value lies."""

    type: Type


@dataclass(slots=True)
class VarPlace(Place):
    """A variable."""

    var: Var


@dataclass(slots=True)
class FieldPlace(Place):
    """A member at an offset of its base."""

    base: Place
    offset: int
    var: Var | None = None


@dataclass(slots=True)
class IndexPlace(Place):
    """An element; `base.type` is the array."""

    base: Place
    indices: list[Expr]


@dataclass(slots=True)
class DerefPlace(Place):
    """What a reference means."""

    reference: Expr


@dataclass(slots=True)
class BitPlace(Place):
    """One bit, or a part (`width` bits), of a whole number."""

    base: Place
    bit: int
    width: int = 1


@dataclass(slots=True)
class ImagePlace(Place):
    """A direct address; `bit` below 8 for X, else None."""

    area: str
    byte: int
    bit: int | None


@dataclass(slots=True)
class SelfPlace(Place):
    """THIS^."""


def is_fixed(place: Place) -> bool:
    """Whether a place lies at the same offset in every instance, or at one place of all."""
    if isinstance(place, VarPlace):
        var = place.var
        return not var.by_reference and (
            var.storage in ("self", "global") or (var.storage == "image" and var.bit is None)
        )
    if isinstance(place, FieldPlace):
        return not (place.var is not None and place.var.by_reference) and is_fixed(place.base)
    if isinstance(place, IndexPlace):
        return all(isinstance(index, Const) for index in place.indices) and is_fixed(place.base)
    return isinstance(place, SelfPlace)


# --- statements ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Stmt:
    """A statement; `pos` leads to its line."""

    pos: int


@dataclass(slots=True)
class Assign(Stmt):
    """Same type on both sides, or strings."""

    target: Place
    value: Expr


@dataclass(slots=True)
class Evaluate(Stmt):
    """A call whose value nobody wants."""

    value: Expr


@dataclass(slots=True)
class CallBlock(Stmt):
    """Inputs first, then the body, then the outputs. `body` names an action instead of the whole body."""

    instance: Place
    pou: Pou
    inputs: list[tuple[Var, Expr]]
    inouts: list[tuple[Var, Place]]
    outputs: list[tuple[Place, Expr]]
    enable: Expr | None = None
    eno: Place | None = None


@dataclass(slots=True)
class CallAction(Stmt):
    """An action of this POU or of an instance."""

    pou: Pou
    action: str
    instance: Place | None = None


@dataclass(slots=True)
class CallBase(Stmt):
    """SUPER^()."""

    pou: Pou


@dataclass(slots=True)
class If(Stmt):
    """Conditions in order."""

    branches: list[tuple[Expr, list[Stmt]]]
    otherwise: list[Stmt]


@dataclass(slots=True)
class Case(Stmt):
    """Labels are inclusive ranges."""

    selector: Expr
    branches: list[tuple[list[tuple[int, int]], list[Stmt]]]
    otherwise: list[Stmt]


@dataclass(slots=True)
class For(Stmt):
    """`step` is evaluated once."""

    variable: Place
    start: Expr
    end: Expr
    step: Expr
    body: list[Stmt]


@dataclass(slots=True)
class While(Stmt):
    """Tests before."""

    condition: Expr
    body: list[Stmt]


@dataclass(slots=True)
class Repeat(Stmt):
    """Tests after."""

    body: list[Stmt]
    condition: Expr


@dataclass(slots=True)
class Jump(Stmt):
    """EXIT, CONTINUE or RETURN."""

    kind: str


@dataclass(slots=True)
class Body:
    """The checked code of one POU."""

    statements: list[Stmt] = field(default_factory=list)
    actions: dict[str, list[Stmt]] = field(default_factory=dict)
    #: what references of an instance begin with: assignments of addresses
    references: list[Assign] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Temp(Expr):
    """A value used more than once, computed once; known by identity."""

    operand: Expr
