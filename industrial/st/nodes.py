"""The syntax tree, as written: nothing is resolved here. `pos` is a position of errors.py."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    """Anything with a place in a source."""

    pos: int


# --- expressions -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Expr(Node):
    """An expression."""


@dataclass(slots=True)
class Literal(Expr):
    """`kind`: int, real, typed, string, wstring; `text` as written."""

    kind: str
    text: str


@dataclass(slots=True)
class Name(Expr):
    """A bare name. THIS and SUPER too."""

    name: str


@dataclass(slots=True)
class Direct(Expr):
    """%IX0.0 and the like."""

    text: str


@dataclass(slots=True)
class Member(Expr):
    """base.name, also base.3 and base.%X3 (name is then the digits or the %-text)."""

    base: Expr
    name: str


@dataclass(slots=True)
class Index(Expr):
    """base[i, j]."""

    base: Expr
    indices: list[Expr]


@dataclass(slots=True)
class Deref(Expr):
    """base^."""

    base: Expr


@dataclass(slots=True)
class Unary(Expr):
    """`op`: - or NOT."""

    op: str
    operand: Expr


@dataclass(slots=True)
class Binary(Expr):
    """`op` in upper case, & is AND."""

    op: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Arg(Node):
    """name := value, name => target, NOT name => target, or a bare value."""

    name: str
    value: Expr | None
    output: bool = False
    negated: bool = False


@dataclass(slots=True)
class Call(Expr):
    """callee(args)."""

    callee: Expr
    args: list[Arg]


@dataclass(slots=True)
class ArrayInit(Expr):
    """[a, 3(b), …]; `bare` when written without brackets, as older tools allow."""

    items: list[tuple[Expr | None, Expr | None]]
    bare: bool = False


@dataclass(slots=True)
class StructInit(Expr):
    """(a := 1, b := 2)."""

    fields: list[tuple[str, Expr]]


# --- types --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TypeSpec(Node):
    """A type as written."""


@dataclass(slots=True)
class NamedType(TypeSpec):
    """An elementary or user type by name."""

    name: str


@dataclass(slots=True)
class StringSpec(TypeSpec):
    """STRING[n]; `length` None takes the dialect's default."""

    wide: bool
    length: Expr | None


@dataclass(slots=True)
class ArraySpec(TypeSpec):
    """ARRAY[lo..hi, …] OF element; `open` counts the dimensions of an ARRAY[*], which has no ranges."""

    ranges: list[tuple[Expr, Expr]]
    element: TypeSpec
    open: int = 0


@dataclass(slots=True)
class SubrangeSpec(TypeSpec):
    """INT (lo..hi)."""

    base: TypeSpec
    low: Expr
    high: Expr


@dataclass(slots=True)
class EnumSpec(TypeSpec):
    """(A, B := 3), optionally with a base type."""

    values: list[tuple[int, str, Expr | None]]
    base: TypeSpec | None = None


@dataclass(slots=True)
class StructSpec(TypeSpec):
    """STRUCT … END_STRUCT."""

    fields: list[VarDecl]
    union: bool = False


@dataclass(slots=True)
class PointerSpec(TypeSpec):
    """POINTER TO t or REF_TO t (`ref`)."""

    target: TypeSpec
    ref: bool


# --- declarations -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class VarDecl(Node):
    """One variable. `kind`: VAR, VAR_INPUT, VAR_OUTPUT, VAR_IN_OUT, VAR_TEMP, VAR_EXTERNAL, VAR_GLOBAL, FIELD."""

    name: str
    spec: TypeSpec
    kind: str
    init: Expr | None = None
    located: str = ""
    constant: bool = False
    retain: bool = False
    edge: str = ""
    comment: str = ""


@dataclass(slots=True)
class TypeDecl(Node):
    """TYPE name : spec := init."""

    name: str
    spec: TypeSpec
    init: Expr | None


@dataclass(slots=True)
class Step(Node):
    """An SFC step; actions are (name, qualifier, time)."""

    name: str
    initial: bool
    actions: list[tuple[int, str, str, Expr | None]]


@dataclass(slots=True)
class Transition(Node):
    """FROM steps TO steps := condition."""

    sources: list[str]
    targets: list[str]
    condition: Expr
    priority: int = 0


@dataclass(slots=True)
class Sfc(Node):
    """A textual sequential function chart."""

    steps: list[Step]
    transitions: list[Transition]


@dataclass(slots=True)
class Action(Node):
    """A named piece of code of a POU."""

    name: str
    body: list[Stmt]


@dataclass(slots=True)
class Pou(Node):
    """`kind`: PROGRAM, FUNCTION, FUNCTION_BLOCK, METHOD, INTERFACE, PROPERTY_GET, PROPERTY_SET."""

    kind: str
    name: str
    variables: list[VarDecl]
    body: list[Stmt]
    returns: TypeSpec | None = None
    methods: list[Pou] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    extends: list[str] = field(default_factory=list)
    implements: list[str] = field(default_factory=list)
    access: str = "PUBLIC"
    abstract: bool = False
    final: bool = False
    override: bool = False
    sfc: Sfc | None = None
    end: int = 0
    #: what references begin with: assignments whose value is fixed as soon as the instance has its place
    references: list[Stmt] = field(default_factory=list)


@dataclass(slots=True)
class TaskDecl(Node):
    """TASK name(INTERVAL := …, PRIORITY := …)."""

    name: str
    settings: dict[str, Expr]


@dataclass(slots=True)
class ProgramInstance(Node):
    """PROGRAM name WITH task : type(connections)."""

    name: str
    task: str
    type_name: str
    connections: list[Arg] = field(default_factory=list)


@dataclass(slots=True)
class Unit:
    """Everything one file declares."""

    pous: list[Pou] = field(default_factory=list)
    types: list[TypeDecl] = field(default_factory=list)
    variables: list[VarDecl] = field(default_factory=list)
    tasks: list[TaskDecl] = field(default_factory=list)
    instances: list[ProgramInstance] = field(default_factory=list)


# --- statements ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Stmt(Node):
    """A statement."""


@dataclass(slots=True)
class Assign(Stmt):
    """`op`: :=, ?= or REF=."""

    target: Expr
    value: Expr
    op: str = ":="


@dataclass(slots=True)
class CallStmt(Stmt):
    """A call, or a bare expression that turns out to be none."""

    call: Expr


@dataclass(slots=True)
class If(Stmt):
    """Branches of condition and body, and the ELSE part."""

    branches: list[tuple[Expr, list[Stmt]]]
    otherwise: list[Stmt]


@dataclass(slots=True)
class Case(Stmt):
    """Labels are (low, high or None)."""

    selector: Expr
    branches: list[tuple[list[tuple[Expr, Expr | None]], list[Stmt]]]
    otherwise: list[Stmt]


@dataclass(slots=True)
class For(Stmt):
    """FOR variable := start TO end BY step."""

    variable: Expr
    start: Expr
    end: Expr
    step: Expr | None
    body: list[Stmt]


@dataclass(slots=True)
class While(Stmt):
    """WHILE condition DO body."""

    condition: Expr
    body: list[Stmt]


@dataclass(slots=True)
class Repeat(Stmt):
    """REPEAT body UNTIL condition."""

    body: list[Stmt]
    condition: Expr


@dataclass(slots=True)
class Jump(Stmt):
    """`kind`: EXIT, CONTINUE, RETURN."""

    kind: str
