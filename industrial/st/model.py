"""What a project declares, resolved: variables with their storage, POUs with their layout."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import nodes as n
from . import types as t
from .ir import Body

#: Bytes of the process image, as the scan engine has them.
IMAGE_SIZES = {"I": 4096, "Q": 4096, "M": 65536}


@dataclass(eq=False, slots=True)
class Var:
    """A variable. `storage`: self (instance), frame (call), local (C variable), global (arena), image.

    `by_reference` variables hold the reference of what they stand for (VAR_IN_OUT).
    """

    name: str
    type: t.Type
    kind: str
    pos: int
    storage: str = "self"
    offset: int = 0
    area: str = ""
    bit: int | None = None
    located: str = ""
    constant: bool = False
    retain: bool = False
    by_reference: bool = False
    #: The value of a scalar constant.
    value: int | float | tuple[int, ...] | None = None
    init: object = None
    comment: str = ""
    written: bool = False
    addressed: bool = False
    number: int = 0
    decl: n.VarDecl | None = None

    @property
    def slot(self) -> tuple[int, int]:
        """Bytes and alignment where it is stored."""
        return (4, 4) if self.by_reference else (self.type.size, self.type.align)


@dataclass(eq=False, slots=True)
class Pou:
    """A program, function, function block, method or interface."""

    kind: str
    name: str
    node: n.Pou
    number: int
    variables: dict[str, Var] = field(default_factory=dict)
    returns: t.Type = t.VOID
    result: Var | None = None
    base: Pou | None = None
    interfaces: list[Pou] = field(default_factory=list)
    methods: dict[str, Pou] = field(default_factory=dict)
    owner: Pou | None = None
    type: t.BlockType | t.InterfaceType | None = None
    derived: list[Pou] = field(default_factory=list)
    body: Body = field(default_factory=Body)
    calls: set[Pou] = field(default_factory=set)
    frame_size: int = 0
    has_tag: bool = False
    resolved: bool = False
    laid_out: int = 0
    checked: bool = False
    broken: bool = False
    library: bool = False

    @property
    def label(self) -> str:
        """Name for people: a method with its block."""
        return f"{self.owner.name}.{self.name}" if self.owner else self.name

    @property
    def owner_kind(self) -> str:
        """Kind of the POU this method belongs to, or nothing."""
        return self.owner.kind if self.owner else ""

    def chain(self) -> Iterator[Pou]:
        """This and what it extends."""
        pou: Pou | None = self
        while pou is not None:
            yield pou
            pou = pou.base

    def member(self, name: str) -> Var | None:
        """A variable of the instance, inherited ones included."""
        for pou in self.chain():
            if (found := pou.variables.get(name)) and found.kind not in (
                "VAR_TEMP",
                "VAR_EXTERNAL",
            ):
                return found
        return None

    def method(self, name: str) -> Pou | None:
        """A method, inherited ones included."""
        if self.kind == "INTERFACE":
            if name in self.methods:
                return self.methods[name]
            for parent in self.interfaces:
                if found := parent.method(name):
                    return found
            return None
        for pou in self.chain():
            if found := pou.methods.get(name):
                return found
        return None

    def instance_variables(self) -> list[Var]:
        """Everything an instance holds, inherited first."""
        own = [var for var in self.variables.values() if var.storage == "self"]
        return (self.base.instance_variables() if self.base else []) + own


def align(offset: int, to: int) -> int:
    """The next multiple."""
    return (offset + to - 1) // to * to


def encode(kind: t.Type, init: object) -> bytes:
    """The bytes of an initial value; None is the type's own."""
    if isinstance(kind, t.EnumType):
        return encode(kind.base, kind.initial if init is None else init)
    if isinstance(kind, t.SubrangeType):
        return encode(
            kind.base, (0 if kind.low <= 0 <= kind.high else kind.low) if init is None else init
        )
    if isinstance(kind, t.Elementary):
        if kind.family == "real":
            value = init if isinstance(init, int | float) else 0.0
            try:
                return struct.pack("<f" if kind.bits == 32 else "<d", value)
            except OverflowError:
                return struct.pack("<f", float("inf") if value > 0 else float("-inf"))
        number = init if isinstance(init, int) else 0
        return (number & ((1 << (kind.size * 8)) - 1)).to_bytes(kind.size, "little")
    if isinstance(kind, t.StringType):
        codes = list(init)[: kind.length] if isinstance(init, tuple | list) else []
        width = 2 if kind.wide else 1
        return b"".join(int(code).to_bytes(width, "little") for code in codes).ljust(
            kind.size, b"\0"
        )
    if isinstance(kind, t.ArrayType):
        items = init if isinstance(init, list) else []
        if not items:
            return encode(kind.element, kind.element_init) * kind.count
        plain = encode(kind.element, kind.element_init) if len(items) < kind.count else b""
        return b"".join(
            encode(kind.element, kind.element_init if item is None else item) for item in items
        ) + plain * (kind.count - len(items))
    if isinstance(kind, t.StructType):
        chosen = init if isinstance(init, dict) else {}
        data = bytearray(kind.size)
        for key, member in kind.fields.items():
            if kind.union and key not in chosen and member is not next(iter(kind.fields.values())):
                continue
            part = encode(member.type, chosen.get(key, member.init))
            data[member.offset : member.offset + len(part)] = part
        return bytes(data)
    if isinstance(kind, t.BlockType):
        chosen = init if isinstance(init, dict) else {}
        data = bytearray(kind.size)
        if kind.pou.has_tag:
            data[0:4] = kind.pou.number.to_bytes(4, "little")
        for var in kind.pou.instance_variables():
            if var.by_reference:
                continue
            part = encode(var.type, chosen.get(var.name.upper(), var.init))
            data[var.offset : var.offset + len(part)] = part
        return bytes(data)
    return bytes(kind.size)
