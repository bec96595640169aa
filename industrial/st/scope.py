"""The project's names: which POUs, types, globals and enumerated values there are, looked up without regard to case."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import nodes as n
from . import types as t
from .errors import Sink, SourceFile
from .model import Pou, Var


@dataclass(eq=False, slots=True)
class TypeEntry:
    """A declared type, resolved when first needed."""

    node: n.TypeDecl
    type: t.Type | None = None
    init: object = None
    busy: bool = False
    broken: bool = False


@dataclass(slots=True)
class Project:
    """All declarations of a compilation."""

    files: list[SourceFile]
    sink: Sink
    codesys: bool
    pous: dict[str, Pou] = field(default_factory=dict)
    types: dict[str, TypeEntry] = field(default_factory=dict)
    globals: dict[str, Var] = field(default_factory=dict)
    enum_values: dict[str, list[tuple[t.EnumType, int]]] = field(default_factory=dict)
    tasks: list[n.TaskDecl] = field(default_factory=list)
    instances: list[n.ProgramInstance] = field(default_factory=list)
    #: Name of a connected program instance → the hidden program that calls it (connect.py).
    connections: dict[str, Pou] = field(default_factory=dict)
    #: Name of a task with SINGLE → the hidden program that looks at it (events.py).
    events: dict[str, Pou] = field(default_factory=dict)
    #: All POUs with bodies, methods included, in the order of their numbers.
    all_pous: list[Pou] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def error(self, pos: int, code: str, message: str, *, hint: str = "", length: int = 1) -> None:
        """Record an error."""
        self.sink.error(pos, code, message, hint=hint, length=length)

    def new_pou(self, kind: str, name: str, node: n.Pou, owner: Pou | None = None) -> Pou:
        """A POU with its number."""
        pou = Pou(kind, name, node, len(self.all_pous) + 1, owner=owner)
        pou.library = self.files[node.pos >> 32].library
        self.all_pous.append(pou)
        return pou
