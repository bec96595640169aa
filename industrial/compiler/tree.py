"""The syntax tree: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from .diagnostics import Place


@dataclass(slots=True)
class Expr:
    place: Place


@dataclass(slots=True)
class Literal(Expr):
    """`type` is empty for an untyped number."""

    value: int | float | bool
    type: str


@dataclass(slots=True)
class Name(Expr):
    name: str


@dataclass(slots=True)
class Member(Expr):
    base: Expr
    name: str


@dataclass(slots=True)
class Index(Expr):
    base: Expr
    indexes: list[Expr]


@dataclass(slots=True)
class Unary(Expr):
    sign: str
    operand: Expr


@dataclass(slots=True)
class Binary(Expr):
    sign: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Argument:
    """`name` is empty for an informal one; `output` for `=>`."""

    name: str
    value: Expr
    output: bool = False


@dataclass(slots=True)
class Call(Expr):
    target: Expr
    arguments: list[Argument]


@dataclass(slots=True)
class Statement:
    place: Place


@dataclass(slots=True)
class Assign(Statement):
    target: Expr
    value: Expr


@dataclass(slots=True)
class CallStatement(Statement):
    call: Call


@dataclass(slots=True)
class If(Statement):
    branches: list[tuple[Expr, list[Statement]]]
    otherwise: list[Statement]


@dataclass(slots=True)
class Case(Statement):
    selector: Expr
    branches: list[tuple[list[tuple[Expr, Expr | None]], list[Statement]]]
    otherwise: list[Statement]


@dataclass(slots=True)
class For(Statement):
    variable: Expr
    first: Expr
    last: Expr
    step: Expr | None
    body: list[Statement]


@dataclass(slots=True)
class While(Statement):
    condition: Expr
    body: list[Statement]
    #: REPEAT: the body first, and until the condition holds
    repeat: bool = False


@dataclass(slots=True)
class Jump(Statement):
    """EXIT, CONTINUE or RETURN."""

    kind: str


@dataclass(slots=True)
class TypeRef:
    """A type as written: a name, or an array of one. `dims` are pairs of constant expressions."""

    place: Place
    name: str
    dims: list[tuple[Expr, Expr]] = field(default_factory=list)


@dataclass(slots=True)
class Variable:
    place: Place
    name: str
    type: TypeRef
    section: str
    initial: Expr | list[Expr] | None = None
    located: str = ""
    constant: bool = False
    retain: bool = False
    comment: str = ""


@dataclass(slots=True)
class Pou:
    """A program, function block or function."""

    place: Place
    kind: str
    name: str
    variables: list[Variable]
    body: list[Statement]
    result: TypeRef | None = None


@dataclass(slots=True)
class TypeDef:
    """A structure (members) or an enumeration (values)."""

    place: Place
    name: str
    members: list[Variable] = field(default_factory=list)
    values: list[tuple[str, Expr | None]] = field(default_factory=list)


@dataclass(slots=True)
class Unit:
    """All that a set of files declares."""

    pous: list[Pou] = field(default_factory=list)
    types: list[TypeDef] = field(default_factory=list)
    globals: list[Variable] = field(default_factory=list)
